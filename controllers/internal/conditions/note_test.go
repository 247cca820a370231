package conditions_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"apitokens.dev/operator/controllers/internal/conditions"
)

// The API server refuses an Event that is too long.
func TestNote(t *testing.T) {
	const most = 1024
	for _, fits := range []string{"", "short", strings.Repeat("a", most)} {
		if got := conditions.Note(fits); got != fits {
			t.Errorf("of %d bytes %d are left", len(fits), len(got))
		}
	}
	for _, long := range []string{strings.Repeat("a", most+1), "a" + strings.Repeat("é", most), strings.Repeat("€", most)} {
		got := conditions.Note(long)
		if len(got) > most || len(got) < most-4 || !utf8.ValidString(got) || !strings.HasSuffix(got, "...") || !strings.HasPrefix(long, strings.TrimSuffix(got, "...")) {
			t.Errorf("%d bytes, %q", len(got), got)
		}
	}
}
