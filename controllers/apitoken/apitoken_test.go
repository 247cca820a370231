package apitoken_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	testclock "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/admission"
	"apitokens.dev/operator/controllers/apitoken"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/internal/upstream"
)

var env kubetest.Env

func TestMain(m *testing.M) { os.Exit(env.Main(m)) }

// world is one namespace with a site, and a reconciler with the rights of the controller's own account.
type world struct {
	*testing.T

	ns         string
	reconciler *apitoken.Reconciler
	cleaner    *apitoken.Cleaner
	clock      *testclock.FakePassiveClock
	events     *events.FakeRecorder
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, ns: env.Namespace(t), clock: testclock.NewFakePassiveClock(time.Now()), events: events.NewFakeRecorder(100)}
	c := env.Client(t, kubetest.Controller)
	w.reconciler = &apitoken.Reconciler{
		Client: c, Live: c, Events: w.events, Clock: w.clock, Random: rand.Reader,
		Namespace: kubetest.SystemNamespace, CredentialsNamespace: kubetest.CredentialsNamespace,
	}
	w.reconciler.Guard = &admission.Guard{Client: c, Live: c, Namespace: kubetest.SystemNamespace}
	w.cleaner = &apitoken.Cleaner{Client: c, Live: c, Events: w.events, Clock: w.clock, Namespace: kubetest.SystemNamespace}
	env.AwaitGuarded(t)
	w.create(kubetest.Site(w.ns, "main"))
	w.holdUpstream("alice", "http://jira."+w.ns+".svc:8080")
	return w
}

// cut makes every API write from the nth on fail, as if the controller had been killed there.
func (w *world) cut(n int) *apitoken.Reconciler {
	cut := *w.reconciler
	killed := func() error {
		if n--; n < 0 {
			return errors.New("killed")
		}
		return nil
	}
	cut.Client = interceptor.NewClient(env.Client(w.T, kubetest.Controller), interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if _, probe := o.(*tokensv1alpha1.APIToken); probe {
				return c.Create(ctx, o, opts...)
			}
			return errors.Join(killed(), ifAlive(n, func() error { return c.Create(ctx, o, opts...) }))
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			return errors.Join(killed(), ifAlive(n, func() error { return c.Update(ctx, o, opts...) }))
		},
	})
	return &cut
}

func ifAlive(left int, write func() error) error {
	if left < 0 {
		return nil
	}
	return write()
}

func (w *world) create(objects ...client.Object) {
	w.Helper()
	for _, o := range objects {
		if err := env.Admin.Create(w.Context(), o); err != nil {
			w.Fatal(err)
		}
	}
}

// as returns the client of the operator's account, for objects that nobody else may write.
func (w *world) as() client.Client { return w.reconciler.Client }

func (w *world) holdUpstream(user, origin string) {
	w.Helper()
	w.hold(upstream.Credential{Namespace: w.ns, Site: "main", User: user, Origin: origin, Token: "pat"})
}

func (w *world) hold(c upstream.Credential) {
	w.Helper()
	data, err := c.Encode()
	if err != nil {
		w.Fatal(err)
	}
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: kubetest.CredentialsNamespace, Name: c.SecretName(),
			Labels: map[string]string{record.LabelSiteNamespace: c.Namespace, record.LabelSite: c.Site},
		},
		Type: upstream.SecretType, Data: map[string][]byte{upstream.DataKey: data},
	}
	err = w.as().Create(w.Context(), s)
	if apierrors.IsAlreadyExists(err) {
		if err = w.as().Delete(w.Context(), s.DeepCopy()); err == nil {
			err = w.as().Create(w.Context(), s)
		}
	}
	if err != nil {
		w.Fatal(err)
	}
}

