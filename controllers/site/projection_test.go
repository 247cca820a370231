package site_test

import (
	"bytes"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/projection"
)

func (w *world) projectionSecret(s *tokensv1alpha1.AtlassianSite) *corev1.Secret {
	w.Helper()
	return w.secret(kubetest.SystemNamespace, projection.SecretName(s.Namespace, s.Name))
}

// expectProjection expects a projection with these CAs and this licence, and nothing else.
func (w *world) expectProjection(s *tokensv1alpha1.AtlassianSite, cas, license string) {
	w.Helper()
	stored := w.projectionSecret(s)
	if stored == nil || stored.Type != projection.SecretType || len(stored.Data) != 1 || !maps.Equal(stored.Labels, ourLabels(s)) {
		w.Fatalf("the projection of %s is %+v", s.Name, stored)
	}
	got, err := projection.Decode(stored.Data[projection.DataKey])
	want := projection.Projection{
		Namespace: s.Namespace, Site: s.Name, UID: string(s.UID), UpstreamURL: s.Spec.UpstreamURL, UpstreamCAs: cas, License: license,
	}
	want.LimitsSince = got.LimitsSince
	if err != nil || got != want {
		w.Errorf("projected is %+v, %v, want %+v", got, err, want)
	}
}

// paper stores a text under a key of the Secret "paper", as the licence of a site.
func (w *world) paper(key, text string) {
	w.Helper()
	data := map[string][]byte{key: []byte(text)}
	if s := w.secret(w.ns, "paper"); s != nil {
		w.setData(s, data)
		return
	}
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "paper"}, Data: data})
}

func licenseRef(name, key string) func(*tokensv1alpha1.AtlassianSite) {
	return func(s *tokensv1alpha1.AtlassianSite) {
		s.Spec.LicenseSecretRef = tokensv1alpha1.LicenseSecretReference{Name: name, Key: key}
	}
}

// The projection follows the Secrets of a site, also where sites need no licence.
func TestProjection(t *testing.T) {
	w := newWorld(t)
	ours, others := w.authority("ours"), w.authority("others")
	w.serveTLS("wiki", confluence(), ours, time.Now().Add(time.Hour), "127.0.0.1")
	s := w.site("wiki", ofConfluence)
	for _, step := range []struct {
		name         string
		change       func()
		cas, license string
	}{
		{"nothing is named", func() {}, "", ""},
		{"another upstream", func() { w.change(s, upstreamURL(w.secure("wiki")+"/wiki")) }, "", ""},
		{"named, but not there", func() { w.change(s, caRef(""), licenseRef("paper", "")) }, "", ""},
		{"authorities", func() { w.ca(map[string][]byte{"ca.crt": ours.PEM}) }, string(ours.PEM), ""},
		{"a licence", func() { w.paper("license", "a.b.c\n") }, string(ours.PEM), "a.b.c\n"},
		{"other authorities", func() { w.ca(map[string][]byte{"ca.crt": others.PEM}) }, string(others.PEM), "a.b.c\n"},
		{"garbled authorities", func() { w.ca(map[string][]byte{"ca.crt": others.PEM[1:]}) }, "", "a.b.c\n"},
		{"too many of them", func() { w.ca(map[string][]byte{"ca.crt": bytes.Repeat(ours.PEM, 512<<10/len(ours.PEM)+1)}) }, "", "a.b.c\n"},
		{"many of them", func() { w.ca(map[string][]byte{"ca.crt": bytes.Repeat(ours.PEM, 512<<10/len(ours.PEM))}) },
			strings.Repeat(string(ours.PEM), 512<<10/len(ours.PEM)), "a.b.c\n"},
		{"a Secret that is no licence", func() { w.paper("license", strings.Repeat("x", 1<<20)) },
			strings.Repeat(string(ours.PEM), 512<<10/len(ours.PEM)), strings.Repeat("x", 8<<10+1)},
		{"a licence in no encoding", func() { w.ca(nil); w.paper("license", "a\xffb") }, "", "a?b"},
		{"other keys", func() {
			w.ca(map[string][]byte{"root": ours.PEM})
			w.paper("other", "d.e.f")
			w.change(s, caRef("root"), licenseRef("paper", "other"))
		}, string(ours.PEM), "d.e.f"},
		{"Secrets that are gone", func() { w.remove(w.secret(w.ns, "product-ca")); w.remove(w.secret(w.ns, "paper")) }, "", ""},
		{"named no more", func() {
			w.change(s, caRef(""), licenseRef("", ""), func(s *tokensv1alpha1.AtlassianSite) {
				s.Spec.UpstreamCARef = tokensv1alpha1.UpstreamCAReference{}
			})
		}, "", ""},
	} {
		step.change()
		w.reconcile(s)
		t.Log(step.name)
		w.expectServed(s)
		w.expectProjection(s, step.cas, step.license)
		w.expectIdle(s)
		if apimeta.FindStatusCondition(s.Status.Conditions, tokensv1alpha1.ConditionLicensed) != nil {
			t.Errorf("%s: conditions %+v", step.name, s.Status.Conditions)
		}
	}
}

