package packed

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
)

// A text of several parts takes less memory than each part by itself: one object, and no length and pointer for each.

// writer appends parts to a text.
type writer []byte

// text appends a part. A UUID takes 16 bytes, after a zero in place of its length.
func (w *writer) text(s string) {
	if id, ok := parseUUID(s); ok {
		*w = append(append(*w, 0), id[:]...)
		return
	}
	*w = append(binary.AppendUvarint(*w, uint64(len(s))+1), s...)
}

func (w *writer) number(n int64) { *w = binary.AppendVarint(*w, n) }

// reader takes parts from the front of a text, in the order in which they were appended.
type reader string

func (r *reader) text() string {
	length, size := binary.Uvarint([]byte((*r)[:min(len(*r), binary.MaxVarintLen64)]))
	rest := (*r)[size:]
	if length == 0 {
		*r = rest[16:]
		return formatUUID(string(rest[:16]))
	}
	*r = rest[length-1:]
	return string(rest[:length-1])
}

func (r *reader) number() int64 {
	n, size := binary.Varint([]byte((*r)[:min(len(*r), binary.MaxVarintLen64)]))
	*r = (*r)[size:]
	return n
}

// uuidDashes are where a UUID has its dashes.
const uuidDashes = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"

// parseUUID reads a UUID in lower case. It returns false for anything else.
func parseUUID(s string) (id [16]byte, ok bool) {
	if len(s) != len(uuidDashes) {
		return id, false
	}
	digits := make([]byte, 0, 32)
	for i := range len(s) {
		switch dash := uuidDashes[i] == '-'; {
		case dash && s[i] == '-':
		case !dash && strings.IndexByte("0123456789abcdef", s[i]) >= 0:
			digits = append(digits, s[i])
		default:
			return id, false
		}
	}
	_, err := hex.Decode(id[:], digits)
	return id, err == nil
}

func formatUUID(id string) string {
	var b [len(uuidDashes)]byte
	digits := hex.AppendEncode(make([]byte, 0, 32), []byte(id))
	for i := range b {
		if b[i] = '-'; uuidDashes[i] != '-' {
			b[i], digits = digits[0], digits[1:]
		}
	}
	return string(b[:])
}

// maxFrame is the longest frame. A longer one is of no form of the operator.
const maxFrame = 1 << 10

// takeApart splits the JSON of a form into the frame, which many forms have in common, and the texts in it: the string values, and what
// has digits between them. assemble is the inverse. A text that would come out otherwise is all there is, in no frame.
func takeApart(text string) (frame string, values []string) {
	if !strings.HasPrefix(text, "{") || strings.ContainsAny(text, "\\\x00") || strings.Count(text, `"`)%2 != 0 {
		return "", []string{text}
	}
	segments := strings.Split(text, `"`)
	for i, segment := range segments {
		key := i%2 == 1 && strings.HasPrefix(segments[i+1], ":")
		if i%2 == 1 && !key || i%2 == 0 && strings.ContainsAny(segment, "0123456789") {
			values, segments[i] = append(values, segment), "\x00"
		}
	}
	if frame = strings.Join(segments, `"`); len(frame) > maxFrame {
		return "", []string{text}
	}
	return frame, values
}

// assemble puts the values that come next in a text into a frame.
func assemble(frame string, values *reader) []byte {
	if frame == "" {
		return []byte(values.text())
	}
	text := make([]byte, 0, len(frame)+len(*values)+len(uuidDashes))
	for {
		before, after, found := strings.Cut(frame, "\x00")
		text = append(text, before...)
		if !found {
			return text
		}
		text = append(text, values.text()...)
		frame = after
	}
}
