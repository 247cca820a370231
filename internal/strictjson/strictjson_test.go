package strictjson_test

import (
	"errors"
	"testing"

	"apitokens.dev/operator/internal/strictjson"
)

type value struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

func TestDecode(t *testing.T) {
	got, err := strictjson.Decode[value]([]byte(`{"name":"a","count":1}`))
	if err != nil || got != (value{"a", 1}) {
		t.Errorf("read %+v, %v", got, err)
	}
	for name, text := range map[string]string{
		"empty":          ``,
		"truncated":      `{"name":"a","count":`,
		"unknown field":  `{"name":"a","count":1,"more":2}`,
		"missing field":  `{"name":"a"}`,
		"repeated field": `{"name":"a","name":"a","count":1}`,
		"other order":    `{"count":1,"name":"a"}`,
		"other case":     `{"Name":"a","count":1}`,
		"white space":    `{"name":"a", "count":1}`,
		"trailing text":  `{"name":"a","count":1}x`,
		"other escape":   `{"name":"\u0061","count":1}`,
		"other type":     `{"name":"a","count":"1"}`,
		"null":           `null`,
	} {
		if got, err := strictjson.Decode[value]([]byte(text)); !errors.Is(err, strictjson.ErrForeign) || got != (value{}) {
			t.Errorf("%s: read %+v, %v", name, got, err)
		}
	}
}
