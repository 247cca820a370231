package importing

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	"apitokens.dev/operator/internal/plugin/output"
)

// The files of an import. Only the first has secrets.
const (
	secretsFile = "secrets.yaml"
	tokensFile  = "tokens.yaml"
	lettersFile = "letters.txt"
	reportFile  = "report.csv"
)

// writeTo writes the files of a plan into a new folder. Nobody else may read them: names and labels are nobody else's business either.
func (p *plan) writeTo(folder, page string, until time.Time) error {
	if err := os.Mkdir(folder, 0o700); errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already: name a new folder, so that no manifest is overwritten", folder)
	} else if err != nil {
		return fmt.Errorf("making the folder: %w", err)
	}
	files := map[string]func(io.Writer) error{reportFile: func(w io.Writer) error { return writeReport(w, p.lines) }}
	if len(p.tokens) > 0 {
		files[secretsFile] = func(w io.Writer) error { return writeObjects(w, p.secrets) }
		files[tokensFile] = func(w io.Writer) error { return writeObjects(w, p.tokens) }
	}
	if p.count(invited) > 0 {
		files[lettersFile] = func(w io.Writer) error { return writeLetters(w, p, page, until) }
	}
	for name, write := range files {
		var text bytes.Buffer
		if err := write(&text); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, name), text.Bytes(), 0o600); err != nil {
			return fmt.Errorf("writing %s: %w", name, err)
		}
	}
	return nil
}

// writeObjects writes manifests, one after the other.
func writeObjects[T any, P interface {
	*T
	runtime.Object
}](w io.Writer, all []T) error {
	format := output.Of(output.YAML)
	for i := range all {
		fmt.Fprintln(w, "---")
		if err := format.Objects(w, P(&all[i])); err != nil {
			return err
		}
	}
	return nil
}

var heads = []string{"line", "user", "label", "result", "APIToken", "reason", "created", "last used", "expires"}

func writeReport(w io.Writer, lines []line) error {
	out := csv.NewWriter(w)
	rows := [][]string{heads}
	for _, l := range lines {
		rows = append(rows, []string{
			strconv.Itoa(l.Line), output.Cell(l.User), output.Cell(l.Label), string(l.Result), l.APIToken, output.Cell(l.Reason), l.Created, l.LastUsed, l.Expires,
		})
	}
	if err := out.WriteAll(rows); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}
