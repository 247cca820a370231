package states_test

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/upstream"
)

// signedIn creates a site with a Jira of its own, where alice has an APIToken and is enrolled.
func (w *world) signedIn(name string, o fakeproduct.Options) (*fakeproduct.Jira, *tokensv1alpha1.AtlassianSite) {
	w.Helper()
	o.ContextPath, o.Now, o.Users = "/jira", w.clock.Now, []fakeproduct.User{{Name: "alice"}}
	j := fakeproduct.NewJira(o)
	w.serveHTTP(name, j)
	s := w.site(name, pats(), w.upstream(w.origin(name)+"/jira"))
	t := kubetest.Token(env.Namespace(w.T), name)
	t.Spec.SiteRef = tokensv1alpha1.SiteReference{Namespace: w.jira, Name: name}
	w.must(env.Admin.Create(w.Context(), t))

	session := atlassian.Credential{Cookie: j.SignIn("alice").String()}
	made, err := w.network.CreatePAT(w.Context(), atlassian.Upstream{Product: atlassian.Jira, URL: s.Spec.UpstreamURL}, session, upstream.PATName(string(s.UID), "alice", ""), 90)
	w.must(err)
	w.made = append(w.made, made.Token)
	c := upstream.Credential{
		Namespace: w.jira, Site: name, User: "alice", Origin: w.origin(name), Token: made.Token,
		Source: upstream.Enrolled, UserKey: "alice", Stored: w.clock.Now().UTC(), ID: made.ID, Expires: made.Expires,
	}
	data, err := c.Encode()
	w.must(err)
	w.must(w.api.Create(w.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.CredentialsNamespace, Name: c.SecretName(), Labels: map[string]string{
			"app.kubernetes.io/managed-by": "apitoken-operator", record.LabelSiteNamespace: w.jira, record.LabelSite: name,
		}},
		Type: upstream.SecretType, Data: map[string][]byte{upstream.DataKey: data},
	}))
	w.lookAtSite(s)
	return j, s
}

var enrolledExamples = []example{
	{"signed-in-refused", 2 * hour, func(w *world, name string) {
		j, s := w.signedIn(name, fakeproduct.Options{})
		j.Deactivate("alice")
		w.later(2 * hour)
		w.lookAtSite(s)
	}},
	{"signed-in-renamed", 2 * hour, func(w *world, name string) {
		j, s := w.signedIn(name, fakeproduct.Options{})
		w.forgetKey(s)
		j.Rename("alice", "alicia")
		w.later(2 * hour)
		w.lookAtSite(s)
	}},
	{"signed-in-full", 61 * day, func(w *world, name string) {
		_, s := w.signedIn(name, fakeproduct.Options{MaxPATs: 1})
		w.later(61 * day)
		w.lookAtSite(s)
	}},
}

// forgetKey stores the copy of alice without the user key, as if the product had not said it. Then the name decides whose it is.
func (w *world) forgetKey(s *tokensv1alpha1.AtlassianSite) {
	var stored corev1.Secret
	w.must(w.api.Get(w.Context(), client.ObjectKey{
		Namespace: kubetest.CredentialsNamespace, Name: upstream.SecretName(s.Namespace, s.Name, "alice"),
	}, &stored))
	c, err := upstream.Decode(stored.Data[upstream.DataKey])
	w.must(err)
	c.UserKey = ""
	stored.Data[upstream.DataKey], err = c.Encode()
	w.must(err)
	w.must(w.api.Update(w.Context(), &stored))
}
