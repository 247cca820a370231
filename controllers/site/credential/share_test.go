package credential

import (
	"context"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/index"
	"apitokens.dev/operator/controllers/internal/owned"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/enrolment"
	"apitokens.dev/operator/internal/upstream"
)

// secrets are an API server with Secrets, and a cache of them that is never late. It counts the requests.
type secrets struct {
	client.Client

	mu       sync.Mutex
	stored   map[types.NamespacedName]*corev1.Secret
	kept     map[string]map[types.NamespacedName]bool
	requests int
}

func newSecrets() *secrets {
	return &secrets{stored: map[types.NamespacedName]*corev1.Secret{}, kept: map[string]map[types.NamespacedName]bool{}}
}

// put stores a Secret, under a new version.
func (s *secrets) put(secret *corev1.Secret) {
	name, key := client.ObjectKeyFromObject(secret), index.Keys[index.ByKept](secret)
	version, _ := strconv.Atoi(secret.ResourceVersion)
	secret.ResourceVersion = strconv.Itoa(version + 1)
	s.stored[name] = secret.DeepCopy()
	if s.kept[key] == nil {
		s.kept[key] = map[types.NamespacedName]bool{}
	}
	s.kept[key][name] = true
}

// Get implements client.Reader.
func (s *secrets) Get(_ context.Context, name client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.stored[name]
	if found == nil {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, name.String())
	}
	reflect.ValueOf(into).Elem().Set(reflect.ValueOf(found.DeepCopy()).Elem())
	return nil
}

// List implements client.Reader. Each user has an APIToken.
func (s *secrets) List(_ context.Context, list client.ObjectList, opts ...client.ListOption) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var o client.ListOptions
	o.ApplyOptions(opts)
	switch list := list.(type) {
	case *tokensv1alpha1.APITokenList:
		list.Items = make([]tokensv1alpha1.APIToken, 1)
	case *corev1.SecretList:
		for name := range s.kept[o.FieldSelector.Requirements()[0].Value] {
			if name.Namespace == o.Namespace {
				list.Items = append(list.Items, *s.stored[name].DeepCopy())
			}
		}
	}
	return nil
}

// Create implements client.Writer.
func (s *secrets) Create(_ context.Context, o client.Object, _ ...client.CreateOption) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	s.put(o.(*corev1.Secret))
	return nil
}

// Update implements client.Writer.
func (s *secrets) Update(_ context.Context, o client.Object, _ ...client.UpdateOption) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	if s.stored[client.ObjectKeyFromObject(o)].ResourceVersion != o.GetResourceVersion() {
		return apierrors.NewConflict(schema.GroupResource{Resource: "secrets"}, o.GetName(), nil)
	}
	s.put(o.(*corev1.Secret))
	return nil
}

// live counts what is read.
type live struct{ *secrets }

func (l live) Get(ctx context.Context, name client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	l.mu.Lock()
	l.requests++
	l.mu.Unlock()
	return l.secrets.Get(ctx, name, into, opts...)
}

// lasting is a product that goes on answering the same.
type lasting struct {
	Product

	refuses bool
	mu      sync.Mutex
	made    int64
}

func (p *lasting) WhoAmI(_ context.Context, _ atlassian.Upstream, as atlassian.Credential) (atlassian.User, error) {
	if p.refuses {
		return atlassian.User{}, atlassian.ErrRefused
	}
	user, _, _ := strings.Cut(strings.TrimPrefix(as.Authorization, "Bearer "), ".")
	return atlassian.User{Name: user, Key: "K-" + user}, nil
}

func (p *lasting) CreatePAT(_ context.Context, _ atlassian.Upstream, as atlassian.Credential, _ string, _ int) (atlassian.PAT, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.made++
	user, _, _ := strings.Cut(strings.TrimPrefix(as.Authorization, "Bearer "), ".")
	return atlassian.PAT{ID: 1e6 + p.made, Token: fmt.Sprintf("%s.%d", user, p.made)}, nil
}

func (p *lasting) ListPATs(context.Context, atlassian.Upstream, atlassian.Credential) ([]atlassian.PAT, error) {
	return nil, nil
}

func (p *lasting) DeletePAT(context.Context, atlassian.Upstream, atlassian.Credential, int64) error {
	return nil
}

// oldWorld is a site with many copies, all of the same age.
type oldWorld struct {
	*testing.T
	*lasting

	api    *secrets
	clock  *testclock.FakePassiveClock
	keeper *Keeper
	site   *tokensv1alpha1.AtlassianSite
}

