package backup

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/feed"
	"apitokens.dev/operator/internal/plugin/session"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/recordstore"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/internal/username"
)

const (
	system      = "apitoken-system"
	credentials = "apitoken-credentials"
	namespace   = "jira"
	callerKey   = "AAAAAAAAAAAAAAAAAAAAAAAAAA"
)

// world is a cluster of which only the API is there: a fake that gives UIDs and generations as the API server does.
type world struct {
	*testing.T
	cluster

	now     time.Time
	uids    int
	writes  int
	killed  int // after so many further writes every request fails; negative is never
	session *session.Session
}

var errKilled = errors.New("killed")

func newWorld(t *testing.T) *world {
	w := &world{T: t, now: time.Date(2026, 11, 26, 10, 0, 0, 0, time.UTC), killed: -1}
	w.session = session.New(genericiooptions.NewTestIOStreamsDiscard(), func() time.Time { return w.now })
	w.cluster = cluster{system: system, credentials: credentials}
	w.reset()
	return w
}

// reset makes an empty cluster.
func (w *world) reset() {
	w.Client = interceptor.NewClient(fake.NewClientBuilder().WithScheme(session.Scheme).Build(), interceptor.Funcs{
		Create: w.create, Patch: w.patch, Update: w.update,
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			if err := w.wrote(); err != nil {
				return err
			}
			return c.Delete(ctx, o, opts...)
		},
	})
}

// wrote counts a write, and fails if the process was killed before it.
func (w *world) wrote() error {
	if w.killed == 0 {
		return errKilled
	}
	w.killed--
	w.writes++
	return nil
}

func (w *world) create(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
	if err := w.wrote(); err != nil {
		return err
	}
	w.uids++
	o.SetUID(types.UID("uid-" + strconv.Itoa(w.uids)))
	o.SetGeneration(1)
	o.SetCreationTimestamp(metav1.NewTime(w.now))
	return c.Create(ctx, o, opts...)
}

func (w *world) update(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
	if err := w.wrote(); err != nil {
		return err
	}
	return c.Update(ctx, o, opts...)
}

// patch raises the generation: only specs are patched here.
func (w *world) patch(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
	if err := w.wrote(); err != nil {
		return err
	}
	if err := c.Patch(ctx, o, p, opts...); err != nil {
		return err
	}
	o.SetGeneration(o.GetGeneration() + 1)
	return c.Update(ctx, o)
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) step(d time.Duration) { w.now = w.now.Add(d) }

// secretText is the text of a new secret. An imported one has no id.
func (w *world) secretText(id string, imported bool) (string, record.Entry) {
	w.Helper()
	text, e, err := record.Mint(id, record.Delivered, w.now, rand.Reader)
	w.must(err)
	if imported {
		text = rand.Text() + rand.Text()
		e.Hash, err = record.NewImportedHash(text, rand.Reader)
		w.must(err)
	}
	return text, e
}

func (w *world) tokenID() string {
	w.Helper()
	id, err := token.NewID(rand.Reader)
	w.must(err)
	return id
}

// site makes a site.
func (w *world) site() {
	w.Helper()
	w.must(w.Create(w.Context(), &tokensv1alpha1.AtlassianSite{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "main"},
		Spec: tokensv1alpha1.AtlassianSiteSpec{
			Product: tokensv1alpha1.ProductJira, BaseURL: "https://jira.example.com", UpstreamURL: "http://jira.jira.svc:8080", TokenPaths: []string{"/rest/"},
			Handoff:            tokensv1alpha1.Handoff{Type: tokensv1alpha1.HandoffPersonalAccessToken},
			CallerVerification: tokensv1alpha1.CallerVerification{Type: tokensv1alpha1.CallerVerificationSharedKey},
		},
	}))
}

// declare makes an APIToken. user is its owner.
func (w *world) declare(name, user string, of tokensv1alpha1.CredentialType) *tokensv1alpha1.APIToken {
	w.Helper()
	t := &tokensv1alpha1.APIToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"team": "a"}},
		Spec: tokensv1alpha1.APITokenSpec{
			SiteRef: tokensv1alpha1.SiteReference{Name: "main"}, User: user, Label: name, State: tokensv1alpha1.StateActive,
			Access: tokensv1alpha1.AccessReadWrite, Credential: tokensv1alpha1.Credential{Type: of},
		},
	}
	switch of {
	case tokensv1alpha1.CredentialGenerated:
		t.Spec.Delivery.SecretName = name + "-token"
	case tokensv1alpha1.CredentialImported:
		t.Spec.Credential.Imported = &tokensv1alpha1.ImportedCredential{SecretName: name, Key: "password", Mode: tokensv1alpha1.ImportOnce}
	}
	return t
}

