package audit

import (
	"strconv"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// A line is appended by hand: with slog, making it would take longer than the decision that it is about. The form is that of
// slog.JSONHandler, byte by byte.

// begin appends the beginning of a line, up to its message. level is one of those below.
func begin(line []byte, now time.Time, level string) []byte {
	line = appendTime(append(line, `{"time":"`...), now)
	return append(line, level...)
}

// The levels of lines, with what stands around them.
const levelInfo, levelWarn = `","level":"INFO","msg":"`, `","level":"WARN","msg":"`

// second is a second in a time zone, as lines have it: the text before the fraction, and the one after it.
type second struct {
	unix       int64
	zone       *time.Location
	date, ends string
}

// lastSecond is the one of the last line. It may be nil.
var lastSecond atomic.Pointer[second]

// appendTime appends a time in the form time.RFC3339Nano. Most lines are of the same second as the line before, and share its text.
func appendTime(line []byte, now time.Time) []byte {
	of := lastSecond.Load()
	if of == nil || of.unix != now.Unix() || of.zone != now.Location() {
		of = &second{now.Unix(), now.Location(), now.Format("2006-01-02T15:04:05"), now.Format("Z07:00")}
		lastSecond.Store(of)
	}
	return append(appendFraction(append(line, of.date...), now.Nanosecond()), of.ends...)
}

// appendFraction appends the fraction of a second, without zeros at its end.
func appendFraction(line []byte, nanoseconds int) []byte {
	if nanoseconds == 0 {
		return line
	}
	start := len(line)
	line = strconv.AppendInt(line, int64(nanoseconds)+int64(time.Second), 10)
	line[start] = '.' // instead of the 1 that keeps the zeros at the start
	for line[len(line)-1] == '0' {
		line = line[:len(line)-1]
	}
	return line
}

// field appends a field with a text. before is what stands before the text: `,"key":"`.
func field(line []byte, before, text string) []byte {
	return append(escape(append(line, before...), text), '"')
}

// end appends the end of a line.
func end(line []byte) []byte { return append(line, '}', '\n') }

// escape appends what a text is within a JSON string.
func escape(line []byte, text string) []byte {
	start := 0
	for i := 0; i < len(text); {
		if n := plainLength(text[i:]); n > 0 {
			i += n
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

// plainLength returns how many of the first characters need no escape: all of them, or some before the first one that needs one. It
// looks at eight at a time.
func plainLength(text string) (n int) {
	const ones = 0x0101010101010101
	for ; n+8 <= len(text); n += 8 {
		t := text[n : n+8]
		x := uint64(t[0]) | uint64(t[1])<<8 | uint64(t[2])<<16 | uint64(t[3])<<24 | uint64(t[4])<<32 | uint64(t[5])<<40 | uint64(t[6])<<48 | uint64(t[7])<<56
		// Each of these has the highest bit of the first byte that is beyond ASCII, a control character, a quote or a backslash.
		if (x|(x-ones*' ')|((x^ones*'"')-ones)|((x^ones*'\\')-ones))&(ones<<7) != 0 {
			break
		}
	}
	for n < len(text) && plain[text[n]] {
		n++
	}
	return n
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
