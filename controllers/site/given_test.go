package site_test

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/upstream"
)

func TestVerifiedCredentialIsProjected(t *testing.T) {
	w := newWorld(t)
	// The product may use upper case, entries are in lower case.
	jira := w.jira("jira", "Alice", "bob")
	w.give("alice", pat("Alice", 1))
	w.give("bob", pat("bob", 1))
	s := w.site("main", users("alice", "bob"))
	w.reconcile(s)
	w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
	for user, named := range map[string]string{"alice": "Alice", "bob": "bob"} { // the fake product takes the name for the key
		want := upstream.Credential{Namespace: w.ns, Site: "main", User: user, Origin: w.origin("jira"), Token: pat(named, 1), UserKey: named}
		if got := w.credential(s, user); got != want {
			t.Errorf("the working copy for %s is %+v, want %+v", user, got, want)
		}
		stored := w.copySecret(s, user)
		if stored.Type != upstream.SecretType || len(stored.Data) != 1 || !maps.Equal(stored.Labels, ourLabels(s)) {
			t.Errorf("it is in a %s with %d entries and labels %v", stored.Type, len(stored.Data), stored.Labels)
		}
	}

	version := w.copySecret(s, "alice").ResourceVersion
	jira.Reset()
	w.expectIdle(s)
	if w.copySecret(s, "alice").ResourceVersion != version || len(sent(jira)) != 0 {
		t.Error("what was verified was written, or sent to the product, once more")
	}
}

// unusable lists ways to spoil the entry of alice, with the text of the condition.
var unusable = map[string]struct {
	spoil func(w *world)
	says  string
}{
	"no Secret": {func(w *world) {
		if s := w.secret(w.ns, "alice-pat"); s != nil {
			w.remove(s)
		}
	}, "there is no Secret 'alice-pat'"},
	"no key":                       {func(w *world) { w.giveData("alice", map[string][]byte{"password": []byte(pat("alice", 2))}) }, "the key 'token' of Secret 'alice-pat'"},
	"empty":                        {func(w *world) { w.give("alice", "") }, "the key 'token' of Secret 'alice-pat'"},
	"a line break at the end":      {func(w *world) { w.give("alice", pat("alice", 2)+"\n") }, "without a line break at the end"},
	"a space in it":                {func(w *world) { w.give("alice", canary+" "+canary) }, "the key 'token' of Secret 'alice-pat'"},
	"too long":                     {func(w *world) { w.give("alice", strings.Repeat(canary, 1000)) }, "the key 'token' of Secret 'alice-pat'"},
	"refused by the product":       {func(w *world) { w.give("alice", canary+".revoked") }, "the product does not accept the personal access token in Secret 'alice-pat'"},
	"another user's":               {func(w *world) { w.give("alice", pat("bob", 2)) }, "the personal access token in Secret 'alice-pat' is that of another user"},
	"a user's with a similar name": {func(w *world) { w.give("alice", pat("alice.smith", 1)) }, "that of another user"},
}

func TestUnusableCredential(t *testing.T) {
	for name, tc := range unusable {
		for _, verifiedBefore := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, verified before: %v", name, verifiedBefore), func(t *testing.T) {
				w := newWorld(t)
				w.jira("jira", "alice", "bob", "alice.smith")
				w.give("bob", pat("bob", 1))
				s := w.site("main", users("alice", "bob"))
				if verifiedBefore {
					w.give("alice", pat("alice", 1))
					w.reconcile(s)
					w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
				}
				tc.spoil(w)
				w.reconcile(s)
				w.expectReady(s, tokensv1alpha1.ReasonCredentialUnusable)
				c := w.expectCredentials(s, tokensv1alpha1.ReasonCredentialUnusable)
				if !strings.Contains(c.Message, "'alice': ") || !strings.Contains(c.Message, tc.says) || strings.Contains(c.Message, "bob") {
					t.Errorf("message %q", c.Message)
				}
				if w.copySecret(s, "alice") != nil {
					t.Error("an unusable personal access token is in use")
				}
				if w.held(s, "bob") != pat("bob", 1) {
					t.Error("another user lost theirs")
				}
				w.expectIdle(s)

				w.give("alice", pat("alice", 2))
				w.reconcile(s)
				w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
				if w.held(s, "alice") != pat("alice", 2) {
					t.Error("a good one is not in use")
				}
			})
		}
	}
}

// Every message has to say what to do.
func TestUnusableCredentialSaysWhatToDo(t *testing.T) {
	instruction := regexp.MustCompile(`(?i)\b(create|put|replace|correct|give|want)\b`)
	for name, tc := range unusable {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.jira("jira", "alice", "bob", "alice.smith")
			s := w.site("main", users("alice"))
			tc.spoil(w)
			w.reconcile(s)
			if c := w.expectCredentials(s, tokensv1alpha1.ReasonCredentialUnusable); !instruction.MatchString(c.Message) {
				t.Errorf("it does not say what to do: %q", c.Message)
			}
		})
	}
}

