package site_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/projection"
)

func (w *world) memorySecret(name string) *corev1.Secret {
	w.Helper()
	return w.secret(kubetest.SystemNamespace, "memory."+w.ns+"."+name)
}

// projected returns the projection of a site.
func (w *world) projected(s *tokensv1alpha1.AtlassianSite) projection.Projection {
	w.Helper()
	stored := w.projectionSecret(s)
	if stored == nil {
		return projection.Projection{}
	}
	p, err := projection.Decode(stored.Data[projection.DataKey])
	if err != nil {
		w.Fatal(err)
	}
	return p
}

func issuedAfter(when time.Time) func(*tokensv1alpha1.AtlassianSite) {
	return func(s *tokensv1alpha1.AtlassianSite) { s.Spec.IssuedAfter = metav1.NewTime(when) }
}

// A site that is deleted and created again revives nothing, whether or not the controller saw it go. A token issued before the
// projected time is dead.
func TestEpochOutlivesTheSite(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	minute := now.Add(time.Minute)
	other := func(s *tokensv1alpha1.AtlassianSite) {
		s.Spec.BaseURL = "https://another." + s.Namespace + ".example/jira"
	}
	spelled := func(s *tokensv1alpha1.AtlassianSite) {
		s.Spec.BaseURL = strings.Replace(strings.Replace(s.Spec.BaseURL, "/jira", ":443/jira", 1), ".example", ".EXAMPLE", 1)
	}
	external := upstreamURL("https://jira.example/jira")
	type mods []func(*tokensv1alpha1.AtlassianSite)
	for name, tc := range map[string]struct {
		first, edited, again mods
		want                 time.Time // zero for none
		born                 bool      // tokens from before the new site are dead
	}{
		"no epoch":                           {},
		"an epoch":                           {first: mods{issuedAfter(now)}, want: now},
		"an epoch set later":                 {edited: mods{issuedAfter(minute)}, want: minute},
		"a lower one afterwards":             {first: mods{issuedAfter(minute)}, again: mods{issuedAfter(now)}, want: minute},
		"a higher one afterwards":            {first: mods{issuedAfter(now)}, again: mods{issuedAfter(minute)}, want: minute},
		"just remembered":                    {first: mods{issuedAfter(now.Add(24 * time.Hour))}, want: now.Add(24 * time.Hour)},
		"too far ahead":                      {first: mods{issuedAfter(now.Add(25 * time.Hour))}},
		"set while it was not served":        {edited: mods{external, issuedAfter(minute)}, want: minute},
		"another product":                    {again: mods{ofConfluence}, born: true},
		"another base URL":                   {again: mods{other}, born: true},
		"another base URL and a later epoch": {first: mods{issuedAfter(now.Add(time.Hour))}, again: mods{other}, want: now.Add(time.Hour)},
		"the same base URL, spelled anew":    {again: mods{spelled}},
		"edited in place, and back anew":     {edited: mods{other}, again: mods{}, born: true},
		"edited in place, and the same anew": {edited: mods{other}, again: mods{other}},
	} {
		for how, seen := range map[string]bool{"seen": true, "unseen": false} {
			t.Run(name+"/"+how, func(t *testing.T) {
				w := newWorld(t)
				w.clock.SetTime(now)
				first := w.site("main", tc.first...)
				w.reconcile(first)
				if tc.edited != nil {
					before := w.projected(first).IssuedAfter
					w.change(first, tc.edited...)
					w.reconcile(first)
					if now := w.projected(first).IssuedAfter; !now.Equal(before) && !now.Equal(first.Spec.IssuedAfter.Time) {
						t.Errorf("an edit in place killed everything before %s", now)
					}
				}
				w.remove(first.DeepCopy())
				if seen {
					if _, err := w.pass(w.reconciler, first); err != nil {
						t.Fatal(err)
					}
				}
				again := w.site("main", tc.again...)
				w.reconcile(again)
				want := tc.want
				if tc.born {
					want = again.CreationTimestamp.Add(time.Second)
				}
				if p := w.projected(again); types.UID(p.UID) != again.UID || !p.IssuedAfter.Equal(want) {
					t.Errorf("projected is %+v, want issuedAfter %s for %s", p, want, again.UID)
				}
				w.expectIdle(again)
			})
		}
	}
}

