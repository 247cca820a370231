package output

import (
	"os"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// Whatever a text has, a terminal is told nothing but colours.
func FuzzReadable(f *testing.F) {
	style := Style{colour: true}
	for _, text := range []string{
		"plain äöü 漢字", style.Bad("PROBLEM") + " " + style.Bold("Reason") + style.Good("x"), "\x1b]0;title\a", "\x1b[2K\x1b[1A", "\x1b[8m", "a\rb", "\u009b31m",
		"\x9b31m", "\u202egnp.exe", "\u2066x\u2069", "\x7f", "\x1b[31\x1b[31mm", "\x1b\x1b[1m[2J", "\xe2\x80",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := readable(text)
		plain := strings.NewReplacer("\x1b[0m", "", "\x1b[1m", "", "\x1b[31m", "", "\x1b[32m", "").Replace(got)
		for _, r := range plain {
			if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
				t.Errorf("%q lets %q through: %q", text, r, got)
			}
		}
		if !utf8.ValidString(got) {
			t.Errorf("%q becomes bytes that are no text: %q", text, got)
		}
		if harmless := !strings.ContainsFunc(text, commands); harmless && got != text {
			t.Errorf("%q becomes %q", text, got)
		}
	})
}

func TestReadable(t *testing.T) {
	for text, want := range map[string]string{
		"a\tb\n":                           "a\tb\n",
		"\x1b[31mPROBLEM\x1b[0m  x":        "\x1b[31mPROBLEM\x1b[0m  x",
		"\x1b]0;owned\a":                   `\x1b]0;owned\a`,
		"\x1b[2Jgone\rback":                `\x1b[2Jgone\rback`,
		"\u009b2J \u202eabc":               `\u009b2J \u202eabc`,
		"told \x1b[1min bold\x1b[0m \x1b[": "told \x1b[1min bold\x1b[0m \\x1b[",
	} {
		if got := readable(text); got != want {
			t.Errorf("%q is shown as %q, not %q", text, got, want)
		}
	}
}

// A program at the other end of a pipe gets what was printed.
func TestPipesGetEveryByte(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	const text = "a\x1b[2J\r\x00\xff"
	if n, err := TerminalOf(w).Write([]byte(text)); n != len(text) || err != nil {
		t.Fatal(n, err)
	}
	got := make([]byte, 100)
	n, err := r.Read(got)
	if err != nil || string(got[:n]) != text {
		t.Errorf("the pipe got %q, %v", got[:n], err)
	}
}
