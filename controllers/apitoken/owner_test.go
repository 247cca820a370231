package apitoken_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/apitoken"
	"apitokens.dev/operator/controllers/index"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/enrolment"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/upstream"
)

// say publishes that the product gave the owner of a personal access token this name just now. The clock steps to a moment at which
// everything that was created so far exists.
func (w *world) say(c upstream.Credential, name string) {
	w.Helper()
	w.clock.SetTime(time.Now().Add(2 * time.Second))
	w.sayAt(c, name, w.clock.Now())
}

func (w *world) sayAt(c upstream.Credential, name string, when time.Time) {
	w.Helper()
	e := enrolment.Enrolment{
		Namespace: c.Namespace, Site: c.Site, User: c.User, State: enrolment.Held, UserKey: c.UserKey, Name: name, Checked: when.UTC().Truncate(time.Second),
	}
	data, err := e.Encode()
	if err != nil {
		w.Fatal(err)
	}
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.SystemNamespace, Name: e.SecretName()},
		Type:       enrolment.SecretType, Data: map[string][]byte{enrolment.DataKey: data},
	}
	err = w.as().Update(w.Context(), s)
	if client.IgnoreNotFound(err) == nil && err != nil {
		err = w.as().Create(w.Context(), s)
	}
	if err != nil {
		w.Fatal(err)
	}
}

// decision is that of a gateway about a request with a secret of a token, while the operator holds a personal access token.
func (w *world) decision(t *tokensv1alpha1.APIToken, text string, c upstream.Credential) authn.Decision {
	w.Helper()
	at, r := authn.SiteName{Namespace: w.ns, Name: "main"}, w.record(t)
	ix := authn.NewIndex(w.clock.Now)
	ix.PutSite(authn.Site{Name: at, UID: "1", TokenPaths: []string{"/rest/"}, Origin: c.Origin})
	ix.PutMemory(at, authn.Memory{UID: "1"})
	ix.PutCallerKeys(at, map[authurl.Contract][]string{authurl.Nginx: {"key"}}, nil)
	ix.PutToken(authn.Token{UID: string(t.UID), Namespace: t.Namespace, Name: t.Name, User: t.Spec.User, Site: at, Imported: r.Imported, Portal: r.Portal})
	ix.PutRecord(string(t.UID), r)
	ix.PutUpstreamCredential(authn.UpstreamCredential{Site: at, User: c.User, UserKey: c.UserKey, Authorization: "Bearer " + c.Token, Origin: c.Origin})
	ix.SetReady()
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(t.Spec.User+":"+text))
	return ix.Decide(&authn.Request{Contract: authurl.Nginx, CallerKey: "key", Site: at, Authorization: []string{basic}, Target: "/rest/api/2/myself"})
}

// A token belongs to the user whose key the product named first. When the name belongs to somebody else, nothing is issued for it, and
// the condition says what to do.
func TestNameChangesHands(t *testing.T) {
	w := newWorld(t)
	generated, portal, follow := kubetest.Token(w.ns, "ci"), w.shown("page", false), w.importing("old", tokensv1alpha1.ImportFollow)
	w.create(generated, follow)
	w.source("old", firstImport)
	w.recorded(portal)
	tokens := map[*tokensv1alpha1.APIToken]string{
		generated: tokensv1alpha1.ReasonIssued, portal: tokensv1alpha1.ReasonIssued, follow: tokensv1alpha1.ReasonImported,
	}
	c := upstream.Credential{Namespace: w.ns, Site: "main", User: "alice", Origin: "http://jira." + w.ns + ".svc:8080", Token: "pat"}
	for _, key := range []string{"", "JIRAUSER10001"} {
		c.UserKey = key
		w.hold(c)
		w.say(c, "alice")
		for tok, ready := range tokens {
			if w.reconcile(tok, ready); w.record(tok).UserKey != key {
				t.Errorf("%s belongs to %q, want %q", tok.Name, w.record(tok).UserKey, key)
			}
		}
	}
	late := kubetest.Token(w.ns, "late")
	w.create(late)
	w.say(c, "alice")
	if w.settled(late); w.record(late).UserKey != c.UserKey {
		t.Errorf("a new token belongs to %q", w.record(late).UserKey)
	}
	c.UserKey = "JIRAUSER10002"
	w.hold(c)
	if err := env.Admin.Delete(t.Context(), w.secret(w.ns, "ci-token")); err != nil {
		t.Fatal(err)
	}
	w.source("old", secondImport)
	for tok := range tokens {
		ready := w.reconcile(tok, tokensv1alpha1.ReasonOwnerChanged)
		if !strings.Contains(ready.Message, "Delete this APIToken.") || w.record(tok).UserKey != "JIRAUSER10001" {
			t.Errorf("%s of %q: %s", tok.Name, w.record(tok).UserKey, ready.Message)
		}
	}
	if w.secret(w.ns, "ci-token") != nil || w.record(follow).Verify([]byte(secondImport)) >= 0 {
		t.Error("a secret was delivered or imported for another user")
	}
	c.UserKey = "JIRAUSER10001"
	w.hold(c)
	for tok, ready := range tokens {
		w.reconcile(tok, ready)
	}
}

