package kubetest

import (
	"crypto/rand"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/projection"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/internal/upstream"
)

// ReadySite is a site with the Secrets that a controller would have written for it: caller keys, the projection, and the personal
// access token "pat" of alice.
type ReadySite struct {
	Site                               *tokensv1alpha1.AtlassianSite
	Keys                               authurl.Keys
	CallerKeys, Projection, Credential *corev1.Secret
	// Operator is a client with the rights of the controller. The controller does not run.
	Operator client.Client

	env *Env
}

// IssuedToken is an APIToken with its record and its plaintext.
type IssuedToken struct {
	*tokensv1alpha1.APIToken

	Text   string
	Record *corev1.Secret
}

// ReadySite creates a site "main" in a new namespace.
func (e *Env) ReadySite(t *testing.T) *ReadySite {
	t.Helper()
	ns := e.Namespace(t)
	s := &ReadySite{Site: Site(ns, "main"), Keys: authurl.NewKeys(ns, "main", time.Now()), Operator: e.Client(t, Controller), env: e}
	s.CallerKeys = s.encoded(t, CredentialsNamespace, s.Keys.SecretName(), authurl.KeysSecretType, authurl.KeysDataKey, s.Keys.Encode)
	c := upstream.Credential{Namespace: ns, Site: "main", User: "alice", Origin: "http://jira." + ns + ".svc:8080", Token: "pat"}
	s.Credential = s.encoded(t, CredentialsNamespace, c.SecretName(), upstream.SecretType, upstream.DataKey, c.Encode)
	create(t, e.Admin, s.Site)
	s.Projection = s.Project(t, projection.Projection{})
	create(t, s.Operator, s.CallerKeys, s.Projection, s.Credential)
	return s
}

// Project returns the Secret with a projection of the site, as the controller would write it.
func (s *ReadySite) Project(t *testing.T, p projection.Projection) *corev1.Secret {
	t.Helper()
	p.Namespace, p.Site, p.UID, p.UpstreamURL = s.Site.Namespace, s.Site.Name, string(s.Site.UID), s.Site.Spec.UpstreamURL
	return s.encoded(t, SystemNamespace, p.SecretName(), projection.SecretType, projection.DataKey, p.Encode)
}

// Issue creates a token of alice for the site, with a record.
func (s *ReadySite) Issue(t *testing.T, name string, mods ...func(*tokensv1alpha1.APIToken)) *IssuedToken {
	t.Helper()
	issued := &IssuedToken{APIToken: Token(s.Site.Namespace, name, mods...)}
	create(t, s.env.Admin, issued.APIToken)
	id, err := token.NewID(rand.Reader)
	must(t, err)
	issued.Text, err = token.New(id, rand.Reader)
	must(t, err)
	hash, err := record.NewHash(issued.Text, rand.Reader)
	must(t, err)
	r := &record.Record{
		TokenID: id, User: "alice", DeliverySecret: name + "-token",
		Site: record.Ref{Namespace: s.Site.Namespace, Name: s.Site.Name}, APIToken: record.Ref{Namespace: s.Site.Namespace, Name: name},
		Entries: []record.Entry{{Hash: hash, State: record.Delivered, Issued: time.Now().UTC()}},
	}
	issued.Record = s.encoded(t, SystemNamespace, string(issued.UID), record.SecretType, record.DataKey, r.Encode)
	create(t, s.Operator, issued.Record)
	return issued
}

// encoded is a Secret of the operator about the site, with its labels.
func (s *ReadySite) encoded(t *testing.T, namespace, name, secretType, key string, encode func() ([]byte, error)) *corev1.Secret {
	t.Helper()
	data, err := encode()
	must(t, err)
	labels := map[string]string{record.LabelSiteNamespace: s.Site.Namespace, record.LabelSite: s.Site.Name}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels}, Type: corev1.SecretType(secretType),
		Data: map[string][]byte{key: data},
	}
}

func create(t *testing.T, c client.Client, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		must(t, c.Create(t.Context(), o))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