// pass runs one pass over the APIToken.
func (w *world) pass(r *apitoken.Reconciler, t *tokensv1alpha1.APIToken) (ctrl.Result, error) {
	w.Helper()
	var current tokensv1alpha1.APIToken
	if err := env.Admin.Get(w.Context(), client.ObjectKeyFromObject(t), &current); err != nil {
		w.Fatal(err)
	}
	result, err := r.Reconcile(w.Context(), &current)
	if getErr := env.Admin.Get(w.Context(), client.ObjectKeyFromObject(t), t); getErr != nil {
		w.Fatal(getErr)
	}
	return result, err
}

// reconcile runs passes until none asks for another one soon, and expects this reason in the end.
func (w *world) reconcile(t *tokensv1alpha1.APIToken, reason string) *metav1.Condition {
	w.Helper()
	for range 5 {
		result, err := w.pass(w.reconciler, t)
		if err != nil {
			w.Fatal(err)
		}
		if result.RequeueAfter >= time.Minute {
			break
		}
	}
	ready := apimeta.FindStatusCondition(t.Status.Conditions, tokensv1alpha1.ConditionReady)
	if ready == nil || ready.Reason != reason || (ready.Status == metav1.ConditionTrue) != (reason == tokensv1alpha1.ReasonIssued || reason == tokensv1alpha1.ReasonImported) {
		w.Fatalf("Ready is %+v, want reason %s", ready, reason)
	}
	return ready
}

func (w *world) secret(namespace, name string) *corev1.Secret {
	w.Helper()
	var s corev1.Secret
	switch err := env.Admin.Get(w.Context(), client.ObjectKey{Namespace: namespace, Name: name}, &s); {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		w.Fatal(err)
	}
	return &s
}

func (w *world) record(t *tokensv1alpha1.APIToken) *record.Record {
	w.Helper()
	s := w.secret(kubetest.SystemNamespace, string(t.UID))
	if s == nil {
		w.Fatal("there is no record")
	}
	r, err := record.Decode(s.Data[record.DataKey])
	if err != nil {
		w.Fatal(err)
	}
	return r
}

func (w *world) password(t *tokensv1alpha1.APIToken) []byte {
	w.Helper()
	s := w.secret(t.Namespace, t.Spec.Delivery.SecretName)
	if s == nil {
		w.Fatal("no Secret was delivered")
	}
	return s.Data["password"]
}

// settled expects that the delivered token is the only secret of the record.
func (w *world) settled(t *tokensv1alpha1.APIToken) {
	w.Helper()
	w.reconcile(t, tokensv1alpha1.ReasonIssued)
	r := w.record(t)
	if r.Verify(w.password(t)) != 0 || len(r.Entries) != 1 || r.Entries[0].State != record.Delivered {
		w.Errorf("the record has %d entries, the first %s; the delivered token verifies against number %d",
			len(r.Entries), r.Entries[0].State, r.Verify(w.password(t)))
	}
}

func (w *world) eventsSoFar() (all []string) {
	for len(w.events.Events) > 0 {
		all = append(all, <-w.events.Events)
	}
	return all
}

func TestIssue(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "ci", func(t *tokensv1alpha1.APIToken) { t.Spec.User = "Alice" })
	w.create(tok)
	w.settled(tok)

	delivered := w.secret(w.ns, "ci-token")
	if delivered.Type != corev1.SecretTypeBasicAuth || string(delivered.Data["username"]) != "Alice" ||
		string(delivered.Data["url"]) != kubetest.Site(w.ns, "main").Spec.BaseURL {
		t.Errorf("delivered %s with user %s and URL %s", delivered.Type, delivered.Data["username"], delivered.Data["url"])
	}
	id, ok := token.Parse(delivered.Data["password"])
	r := w.record(tok)
	want := record.Ref{Namespace: w.ns, Name: "ci"}
	if !ok || r.TokenID != string(id) || r.User != "alice" || r.Site != (record.Ref{Namespace: w.ns, Name: "main"}) || r.APIToken != want {
		t.Errorf("token %q, record %+v", id, r)
	}
	if tok.Status.TokenID != string(id) || !tok.Status.IssuedTime.Equal(new(metav1.NewTime(w.clock.Now()).Rfc3339Copy())) {
		t.Errorf("status %+v", tok.Status)
	}
	if got := w.eventsSoFar(); len(got) != 0 { // the status says it
		t.Errorf("events %q", got)
	}
	stored := w.secret(kubetest.SystemNamespace, string(tok.UID))
	for where, text := range map[string]string{"record": fmt.Sprint(stored), "status": fmt.Sprint(tok)} {
		if bytes.Contains([]byte(text), delivered.Data["password"][token.IDLength:]) {
			t.Errorf("the plaintext is in the %s", where)
		}
	}
}

