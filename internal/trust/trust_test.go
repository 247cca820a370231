package trust_test

import (
	"bytes"
	"encoding/pem"
	"slices"
	"strings"
	"testing"

	"apitokens.dev/operator/hack/lib/authority"
	"apitokens.dev/operator/internal/trust"
)

func TestParse(t *testing.T) {
	one, two := authority.ForTest(t, "one").PEM, authority.ForTest(t, "two").PEM
	damaged := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("no certificate")})
	block, _ := pem.Decode(one)
	key := pem.EncodeToMemory(&pem.Block{Type: "SECRET", Bytes: block.Bytes})
	for name, tc := range map[string]struct {
		text []byte
		ok   bool
	}{
		"one":                      {one, true},
		"two":                      {slices.Concat(one, two), true},
		"with comments":            {slices.Concat([]byte("# one\n"), one, []byte("\n# two\n"), two, []byte("# end\n")), true},
		"line breaks of Windows":   {bytes.ReplaceAll(one, []byte("\n"), []byte("\r\n")), true},
		"empty":                    {nil, false},
		"white space":              {[]byte(" \n"), false},
		"not in PEM":               {[]byte("MIIB"), false},
		"cut":                      {one[:len(one)-30], false},
		"the second is cut":        {slices.Concat(one, two[:len(two)-30]), false},
		"the first is cut":         {slices.Concat(one[:len(one)-30], two), false},
		"not a certificate inside": {damaged, false},
		"of another type":          {key, false},
		"of another type as well":  {slices.Concat(one, key), false},
	} {
		pool, err := trust.Parse(tc.text)
		if (err == nil) != tc.ok || (pool != nil) != tc.ok {
			t.Errorf("%s: %v, want certificates: %t", name, err, tc.ok)
		}
		if err != nil && strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: the error quotes what it read: %v", name, err)
		}
	}
}
