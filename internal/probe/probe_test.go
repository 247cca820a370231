package probe

import (
	"strings"
	"testing"
	"time"

	"apitokens.dev/operator/internal/token"
)

const path = "/jira/rest/api/2/myself"

var now = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// A credential is good for its own key and path alone, and not before it is due. No changed character is overlooked.
func TestCredentialIsGoodForOneKeyPathAndTime(t *testing.T) {
	key, other := NewKey("jira", "main"), NewKey("jira", "main")
	for _, bound := range []string{path, ""} {
		made := key.Credential(now, bound)
		for name, is := range map[string]struct{ got, want bool }{
			"due":                 {key.Verify([]byte(made), path, now), true},
			"later":               {key.Verify([]byte(made), path, now.Add(time.Hour)), true},
			"a millisecond early": {key.Verify([]byte(made), path, now.Add(-time.Millisecond)), false},
			"of another key":      {other.Verify([]byte(made), path, now), false},
			"at another path":     {key.Verify([]byte(made), path+"/", now), bound == ""},
			"longer":              {key.Verify([]byte(made+"0"), path, now), false},
			"too long":            {key.Verify([]byte(made+strings.Repeat("0", 1000)), path, now), false},
		} {
			if is.got != is.want {
				t.Errorf("for %q, %s: accepted %v", bound, name, is.got)
			}
		}
		for i := range made {
			for _, c := range []string{"", "_", "0", "z"} {
				if changed := made[:i] + c + made[i+1:]; changed != made && key.Verify([]byte(changed), path, now) {
					t.Errorf("%q was accepted in place of %q", changed, made)
				}
			}
		}
		if made == key.Credential(now, bound) {
			t.Error("two credentials are the same")
		}
		if _, found := token.Find(made); found || !Presented([]byte(made)) {
			t.Errorf("%q: looks like a token %v", made, found)
		}
		if _, ok := token.Parse([]byte(made)); ok {
			t.Errorf("%q is a token", made)
		}
		if strings.Contains(made, key.Key) {
			t.Error("the key is sent")
		}
	}
}

func TestStoredForm(t *testing.T) {
	key := NewKey("jira", "main")
	stored, err := key.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Decode(stored); err != nil || got != key || got.SecretName() != "probe-key.jira.main" {
		t.Errorf("%v, %v", got, err)
	}
	for _, text := range []string{
		"", "{", "null", `{"namespace":"jira","site":"main"}`, `{"namespace":"","site":"main","key":"` + key.Key + `"}`,
		`{"namespace":"jira","site":"main","key":"short"}`, `{"namespace":"jira","site":"main","key":"` + strings.Repeat("A", 65) + `"}`,
	} {
		if got, err := Decode([]byte(text)); err == nil || strings.Contains(err.Error(), key.Key) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
}
