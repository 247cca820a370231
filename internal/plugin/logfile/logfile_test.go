package logfile_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"apitokens.dev/operator/internal/plugin/logfile"
)

type line struct {
	Reason string `json:"reason"`
}

func TestEach(t *testing.T) {
	const log = `{"reason":"expired"}` + "\nE1127 not JSON\n\n[1]\n" + `{"reason":1}` + "\n" + `{"other":"field"}` + "\n" + `{"reason":"suspended"}`
	var reasons []string
	if err := logfile.Each(strings.NewReader(log), func(l line) { reasons = append(reasons, l.Reason) }); err != nil {
		t.Fatal(err)
	}
	if want := []string{"expired", "", "suspended"}; !slices.Equal(reasons, want) {
		t.Errorf("read %q, want %q", reasons, want)
	}
}

// What cannot be read is no end of the log.
func TestEachSaysWhatItDidNotRead(t *testing.T) {
	away := errors.New("away")
	if err := logfile.Each(iotest.ErrReader(away), func(line) {}); !errors.Is(err, away) {
		t.Errorf("the error is %v", err)
	}
	if err := logfile.Each(strings.NewReader(strings.Repeat("x", 2<<20)), func(line) {}); err == nil {
		t.Error("a line that is too long is no error")
	}
}