func TestIdlePassWritesNothing(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "ci")
	w.create(tok)
	w.settled(tok)
	version := tok.ResourceVersion
	result, err := w.pass(w.cut(0), tok)
	if err != nil || tok.ResourceVersion != version || result.RequeueAfter != time.Minute {
		t.Errorf("an idle pass: %v, %v, resourceVersion %s after %s", result, err, tok.ResourceVersion, version)
	}
}

func TestSiteMissing(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "ci", func(t *tokensv1alpha1.APIToken) { t.Spec.SiteRef.Name = "later" })
	w.create(tok)
	w.reconcile(tok, tokensv1alpha1.ReasonSiteNotFound)
	if w.secret(w.ns, "ci-token") != nil || w.secret(kubetest.SystemNamespace, string(tok.UID)) != nil {
		t.Error("something was issued for a site that is not there")
	}
	if got := w.eventsSoFar(); len(got) != 1 || !strings.Contains(got[0], "Warning SiteNotFound") {
		t.Errorf("events %q", got)
	}
	w.reconcile(tok, tokensv1alpha1.ReasonSiteNotFound)
	if got := w.eventsSoFar(); len(got) != 0 {
		t.Errorf("another Event for the same: %q", got)
	}
	w.create(kubetest.Site(w.ns, "later"))
	w.reconcile(tok, tokensv1alpha1.ReasonUpstreamCredentialMissing)
}

func TestForeignSecretIsNeverTouched(t *testing.T) {
	_, foreign := mustToken(t)
	for name, secret := range map[string]*corev1.Secret{
		"opaque":             {Type: corev1.SecretTypeOpaque, Data: map[string][]byte{"password": []byte("x")}},
		"somebody's login":   {Type: corev1.SecretTypeBasicAuth, Data: map[string][]byte{"username": []byte("alice"), "password": []byte("x")}},
		"somebody's token":   {Type: corev1.SecretTypeBasicAuth, Data: map[string][]byte{"username": []byte("alice"), "password": []byte(foreign)}},
		"empty":              {Type: corev1.SecretTypeOpaque},
		"labelled like ours": {Type: corev1.SecretTypeOpaque, ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app.kubernetes.io/managed-by": "apitoken-operator"}}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			secret.Namespace, secret.Name = w.ns, "ci-token"
			tok := kubetest.Token(w.ns, "ci")
			w.create(secret, tok)
			ready := w.reconcile(tok, tokensv1alpha1.ReasonDeliveryConflict)
			if !strings.Contains(ready.Message, "'ci-token'") {
				t.Errorf("message %q", ready.Message)
			}
			if now := w.secret(w.ns, "ci-token"); now == nil || now.ResourceVersion != secret.ResourceVersion {
				t.Error("the Secret was touched")
			}
			if w.secret(kubetest.SystemNamespace, string(tok.UID)) != nil {
				t.Error("a token was issued that cannot be delivered")
			}
			if err := env.Admin.Delete(t.Context(), secret); err != nil {
				t.Fatal(err)
			}
			w.settled(tok)
		})
	}
}

