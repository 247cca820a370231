package credential

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/upstream"
)

// prompt is a product that confirms alice.
type prompt struct{ Product }

func (prompt) WhoAmI(context.Context, atlassian.Upstream, atlassian.Credential) (atlassian.User, error) {
	return atlassian.User{Name: "alice", Key: "k1"}, nil
}

func (prompt) ListPATs(context.Context, atlassian.Upstream, atlassian.Credential) ([]atlassian.PAT, error) {
	return nil, nil
}

// As long as the product answers, the age of its oldest answer stays below 7200 seconds, on which docs/reference/metrics.md alerts,
// also when another process takes over.
func TestAgeAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, s := slowSite(0, prompt{})
		c := upstream.Credential{
			Namespace: "dev", Site: "main", User: "alice", UserKey: "k1", Origin: here, Token: "x", Source: upstream.Pasted, Stored: time.Now().UTC(),
		}
		hold(t, k, s, c)
		for range 24 {
			passes(t, k, s, time.Hour)
			k.Memory = NewMemory() // a restart
			passes(t, k, s, time.Minute)
			if age := time.Since(k.Memory.Oldest()[client.ObjectKeyFromObject(s)]); age > 2*time.Hour {
				t.Fatalf("%s", age)
			}
			passes(t, k, s, 5*time.Hour)
			k.Memory = NewMemory() // a restart
			passes(t, k, s, time.Minute)
			if age := time.Since(k.Memory.Oldest()[client.ObjectKeyFromObject(s)]); age > 2*time.Hour {
				t.Fatalf("after a restart the oldest answer seems to be %s old", age)
			}
		}
	})
}
