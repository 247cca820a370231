package states_test

import (
	"context"
	"errors"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/admission"
	"apitokens.dev/operator/controllers/apitoken"
	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
)

const (
	strongSecret = "Zm9vYmFyYmF6cXV4MDEyMzQ1Njc4OUFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFla"
	otherSecret  = "q8Vn2LxR0bT7wKc5ZyHdq8Vn2LxR0bT7wKc5ZyHdPfGmUoE1SiJ3aQ4rD6tB9vN2"
)

// lastAccess is the time and address of the last use in the example.
var lastAccess = noon.Add(-2 * time.Minute)

type (
	mod     = func(*tokensv1alpha1.APIToken)
	siteMod = func(*tokensv1alpha1.AtlassianSite)
)

func at(site string) mod { return func(t *tokensv1alpha1.APIToken) { t.Spec.SiteRef.Name = site } }

func nightly(t *tokensv1alpha1.APIToken) { t.Spec.Label = "nightly export" }

func days(n int32) mod { return func(t *tokensv1alpha1.APIToken) { t.Spec.LifetimeDays = &n } }

func every(days int32) mod {
	return func(t *tokensv1alpha1.APIToken) { t.Spec.Rotation.IntervalDays = &days }
}

// from imports the key "token" of a Secret.
func from(secret string, mode tokensv1alpha1.ImportMode) mod {
	return func(t *tokensv1alpha1.APIToken) {
		t.Spec.Delivery = tokensv1alpha1.Delivery{}
		t.Spec.Credential = tokensv1alpha1.Credential{
			Type: tokensv1alpha1.CredentialImported, Imported: &tokensv1alpha1.ImportedCredential{SecretName: secret, Key: "token", Mode: mode},
		}
	}
}

// ofPortal is a token that was created on the page or over REST.
func ofPortal(t *tokensv1alpha1.APIToken) {
	t.Spec.Delivery, t.Spec.Credential = tokensv1alpha1.Delivery{}, tokensv1alpha1.Credential{Type: tokensv1alpha1.CredentialPortal}
}

func pending(t *tokensv1alpha1.APIToken) {
	t.Annotations = map[string]string{tokensv1alpha1.AnnotationPending: "true"}
}

func policy(p tokensv1alpha1.TokenPolicy) siteMod {
	return func(s *tokensv1alpha1.AtlassianSite) { s.Spec.TokenPolicy = p }
}

// example is a sequence of events that begins some time before noon, and ends at noon.
type example struct {
	name  string
	ago   time.Duration
	story func(w *world, name string)
}

// play runs each example, from its beginning to noon.
func (w *world) play(examples []example) {
	w.Helper()
	for _, e := range examples {
		w.clock.SetTime(noon.Add(-e.ago))
		e.story(w, e.name)
		if now := w.clock.Now(); !now.Equal(noon) {
			w.Fatalf("%s ends at %s", e.name, now)
		}
	}
}

// lowerCase is a time that the schema refuses.
const lowerCase = "2027-06-30t00:00:00z"

