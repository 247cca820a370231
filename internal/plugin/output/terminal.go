package output

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/term"
)

// Terminal is a file that may be a terminal.
type Terminal struct {
	*os.File

	is bool
}

// TerminalOf returns a writer of a file. On a terminal, characters that would command it are shown as escapes: gateways, products and
// owners of tokens choose texts that the plugin prints, and none of them may hide a line, move the cursor or change the title. The
// colours of Style pass. A pipe gets every byte as it is.
func TerminalOf(f *os.File) *Terminal { return &Terminal{File: f, is: term.IsTerminal(int(f.Fd()))} }

// Write writes a text of whole characters.
func (t *Terminal) Write(text []byte) (int, error) {
	if !t.is {
		return t.File.Write(text)
	}
	if _, err := t.WriteString(readable(string(text))); err != nil {
		return 0, fmt.Errorf("writing to the terminal: %w", err)
	}
	return len(text), nil
}

// colours are the codes of Style.
var colours = regexp.MustCompile("\x1b\\[(?:0|1|31|32)m")

// readable returns a text without characters that command a terminal, and without those that have others shown in another order.
func readable(text string) string {
	var b strings.Builder
	from := 0
	for _, code := range colours.FindAllStringIndex(text, -1) {
		b.WriteString(escaped(text[from:code[0]]))
		b.WriteString(text[code[0]:code[1]])
		from = code[1]
	}
	b.WriteString(escaped(text[from:]))
	return b.String()
}

func escaped(text string) string {
	if !strings.ContainsFunc(text, commands) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if commands(r) {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func commands(r rune) bool {
	return r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == unicode.ReplacementChar)
}
