// Package storedjson decodes the JSON forms that the operator stores in Secrets. It tolerates what a later minor version
// adds, and refuses what it would misread.
package storedjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Version is the version of every form. A form without a `version` has this one.
const Version = "1"

var (
	// ErrForeign means that a text is not a form of this type: it is truncated, repeats a member, or lacks one, or a value has
	// another type or spelling than the operator writes. The error does not quote the text, which may be a secret.
	ErrForeign = errors.New("not the JSON that the operator writes")
	// ErrVersion means that a later version of the operator wrote the form, and that this one would misread it.
	ErrVersion = errors.New("the version is unknown")
)

// Form is the stored form of a T.
type Form[T any] struct {
	// Name is what errors call it.
	Name string
	// Check refuses a value that nobody writes.
	Check func(T) error
}

// Encode returns the stored form of a value.
func (f Form[T]) Encode(value T) ([]byte, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", f.Name, err)
	}
	return text, nil
}

// Decode parses the stored form.
func (f Form[T]) Decode(text []byte) (T, error) {
	value, err := Decode[T](text)
	if err == nil {
		err = f.Check(value)
	}
	if err != nil {
		var zero T
		return zero, fmt.Errorf("decoding %s: %w", f.Name, err)
	}
	return value, nil
}

// Decode decodes a T. The text may have members that T does not have, in any order and with any white space. All that
// encoding the value gives must be in the text with the same names and values. A T with a version checks it itself.
func Decode[T any](text []byte) (T, error) {
	var value, zero T
	if !utf8.Valid(text) || json.Unmarshal(text, &value) != nil {
		return zero, ErrForeign
	}
	known, err := json.Marshal(value)
	if err != nil {
		return zero, ErrForeign
	}
	if bytes.Equal(known, text) { // as nearly always, and many times faster
		return value, nil
	}
	if err := tolerate(text, known); err != nil {
		return zero, err
	}
	return value, nil
}

// tolerate returns an error unless text says the same as known, and otherwise only more.
func tolerate(text, known []byte) error {
	stored, err := parse(text)
	if err != nil {
		return ErrForeign
	}
	if object, ok := stored.(map[string]any); ok {
		if v, found := object["version"]; found && v != json.Number(Version) {
			return fmt.Errorf("%w, want %s", ErrVersion, Version)
		}
	}
	if known, err := parse(known); err != nil || !within(known, stored) {
		return ErrForeign
	}
	return nil
}

// parse returns the value of a text: a bool, string, json.Number, []any or map[string]any. It refuses repeated members, of
// which decoders take different ones: that of Go ignores case in names. It refuses null, which is not written and would pass for an absent member.
func parse(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	value, err := next(d)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, ErrForeign
	}
	return value, nil
}

func next(d *json.Decoder) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case nil:
		return nil, ErrForeign
	case json.Delim('['):
		return array(d)
	case json.Delim('{'):
		return object(d)
	default:
		return t, nil
	}
}

func array(d *json.Decoder) (any, error) {
	all := []any{}
	for d.More() {
		value, err := next(d)
		if err != nil {
			return nil, err
		}
		all = append(all, value)
	}
	_, err := d.Token() // the closing bracket
	return all, err
}

func object(d *json.Decoder) (any, error) {
	members, folded := map[string]any{}, map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, _ := t.(string)
		key := strings.Map(foldRune, name)
		if folded[key] {
			return nil, ErrForeign
		}
		folded[key] = true
		if members[name], err = next(d); err != nil {
			return nil, err
		}
	}
	_, err := d.Token() // the closing brace
	return members, err
}

// foldRune returns the same rune for all runes that differ in case alone, as encoding/json compares names.
func foldRune(r rune) rune {
	for {
		next := unicode.SimpleFold(r)
		if next <= r {
			return next
		}
		r = next
	}
}

// within reports whether all of known is in stored: members of objects by name, elements of arrays by position and number.
func within(known, stored any) bool {
	switch known := known.(type) {
	case map[string]any:
		object, ok := stored.(map[string]any)
		if !ok {
			return false
		}
		for name, value := range known {
			if other, found := object[name]; !found || !within(value, other) {
				return false
			}
		}
		return true
	case []any:
		list, ok := stored.([]any)
		if !ok || len(list) != len(known) {
			return false
		}
		for i := range known {
			if !within(known[i], list[i]) {
				return false
			}
		}
		return true
	default:
		return known == stored
	}
}
