// Package logfile reads the log of the webhook, as people save it in a file.
package logfile

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
)

// MaxLine is the longest line of a log, in bytes. The webhook's are shorter than a tenth of that.
const MaxLine = 1 << 20

// Each calls read with each line of a log that is JSON with the fields of T (docs/reference/log.md). Other lines are passed over.
func Each[T any](log io.Reader, read func(T)) error {
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, MaxLine)
	for lines.Scan() {
		var line T
		if json.Unmarshal(lines.Bytes(), &line) == nil {
			read(line)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading the log: %w", err)
	}
	return nil
}
