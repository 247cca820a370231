package bulk

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// A token follows from its number, and the record verifies its secret.
func TestTokens(t *testing.T) {
	kinds := map[tokensv1alpha1.CredentialType]int{}
	for number := range 110 {
		one, err := NewToken(number)
		if err != nil {
			t.Fatal(err)
		}
		again, err := NewToken(number)
		if err != nil {
			t.Fatal(err)
		}
		one.random, again.random = nil, nil
		if diff := cmp.Diff(one, again, cmp.AllowUnexported(Token{})); diff != "" {
			t.Fatalf("token %d differs the second time: %s", number, diff)
		}
		fresh, _ := NewToken(number) // it was made before
		hash, err := fresh.hash()
		if err != nil || !hash.Verify([]byte(one.Text)) || hash.Slow() {
			t.Fatalf("token %d is not verified by its record, %v", number, err)
		}
		fresh, _ = NewToken(number)
		pairs, err := fresh.stored(time.Now().UTC())
		if want := map[bool]int{true: 2, false: 3}[one.Kind == tokensv1alpha1.CredentialPortal]; err != nil || len(pairs) != want {
			t.Errorf("token %d has %d keys in etcd, want %d, %v", number, len(pairs), want, err)
		}
		kinds[one.Kind]++
	}
	if len(kinds) != 3 || UserOf(0) != UserOf(OfFirst-1) || UserOf(OfFirst) != 1 || UserOf(OfFirst+perUser) != 2 {
		t.Errorf("the kinds are %v", kinds)
	}
}
