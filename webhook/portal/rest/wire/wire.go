// Package wire decodes the JSON of requests.
package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	kjson "sigs.k8s.io/json"

	"apitokens.dev/operator/internal/token"
)

// Error says why a text cannot be decoded, in words for the client. It quotes no values.
type Error struct {
	// Field is the field that is wrong. It is empty if no single field is.
	Field, Message string
}

func (e *Error) Error() string { return e.Message }

func newError(field, format string, args ...any) error {
	return &Error{field, fmt.Sprintf(format, args...)}
}

// Decode decodes a JSON object strictly into the struct that into points to. It refuses unknown, repeated and wrongly typed
// fields, and names them. A field's tag `expect` says in the error which values it takes.
func Decode(text []byte, into any) error {
	if !utf8.Valid(text) {
		return newError("", "The request is not in UTF-8.")
	}
	if object := bytes.TrimLeft(text, " \t\r\n"); len(object) == 0 || object[0] != '{' {
		return newError("", "The request is not a JSON object.")
	}
	strict, err := kjson.UnmarshalStrict(text, into)
	if mismatch := (*json.UnmarshalTypeError)(nil); errors.As(err, &mismatch) {
		return mistyped(mismatch.Field, into)
	}
	if err != nil {
		return newError("", "The request is not a JSON object: %v.", err)
	}
	if len(strict) > 0 {
		return unexpected(strict[0])
	}
	return nil
}

// mistyped returns the error for a value of another type. It does not quote the value, which may be a secret.
func mistyped(field string, into any) error {
	for _, f := range reflect.VisibleFields(reflect.TypeOf(into).Elem()) {
		if f.Tag.Get("json") == field && f.Tag.Get("expect") != "" {
			return newError(field, "%s must be %s.", field, f.Tag.Get("expect"))
		}
	}
	return newError(field, "%s has the wrong type.", named(field))
}

// unexpected returns the error for an unknown or repeated field.
func unexpected(err error) error {
	of, ok := err.(kjson.FieldError) //nolint:errorlint // they are not wrapped
	if !ok {
		return newError("", "The request is malformed.")
	}
	field, fault := Short(of.FieldPath()), "unknown"
	if strings.HasPrefix(err.Error(), "duplicate") {
		fault = "repeated"
	}
	return newError(field, "The request contains the %s field %s.", fault, strconv.Quote(field))
}

// maxEcho is the longest part of an unknown name that an error quotes, in bytes.
const maxEcho = 64

// Short shortens an unknown name for an error. Nothing remains of a name with a token in it.
func Short(name string) string {
	if _, found := token.Find(name); found {
		return "***"
	}
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
