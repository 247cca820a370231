package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"apitokens.dev/operator/webhook/portal/rest/wire"
)

// request has a field of every type that the bodies of the API have.
type request struct {
	Label          *string  `json:"label"`
	ExpiresAt      *int64   `json:"expiresAt"`
	LifetimeDays   *int32   `json:"lifetimeDays"`
	Access         string   `json:"access"`
	AllowedSources []string `json:"allowedSources"`
	AllowedPaths   []string `json:"allowedPaths"`
}

// Decode agrees with an independent decoder that reads token by token.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		``, `null`, `{}`, `[]`, `{"label":"CI scripts"}`, ` {"label" : null } `, `{"label":"x","label":"y"}`, `{"Label":"x"}`, `{"label":"x"}{}`, `{"label":"x",}`, `{"label":{"label":"x"}}`,
		`{"label":"x","expiresAt":1766620800000,"access":"ReadOnly","allowedSources":["192.0.2.0/24",null],"allowedPaths":["/rest/api/2"]}`,
		`{"label":"x","lifetimeDays":30}`, `{"label":"x","lifetimeDays":30.0}`, `{"label":"x","lifetimeDays":1e2}`, `{"lifetimeDays":2147483648}`, `{"lifetimeDays":-2147483648}`, `{"lifetimeDays":-0}`,
		`{"expiresAt":9223372036854775807}`, `{"expiresAt":-9223372036854775809}`, `{"allowedSources":[]}`, `{"allowedSources":[[]]}`, `{"allowedPaths":{"0":"/rest"}}`, `{"unknown":{"a":[1,{"b":null}]}}`,
		"{\"label\":\"\xff\"}", `{"label":"\ud800"}`, `{"label":"\u0000"}`, `{"\u006cabel":"x"}`, `{"label":"x","\u006cabel":"y"}`, "\ufeff{}", "{\"label\":\"x\"}\x00", `{"":1}`, `{"label.x":1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var got request
		err := wire.Decode(body, &got)
		want, ok := readSlowly(body)
		switch {
		case (err == nil) != ok:
			t.Fatalf("%q: %v, want it read: %t", body, err, ok)
		case ok && !cmp.Equal(got, want):
			t.Fatalf("%q: %s", body, cmp.Diff(want, got))
		case ok:
			return
		}
		of := (*wire.Error)(nil)
		if !errors.As(err, &of) || of.Message == "" || len(of.Message) > 500 || len(of.Field) > 100 || !utf8.ValidString(of.Message) {
			t.Fatalf("%q: refused with %+v", body, err)
		}
	})
}

// readSlowly decodes a request, or returns false.
func readSlowly(body []byte) (w request, ok bool) {
	d := json.NewDecoder(bytes.NewReader(body))
	if begin, err := d.Token(); err != nil || begin != json.Delim('{') || !utf8.Valid(body) || !json.Valid(body) {
		return w, false
	}
	var there []string
	for d.More() {
		key, err := d.Token()
		name, named := key.(string)
		var value json.RawMessage
		if err != nil || !named || slices.Contains(there, name) || d.Decode(&value) != nil || !set(&w, name, value) {
			return w, false
		}
		there = append(there, name)
	}
	if end, err := d.Token(); err != nil || end != json.Delim('}') {
		return w, false
	}
	_, err := d.Token()
	return w, errors.Is(err, io.EOF)
}

// set sets a field, or returns false if there is no such field or the value has another type.
func set(w *request, name string, value json.RawMessage) bool {
	switch name {
	case "label":
		return string(value) == "null" || text(value, func(s string) { w.Label = &s })
	case "access":
		return string(value) == "null" || text(value, func(s string) { w.Access = s })
	case "expiresAt":
		return string(value) == "null" || whole(value, 64, func(n int64) { w.ExpiresAt = &n })
	case "lifetimeDays":
		return string(value) == "null" || whole(value, 32, func(n int64) { w.LifetimeDays = new(int32(n)) })
	case "allowedSources":
		return string(value) == "null" || texts(value, func(s []string) { w.AllowedSources = s })
	case "allowedPaths":
		return string(value) == "null" || texts(value, func(s []string) { w.AllowedPaths = s })
	}
	return false
}

func text(value json.RawMessage, into func(string)) bool {
	var s any
	_ = json.Unmarshal(value, &s) // it was valid already
	text, ok := s.(string)
	if ok {
		into(text)
	}
	return ok
}

func whole(value json.RawMessage, bits int, into func(int64)) bool {
	n, err := strconv.ParseInt(string(value), 10, bits)
	if err == nil {
		into(n)
	}
	return err == nil
}

func texts(value json.RawMessage, into func([]string)) bool {
	var items []json.RawMessage
	if value[0] != '[' || json.Unmarshal(value, &items) != nil {
		return false
	}
	all := make([]string, len(items))
	for i, item := range items {
		if string(item) != "null" && !text(item, func(s string) { all[i] = s }) {
			return false
		}
	}
	into(all)
	return true
}

// A token in the wrong place must not be in an error.
func TestShortQuotesNoToken(t *testing.T) {
	const text = "asp_DquJoZLwlsNJm6gU_x0123456789"
	for name, want := range map[string]string{
		"maxResult": "maxResult", "asp_net": "asp_net", text: "***", "x." + text: "***", "%61sp" + text[3:]: "***", strings.Repeat("x", 100) + text: "***",
	} {
		if got := wire.Short(name); got != want {
			t.Errorf("%s is quoted as %s, want %s", name, got, want)
		}
	}
	var got request
	if err := wire.Decode([]byte(`{"`+text+`":1}`), &got); err == nil || strings.Contains(err.Error(), text) {
		t.Errorf("an unknown field: %v", err)
	}
}
