package site_test

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/site"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/door"
	"apitokens.dev/operator/internal/probe"
)

// prepared is a Door with a prepared finding.
type prepared struct {
	finding *door.Finding
	asked   map[types.NamespacedName]door.Site
}

func (p *prepared) Changed() <-chan event.GenericEvent { return nil }

func (p *prepared) Forget(name types.NamespacedName) { delete(p.asked, name) }

func (p *prepared) Found(name types.NamespacedName, s door.Site) (door.Finding, bool) {
	p.asked[name] = s
	if p.finding == nil {
		return door.Finding{}, false
	}
	return *p.finding, true
}

func (w *world) probeKey(s *tokensv1alpha1.AtlassianSite) *corev1.Secret {
	w.Helper()
	return w.secret(kubetest.CredentialsNamespace, probe.SecretName(s.Namespace, s.Name))
}

// The finding about an ingress is a condition that is no part of Ready, a metric, and an Event when it changes.
func TestIngressProtected(t *testing.T) {
	w := newWorld(t)
	d := &prepared{asked: map[types.NamespacedName]door.Site{}}
	w.reconciler.Door = d
	s := w.site("main")
	name := client.ObjectKeyFromObject(s)
	w.reconcile(s)
	if c := apimeta.FindStatusCondition(s.Status.Conditions, tokensv1alpha1.ConditionIngressProtected); c != nil {
		t.Errorf("before anything was found: %+v", c)
	}
	asked, stored := d.asked[name], w.probeKey(s)
	if asked.BaseURL != s.Spec.BaseURL || asked.ContextPath != "/jira" || !slices.Equal(asked.TokenPaths, []string{"/rest/"}) || !asked.ProductAnswers ||
		stored == nil || stored.Type != probe.SecretType || !strings.Contains(string(stored.Data[probe.DataKey]), asked.Key.Key) {
		t.Fatalf("asked about %+v", asked)
	}
	w.keys = append(w.keys, asked.Key.Key) // it is in no status, Event or log from now on

	for _, step := range []struct {
		found         door.Finding
		status, event string
		metric        string
	}{
		{door.Finding{Reason: tokensv1alpha1.ReasonBaseURLUnreachable, Message: "It is far."}, "Unknown", "", "0"},
		{door.Finding{Reason: tokensv1alpha1.ReasonProtected, Message: "It is shut."}, "True", "Normal Protected It is shut.", "1"},
		{door.Finding{Reason: tokensv1alpha1.ReasonOpenDoor, Message: "It is open."}, "False", "Warning OpenDoor It is open.", "0"},
		{door.Finding{Reason: tokensv1alpha1.ReasonVerdictCached, Message: "It is cached."}, "False", "Warning VerdictCached It is cached.", "0"},
		{door.Finding{Reason: tokensv1alpha1.ReasonInconclusive, Message: "Who knows."}, "Unknown", "Normal Inconclusive Who knows.", "0"},
	} {
		w.emitted()
		d.finding = &step.found
		w.reconcile(s)
		c := apimeta.FindStatusCondition(s.Status.Conditions, tokensv1alpha1.ConditionIngressProtected)
		if c == nil || string(c.Status) != step.status || c.Reason != step.found.Reason || c.Message != step.found.Message || c.ObservedGeneration != s.Generation {
			t.Errorf("%s: %+v", step.found.Reason, c)
		}
		w.expectReady(s, tokensv1alpha1.ReasonServing)
		if got := strings.Join(w.emitted(), "\n"); got != step.event {
			t.Errorf("%s: Events %q, want %q", step.found.Reason, got, step.event)
		}
		want := "# HELP apitoken_site_ingress_protected 1 if the ingress of a site asks the webhook, else 0, with the reason of the condition IngressProtected.\n" +
			"# TYPE apitoken_site_ingress_protected gauge\n" +
			`apitoken_site_ingress_protected{reason="` + step.found.Reason + `",site="` + w.ns + `/main"} ` + step.metric + "\n"
		if err := testutil.CollectAndCompare(&site.Doors{Client: w.here()}, strings.NewReader(want)); err != nil {
			t.Error(err)
		}
		w.expectIdle(s)
	}

	w.change(s, func(s *tokensv1alpha1.AtlassianSite) {
		s.Spec.Handoff = tokensv1alpha1.Handoff{Type: tokensv1alpha1.HandoffIdentityHeader, IdentityHeader: tokensv1alpha1.IdentityHeader{Name: "X-Remote-User"}}
	})
	w.reconcile(s)
	if got := d.asked[name].IdentityHeaders; !slices.Equal(got, []string{"X-Forwarded-User", "X-Remote-User"}) {
		t.Errorf("the identity headers are %q", got)
	}
	w.change(s, upstreamURL("https://jira.example.net/jira"))
	if _, err := w.pass(w.reconciler, s); err != nil {
		t.Fatal(err)
	}
	if c := apimeta.FindStatusCondition(s.Status.Conditions, tokensv1alpha1.ConditionIngressProtected); c != nil || len(d.asked) != 0 {
		t.Errorf("a site that is not served: %+v, asked about %v", c, d.asked)
	}
}

