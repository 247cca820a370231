// Package strictjson reads only JSON that the operator itself wrote.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
)

// ErrForeign means that a text differs from the encoding of its value: it is truncated, or has an unknown or repeated field,
// another spelling or white space. It does not quote the text, which may be a secret.
var ErrForeign = errors.New("not the JSON that the operator writes")

// Decode reads a T from the exact text that json.Marshal makes of it.
func Decode[T any](text []byte) (T, error) {
	var value, zero T
	if err := json.Unmarshal(text, &value); err != nil {
		return zero, ErrForeign
	}
	again, err := json.Marshal(value)
	if err != nil || !bytes.Equal(again, text) {
		return zero, ErrForeign
	}
	return value, nil
}