// The controller notes when the limits changed that decide about the removal of expired tokens, and nothing else.
func TestLimitsAreRemembered(t *testing.T) {
	w := newWorld(t)
	s := w.site("main")
	w.reconcile(s)
	since := w.projected(s).LimitsSince
	if !since.Equal(w.clock.Now()) {
		t.Errorf("of a new site it is %s", since)
	}
	days := new(int32(7))
	for _, step := range []struct {
		name    string
		change  func(*tokensv1alpha1.AtlassianSite)
		changes bool
	}{
		{"the longest life", func(s *tokensv1alpha1.AtlassianSite) { s.Spec.TokenPolicy.MaxLifetimeDays = days }, true},
		{"the usual life", func(s *tokensv1alpha1.AtlassianSite) { s.Spec.TokenPolicy.DefaultLifetimeDays = days }, true},
		{"the retention", func(s *tokensv1alpha1.AtlassianSite) { s.Spec.TokenPolicy.ExpiredRetentionDays = days }, true},
		{"no retention", func(s *tokensv1alpha1.AtlassianSite) { s.Spec.TokenPolicy.ExpiredRetentionDays = nil }, true},
		{"another limit", func(s *tokensv1alpha1.AtlassianSite) { s.Spec.TokenPolicy.MaxTokensPerUser = days }, false},
		{"a mistake besides", upstreamURL("https://jira.example/jira"), false},
		{"the life of a site that is not served", func(s *tokensv1alpha1.AtlassianSite) { s.Spec.TokenPolicy.MaxLifetimeDays = new(int32(8)) }, true},
	} {
		w.later(time.Hour)
		w.change(s, step.change)
		w.reconcile(s)
		if step.changes {
			since = w.clock.Now()
		}
		if now := w.projected(s).LimitsSince; !now.Equal(since) {
			t.Errorf("%s: it is %s, want %s", step.name, now, since)
		}
	}
}

// A new site with a mistake in it, and then without, is the site that was there before.
func TestMistakeInANewSiteLeavesNoTrace(t *testing.T) {
	w := newWorld(t)
	w.site("a-older")
	first := w.site("main")
	w.reconcile(first)
	w.remove(first.DeepCopy())
	right := first.Spec.BaseURL
	again := w.site("main", baseURL(kubetest.Site(w.ns, "a-older").Spec.BaseURL))
	w.reconcile(again)
	w.expectReady(again, tokensv1alpha1.ReasonBaseURLConflict)
	if p := w.projected(again); p.UID != string(first.UID) || p.UpstreamURL != "" {
		t.Errorf("projected of a site that is not served yet is %+v", p)
	}
	w.change(again, baseURL(right))
	w.reconcile(again)
	if p := w.projected(again); p.UID != string(again.UID) || !p.IssuedAfter.IsZero() {
		t.Errorf("projected is %+v", p)
	}
}

// An epoch far ahead kills, is told, and ends with the site. Time makes it one that counts for good.
func TestEpochFarAhead(t *testing.T) {
	w := newWorld(t)
	now := w.clock.Now()
	s := w.site("main", issuedAfter(now.Add(48*time.Hour)))
	w.reconcile(s)
	c := w.expectReady(s, tokensv1alpha1.ReasonEpochFarAhead)
	if !strings.Contains(c.Message, "more than 24 hours ahead") || !strings.Contains(c.Message, "delete this AtlassianSite and create it again") {
		t.Errorf("message %q", c.Message)
	}
	w.expectIdle(s)
	if p := w.projected(s); !p.IssuedAfter.IsZero() {
		t.Errorf("it is remembered: %+v", p)
	}
	w.clock.SetTime(now.Add(25 * time.Hour))
	w.reconcile(s)
	w.expectReady(s, tokensv1alpha1.ReasonServing)
	if p := w.projected(s); !p.IssuedAfter.Equal(s.Spec.IssuedAfter.Time) {
		t.Errorf("it is not remembered: %+v", p)
	}
	w.remove(s.DeepCopy())
	s = w.site("main")
	w.reconcile(s)
	if c := w.expectReady(s, tokensv1alpha1.ReasonServing); !strings.Contains(c.Message, "because of an earlier AtlassianSite of this name") {
		t.Errorf("message %q", c.Message)
	}
}

