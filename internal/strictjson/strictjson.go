// Package strictjson reads back what the operator itself wrote, and nothing else.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
)

// ErrForeign says that a text is not byte for byte what encoding the value would give: it is truncated, has an
// unknown or repeated field, other spelling or white space. What was read is not quoted: it may be a secret.
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