var tokenExamples = []example{
	{"issued", 0, func(w *world, name string) { w.token(name) }},
	{"used", 3 * time.Minute, used},
	{"reissued", day, func(w *world, name string) {
		t := w.token(name)
		w.later(day)
		w.remove(w.secret(w.jira, name+"-token"))
		w.look(t)
	}},
	{"rotated", 30 * day, func(w *world, name string) {
		t := w.token(name, every(30), days(60))
		w.later(30 * day)
		w.look(t)
	}},
	{"rotation-waits", 30 * day, rotationWaits},
	{"rotation-refused", 30 * day, rotationRefused},
	{"expires-later", 0, func(w *world, name string) { w.token(name, days(90)) }},
	{"expires-soon", 90 * day, func(w *world, name string) {
		t := w.token(name, days(95))
		for _, d := range []time.Duration{81 * day, 7 * day, 2 * day} {
			w.later(d)
			w.look(t)
		}
	}},
	{"expired", 90 * day, func(w *world, name string) {
		t := w.token(name, days(90))
		w.later(89 * day)
		w.look(t)
		w.later(day)
		w.look(t)
	}},
	{"expired-and-kept", 30 * day, func(w *world, name string) {
		w.site("kept-30-days", policy(tokensv1alpha1.TokenPolicy{ExpiredRetentionDays: new(int32(30))}))
		t := w.token(name, at("kept-30-days"), days(30))
		w.later(30 * day)
		w.look(t)
	}},
	{"suspended", day, func(w *world, name string) {
		t := w.token(name)
		w.later(day)
		change(w, t, func(t *tokensv1alpha1.APIToken) { t.Spec.State = tokensv1alpha1.StateSuspended })
		w.look(t)
	}},
	{"user-blocked", day, func(w *world, name string) {
		s := w.site("blocks-alice")
		t := w.token(name, at(s.Name))
		w.later(day)
		change(w, s, func(s *tokensv1alpha1.AtlassianSite) {
			s.Spec.BlockedUsers = []tokensv1alpha1.BlockedUser{{Name: "alice"}}
		})
		w.look(t)
	}},
	{"owner-changed", day, func(w *world, name string) {
		w.damage(name, func(data []byte) []byte {
			r, err := record.Decode(data)
			w.must(err)
			r.UserKey = "JIRAUSER10001"
			data, err = r.Encode()
			w.must(err)
			return data
		})
	}},
	{"owner-renamed", hour, func(w *world, name string) {
		j, s := w.signedIn("another-alice", fakeproduct.Options{})
		w.later(hour)
		j.Rename("alice", "alicia")
		w.token(name, at(s.Name))
	}},
	{"policy-lifetime", 0, func(w *world, name string) {
		w.site("at-most-90-days", policy(tokensv1alpha1.TokenPolicy{MaxLifetimeDays: new(int32(90))}))
		w.token(name, at("at-most-90-days"), days(365))
	}},
	{"policy-expiration", 0, func(w *world, name string) {
		w.token(name, at("at-most-90-days"), func(t *tokensv1alpha1.APIToken) { t.Spec.ExpirationTime = metav1.NewTime(noon.Add(365 * day)) })
	}},
	{"policy-never-expiring", 0, func(w *world, name string) {
		w.site("no-eternal-tokens", policy(tokensv1alpha1.TokenPolicy{NeverExpiring: tokensv1alpha1.NeverExpiringForbidden}))
		w.token(name, at("no-eternal-tokens"))
	}},
	{"policy-quota", 0, quota},
	{"site-not-found", 0, func(w *world, name string) { w.token(name, at("mian")) }},
	{"malformed", 0, func(w *world, name string) {
		t := w.token(name)
		env.Malform(w.T, t, "expirationTime", lowerCase)
		w.look(t)
	}},
	{"site-malformed", 0, func(w *world, name string) { w.token(name, at("malformed")) }},
	{"namespace-not-allowed", 0, func(w *world, name string) {
		w.token(name, func(t *tokensv1alpha1.APIToken) { t.Namespace, t.Spec.SiteRef.Namespace = w.team, w.jira })
	}},
	{"upstream-credential-missing", 0, func(w *world, name string) {
		w.token(name, func(t *tokensv1alpha1.APIToken) { t.Spec.User = "bob" })
	}},
	{"identity-not-representable", 0, func(w *world, name string) {
		w.token(name, at("by-header"), func(t *tokensv1alpha1.APIToken) { t.Spec.User = "d\u00f6rte" })
	}},
	{"write-refused", 0, writeRefused},
	{"delivery-conflict", 0, func(w *world, name string) {
		w.put(name+"-token", "password", "somebody else's")
		w.token(name)
	}},
	{"record-missing", day, func(w *world, name string) {
		t := w.token(name)
		w.later(day)
		w.remove(w.secret(kubetest.SystemNamespace, string(t.UID)))
		w.look(t)
	}},
	{"record-unreadable", day, func(w *world, name string) { w.damage(name, func(data []byte) []byte { return data[:len(data)-2] }) }},
	{"record-of-another", day, func(w *world, name string) {
		other := w.secret(kubetest.SystemNamespace, w.uid("issued"))
		w.damage(name, func([]byte) []byte { return other.Data[record.DataKey] })
	}},
	{"record-orphaned", day, restored},
	{"record-dead", day, func(w *world, name string) {
		t := w.token(name)
		w.later(day)
		delivered := w.secret(w.jira, name+"-token")
		w.remove(t)
		cleaner := &apitoken.Cleaner{Client: w.api, Live: w.api, Events: w, Clock: w.clock, Namespace: kubetest.SystemNamespace}
		_, err := cleaner.Reconcile(w.Context(), apitoken.Gone{NamespacedName: client.ObjectKeyFromObject(t), UID: t.UID})
		w.must(err)
		delivered.ResourceVersion, delivered.UID = "", ""
		w.create(delivered)
		w.token(name)
	}},
	{"issue-pending", day, func(w *world, name string) {
		t := w.token(name)
		w.later(day)
		w.remove(t)
		w.token(name)
	}},
	{"owner-not-confirmed", 0, func(w *world, name string) {
		w.create(kubetest.Token(w.jira, name, nightly))
		t := kubetest.Token(w.jira, name)
		w.lookWith(w.tokens(name), t, metav1.NewTime(w.clock.Now()))
	}},
	{"imported", 0, func(w *world, name string) {
		w.put("old-secret", "token", strongSecret)
		w.token(name, from("old-secret", tokensv1alpha1.ImportOnce))
	}},
	{"imported-source-gone", day, func(w *world, name string) {
		w.put("ci-secret", "token", otherSecret)
		t := w.token(name, from("ci-secret", tokensv1alpha1.ImportFollow))
		w.later(day)
		w.remove(w.secret(w.jira, "ci-secret"))
		w.look(t)
	}},
	{"shown-once", 0, func(w *world, name string) {
		t := w.token(name, ofPortal, pending)
		w.shown(t)
		change(w, t, func(t *tokensv1alpha1.APIToken) { t.Annotations = nil })
		w.look(t)
	}},
	{"cut-off", 0, func(w *world, name string) { w.token(name, ofPortal, pending) }},
	{"shown-never", 0, func(w *world, name string) { w.token(name, ofPortal) }},
	{"source-missing", 0, func(w *world, name string) { w.token(name, from("not-there", tokensv1alpha1.ImportOnce)) }},
	{"weak-too-short", 0, func(w *world, name string) {
		w.put("short-secret", "token", "correct horse")
		w.token(name, from("short-secret", tokensv1alpha1.ImportOnce))
	}},
	{"weak-line-break", 0, func(w *world, name string) {
		w.put("line-break", "token", otherSecret+"\n")
		w.token(name, from("line-break", tokensv1alpha1.ImportOnce))
	}},
	{"weak-too-many", 0, tooManyWeak},
	{"duplicate-credential", 0, func(w *world, name string) { w.token(name, from("old-secret", tokensv1alpha1.ImportOnce)) }},
	{"revoked-by-epoch", 2 * hour, revoked},
	{"epoch-to-come", 0, func(w *world, name string) {
		w.site("maintenance", func(s *tokensv1alpha1.AtlassianSite) { s.Spec.IssuedAfter = metav1.NewTime(noon.Add(hour)) })
		w.token(name, at("maintenance"))
	}},
	{"declared-unguarded", 2 * hour, declaredInAGap},
	{"admission-not-verified", 0, houseRule},
	{"admission-policy-missing", 0, withoutPolicy},
}

