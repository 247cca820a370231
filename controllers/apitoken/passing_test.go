package apitoken_test

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/projection"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/upstream"
)

// issued are a generated, an imported and a portal token of a world, with their secrets.
type issued map[*tokensv1alpha1.APIToken]string

// passing is a state that passes. begin brings it about and returns how it ends.
type passing struct {
	name  string
	begin func(w *world, all issued) (end func())
}

// mistaken is a change of the site that is taken back.
func mistaken(name string, edit func(*tokensv1alpha1.AtlassianSiteSpec)) passing {
	return passing{name, func(w *world, _ issued) func() {
		var before tokensv1alpha1.AtlassianSiteSpec
		w.changeSite(func(s *tokensv1alpha1.AtlassianSite) { before = *s.Spec.DeepCopy(); edit(&s.Spec) })
		return func() { w.changeSite(func(s *tokensv1alpha1.AtlassianSite) { s.Spec = before }) }
	}}
}

// behind is a controller whose requests to the API server go wrong.
func behind(name string, funcs interceptor.Funcs) passing {
	return passing{name, func(w *world, _ issued) func() {
		whole := *w.reconciler
		c := interceptor.NewClient(env.Client(w.T, kubetest.Controller), funcs)
		w.reconciler.Client, w.reconciler.Live = c, c
		return func() { *w.reconciler = whole }
	}}
}

// without is a time without an object, which comes back as it was.
func without(name string, of func(w *world) client.Object) passing {
	return passing{name, func(w *world, _ issued) func() {
		gone := of(w)
		if err := env.Admin.Delete(w.Context(), gone); err != nil {
			w.Fatal(err)
		}
		return func() { gone.SetResourceVersion(""); gone.SetUID(""); w.create(gone) }
	}}
}

func errorOf(err error) func(client.ObjectKey) error {
	return func(client.ObjectKey) error { return err }
}

func gets(fail func(client.ObjectKey) error) interceptor.Funcs {
	return interceptor.Funcs{Get: func(ctx context.Context, c client.WithWatch, k client.ObjectKey, o client.Object, opts ...client.GetOption) error {
		if err := fail(k); err != nil {
			return err
		}
		return c.Get(ctx, k, o, opts...)
	}}
}

