package output

import (
	"io"
	"os"
)

// Style colours words for people. Its zero value colours nothing.
type Style struct{ colour bool }

// StyleOf returns the style of a writer: with colours only on a terminal, and not if NO_COLOR is set (https://no-color.org).
func StyleOf(w io.Writer) Style {
	t, ok := w.(*Terminal)
	return Style{colour: ok && t.is && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// Good returns a text in green.
func (s Style) Good(text string) string { return s.in("32", text) }

// Bad returns a text in red.
func (s Style) Bad(text string) string { return s.in("31", text) }

// Bold returns a text in bold.
func (s Style) Bold(text string) string { return s.in("1", text) }

// Truth colours the status of a condition for which True is good.
func (s Style) Truth(status string) string {
	switch status {
	case "True":
		return s.Good(status)
	case "False":
		return s.Bad(status)
	}
	return status
}

func (s Style) in(code, text string) string {
	if !s.colour || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