func newOldWorld(t *testing.T, copies int, age time.Duration, refuses bool) *oldWorld {
	t.Helper()
	w := &oldWorld{T: t, lasting: &lasting{refuses: refuses}, api: newSecrets(), clock: testclock.NewFakePassiveClock(noon)}
	w.site = &tokensv1alpha1.AtlassianSite{ObjectMeta: metav1.ObjectMeta{Namespace: "dev", Name: "main"}}
	w.site.Spec.UpstreamURL = here
	w.keeper = &Keeper{
		Client: w.api, Live: live{w.api}, Clock: w.clock, Product: w.lasting, Memory: NewMemory(), Namespace: "copies", StateNamespace: "states",
		IntakeNamespace: "intakes",
	}
	for i := range copies {
		user := fmt.Sprintf("u%d", i)
		c := upstream.Credential{
			Namespace: "dev", Site: "main", User: user, UserKey: "K-" + user, Origin: here, Token: user + ".0", Source: upstream.Enrolled, ID: int64(i + 1),
			Stored: noon.Add(-age).UTC(),
		}
		if refuses {
			c.Refused = c.Stored
		}
		e := describe(enrolment.Enrolment{Namespace: "dev", Site: "main", User: user}, &c, here)
		if e.Checked = c.Stored.Truncate(time.Second); !refuses {
			e.Name = user
		}
		held, errHeld := c.Encode()
		enrolled, errEnrolled := e.Encode()
		if errHeld != nil || errEnrolled != nil {
			t.Fatal(errHeld, errEnrolled)
		}
		w.store("copies", c.SecretName(), upstream.SecretType, upstream.DataKey, held)
		w.store("states", e.SecretName(), enrolment.SecretType, enrolment.DataKey, enrolled)
	}
	return w
}

func (w *oldWorld) store(namespace, name string, secretType corev1.SecretType, key string, data []byte) {
	w.api.put(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: owned.Labels(client.ObjectKeyFromObject(w.site))},
		Type:       secretType, Data: map[string][]byte{key: data},
	})
}

// minutes makes the passes of some minutes, two in each, as after an event. It returns the most requests in a minute.
func (w *oldWorld) minutes(n int) (most int) {
	w.Helper()
	for range n {
		before := w.api.requests
		for range 2 {
			w.clock.SetTime(w.clock.Now().Add(time.Minute / 2))
			if _, err := w.keeper.Reconcile(w.Context(), w.site, &atlassian.Upstream{Product: atlassian.Jira, URL: here}); err != nil {
				w.Fatal(err)
			}
		}
		most = max(most, w.api.requests-before)
	}
	return most
}

// oldest returns how long ago the enrolments say that the product answered, for the one that says the longest.
func (w *oldWorld) oldest() (oldest time.Duration) {
	w.Helper()
	for _, s := range w.api.stored {
		if s.Type == enrolment.SecretType {
			oldest = max(oldest, w.clock.Now().Sub(decodeEnrolment(s).Checked))
		}
	}
	return oldest
}

// While the product answers as it did, a controller asks the API server little, however long ago another one ended: all copies may be
// due at the same time, to be noted or to be renewed. Nothing is left over: in an hour all are noted, and in some days renewed.
func TestRequestsInAWorldOfAnyAge(t *testing.T) {
	const copies = 1500
	for _, tc := range []struct {
		age              time.Duration
		refuses, renewed bool
	}{{10 * time.Minute, false, false}, {2 * time.Hour, false, false}, {7 * time.Hour, false, false}, {day, true, false}, {61 * day, false, true}} {
		t.Run(fmt.Sprintf("%s, refused: %t", tc.age, tc.refuses), func(t *testing.T) {
			w := newOldWorld(t, copies, tc.age, tc.refuses)
			if most := w.minutes(62); most > leastShare {
				t.Errorf("%d requests in a minute, want at most %d", most, leastShare)
			}
			if !tc.renewed && w.oldest() > heardPeriod {
				t.Errorf("the oldest note is of %s ago", w.oldest())
			}
			if tc.renewed != (w.made >= 100) {
				t.Errorf("%d were renewed", w.made)
			}
		})
	}
}

// A site has a part of its copies in each minute, and what it leaves is for the same minute. The clock may step.
func TestShare(t *testing.T) {
	m, site := NewMemory(), types.NamespacedName{Namespace: "dev", Name: "main"}
	for _, tc := range []struct {
		at     time.Duration
		copies int
		want   int64
		left   int64
	}{
		{0, 24_000, 100, 40},
		{59 * time.Second, 24_000, 40, -1},
		{59 * time.Second, 24_000, 0, 0},
		{60 * time.Second, 24_000, 100, 7},
		{150 * time.Second, 24_000, 150, 7},
		{time.Hour, 24_000, 100, 7},
		{time.Minute, 24_000, 100, 100},
		{2 * time.Minute, 3, leastShare, 0},
	} {
		if got := m.share(site, tc.copies, noon.Add(tc.at)); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.at, got, tc.want)
		}
		m.keepShare(site, tc.left)
	}
}

// Another writer is not overwritten by a note from a cache that is late, and it is no error.
func TestNoteFromALateCache(t *testing.T) {
	w := newOldWorld(t, 1, 7*time.Hour, false)
	cached := newSecrets()
	for name, s := range w.api.stored {
		cached.put(s.DeepCopy())
		w.api.stored[name].ResourceVersion = "9"
	}
	late := &lateCache{secrets: w.api, cached: cached}
	w.keeper.Client = late
	w.minutes(62)
	if late.requests == 0 {
		t.Fatal("nothing was written")
	}
	if got := w.oldest(); got < 7*time.Hour {
		t.Errorf("a note of %s ago was overwritten", got)
	}
}

// lateCache reads what was stored before.
type lateCache struct {
	*secrets

	cached *secrets
}

func (l *lateCache) Get(ctx context.Context, name client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	return l.cached.Get(ctx, name, into, opts...)
}

func (l *lateCache) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	return l.cached.List(ctx, list, opts...)
}
