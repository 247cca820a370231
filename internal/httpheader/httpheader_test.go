package httpheader_test

import (
	"net/http"
	"testing"

	"apitokens.dev/operator/internal/httpheader"
)

func TestOnly(t *testing.T) {
	for _, tc := range []struct {
		values []string
		want   string
	}{
		{nil, ""},
		{[]string{""}, ""},
		{[]string{"a"}, "a"},
		{[]string{"a, b"}, "a, b"},
		{[]string{"a", "a"}, ""},
		{[]string{"a", ""}, ""},
		{[]string{"", "b"}, ""},
	} {
		if got := httpheader.Only(http.Header{"X-Real-Ip": tc.values}, "X-Real-Ip"); got != tc.want {
			t.Errorf("%q: %q, want %q", tc.values, got, tc.want)
		}
	}
}