// An ingress has to ask about everything where a request that passes unasked could do what the site forbids.
func TestDoorToEverything(t *testing.T) {
	w := newWorld(t)
	d := &prepared{asked: map[types.NamespacedName]door.Site{}}
	w.reconciler.Door = d
	s := w.site("main")
	refuse := tokensv1alpha1.CredentialRefuse
	for name, test := range map[string]struct {
		other      tokensv1alpha1.OtherCredentials
		handoff    tokensv1alpha1.HandoffType
		everything bool
	}{
		"nothing is refused":    {handoff: tokensv1alpha1.HandoffPersonalAccessToken},
		"passwords":             {other: tokensv1alpha1.OtherCredentials{Password: tokensv1alpha1.PasswordRule{Action: refuse}}, everything: true},
		"sessions":              {other: tokensv1alpha1.OtherCredentials{Session: tokensv1alpha1.CredentialRule{Action: refuse}}, everything: true},
		"anonymous requests":    {other: tokensv1alpha1.OtherCredentials{Anonymous: tokensv1alpha1.AnonymousRule{Action: refuse}}, everything: true},
		"Authorization alone":   {other: tokensv1alpha1.OtherCredentials{Bearer: tokensv1alpha1.CredentialRule{Action: refuse}}},
		"passwords are counted": {other: tokensv1alpha1.OtherCredentials{Password: tokensv1alpha1.PasswordRule{Action: tokensv1alpha1.CredentialObserve}}},
		"a header":              {handoff: tokensv1alpha1.HandoffIdentityHeader, everything: true},
	} {
		w.change(s, func(s *tokensv1alpha1.AtlassianSite) {
			s.Spec.OtherCredentials = test.other
			s.Spec.Handoff = tokensv1alpha1.Handoff{Type: cmp.Or(test.handoff, tokensv1alpha1.HandoffPersonalAccessToken)}
		})
		w.reconcile(s)
		if got := d.asked[client.ObjectKeyFromObject(s)].Everything; got != test.everything {
			t.Errorf("%s: everything is %t", name, got)
		}
	}
}

// A probe key is made once, replaced if it is damaged, and removed with its site. Another Secret of its name is left alone.
func TestProbeKeyOfASite(t *testing.T) {
	w := newWorld(t)
	d := &prepared{asked: map[types.NamespacedName]door.Site{}}
	w.reconciler.Door = d
	s := w.site("main")
	name := client.ObjectKeyFromObject(s)
	w.reconcile(s)
	first := d.asked[name].Key
	w.reconcile(s)
	if d.asked[name].Key != first {
		t.Error("the key was replaced without a cause")
	}
	stored := w.probeKey(s)
	stored.Data = map[string][]byte{probe.DataKey: []byte("{")}
	if err := w.api.Update(t.Context(), stored); err != nil {
		t.Fatal(err)
	}
	w.reconcile(s)
	if got := d.asked[name].Key; got == first || got.Key == "" {
		t.Error("a damaged key was not replaced")
	}
	w.remove(s)
	if _, err := w.pass(w.reconciler, s); err != nil {
		t.Fatal(err)
	}
	if w.probeKey(s) != nil || len(d.asked) != 0 {
		t.Error("the key of a site that is gone is there, or its ingress is asked")
	}

	foreign := &corev1.Secret{}
	foreign.Namespace, foreign.Name, foreign.Data = kubetest.CredentialsNamespace, probe.SecretName(w.ns, "other"), map[string][]byte{"x": []byte("y")}
	w.create(foreign)
	defer w.remove(foreign)
	other := w.site("other", baseURL("https://other.example.com"))
	if _, err := w.pass(w.reconciler, other); err == nil || !strings.Contains(err.Error(), "delete it") {
		t.Errorf("with a foreign Secret the pass ended with %v", err)
	}
	w.expectReady(other, tokensv1alpha1.ReasonServing)
}