func TestDeliveredSecretDeleted(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "ci")
	w.create(tok)
	w.settled(tok)
	id, old := tok.Status.TokenID, w.password(tok)
	w.eventsSoFar()
	w.clock.SetTime(w.clock.Now().Add(time.Hour))
	if err := env.Admin.Delete(t.Context(), w.secret(w.ns, "ci-token")); err != nil {
		t.Fatal(err)
	}
	w.settled(tok)
	if tok.Status.TokenID != id || bytes.Equal(w.password(tok), old) {
		t.Error("the secret was not made anew under the same id")
	}
	if w.record(tok).Verify(old) >= 0 {
		t.Error("the old secret still authenticates")
	}
	if !tok.Status.IssuedTime.Equal(new(metav1.NewTime(w.clock.Now()).Rfc3339Copy())) {
		t.Errorf("issuedTime is %s", tok.Status.IssuedTime)
	}
	if got := w.eventsSoFar(); len(got) != 1 || !strings.Contains(got[0], "Normal Reissued") {
		t.Errorf("events %q", got)
	}
}

func TestDeliveredSecretEdited(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "ci")
	w.create(tok)
	w.settled(tok)
	s := w.secret(w.ns, "ci-token")
	s.Data["username"], s.Data["url"], s.Data["more"] = []byte("root"), nil, []byte("kept")
	if err := env.Admin.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	w.settled(tok)
	s = w.secret(w.ns, "ci-token")
	if string(s.Data["username"]) != "alice" || string(s.Data["url"]) == "" || string(s.Data["more"]) != "kept" {
		t.Errorf("repaired to %v", s.Data)
	}
	good := s.Data["password"]
	s.Data["password"] = []byte("edited")
	if err := env.Admin.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	w.reconcile(tok, tokensv1alpha1.ReasonDeliveryConflict)
	if string(w.password(tok)) != "edited" || w.record(tok).Verify(good) != 0 {
		t.Error("an edited Secret was overwritten, or the delivered token was revoked")
	}
}

func TestBaseURLChanged(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "ci")
	w.create(tok)
	w.settled(tok)
	password := w.password(tok)
	site := kubetest.Site(w.ns, "main")
	if err := env.Admin.Get(t.Context(), client.ObjectKeyFromObject(site), site); err != nil {
		t.Fatal(err)
	}
	site.Spec.BaseURL = "https://new.example"
	if err := env.Admin.Update(t.Context(), site); err != nil {
		t.Fatal(err)
	}
	w.settled(tok)
	if s := w.secret(w.ns, "ci-token"); string(s.Data["url"]) != "https://new.example" || !bytes.Equal(s.Data["password"], password) {
		t.Errorf("delivered %v", s.Data)
	}
}

func TestRecordMissing(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "ci")
	w.create(tok)
	w.settled(tok)
	old := tok.Status.TokenID
	if err := env.Admin.Delete(t.Context(), w.secret(kubetest.SystemNamespace, string(tok.UID))); err != nil {
		t.Fatal(err)
	}
	w.reconcile(tok, tokensv1alpha1.ReasonRecordMissing)
	if w.secret(kubetest.SystemNamespace, string(tok.UID)) != nil || tok.Status.TokenID != old {
		t.Error("a record appeared for a token that nobody can verify any more, or its id was forgotten")
	}
	if err := env.Admin.Delete(t.Context(), w.secret(w.ns, "ci-token")); err != nil {
		t.Fatal(err)
	}
	w.settled(tok)
	if tok.Status.TokenID == old {
		t.Error("the id of a lost record came back")
	}
}

