package credential

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/index"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/upstream"
)

// slowProduct takes a second for each answer. About users in hangs it never answers.
type slowProduct struct {
	Product

	hangs string
}

func (p slowProduct) WhoAmI(ctx context.Context, _ atlassian.Upstream, as atlassian.Credential) (atlassian.User, error) {
	user := strings.TrimPrefix(as.Authorization, "Bearer ")
	wait := time.NewTimer(time.Second)
	if user == p.hangs {
		wait.Stop()
	}
	select {
	case <-ctx.Done():
		return atlassian.User{}, ctx.Err()
	case <-wait.C:
		return atlassian.User{Name: user}, nil
	}
}

// slowSite is a site with entries for n users, and a keeper of it.
func slowSite(n int, p Product) (*Keeper, *tokensv1alpha1.AtlassianSite) {
	s := &tokensv1alpha1.AtlassianSite{ObjectMeta: metav1.ObjectMeta{Namespace: "dev", Name: "main"}}
	s.Spec.UpstreamURL = here
	scheme := runtime.NewScheme()
	_ = corev1.AddToScheme(scheme)
	_ = tokensv1alpha1.AddToScheme(scheme)
	c := fake.NewClientBuilder().WithScheme(scheme).WithIndex(&tokensv1alpha1.APIToken{}, index.ByOwner, index.Of(index.Keys[index.ByOwner])).
		WithIndex(&corev1.Secret{}, index.ByKept, index.Of(index.Keys[index.ByKept])).
		WithIndex(&tokensv1alpha1.APIToken{}, bySite, func(o client.Object) []string {
			return []string{o.(*tokensv1alpha1.APIToken).Spec.SiteRef.Name}
		})
	for i := range n {
		user := fmt.Sprintf("u%02d", i)
		s.Spec.UpstreamCredentials = append(s.Spec.UpstreamCredentials, tokensv1alpha1.UpstreamCredential{User: user, SecretName: user})
		c.WithObjects(&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "dev", Name: user, Labels: map[string]string{record.LabelSite: "main"}},
			Type:       corev1.SecretTypeOpaque, Data: map[string][]byte{tokensv1alpha1.UpstreamCredentialKey: []byte(user)},
		})
	}
	api := c.Build()
	return &Keeper{
		Client: api, Live: api, Clock: clock.RealClock{}, Product: p, Memory: NewMemory(), Namespace: "copies", StateNamespace: "states", IntakeNamespace: "intakes",
	}, s
}

// hold stores a working copy, and an APIToken of its user.
func hold(t *testing.T, k *Keeper, s *tokensv1alpha1.AtlassianSite, c upstream.Credential) {
	t.Helper()
	if err := k.store(t.Context(), c, nil); err != nil {
		t.Fatal(err)
	}
	owner := &tokensv1alpha1.APIToken{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: c.User}}
	owner.Spec.SiteRef.Name, owner.Spec.User = s.Name, c.User
	if err := k.Client.Create(t.Context(), owner); err != nil {
		t.Fatal(err)
	}
}

// However many entries there are, and whatever the product does, a pass is short, and the next ones come to every entry.
func TestPassIsBounded(t *testing.T) {
	for name, tc := range map[string]struct{ hangs, left string }{
		"each answer takes a second":  {"", ""},
		"about one it never answers":  {"u00", "u00"},
		"about another it never does": {"u55", "u55"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k, s := slowSite(80, slowProduct{hangs: tc.hangs})
				var found Findings
				for range 4 {
					begun := time.Now()
					var err error
					if found, err = k.Reconcile(t.Context(), s, &atlassian.Upstream{Product: atlassian.Jira, URL: here}); err != nil {
						t.Fatal(err)
					}
					if took := time.Since(begun); took > requestsTimeout+time.Second {
						t.Errorf("a pass took %s", took)
					}
				}
				var left []string
				for _, r := range found.Rejections {
					left = append(left, r.User)
				}
				if got := strings.Join(left, " "); got != tc.left {
					t.Errorf("after four passes these are not in use: %q, want %q", got, tc.left)
				}
			})
		})
	}
}