// used marks a token as used, as the webhook does.
func used(w *world, name string) {
	t := w.token(name)
	w.later(3 * time.Minute)
	access := `{"status":{"lastAccessedTime":"` + lastAccess.Format(time.RFC3339) + `","lastAccessedFrom":"192.0.2.17"}}`
	patch := client.RawPatch("application/merge-patch+json", []byte(access))
	w.must(env.Client(w.T, kubetest.Webhook).Status().Patch(w.Context(), t, patch, client.FieldOwner("apitoken-webhook")))
}

// rotationWaits is a rotation that waits because the site now forbids the requested lifetime.
func rotationWaits(w *world, name string) {
	s := w.site("less-than-before")
	t := w.token(name, at(s.Name), every(30), days(365))
	w.later(30 * day)
	change(w, s, policy(tokensv1alpha1.TokenPolicy{MaxLifetimeDays: new(int32(90))}))
	w.look(t)
}

// rotationRefused is a token in a Secret that somebody made immutable.
func rotationRefused(w *world, name string) {
	t := w.token(name, every(30))
	change(w, w.secret(w.jira, name+"-token"), func(s *corev1.Secret) { s.Immutable = new(true) })
	w.later(30 * day)
	w.look(t)
}

// writeRefused answers the delivery as an API server with a quota does.
func writeRefused(w *world, name string) {
	api := w.api
	defer func() { w.api = api }()
	w.api = interceptor.NewClient(api, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if o.GetNamespace() == w.jira && o.GetName() == name+"-token" {
				return apierrors.NewForbidden(corev1.Resource("secrets"), name+"-token",
					errors.New("exceeded quota: few-secrets, requested: count/secrets=1, used: count/secrets=20, limited: count/secrets=20"))
			}
			return c.Create(ctx, o, opts...)
		},
	})
	w.token(name)
}