func TestRecordDamaged(t *testing.T) {
	w := newWorld(t)
	tok, other := kubetest.Token(w.ns, "ci"), kubetest.Token(w.ns, "other")
	w.create(tok, other)
	w.settled(tok)
	w.settled(other)
	good := w.secret(kubetest.SystemNamespace, string(tok.UID)).Data[record.DataKey]
	foreign := w.secret(kubetest.SystemNamespace, string(other.UID)).Data[record.DataKey]
	for name, damage := range map[string][]byte{
		"truncated": good[:len(good)-2], "empty": {}, "of a later version": bytes.Replace(good, []byte(`"version":1`), []byte(`"version":2`), 1),
		"of another user": bytes.Replace(good, []byte(`"alice"`), []byte(`"admin"`), 1), "of another APIToken": foreign,
	} {
		s := w.secret(kubetest.SystemNamespace, string(tok.UID))
		s.Data[record.DataKey] = damage
		if err := w.as().Update(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		ready := w.reconcile(tok, tokensv1alpha1.ReasonRecordDamaged)
		if !strings.Contains(ready.Message, string(tok.UID)) || strings.Contains(ready.Message, "$sha256") {
			t.Errorf("%s: message %q", name, ready.Message)
		}
		if now := w.secret(kubetest.SystemNamespace, string(tok.UID)); now.ResourceVersion != s.ResourceVersion {
			t.Errorf("%s: the record was touched", name)
		}
	}
	s := w.secret(kubetest.SystemNamespace, string(tok.UID))
	s.Data[record.DataKey] = good
	if err := w.as().Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	w.settled(tok)
}

// The gateway finds records by the id in the token. A record with another id is no use, although its hash is right.
func TestRecordWithAnotherID(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "ci")
	w.create(tok)
	w.settled(tok)
	r, s := w.record(tok), w.secret(kubetest.SystemNamespace, string(tok.UID))
	r.TokenID, _ = mustToken(t)
	data, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	s.Data[record.DataKey] = data
	if err := w.as().Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	w.reconcile(tok, tokensv1alpha1.ReasonDeliveryConflict)
}

func TestUpstreamCredential(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "bobs", func(t *tokensv1alpha1.APIToken) { t.Spec.User = "Bob" })
	w.create(tok)
	w.reconcile(tok, tokensv1alpha1.ReasonUpstreamCredentialMissing)
	if w.record(tok).Verify(w.password(tok)) != 0 {
		t.Error("the token was not delivered all the same")
	}
	w.holdUpstream("bob", "http://elsewhere:8080")
	w.reconcile(tok, tokensv1alpha1.ReasonUpstreamCredentialMissing)
	w.holdUpstream("bob", "http://jira."+w.ns+".svc:8080")
	w.settled(tok)
}

// A personal access token from the user's session counts like a given one, until the product refuses it.
func TestUpstreamCredentialRefused(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "bobs", func(t *tokensv1alpha1.APIToken) { t.Spec.User = "Bob" })
	w.create(tok)
	enrolled := upstream.Credential{
		Namespace: w.ns, Site: "main", User: "bob", Origin: "http://jira." + w.ns + ".svc:8080", Token: "pat",
		Source: upstream.Enrolled, ID: 7, Stored: w.clock.Now().UTC(),
	}
	w.hold(enrolled)
	w.settled(tok)
	enrolled.Refused = w.clock.Now().UTC()
	w.hold(enrolled)
	w.reconcile(tok, tokensv1alpha1.ReasonUpstreamCredentialMissing)
	message := apimeta.FindStatusCondition(tok.Status.Conditions, tokensv1alpha1.ConditionReady).Message
	for _, want := range []string{
		"'bob' can sign in and open https://main." + w.ns + ".example/jira/plugins/servlet/api-tokens, ", "`upstreamCredentials` of AtlassianSite 'main'",
	} {
		if !strings.Contains(message, want) {
			t.Errorf("the message does not have %s: %q", want, message)
		}
	}
	enrolled.Refused = time.Time{}
	w.hold(enrolled)
	w.settled(tok)
}

func mustToken(t *testing.T) (id, text string) {
	t.Helper()
	id, err := token.NewID(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if text, err = token.New(id, rand.Reader); err != nil {
		t.Fatal(err)
	}
	return id, text
}
