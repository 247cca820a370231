package license_test

import (
	"errors"
	"reflect"
	"testing"

	"apitokens.dev/operator/internal/license"
)

// FuzzVerify: a changed licence has the same content or is refused, and Clip does not change the result.
func FuzzVerify(f *testing.F) {
	good, err := both.Sign(private)
	if err != nil {
		f.Fatal(err)
	}
	for _, text := range []string{good, good + "\n", good[1:], good[:len(good)-1], "", ".", "..", "eyJhbGciOiJub25lIn0.e30.", `{"signatures":[]}`} {
		f.Add([]byte(text))
	}
	v := license.NewVerifier(public)
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := v.Verify(string(text))
		switch {
		case err == nil && !reflect.DeepEqual(got, both):
			t.Errorf("read %+v", got)
		case err != nil && !errors.Is(err, license.ErrMissing) && !errors.Is(err, license.ErrMalformed) && !errors.Is(err, license.ErrSignature):
			t.Errorf("the error is %v", err)
		}
		if _, again := v.Verify(license.Clip(text)); !errors.Is(again, err) {
			t.Errorf("clipped: %v, before %v", again, err)
		}
	})
}
