package lifecycle_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/feed"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/username"
)

// maxRounds is more rounds of reconciling than any state needs until nothing is left to write.
const maxRounds = 12

// settle ends all faults and reconciles until nothing is left to write.
func (w *world) settle() {
	if w.model.site == nil && w.random.IntN(2) == 0 {
		w.takeSite() // without it there is little to see
	}
	w.did("settle")
	for _, l := range w.all {
		l.cleaned = false
	}
	w.finish()
	w.step(2 * time.Minute) // nothing is on its way any more
	w.finish()
	w.care()
	if len(w.unseen) > 0 {
		w.step(30 * day)
		w.care()
		w.finish()
	}
}

// finish reconciles everything until nothing is left to write.
func (w *world) finish() {
	w.Helper()
	for range maxRounds {
		before := w.writes
		for _, l := range w.those(func(l *life) bool { return l.gone && !l.cleaned && !w.unseen[l.token.UID] }) {
			w.clean(l.token, w.healthy(nil))
			l.cleaned = true
		}
		for _, l := range w.those(func(l *life) bool { return !l.gone }) {
			w.pass(w.healthy(l.token))
		}
		if w.writes == before {
			return
		}
	}
	w.fail("there is always something left to write")
}

// check compares the world with the model.
func (w *world) check() {
	w.Helper()
	for _, l := range w.those(func(l *life) bool { return !l.gone }) {
		w.checkReady(l)
	}
	w.checkRemains()
	w.checkAnswers()
}

func (w *world) checkReady(l *life) {
	w.Helper()
	got, want, m := w.refresh(l.token), w.model.ready(l), w.model
	if got != want && m.unsure(l, l.token) && (got == tokensv1alpha1.ReasonExpired || want == tokensv1alpha1.ReasonExpired) {
		w.count(got)
		return
	}
	if got != want {
		w.fail("%s/%s: Ready says %s, want %s", l.token.Namespace, l.token.Name, got, want)
	}
	w.count(want)
	switch want {
	case tokensv1alpha1.ReasonExpired:
		since, _ := m.expired(l, l.token)
		if days := m.site.Spec.TokenPolicy.ExpiredRetentionDays; days != nil && !m.now.Before(since.Add(time.Duration(*days)*day)) {
			w.fail("%s/%s was to be removed", l.token.Namespace, l.token.Name)
		}
	case tokensv1alpha1.ReasonIssued, tokensv1alpha1.ReasonUpstreamCredentialMissing:
		x := l.current()
		if x == nil || w.model.secrets[at(l.token)] != x.plain || !m.lasts(l.token, x, m.now) {
			w.fail("%s/%s has no good token", l.token.Namespace, l.token.Name)
		}
		if overlaps := w.overlaps(l); m.due(l, l.token) && m.forbids(l, l.token) == "" && overlaps < record.MaxEntries-1 {
			w.fail("%s/%s was to be rotated", l.token.Namespace, l.token.Name)
		}
	}
}

// overlaps counts the replaced texts that still authenticate.
func (w *world) overlaps(l *life) (n int) {
	for _, x := range l.texts {
		if _, may := w.model.authenticates(l, x, w.model.now); x.replaced && may {
			n++
		}
	}
	return n
}

// checkRemains checks that nothing but dead records is left of deleted APITokens, and that no record has a valid hash of a secret
// that was never delivered.
func (w *world) checkRemains() {
	w.Helper()
	for _, s := range w.records() {
		l := w.life(s.Name)
		r, err := record.Decode(s.Data[record.DataKey])
		w.must(err)
		if l == nil || l.gone == r.Dead.IsZero() || l.gone && !w.model.now.Before(r.Dead.Add(30*day)) {
			w.fail("record %s is left: dead since %v", s.Name, r.Dead)
		}
		if l.gone {
			continue
		}
		known := 0
		for _, x := range l.texts {
			if r.Verify([]byte(x.plain)) >= 0 {
				known++
			}
		}
		if isDelivered(w.model.ready(l)) && !w.model.unsure(l, l.token) && known != len(r.Entries) {
			w.fail("the record of %s has %d secrets, of which %d were delivered", l.token.Name, len(r.Entries), known)
		}
	}
	inUse := map[place]bool{}
	for _, l := range w.those(func(l *life) bool { return !l.gone }) {
		inUse[at(l.token)] = true
	}
	for _, ns := range []string{w.home, w.away} {
		var list corev1.SecretList
		w.must(env.Admin.List(w.Context(), &list, client.InNamespace(ns)))
		for _, s := range list.Items {
			here := place{s.Namespace, s.Name}
			if got, want := string(s.Data["password"]), w.model.secrets[here]; got != want {
				w.fail("Secret %v holds %.12s, want %.12s", here, got, want)
			}
			if !inUse[here] && string(s.Data["password"]) != foreign {
				w.fail("Secret %v is left", here)
			}
		}
	}
}

