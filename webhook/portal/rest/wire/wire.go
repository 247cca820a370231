// Package wire reads the JSON that clients send.
package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	kjson "sigs.k8s.io/json"
)

// Error is why a text was not read, in words for who sent it. It quotes no values.
type Error struct {
	// Field is what in it is wrong, if it is one thing.
	Field, Message string
}

func (e *Error) Error() string { return e.Message }

func wrong(field, format string, args ...any) error {
	return &Error{field, fmt.Sprintf(format, args...)}
}

// Decode reads a JSON object to the letter: what is not known, of another type or there twice is refused by name.
func Decode(text []byte, into any) error {
	if !utf8.Valid(text) {
		return wrong("", "The request is not in UTF-8.")
	}
	if object := bytes.TrimLeft(text, " \t\r\n"); len(object) == 0 || object[0] != '{' {
		return wrong("", "The request is not a JSON object.")
	}
	strict, err := kjson.UnmarshalStrict(text, into)
	if of := (*json.UnmarshalTypeError)(nil); errors.As(err, &of) {
		kind, _, _ := strings.Cut(of.Value, " ") // behind it stands what was sent
		return wrong(of.Field, "%s must not be this %s.", named(of.Field), kind)
	}
	if err != nil {
		return wrong("", "The request is not a JSON object: %v.", err)
	}
	if len(strict) > 0 {
		return unexpected(strict[0])
	}
	return nil
}

// unexpected names the field that is unknown or repeated.
func unexpected(err error) error {
	of, ok := err.(kjson.FieldError) //nolint:errorlint // they are not wrapped
	if !ok {
		return wrong("", "The request is not as it should be.")
	}
	field, what := Short(of.FieldPath()), "unknown"
	if strings.HasPrefix(err.Error(), "duplicate") {
		what = "repeated"
	}
	return wrong(field, "The request has the %s field %s.", what, strconv.Quote(field))
}

// maxEcho is how much of a name that somebody made up is told him.
const maxEcho = 64

// Short is the beginning of a name that somebody made up.
func Short(name string) string {
	if len(name) <= maxEcho {
		return name
	}
	return strings.ToValidUTF8(name[:maxEcho], "") + "…"
}

func named(field string) string {
	if field == "" {
		return "The request"
	}
	return field
}