// record stores the record of a new APIToken, as the operator would.
func (w *world) record(t *tokensv1alpha1.APIToken, id string, ancestors []string, e record.Entry) {
	w.Helper()
	w.must(recordstore.Store{Client: w, Namespace: system, ManagedBy: "test"}.Create(w.Context(), t.UID, &record.Record{
		TokenID: id, User: username.Fold(t.Spec.User), Ancestors: ancestors,
		Site: record.Ref{Namespace: namespace, Name: "main"}, APIToken: record.Ref{Namespace: t.Namespace, Name: t.Name},
		DeliverySecret: t.Spec.Delivery.SecretName, Imported: t.Spec.Credential.Type == tokensv1alpha1.CredentialImported,
		Portal: t.Spec.Credential.Type == tokensv1alpha1.CredentialPortal, Entries: []record.Entry{e},
	}))
}

// edit changes the record of an APIToken, if there is one.
func (w *world) edit(uid types.UID, change func(*record.Record)) {
	w.Helper()
	var stored corev1.Secret
	if err := w.Get(w.Context(), client.ObjectKey{Namespace: system, Name: string(uid)}, &stored); err != nil {
		w.must(client.IgnoreNotFound(err))
		return
	}
	r, err := recordstore.Decode(&stored)
	w.must(err)
	change(r)
	w.must(recordstore.Store{Client: w}.Update(w.Context(), &stored, r))
}

// get returns an APIToken, or nil.
func (w *world) get(name string) *tokensv1alpha1.APIToken {
	w.Helper()
	var t tokensv1alpha1.APIToken
	err := w.Get(w.Context(), client.ObjectKey{Namespace: namespace, Name: name}, &t)
	w.must(client.IgnoreNotFound(err))
	if err != nil {
		return nil
	}
	return &t
}

// clear removes all objects of a kind from a namespace, without the operator seeing it.
func (w *world) clear(o client.Object, in string) {
	w.Helper()
	w.must(w.DeleteAllOf(w.Context(), o, client.InNamespace(in)))
}

// index returns the webhook's index of what the cluster has.
func (w *world) index() *authn.Index {
	w.Helper()
	found, err := w.read(w.Context())
	w.must(err)
	ix := authn.NewIndex(func() time.Time { return w.now })
	for i := range found.sites {
		s, err := feed.ReadSite(&found.sites[i])
		w.must(err)
		s.CallerNames, s.TrustedHops = nil, 0
		ix.PutCallerKeys(s.Name, map[authurl.Contract][]string{authurl.Nginx: {callerKey}}, nil)
		ix.PutMemory(s.Name, authn.Memory{UID: s.UID})
		ix.PutSite(s)
		for j := range found.tokens {
			ix.PutUpstreamCredential(authn.UpstreamCredential{
				Site: s.Name, User: username.Fold(found.tokens[j].Spec.User), Authorization: "Bearer pat", Origin: s.Origin,
			})
		}
	}
	for i := range found.tokens {
		t, err := feed.ReadToken(&found.tokens[i])
		w.must(err)
		ix.PutToken(t)
	}
	for uid, r := range found.live().Records {
		ix.PutRecord(string(uid), r)
	}
	ix.SetReady()
	return ix
}

// ask returns the verdict about a request with a secret.
func ask(ix *authn.Index, user, text string) authn.Decision {
	return ix.Decide(&authn.Request{
		Contract: authurl.Nginx, CallerKey: callerKey, Site: authn.SiteName{Namespace: namespace, Name: "main"},
		Authorization: []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+text))}, Target: "/rest/api/2/myself", Method: "GET",
	})
}

// logged is a line of the log of controller or portal.
func logged(at time.Time, action, id string) string {
	return fmt.Sprintf(`{"time":%q,"action":%q,"tokenID":%q,"user":"x"}`+"\n", at.Format(time.RFC3339Nano), action, id)
}

// auditedRecord is the event of a change of a record.
func auditedRecord(at time.Time, name string) string {
	return strings.NewReplacer(`"apitokens.dev"`, `""`, `"apitokens"`, `"secrets"`).Replace(audited(at, "update", name))
}

// audited is an event of the audit log of Kubernetes.
func audited(at time.Time, verb, name string) string {
	return fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","stage":"ResponseComplete","verb":%q,"requestReceivedTimestamp":%q,`+
		`"requestURI":"/apis/apitokens.dev/v1alpha1/namespaces/%s/apitokens/%s","objectRef":{"apiGroup":"apitokens.dev","resource":"apitokens",`+
		`"namespace":%q,"name":%q},"responseStatus":{"code":200}}`+"\n", verb, at.Format(time.RFC3339Nano), namespace, name, namespace, name)
}