// A long list of rejections is cut, in the condition and in the Event, so that the API server accepts both.
func TestManyRejections(t *testing.T) {
	w := newWorld(t)
	w.jira("jira")
	var names []string
	for i := range 12 {
		names = append(names, fmt.Sprintf("u%02d.of-the-research-department.example", i))
	}
	s := w.site("main", users(names...))
	w.reconcile(s)
	c := w.expectCredentials(s, tokensv1alpha1.ReasonCredentialUnusable)
	if !strings.Contains(c.Message, "'"+names[9]+"'") || strings.Contains(c.Message, names[10]) || !strings.HasSuffix(c.Message, "; and 2 more.") {
		t.Errorf("message %q", c.Message)
	}
	events := w.emitted()
	w.expectIdle(s)

	i := slices.IndexFunc(events, func(e string) bool { return strings.HasPrefix(e, "Warning CredentialUnusable ") })
	if i < 0 {
		t.Fatalf("events %q", events)
	}
	event := &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, GenerateName: "main-"},
		EventTime:  metav1.NowMicro(), ReportingController: "apitoken-controller", ReportingInstance: "test", Action: "Reconcile",
		Reason: c.Reason, Type: corev1.EventTypeWarning, Note: strings.TrimPrefix(events[i], "Warning CredentialUnusable "),
		Regarding: corev1.ObjectReference{APIVersion: "apitokens.dev/v1alpha1", Kind: "AtlassianSite", Namespace: w.ns, Name: "main", UID: s.UID},
	}
	if err := w.reconciler.Client.Create(t.Context(), event); err != nil {
		t.Errorf("the API server does not accept an Event of %d bytes: %v", len(event.Note), err)
	}
}

func TestCredentialIsFollowed(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(w *world, s *tokensv1alpha1.AtlassianSite)
		want   map[string]string
	}{
		"personal access token replaced": {
			func(w *world, _ *tokensv1alpha1.AtlassianSite) { w.give("alice", pat("alice", 2)) },
			map[string]string{"alice": pat("alice", 2), "bob": pat("bob", 1)},
		},
		"in another Secret": {
			func(w *world, s *tokensv1alpha1.AtlassianSite) {
				w.give("another", pat("alice", 2))
				w.change(s, func(s *tokensv1alpha1.AtlassianSite) { s.Spec.UpstreamCredentials[0].SecretName = "another-pat" })
			},
			map[string]string{"alice": pat("alice", 2), "bob": pat("bob", 1)},
		},
		"entry removed": {
			func(w *world, s *tokensv1alpha1.AtlassianSite) { w.change(s, users("bob")) },
			map[string]string{"alice": "", "bob": pat("bob", 1)},
		},
		"all entries removed": {
			func(w *world, s *tokensv1alpha1.AtlassianSite) { w.change(s, users()) },
			map[string]string{"alice": "", "bob": ""},
		},
		"entry for another user": {
			func(w *world, s *tokensv1alpha1.AtlassianSite) {
				w.give("carol", pat("carol", 1))
				w.change(s, users("carol", "bob"))
			},
			map[string]string{"alice": "", "bob": pat("bob", 1), "carol": pat("carol", 1)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.jira("jira", "alice", "bob", "carol")
			w.give("alice", pat("alice", 1))
			w.give("bob", pat("bob", 1))
			s := w.site("main", users("alice", "bob"))
			w.reconcile(s)
			tc.change(w, s)
			w.reconcile(s)
			w.expectAllVerified(s)
			for user, want := range tc.want {
				if got := w.held(s, user); got != want {
					t.Errorf("of %s %q is in use, want %q", user, got, want)
				}
			}
		})
	}
}

// A damaged working copy is written again.
func TestDamagedWorkingCopyIsReplaced(t *testing.T) {
	w := newWorld(t)
	w.jira("jira", "alice", "bob")
	w.give("alice", pat("alice", 1))
	w.give("bob", pat("bob", 1))
	s := w.site("main", users("alice", "bob"))
	w.reconcile(s)
	good := w.copySecret(s, "alice").Data[upstream.DataKey]
	for name, damage := range map[string]map[string][]byte{
		"nothing left":     nil,
		"truncated":        {upstream.DataKey: good[:len(good)-2]},
		"another user's":   w.copySecret(s, "bob").Data,
		"for another user": {upstream.DataKey: bytes.Replace(good, []byte(`"user":"alice"`), []byte(`"user":"bob"`), 1)},
		"for another site": {upstream.DataKey: bytes.Replace(good, []byte(`"site":"main"`), []byte(`"site":"other"`), 1)},
	} {
		w.setData(w.copySecret(s, "alice"), damage)
		w.reconcile(s)
		w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
		if !bytes.Equal(w.copySecret(s, "alice").Data[upstream.DataKey], good) {
			t.Errorf("%s: it was not replaced", name)
		}
	}
}

// A Secret of another type under the name of a working copy is foreign. The webhook does not see it, so it must not count.
func TestForeignSecretAtTheNameOfAWorkingCopy(t *testing.T) {
	for name, given := range map[string]bool{"a good personal access token": true, "none": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.jira("jira", "alice")
			if given {
				w.give("alice", pat("alice", 1))
			}
			encoded, err := upstream.Credential{Namespace: w.ns, Site: "main", User: "alice", Origin: w.origin("jira"), Token: pat("alice", 1)}.Encode()
			if err != nil {
				t.Fatal(err)
			}
			foreign := &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.CredentialsNamespace, Name: upstream.SecretName(w.ns, "main", "alice")},
				Data:       map[string][]byte{upstream.DataKey: encoded},
			}
			w.create(foreign)
			s := w.site("main", users("alice"))
			w.reconcile(s)
			if now := w.copySecret(s, "alice"); now == nil || now.ResourceVersion != foreign.ResourceVersion {
				t.Error("the foreign Secret was touched")
			}
			w.expectCredentials(s, tokensv1alpha1.ReasonCredentialUnusable)
		})
	}
}
