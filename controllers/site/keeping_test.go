package site_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/authurl"
)

// The caller keys of a deleted site are good for one of the same name, product and base URL, for 7 days. For another they are
// not, whether or not the controller saw the first one go.
func TestKeysOutliveTheSite(t *testing.T) {
	other := func(s *tokensv1alpha1.AtlassianSite) {
		s.Spec.BaseURL = "https://another." + s.Namespace + ".example/jira"
	}
	const week = 7 * 24 * time.Hour
	for name, tc := range map[string]struct {
		unseen bool
		after  time.Duration
		again  []func(*tokensv1alpha1.AtlassianSite)
		same   bool
	}{
		"the same":                 {same: true},
		"the same, unseen":         {unseen: true, same: true},
		"just before 7 days":       {after: week - time.Second, same: true},
		"after 7 days":             {after: week},
		"another product":          {again: []func(*tokensv1alpha1.AtlassianSite){ofConfluence}},
		"another product, unseen":  {unseen: true, again: []func(*tokensv1alpha1.AtlassianSite){ofConfluence}},
		"another base URL":         {again: []func(*tokensv1alpha1.AtlassianSite){other}},
		"another base URL, unseen": {unseen: true, again: []func(*tokensv1alpha1.AtlassianSite){other}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.site("main")
			w.reconcile(s)
			key := w.expectAuthURLs(s)
			w.remove(s.DeepCopy())
			if !tc.unseen {
				if result, err := w.pass(w.reconciler, s); err != nil || result.RequeueAfter != week {
					t.Fatalf("the pass ended with %+v, %v", result, err)
				}
				w.expectNothingKept(s)
			}
			w.later(tc.after)
			s = w.site("main", tc.again...)
			w.reconcile(s)
			if now := w.expectAuthURLs(s); (now == key) != tc.same {
				t.Errorf("the key is the same: %t", now == key)
			}
			w.expectIdle(s)
		})
	}
}

// After 7 days nothing is left of the caller keys of a deleted site, and its name is remembered.
func TestKeysGoAtLast(t *testing.T) {
	w := newWorld(t)
	s := w.site("main")
	w.reconcile(s)
	w.remove(s.DeepCopy())
	for _, left := range []time.Duration{7 * 24 * time.Hour, time.Second, 0} {
		if result, err := w.pass(w.reconciler, s); err != nil || result.RequeueAfter != left {
			t.Errorf("the pass ended with %+v, %v, want %s", result, err, left)
		}
		if (w.keysSecret(s) == nil) != (left == 0) || w.memorySecret("main") == nil {
			t.Errorf("%s before the end: keys %v, memory %v", left, w.keysSecret(s), w.memorySecret("main"))
		}
		if left > time.Second {
			w.later(left - time.Second)
		} else {
			w.later(left)
		}
	}
}

// The cache may not know yet that a site is there.
func TestWhatIsMissingInTheCacheIsNotGone(t *testing.T) {
	w := newWorld(t)
	s := w.site("main")
	w.reconcile(s)
	key, version := w.expectAuthURLs(s), w.projectionSecret(s).ResourceVersion
	lagging := *w.reconciler
	notFound := apierrors.NewNotFound(schema.GroupResource{Resource: "atlassiansites"}, s.Name)
	lagging.Client = interceptor.NewClient(w.api, interceptor.Funcs{
		Get: failingGet(notFound, func(k client.ObjectKey) bool { return k == client.ObjectKeyFromObject(s) }),
	})
	if result, err := w.pass(&lagging, s); err != nil || result.RequeueAfter != time.Second {
		t.Errorf("the pass ended with %+v, %v", result, err)
	}
	if w.expectAuthURLs(s) != key || w.projectionSecret(s).ResourceVersion != version {
		t.Error("something of the site was removed")
	}
}

// Keys of an earlier version, which kept them beside the records, are moved with their values.
func TestKeysOfAnEarlierVersionAreMoved(t *testing.T) {
	const stored = `{"namespace":"%","site":"main","keys":{"nginx":["ABCDEFGHIJKLMNOPQRSTUVWXYZ","234567ABCDEFGHIJKLMNOPQRSTUVWXYZ"]}}`
	for name, killed := range map[string]bool{"moved": false, "killed between the writes": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.site("main")
			earlier := &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.SystemNamespace, Name: authurl.KeysSecretName(w.ns, "main"), Labels: ourLabels(s)},
				Type:       authurl.KeysSecretType,
				Data:       map[string][]byte{authurl.KeysDataKey: []byte(strings.Replace(stored, "%", w.ns, 1))},
			}
			w.create(earlier)
			if killed {
				both := earlier.DeepCopy()
				both.Namespace, both.ResourceVersion = kubetest.CredentialsNamespace, ""
				w.create(both)
			}
			w.reconcile(s)
			w.expectReady(s, tokensv1alpha1.ReasonServing)
			if key := w.expectAuthURLs(s); key != "ABCDEFGHIJKLMNOPQRSTUVWXYZ" {
				t.Errorf("the key is %s", key)
			}
			if keys, err := w.storedKeys(s); err != nil || !keys.Served || len(keys.Keys[authurl.Nginx]) != 2 {
				t.Errorf("it became %+v, %v", keys, err)
			}
			if w.secret(earlier.Namespace, earlier.Name) != nil {
				t.Error("the earlier Secret, which the portal's account can read, is there still")
			}
			w.expectIdle(s)
		})
	}
}

// A requested rotation makes a new key once. The previous one works for 24 hours, and the condition says until when.
func TestRequestedRotation(t *testing.T) {
	w := newWorld(t)
	s := w.site("main")
	w.reconcile(s)
	first := w.expectAuthURLs(s)
	w.emitted()
	w.later(time.Hour)
	w.change(s, func(s *tokensv1alpha1.AtlassianSite) {
		s.Spec.CallerVerification.RotationRequestedTime = metav1.NewTime(w.clock.Now())
	})
	rotated := w.clock.Now().UTC()
	w.reconcile(s)
	second := w.expectAuthURLs(s)
	keys, err := w.storedKeys(s)
	if err != nil || second == first || len(keys.Keys[authurl.Nginx]) != 2 || !keys.Ends[first].Equal(rotated.Add(24*time.Hour)) {
		t.Fatalf("the keys are %+v, %v", keys, err)
	}
	want := "until " + rotated.Add(24*time.Hour).Format(time.RFC3339) + ": give the ingress the new auth URLs"
	if c := w.expectReady(s, tokensv1alpha1.ReasonServing); !strings.Contains(c.Message, want) {
		t.Errorf("message %q, want %q", c.Message, want)
	}
	if events := w.emitted(); len(events) != 1 || !strings.HasPrefix(events[0], "Normal CallerKeysRotated ") {
		t.Errorf("events %q", events)
	}
	w.expectIdle(s)
	w.later(24 * time.Hour)
	w.reconcile(s)
	if keys, err := w.storedKeys(s); err != nil || len(keys.Keys[authurl.Nginx]) != 1 || w.expectAuthURLs(s) != second {
		t.Errorf("the keys are %+v, %v", keys, err)
	}
	if c := w.expectReady(s, tokensv1alpha1.ReasonServing); strings.Contains(c.Message, "until") {
		t.Errorf("message %q", c.Message)
	}
	w.expectIdle(s)
}