// A projection that was changed or removed is written again. A foreign Secret under its name is kept.
func TestProjectionIsRestored(t *testing.T) {
	w := newWorld(t)
	w.paper("license", "a.b.c")
	s := w.site("main", licenseRef("paper", ""))
	w.reconcile(s)
	for name, damage := range map[string]func(*corev1.Secret){
		"edited":       func(p *corev1.Secret) { w.setData(p, map[string][]byte{projection.DataKey: []byte("{}")}) },
		"nothing left": func(p *corev1.Secret) { w.setData(p, nil) },
		"deleted":      func(p *corev1.Secret) { w.remove(p) },
	} {
		damage(w.projectionSecret(s))
		w.reconcile(s)
		t.Log(name)
		w.expectProjection(s, "", "a.b.c")
	}
	w.remove(w.projectionSecret(s))
	foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.SystemNamespace, Name: projection.SecretName(s.Namespace, s.Name)}}
	w.create(foreign)
	if _, err := w.pass(w.reconciler, s); err == nil || !strings.Contains(err.Error(), "was not written by the operator: delete it") {
		t.Errorf("the pass ended with %v", err)
	}
	if now := w.projectionSecret(s); now == nil || now.ResourceVersion != foreign.ResourceVersion {
		t.Error("the foreign Secret was touched")
	}
}

// The projection of a site that is not served allows no upstream, and keeps the licence. With the site it goes.
func TestProjectionOfASiteThatIsNotServed(t *testing.T) {
	w := newWorld(t)
	w.paper("license", "a.b.c")
	s := w.site("main", licenseRef("paper", ""))
	w.reconcile(s)
	w.expectProjection(s, "", "a.b.c")
	w.change(s, upstreamURL("https://evil."+w.ns+".example/jira"))
	w.reconcile(s)
	w.expectNotServed(s, tokensv1alpha1.ReasonUpstreamNotAllowed)
	if p := w.projected(s); p.UpstreamURL != "" || p.UID != string(s.UID) || p.License != "a.b.c" {
		t.Errorf("projected is %+v", p)
	}
	w.change(s, upstreamURL(w.origin("jira")+"/jira"))
	w.reconcile(s)
	w.expectProjection(s, "", "a.b.c")
	w.remove(s)
	if _, err := w.pass(w.reconciler, s); err != nil {
		t.Fatal(err)
	}
	w.expectNothingKept(s)
}

// A failed read is an error, and leaves the projection as it was.
func TestGivenCannotBeRead(t *testing.T) {
	broken := errors.New("the API server is broken")
	w := newWorld(t)
	w.paper("license", "a.b.c")
	s := w.site("main", licenseRef("paper", ""))
	w.reconcile(s)
	for _, name := range []string{"paper", projection.SecretName(w.ns, "main")} {
		failing := *w.reconciler
		failing.Live = interceptor.NewClient(w.api, interceptor.Funcs{Get: failingGet(broken, func(k client.ObjectKey) bool { return k.Name == name })})
		if _, err := w.pass(&failing, s); !errors.Is(err, broken) {
			t.Errorf("%s cannot be read: the pass ended with %v", name, err)
		}
		w.expectProjection(s, "", "a.b.c")
	}
}
