package storedjson_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"apitokens.dev/operator/internal/storedjson"
)

type value struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
	Parts []part `json:"parts,omitempty"`
}

type part struct {
	Kind string `json:"kind"`
	Last bool   `json:"last,omitempty"`
}

func TestDecode(t *testing.T) {
	plain := value{Name: "a", Count: 1}
	parts := value{Name: "a", Count: 1, Parts: []part{{Kind: "x"}, {Kind: "y", Last: true}}}
	for name, tc := range map[string]struct {
		text string
		want value
	}{
		"as it is written":   {`{"name":"a","count":1}`, plain},
		"with parts":         {`{"name":"a","count":1,"parts":[{"kind":"x"},{"kind":"y","last":true}]}`, parts},
		"another member":     {`{"name":"a","count":1,"more":2}`, plain},
		"another object":     {`{"more":{"name":"b","deep":[{"name":"c"}]},"name":"a","count":1}`, plain},
		"a member of a part": {`{"name":"a","count":1,"parts":[{"kind":"x","more":[]},{"kind":"y","last":true}]}`, parts},
		"another order":      {`{"count":1,"name":"a"}`, plain},
		"white space":        {"\n{ \"name\": \"a\",\t\"count\": 1 }\n", plain},
		"another escape":     {`{"name":"\u0061","count":1}`, plain},
		"this version":       {`{"version":1,"name":"a","count":1}`, plain},
	} {
		if got, err := storedjson.Decode[value]([]byte(tc.text)); err != nil || !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: decoded %+v, %v", name, got, err)
		}
	}
}

// A form says in each error what it is, and refuses what its check does.
func TestForm(t *testing.T) {
	errNameless := errors.New("it has no name")
	form := storedjson.Form[value]{Name: "a value", Check: func(v value) error {
		if v.Name == "" {
			return errNameless
		}
		return nil
	}}
	want := value{Name: "a", Count: 1}
	text, err := form.Encode(want)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := form.Decode(text); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	for text, cause := range map[string]error{`{"name":"","count":1}`: errNameless, `{`: storedjson.ErrForeign} {
		got, err := form.Decode([]byte(text))
		if !errors.Is(err, cause) || !strings.HasPrefix(err.Error(), "decoding a value: ") || !reflect.DeepEqual(got, value{}) {
			t.Errorf("%s: got %+v, %v", text, got, err)
		}
	}
	unencodable := storedjson.Form[func()]{Name: "a function"}
	if _, err := unencodable.Encode(nil); err == nil || !strings.HasPrefix(err.Error(), "encoding a function: ") {
		t.Errorf("got %v", err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":                      ``,
		"truncated":                    `{"name":"a","count":`,
		"a missing member":             `{"name":"a"}`,
		"a repeated member":            `{"name":"a","name":"a","count":1}`,
		"a repeated unknown member":    `{"name":"a","count":1,"more":1,"more":2}`,
		"a repeated member further in": `{"name":"a","count":1,"more":[{"x":1,"x":1}]}`,
		"a repeated member by escape":  `{"name":"a","n\u0061me":"b","count":1}`,
		"another case":                 `{"Name":"a","count":1}`,
		"another case that wins":       `{"name":"a","NAME":"b","count":1}`,
		"another case that loses":      `{"NAME":"b","name":"a","count":1}`,
		"another case that empties":    `{"name":"a","count":1,"parts":[{"kind":"x"}],"Parts":[]}`,
		"another case further in":      `{"name":"a","count":1,"parts":[{"kind":"x","last":true,"Last":false}]}`,
		"a long s that empties":        `{"name":"a","count":1,"parts":[{"kind":"x"}],"part\u017f":[]}`,
		"another case of an unknown":   `{"name":"a","count":1,"more":1,"More":1}`,
		"another text behind":          `{"name":"a","count":1}x`,
		"another object behind":        `{"name":"a","count":1}{"name":"a","count":1}`,
		"a string for a number":        `{"name":"a","count":"1"}`,
		"a number for a string":        `{"name":1,"count":1}`,
		"another spelling of a number": `{"name":"a","count":1.0}`,
		"an object for an array":       `{"name":"a","count":1,"parts":{"kind":"x"}}`,
		"a null in an array":           `{"name":"a","count":1,"parts":[null]}`,
		"a null for a string":          `{"name":null,"count":1}`,
		"null":                         `null`,
		"a null for an unknown member": `{"name":"a","count":1,"more":null}`,
		"a null for an absent member":  `{"name":"a","count":1,"parts":null}`,
		"an array":                     `[{"name":"a","count":1}]`,
		"not UTF-8":                    "{\"name\":\"a\xff\",\"count\":1}",
	} {
		got, err := storedjson.Decode[value]([]byte(text))
		if !errors.Is(err, storedjson.ErrForeign) || !reflect.DeepEqual(got, value{}) {
			t.Errorf("%s: decoded %+v, %v", name, got, err)
		}
	}
	for _, version := range []string{`0`, `2`, `1.0`, `1e0`, `"1"`, `[1]`, `{}`} {
		_, err := storedjson.Decode[value]([]byte(`{"version":` + version + `,"name":"a","count":1}`))
		if !errors.Is(err, storedjson.ErrVersion) {
			t.Errorf("version %s: %v", version, err)
		}
	}
}

// FuzzDecode: a decoded text stays the same value with more members, and is refused with a repeated one.
func FuzzDecode(f *testing.F) {
	for _, text := range []string{
		`{"name":"a","count":1}`, `{"name":"a","count":1,"parts":[{"kind":"x","more":1},{"kind":"y","last":true}]}`,
		`{"count":-0,"name":"\ud800"}`, `{"name":"","count":1e400}`, `{"name":"a","NAME":"a","count":1}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := storedjson.Decode[value]([]byte(text))
		if err != nil {
			return
		}
		written, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		same := func(v value) bool { b, err := json.Marshal(v); return err == nil && bytes.Equal(b, written) }
		if again, err := storedjson.Decode[value](written); err != nil || !same(again) {
			t.Errorf("%s is written %s, and that decodes to %+v, %v", text, written, again, err)
		}
		body := strings.TrimSpace(text)[1:]
		if more, err := storedjson.Decode[value]([]byte(`{"a new member":{"x":[1]},` + body)); !strings.Contains(text, "a new member") &&
			(err != nil || !same(more)) {
			t.Errorf("%s with one more member: %+v, %v", text, more, err)
		}
		if twice, err := storedjson.Decode[value]([]byte(`{"name":"b",` + body)); err == nil {
			t.Errorf("%s with a repeated member: %+v", text, twice)
		}
	})
}