// quota creates tokens until two differ in age. UIDs would decide between two of the same second.
func quota(w *world, name string) {
	w.site("one-token-each", policy(tokensv1alpha1.TokenPolicy{MaxTokensPerUser: new(int32(1))}))
	first := kubetest.Token(w.jira, "within-quota", at("one-token-each"), nightly)
	second := kubetest.Token(w.jira, name, at("one-token-each"), nightly)
	for ok := false; !ok; ok = first.CreationTimestamp.Before(&second.CreationTimestamp) || first.UID < second.UID {
		if first.UID != "" {
			w.remove(second)
			second.ObjectMeta = metav1.ObjectMeta{Namespace: w.jira, Name: name}
		} else {
			w.create(first)
		}
		w.create(second)
	}
	w.lookWith(w.tokens(name), second, second.CreationTimestamp)
	w.remove(first)
}

func (w *world) uid(name string) string {
	w.Helper()
	var t tokensv1alpha1.APIToken
	w.must(env.Admin.Get(w.Context(), client.ObjectKey{Namespace: w.jira, Name: name}, &t))
	return string(t.UID)
}

// damage changes the record of a token that was issued a day before.
func (w *world) damage(name string, edit func([]byte) []byte) {
	w.Helper()
	t := w.token(name)
	w.later(day)
	s := w.secret(kubetest.SystemNamespace, string(t.UID))
	s.Data[record.DataKey] = edit(s.Data[record.DataKey])
	w.must(w.api.Update(w.Context(), s))
	w.look(t)
}

// restored is the state after a restore from a backup: the APIToken has another UID.
func restored(w *world, name string) {
	old := w.token(name)
	w.later(day)
	w.remove(old)
	orphan := w.secret(kubetest.SystemNamespace, string(old.UID))
	orphans := apitoken.Orphans{Client: w.api, Live: w.api, Events: w, Clock: w.clock, Namespace: kubetest.SystemNamespace}
	_, err := orphans.Reconcile(w.Context(), orphan)
	w.must(err)
	w.token(name)
}