// A token that is declared for the next user of a name never acts as the former one, whose personal access token is held under the
// name still: the product is asked first. It works once its own user has enrolled.
func TestTokenForTheNextUserOfAName(t *testing.T) {
	w := newWorld(t)
	asked := map[string]time.Time{}
	w.reconciler.Ask = func(site types.NamespacedName, name string, since time.Time) {
		if site != (types.NamespacedName{Namespace: w.ns, Name: "main"}) || w.clock.Now().Before(since) {
			t.Errorf("asked at %s about %s since %s", site, name, since)
		}
		asked[name] = since
	}
	c := upstream.Credential{Namespace: w.ns, Site: "main", User: "alice", UserKey: "K1", Origin: "http://jira." + w.ns + ".svc:8080", Token: "pat"}
	w.hold(c)
	w.sayAt(c, "alice", time.Now().Add(-time.Minute)) // then the product gives K1 another name
	generated, imported := kubetest.Token(w.ns, "ci"), w.importing("old", tokensv1alpha1.ImportOnce)
	w.create(generated, imported)
	w.source("old", firstImport)
	expect := func(reason, says, key string) {
		t.Helper()
		for _, tok := range []*tokensv1alpha1.APIToken{generated, imported} {
			text, want := firstImport, reason
			if tok == imported && reason == tokensv1alpha1.ReasonIssued {
				want = tokensv1alpha1.ReasonImported
			}
			ready := w.reconcile(tok, want)
			if tok == generated {
				text = string(w.password(tok))
			}
			d, acts := w.decision(tok, text, c), key != ""
			if !strings.Contains(ready.Message, says) || w.record(tok).UserKey != key || (d.Verdict == authn.Allow) != acts || !acts && d.Reason != authn.ReasonUpstreamCredentialMissing {
				t.Errorf("%s of %q: %+v, %s", tok.Name, w.record(tok).UserKey, d, ready.Message)
			}
		}
	}
	expect(tokensv1alpha1.ReasonIssuePending, "still that of 'alice'", "")
	if len(asked) != 0 {
		t.Errorf("asked is %v before the tokens surely exist", asked)
	}
	w.clock.SetTime(time.Now().Add(2 * time.Second))
	expect(tokensv1alpha1.ReasonIssuePending, "still that of 'alice'", "")
	if since := asked[c.SecretName()]; len(asked) != 1 || since.Before(generated.CreationTimestamp.Add(time.Second)) {
		t.Errorf("asked is %v", asked)
	}
	w.say(c, "alice.old")
	expect(tokensv1alpha1.ReasonOwnerChanged, "The present 'alice' can sign in", "")
	c.UserKey, c.Token = "K2", "pat2"
	w.hold(c)
	expect(tokensv1alpha1.ReasonIssuePending, "still that of 'alice'", "") // what is published is about K1
	w.say(c, "alice")
	expect(tokensv1alpha1.ReasonIssued, "", "K2")
	w.say(c, "alice.old")
	expect(tokensv1alpha1.ReasonIssued, "", "K2") // it belongs to K2 for good
	for _, e := range w.eventsSoFar() {
		if strings.Contains(e, tokensv1alpha1.ReasonIssuePending) {
			t.Errorf("an Event says what passes: %s", e)
		}
	}
}

// A change of what the product said about the owner of a personal access token reconciles those tokens of the user that have no owner.
func TestEnrolmentReconcilesTokensWithoutOwner(t *testing.T) {
	p := makeProps(t)
	build := fake.NewClientBuilder().WithScheme(p.scheme).WithIndex(&tokensv1alpha1.APIToken{}, index.ByOwner, index.Of(index.Keys[index.ByOwner]))
	for name, key := range map[string]string{"new": "none", "open": "", "known": "K1"} {
		tok := kubetest.Token("jira", name, func(t *tokensv1alpha1.APIToken) { t.UID = types.UID(name) })
		build.WithObjects(tok)
		if key == "none" {
			continue
		}
		r := &record.Record{TokenID: p.id, User: "alice", UserKey: key, Site: record.Ref{Namespace: "jira", Name: "main"}, APIToken: record.Ref{Namespace: "jira", Name: name},
			DeliverySecret: name, Entries: []record.Entry{{Hash: p.hashes[p.minted[0]], State: record.Delivered, Issued: time.Now().UTC()}}}
		data, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		build.WithObjects(&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.SystemNamespace, Name: name, Labels: map[string]string{record.LabelTokenID: p.id}},
			Type:       record.SecretType, Data: map[string][]byte{record.DataKey: data},
		})
	}
	r := &apitoken.Reconciler{Namespace: kubetest.SystemNamespace, Client: build.Build()}
	published := func(change func(*enrolment.Enrolment)) *corev1.Secret {
		e := enrolment.Enrolment{Namespace: "jira", Site: "main", User: "alice", State: enrolment.Held, UserKey: "K1", Name: "alice", Checked: time.Unix(1, 0).UTC()}
		change(&e)
		data, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.SystemNamespace, Name: e.SecretName()},
			Type:       enrolment.SecretType, Data: map[string][]byte{enrolment.DataKey: data},
		}
	}
	before := published(func(*enrolment.Enrolment) {})
	names := map[string]bool{}
	for _, request := range apitoken.TokensOfSecret(t.Context(), r, before) {
		names[request.Name] = true
	}
	if len(names) != 2 || !names["new"] || !names["open"] {
		t.Errorf("reconciles %v", names)
	}
	for what, change := range map[string]func(*enrolment.Enrolment){
		"checked": func(e *enrolment.Enrolment) { e.Checked = time.Unix(2, 0).UTC() },
		"renamed": func(e *enrolment.Enrolment) { e.Name = "alice.old" },
		"key":     func(e *enrolment.Enrolment) { e.UserKey = "K2" },
	} {
		if !apitoken.ConcernsTokens(before, published(change)) {
			t.Errorf("%s: nothing is reconciled", what)
		}
	}
	if apitoken.ConcernsTokens(before, published(func(e *enrolment.Enrolment) { e.Intake, e.State = "intake-x", enrolment.Pending })) {
		t.Error("an intake reconciles APITokens")
	}
}
