package audit

import (
	"time"
	"unicode/utf8"
)

// A line is appended by hand: with slog, making it would take longer than the decision that it is about. The form is that of
// slog.JSONHandler, byte by byte.

// begin appends the beginning of a line, up to its message.
func begin(line []byte, now time.Time, level string) []byte {
	line = append(line, `{"time":"`...)
	line = now.AppendFormat(line, time.RFC3339Nano)
	line = append(line, `","level":"`...)
	line = append(line, level...)
	return append(line, `","msg":"`...)
}

// field appends a field with a text. Its key needs no escapes.
func field(line []byte, key, text string) []byte {
	line = append(line, ',', '"')
	line = append(line, key...)
	line = append(line, '"', ':')
	return quote(line, text)
}

// end appends the end of a line.
func end(line []byte) []byte { return append(line, '}', '\n') }

// quote appends a text as a JSON string.
func quote(line []byte, text string) []byte {
	return append(escape(append(line, '"'), text), '"')
}

// escape appends what a text is within a JSON string.
func escape(line []byte, text string) []byte {
	start := 0
	for i := 0; i < len(text); {
		if plain[text[i]] {
			i++
			continue
		}
		escaped, size := escapeOf(text[i:])
		if escaped != "" {
			line = append(line, text[start:i]...)
			line = append(line, escaped...)
			start = i + size
		}
		i += size
	}
	return append(line, text[start:]...)
}

// plain are the characters that need no escape.
var plain = func() (all [256]bool) {
	for b := byte(' '); b < utf8.RuneSelf; b++ {
		all[b] = b != '"' && b != '\\'
	}
	return all
}()

// escapeOf returns the escape of the first character of a text, or nothing if it needs none, and the length of the character.
func escapeOf(text string) (escape string, size int) {
	b := text[0]
	switch {
	case b < ' ' || b == '"' || b == '\\':
		return escapes[b], 1
	case b < utf8.RuneSelf:
		return "", 1
	}
	c, size := utf8.DecodeRuneInString(text)
	switch {
	case c == utf8.RuneError && size == 1:
		return `\ufffd`, 1
	case c == '\u2028': // JavaScript takes these two for the end of a line
		return `\u2028`, size
	case c == '\u2029':
		return `\u2029`, size
	}
	return "", size
}

// escapes are those of ASCII characters.
var escapes = func() (all ['\\' + 1]string) {
	const hex = "0123456789abcdef"
	for b := range byte(' ') {
		all[b] = `\u00` + string(hex[b>>4]) + string(hex[b&15])
	}
	all['\n'], all['\r'], all['\t'], all['"'], all['\\'] = `\n`, `\r`, `\t`, `\"`, `\\`
	return all
}()