var passingStates = []passing{
	without("a site that is not there", func(w *world) client.Object {
		s := kubetest.Site(w.ns, "main")
		if err := env.Admin.Get(w.Context(), client.ObjectKeyFromObject(s), s); err != nil {
			w.Fatal(err)
		}
		return s
	}),
	without("a user without a personal access token", func(w *world) client.Object {
		return w.secret(kubetest.CredentialsNamespace, upstream.SecretName(w.ns, "main", "alice"))
	}),
	without("an import without its source", func(w *world) client.Object { return w.secret(w.ns, "imported-source") }),
	{"a site that cannot be read", func(w *world, _ issued) func() {
		restore := env.Malform(w.T, kubetest.Site(w.ns, "main"), "trustedHops", "many")
		return func() {
			restore()
			if err := env.Admin.Patch(w.Context(), kubetest.Site(w.ns, "main"),
				client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"trustedHops":1}}`))); err != nil {
				w.Fatal(err)
			}
		}
	}},
	{"limits of a typo, by which all has ended long ago", func(w *world, _ issued) func() {
		p := projection.Projection{Namespace: w.ns, Site: "main", LimitsSince: w.clock.Now().UTC()} // as the controller of sites writes it
		data, err := p.Encode()
		if err != nil {
			w.Fatal(err)
		}
		w.create(&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.SystemNamespace, Name: p.SecretName()},
			Type:       projection.SecretType, Data: map[string][]byte{projection.DataKey: data},
		})
		return mistaken("", func(s *tokensv1alpha1.AtlassianSiteSpec) {
			s.TokenPolicy.MaxLifetimeDays, s.TokenPolicy.ExpiredRetentionDays = new(int32(1)), new(int32(0))
		}).begin(w, nil)
	}},
	mistaken("no token without an end", func(s *tokensv1alpha1.AtlassianSiteSpec) {
		s.TokenPolicy.NeverExpiring = tokensv1alpha1.NeverExpiringForbidden
	}),
	mistaken("one token for each user", func(s *tokensv1alpha1.AtlassianSiteSpec) { s.TokenPolicy.MaxTokensPerUser = new(int32(1)) }),
	mistaken("other token paths", func(s *tokensv1alpha1.AtlassianSiteSpec) { s.TokenPaths = []string{"/plugins/"} }),
	mistaken("another upstream", func(s *tokensv1alpha1.AtlassianSiteSpec) { s.UpstreamURL = "https://typo.example/jira" }),
	{"suspended tokens", func(w *world, all issued) func() {
		suspend := func(state tokensv1alpha1.State) {
			for tok := range all {
				w.change(tok, func(t *tokensv1alpha1.APIToken) { t.Spec.State = state })
			}
		}
		suspend(tokensv1alpha1.StateSuspended)
		return func() { suspend(tokensv1alpha1.StateActive) }
	}},
	{"records that cannot be read", func(w *world, all issued) func() {
		good := map[string][]byte{}
		for tok := range all {
			s := w.secret(kubetest.SystemNamespace, string(tok.UID))
			good[s.Name], s.Data = s.Data[record.DataKey], map[string][]byte{record.DataKey: []byte(`{"version":2}`)}
			if err := w.as().Update(w.Context(), s); err != nil {
				w.Fatal(err)
			}
		}
		return func() {
			for name, data := range good {
				s := w.secret(kubetest.SystemNamespace, name)
				if s == nil {
					w.Fatal("a record was removed")
				}
				s.Data = map[string][]byte{record.DataKey: data}
				if err := w.as().Update(w.Context(), s); err != nil {
					w.Fatal(err)
				}
			}
		}
	}},
	behind("an API server that answers no read", gets(errorOf(errors.New("the API server is away")))),
	behind("a cache without the site", gets(func(k client.ObjectKey) error {
		if k.Name == "main" {
			return apierrors.NewNotFound(schema.GroupResource{Resource: "atlassiansites"}, k.Name)
		}
		return nil
	})),
	behind("an API server that refuses every write", interceptor.Funcs{
		Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "any", errors.New("refused"))
		},
		Update: func(context.Context, client.WithWatch, client.Object, ...client.UpdateOption) error {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "any", errors.New("refused"))
		},
	}),
}

// No state that passes takes a token, its record or its delivered Secret, however long it lasts.
func TestNoPassingStateDestroys(t *testing.T) {
	for _, state := range passingStates {
		t.Run(state.name, func(t *testing.T) {
			w := newWorld(t)
			all := issued{}
			generated := kubetest.Token(w.ns, "generated")
			w.create(generated)
			w.settled(generated)
			all[generated] = string(w.password(generated))
			imported := w.importing("imported", tokensv1alpha1.ImportOnce)
			w.create(imported)
			w.source("imported", firstImport)
			w.reconcile(imported, tokensv1alpha1.ReasonImported)
			all[imported] = firstImport
			shown := w.shown("shown", false)
			all[shown] = w.recorded(shown)
			w.reconcile(shown, tokensv1alpha1.ReasonIssued)
			w.sleep(10 * day)

			end := state.begin(w, all)
			for _, later := range []time.Duration{0, time.Hour, 22 * time.Hour} {
				w.sleep(later)
				for tok := range all {
					_, _ = w.pass(w.reconciler, tok) // what it returns is for other tests
				}
			}
			end()
			for tok, secret := range all {
				want := tokensv1alpha1.ReasonIssued
				if tok == imported {
					want = tokensv1alpha1.ReasonImported
				}
				uid := tok.UID
				w.reconcile(tok, want)
				if tok.UID != uid || w.record(tok).Verify([]byte(secret)) < 0 {
					t.Errorf("the secret of %s does not authenticate any more", tok.Name)
				}
			}
			if string(w.password(generated)) != all[generated] {
				t.Error("the delivered Secret has another token")
			}
		})
	}
}