// shown writes a record, as the portal does before it shows a token.
func (w *world) shown(t *tokensv1alpha1.APIToken) {
	w.Helper()
	random := w.tokens(t.Name).Random
	id, err := token.NewID(random)
	w.must(err)
	text, err := token.New(id, random)
	w.must(err)
	hash, err := record.NewHash(text, random)
	w.must(err)
	r := &record.Record{
		TokenID: id, User: t.Spec.User, Portal: true, Site: record.Ref{Namespace: t.Namespace, Name: t.Spec.SiteRef.Name},
		APIToken: record.Ref{Namespace: t.Namespace, Name: t.Name},
		Entries:  []record.Entry{{Hash: hash, State: record.Delivered, Issued: w.clock.Now().UTC()}},
	}
	encoded, err := r.Encode()
	w.must(err)
	w.must(w.api.Create(w.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.SystemNamespace, Name: string(t.UID)},
		Type:       record.SecretType, Data: map[string][]byte{record.DataKey: encoded},
	}))
}

func tooManyWeak(w *world, name string) {
	w.site("legacy")
	for i := range record.MaxSlow + 1 {
		secret := "weak-secret-" + string(rune('1'+i))
		w.put(secret, "token", "hunter2-hunter2-hunter"+secret[len(secret)-1:])
		weak := name
		if i < record.MaxSlow {
			weak = "weak-" + string(rune('1'+i))
		}
		if t := w.token(weak, at("legacy"), from(secret, tokensv1alpha1.ImportOnce)); i < record.MaxSlow {
			defer w.remove(t) // the page is not about it
		}
	}
}

func revoked(w *world, name string) {
	s := w.site("after-a-leak")
	w.put("leaked-secret", "token", otherSecret)
	t := w.token(name, at(s.Name), from("leaked-secret", tokensv1alpha1.ImportOnce))
	w.later(2 * hour)
	change(w, s, func(s *tokensv1alpha1.AtlassianSite) { s.Spec.IssuedAfter = metav1.NewTime(noon.Add(-hour)) })
	w.look(t)
}

// withoutPolicy is a namespace in which the API server does not enforce the policy.
func withoutPolicy(w *world, name string) {
	w.probed(name, nil)
}

// houseRule is a rule of another policy that refuses the operator's dry run.
func houseRule(w *world, name string) {
	words := "ValidatingAdmissionPolicy 'a-team-label.example.com' with binding 'a-team-label.example.com' denied request: robots may not create objects"
	w.probed(name, apierrors.NewForbidden(tokensv1alpha1.GroupVersion.WithResource("apitokens").GroupResource(), name, errors.New(words)))
}

// probed creates an APIToken while this is the answer to the operator's dry run.
func (w *world) probed(name string, answer error) {
	w.Helper()
	before := w.guard
	defer func() { w.guard = before }()
	w.guard = &admission.Guard{Live: w.api, Namespace: kubetest.SystemNamespace, Client: interceptor.NewClient(w.api, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if _, probe := o.(*tokensv1alpha1.APIToken); probe {
				return answer
			}
			return c.Create(ctx, o, opts...)
		},
	})}
	env.AwaitGuarded(w.T)
	t := kubetest.Token(w.jira, name, nightly)
	w.create(t)
	w.lookWith(w.tokens(name), t, t.CreationTimestamp)
}

// declaredInAGap is declared an hour before the policies came back.
func declaredInAGap(w *world, name string) {
	before := w.guard
	defer func() { w.guard = before }()
	w.guard = guard{admission.State{GuardedSince: w.clock.Now().Add(hour)}}
	t := kubetest.Token(w.jira, name, nightly)
	w.create(t)
	t.CreationTimestamp = metav1.NewTime(w.clock.Now())
	w.later(2 * hour)
	_, err := w.tokens(name).Reconcile(w.Context(), t)
	w.must(err)
}

// secrets returns everything that the page must not show.
func (w *world) secrets() (all []string) {
	w.Helper()
	all = slices.Clone(w.made)
	for _, namespace := range []string{w.jira, w.team} {
		var list corev1.SecretList
		w.must(env.Admin.List(w.Context(), &list, client.InNamespace(namespace)))
		for i := range list.Items {
			for key, value := range list.Items[i].Data {
				if key != corev1.BasicAuthUsernameKey && key != "url" && len(value) > 0 {
					all = append(all, string(value))
				}
			}
		}
	}
	return all
}