// A product that hangs holds the pass over its site. An epoch that is set meanwhile counts, also if the site is deleted and created
// again before the next pass.
func TestEpochThatNoPassSaw(t *testing.T) {
	w := newWorld(t)
	hanging, answer := make(chan struct{}, 8), make(chan struct{})
	w.serve("slow", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		hanging <- struct{}{}
		<-answer
	}))
	w.manage()
	s := w.site("main", upstreamURL(w.origin("slow")+"/jira"))
	<-hanging
	epoch := w.clock.Now().UTC().Truncate(time.Second)
	if err := env.Admin.Get(t.Context(), client.ObjectKeyFromObject(s), s); err != nil {
		t.Fatal(err)
	}
	w.change(s, issuedAfter(epoch))
	w.remove(s)
	s = w.site("main")
	close(answer)
	kubetest.Eventually(t, func() error {
		if p := w.projected(s); types.UID(p.UID) != s.UID || !p.IssuedAfter.Equal(epoch) {
			return fmt.Errorf("projected is %+v, want %s", p, epoch)
		}
		return nil
	})
}

// The epoch of a site that waits for its end is remembered too.
func TestEpochOfASiteInDeletion(t *testing.T) {
	w := newWorld(t)
	s := w.site("main", func(s *tokensv1alpha1.AtlassianSite) { s.Finalizers = []string{"example.com/kept"} })
	w.reconcile(s)
	w.remove(s.DeepCopy())
	now := w.clock.Now().UTC().Truncate(time.Second)
	for _, mods := range [][]func(*tokensv1alpha1.AtlassianSite){nil, {issuedAfter(now)}} {
		if mods != nil {
			w.change(s, mods...)
		}
		if _, err := w.pass(w.reconciler, s); err != nil {
			t.Fatal(err)
		}
	}
	w.change(s, func(s *tokensv1alpha1.AtlassianSite) { s.Finalizers = nil })
	s = w.site("main")
	w.reconcile(s)
	if p := w.projected(s); !p.IssuedAfter.Equal(now) {
		t.Errorf("projected is %+v, want %s", p, now)
	}
}

// A memory that is damaged stops what rests on it, and what was projected stays. One that was deleted comes back from there.
func TestDamagedMemory(t *testing.T) {
	epoch := time.Now().UTC().Truncate(time.Second)
	for name, damage := range map[string]func(w *world, m *corev1.Secret){
		"empty": func(w *world, m *corev1.Secret) { w.setData(m, nil) },
		"truncated": func(w *world, m *corev1.Secret) {
			w.setData(m, map[string][]byte{"memory.json": []byte(`{"namespace":`)})
		},
		"another site's": func(w *world, m *corev1.Secret) { w.setData(m, w.memorySecret("other").Data) },
		"foreign": func(w *world, m *corev1.Secret) {
			w.remove(m)
			w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name}, Data: m.Data})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s, other := w.site("main", issuedAfter(epoch)), w.site("other")
			w.reconcile(s)
			w.reconcile(other)
			before := w.projected(s)
			damage(w, w.memorySecret("main"))
			w.reconcile(s)
			c := w.expectReady(s, tokensv1alpha1.ReasonSiteMemoryDamaged)
			if !strings.Contains(c.Message, "'"+kubetest.SystemNamespace+"/memory."+w.ns+".main'") || !strings.Contains(c.Message, "delete it") {
				t.Errorf("message %q", c.Message)
			}
			if w.projected(s) != before {
				t.Errorf("projected is %+v", w.projected(s))
			}
			w.remove(w.memorySecret("main"))
			w.reconcile(s)
			w.expectReady(s, tokensv1alpha1.ReasonServing)
			w.remove(s.DeepCopy())
			s = w.site("main")
			w.reconcile(s)
			if p := w.projected(s); types.UID(p.UID) != s.UID || !p.IssuedAfter.Equal(epoch) {
				t.Errorf("projected is %+v", p)
			}
		})
	}
}

// What cannot be remembered is not projected: the UID of the new site least of all.
func TestUnrememberedIsNotProjected(t *testing.T) {
	w := newWorld(t)
	first := w.site("main")
	w.reconcile(first)
	w.remove(first.DeepCopy())
	again := w.site("main", ofConfluence)
	w.expectRefused(w.refusing("apitokens.dev/site-memory"), again, tokensv1alpha1.ReasonWriteRefused)
	if p := w.projected(again); p.UID != string(first.UID) {
		t.Errorf("projected is %+v", p)
	}
}