func (w *world) life(uid string) *life {
	for _, l := range w.all {
		if string(l.token.UID) == uid {
			return l
		}
	}
	return nil
}

// checkAnswers asks a webhook about every plaintext so far, now and around every moment at which an answer may change.
func (w *world) checkAnswers() {
	w.Helper()
	now := w.model.now
	then := now
	index := w.webhook(func() time.Time { return then })
	for _, l := range w.all {
		for _, x := range l.texts {
			moments := []time.Time{now, x.least, x.most}
			if w.model.site != nil {
				moments = append(moments, w.model.ends(l.token, x.issued))
			}
			for _, moment := range moments {
				for _, then = range []time.Time{moment.Add(-1), moment, moment.Add(1)} {
					if !then.Before(now) && then.Before(never) {
						w.ask(index, l, x, then)
					}
				}
			}
		}
	}
}

// ask checks the answers against those of the model.
func (w *world) ask(index *authn.Index, l *life, x *text, then time.Time) {
	w.Helper()
	must, may := w.model.authenticates(l, x, then)
	w.count("answer")
	if mustAfter, _ := w.model.authenticates(l, x, then.Add(1)); must != mustAfter {
		w.count("answer at a boundary")
	}
	user := username.Fold(l.token.Spec.User)
	for _, method := range []string{"GET", "POST"} {
		for _, path := range []string{"/rest/api/2/issue", "/rest/agile/1.0/board"} {
			d := index.Decide(&authn.Request{
				Contract: authurl.Nginx, CallerKey: w.keys.Keys[authurl.Nginx][0], Site: authn.SiteName{Namespace: w.home, Name: "main"},
				Authorization: []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+x.plain))},
				Method:        method, Target: "/jira" + path,
			})
			verified := d.User != ""
			if must && !verified || verified && !may {
				w.fail("%s/%s at %s: a token issued at %s is answered %v %s; it must pass: %t, may: %t; replaced %t, from %s to %s",
					l.token.Namespace, l.token.Name, then.UTC(), x.issued.UTC(), d.Verdict, d.Reason, must, may, x.replaced, x.least.UTC(), x.most.UTC())
			}
			want := authn.Allow
			if method == "POST" && l.token.Spec.Access == tokensv1alpha1.AccessReadOnly ||
				path != "/rest/api/2/issue" && l.token.Spec.AllowedPaths != nil || !w.model.held[user] {
				want = authn.Forbidden
			}
			if verified && d.Verdict != want {
				w.fail("%s/%s: %s %s is answered %v %s, want %v", l.token.Namespace, l.token.Name, method, path, d.Verdict, d.Reason, want)
			}
		}
	}
}

// webhook returns the index of a webhook that has just started.
func (w *world) webhook(now func() time.Time) *authn.Index {
	w.Helper()
	index := authn.NewIndex(now)
	fed, err := feed.New(webhookConfig(w.T), feed.Config{Namespace: kubetest.SystemNamespace, CredentialsNamespace: kubetest.CredentialsNamespace},
		index, logr.Discard(), prometheus.NewRegistry())
	w.must(err)
	ctx, cancel := context.WithCancel(w.Context())
	done := make(chan error)
	go func() { done <- fed.Start(ctx) }()
	kubetest.Eventually(w.T, func() error { return fed.Ready(nil) })
	cancel()
	if err := <-done; err != nil {
		w.fail("%v", fmt.Errorf("feeding: %w", err))
	}
	return index
}
