package credential

import (
	"context"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/upstream"
)

// full is a product at which a user has as many personal access tokens as one may have. It answers unless it is silent.
type full struct {
	Product

	silent *bool
}

func (p full) WhoAmI(context.Context, atlassian.Upstream, atlassian.Credential) (atlassian.User, error) {
	if *p.silent {
		return atlassian.User{}, context.DeadlineExceeded
	}
	return atlassian.User{Name: "alice", Key: "k1"}, nil
}

func (full) CreatePAT(context.Context, atlassian.Upstream, atlassian.Credential, string, int) (atlassian.PAT, error) {
	return atlassian.PAT{}, atlassian.ErrPATRefused
}

func (full) ListPATs(context.Context, atlassian.Upstream, atlassian.Credential) ([]atlassian.PAT, error) {
	return nil, nil
}

// Every pass says that the product makes no new personal access token, also a pass that asks about the present one.
func TestRenewalRefusedIsSaidInEveryPass(t *testing.T) {
	for name, silent := range map[string]bool{"accepted": false, "unclear": true} {
		t.Run(name, func(t *testing.T) {
			silence := false
			k, s := slowSite(0, full{silent: &silence})
			c := upstream.Credential{
				Namespace: "dev", Site: "main", User: "alice", UserKey: "k1", Origin: here, Token: "x", Source: upstream.Enrolled, ID: 7,
				Stored: time.Now().Add(-80 * 24 * time.Hour).UTC().Truncate(time.Second), Expires: time.Now().Add(10 * 24 * time.Hour).UTC().Truncate(time.Second),
			}
			hold(t, k, s, c)
			rejected := func() int {
				found, err := k.Reconcile(t.Context(), s, &atlassian.Upstream{Product: atlassian.Jira, URL: here})
				if err != nil {
					t.Fatal(err)
				}
				return len(found.Rejections)
			}
			n := func() *note {
				for _, n := range k.Memory.notes[client.ObjectKeyFromObject(s)] {
					return n
				}
				return nil
			}
			rejected() // the product makes no new one
			n().checkAt = time.Now()
			rejected() // the first check also looks for those left over
			if got := rejected(); got != 1 {
				t.Fatalf("a quiet pass: %d rejections", got)
			}
			for range 3 {
				n().checkAt = time.Now() // the hourly check
				silence = silent
				if got := rejected(); got != 1 {
					t.Errorf("a pass with a check: %d rejections, want 1", got)
				}
			}
		})
	}
}
