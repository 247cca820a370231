package feed

import (
	"crypto/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
)

// apiToken returns an APIToken of a user for the site jira/main.
func apiToken(name, uid, user string, mods ...func(*tokensv1alpha1.APIToken)) *tokensv1alpha1.APIToken {
	t := &tokensv1alpha1.APIToken{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(uid)}}
	t.Spec.SiteRef, t.Spec.User = tokensv1alpha1.SiteReference{Namespace: "jira", Name: "main"}, user
	for _, mod := range mods {
		mod(t)
	}
	return t
}

func beingDeleted(t *tokensv1alpha1.APIToken) { t.DeletionTimestamp = new(metav1.Now()) }
func malformed(t *tokensv1alpha1.APIToken)    { t.Malformed = "malformed" }

// What is kept follows the API server, also where the index takes nothing.
func TestObjectsAreKept(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*source) error
		want   []string // UIDs of alice's
	}{
		"nothing changes":  {(*source).Resync, []string{"1", "2"}},
		"added":            {func(s *source) error { return s.Add(apiToken("c", "3", "alice")) }, []string{"1", "2", "3"}},
		"of another user":  {func(s *source) error { return s.Add(apiToken("c", "3", "bob")) }, []string{"1", "2"}},
		"of another case":  {func(s *source) error { return s.Add(apiToken("c", "3", "ALICE")) }, []string{"1", "2", "3"}},
		"malformed":        {func(s *source) error { return s.Update(apiToken("a", "1", "alice", malformed)) }, []string{"1", "2"}},
		"deleted":          {func(s *source) error { return s.Delete(apiToken("a", "1", "alice")) }, []string{"2"}},
		"being deleted":    {func(s *source) error { return s.Update(apiToken("a", "1", "alice", beingDeleted)) }, []string{"2"}},
		"another's delete": {func(s *source) error { return s.Delete(apiToken("a", "9", "alice")) }, []string{"1", "2"}},
		"given to another": {func(s *source) error { return s.Update(apiToken("a", "1", "bob")) }, []string{"2"}},
		"relisted": {func(s *source) error {
			return s.Replace([]any{apiToken("a", "7", "alice"), apiToken("d", "4", "alice", malformed)}, "")
		}, []string{"4", "7"}},
		"relisted one by one": {func(s *source) error {
			return relist(s, 2, apiToken("a", "7", "alice"), apiToken("d", "4", "alice", malformed))
		}, []string{"4", "7"}},
		"relisted empty": {func(s *source) error { return s.Replace(nil, "") }, nil},
	} {
		index, objects := authn.NewIndex(time.Now), NewObjects()
		s := &source{
			name: "apitokens", log: logr.Discard(), synced: make(chan struct{}), metrics: newMetrics(prometheus.NewRegistry(), index),
			store: keepingTokens{newTokens(index, ""), objects.apiTokens, ""},
		}
		if err := s.Replace([]any{apiToken("a", "1", "alice"), apiToken("b", "2", "alice", malformed)}, ""); err != nil {
			t.Fatal(err)
		}
		if err := tc.change(s); err != nil {
			t.Fatal(err)
		}
		site := authn.SiteName{Namespace: "jira", Name: "main"}
		var got []string
		for _, one := range objects.OwnedBy(site, "alice") {
			got = append(got, string(one.UID))
			if found := objects.APIToken(types.NamespacedName{Namespace: one.Namespace, Name: one.Name}); found == nil || found.UID != one.UID {
				t.Errorf("%s: %s is not found by name", name, one.Name)
			}
			if !slices.Contains(ofSite(objects, site), string(one.UID)) {
				t.Errorf("%s: %s is not found by site", name, one.Name)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: kept are %q, want %q", name, got, tc.want)
		}
		if known := index.TokenUIDs(""); strings.HasPrefix(name, "relisted") && len(known) != len(tc.want) {
			t.Errorf("%s: the index has %q, want %q", name, known, tc.want)
		}
	}
}

// ofSite returns the UIDs of the APITokens of a site.
func ofSite(o *Objects, site authn.SiteName) (uids []string) {
	o.Summaries(site, func(s Summary) bool {
		uids = append(uids, s.UID)
		return true
	})
	return uids
}

// With one source for each namespace, a list of one leaves the objects of the others alone.
func TestSourcesOfNamespaces(t *testing.T) {
	index, objects := authn.NewIndex(time.Now), NewObjects()
	m := newMetrics(prometheus.NewRegistry(), index)
	sources := map[string]*source{}
	for _, namespace := range []string{"jira", "team-a"} {
		from := func(name string, _ client.ObjectList, _ client.Object, s store, scope ...client.ListOption) *source {
			if got := (&client.ListOptions{}).ApplyOptions(scope).Namespace; got != namespace || !strings.HasSuffix(name, "/"+namespace) {
				t.Errorf("the source %s of %s lists the namespace %q", name, namespace, got)
			}
			return &source{name: name, log: logr.Discard(), synced: make(chan struct{}), metrics: m, store: s}
		}
		for _, s := range declared(from, index, objects, namespace) {
			sources[s.name] = s
		}
		elsewhere := apiToken("a", "1-"+namespace, "alice", func(a *tokensv1alpha1.APIToken) { a.Namespace = namespace })
		if err := sources["apitokens/"+namespace].Replace([]any{elsewhere}, ""); err != nil {
			t.Fatal(err)
		}
	}
	kept := func() (found []string) {
		for _, namespace := range []string{"jira", "team-a"} {
			if one := objects.APIToken(types.NamespacedName{Namespace: namespace, Name: "a"}); one != nil {
				found = append(found, string(one.UID))
			}
		}
		return found
	}
	if got := kept(); !slices.Equal(got, []string{"1-jira", "1-team-a"}) {
		t.Errorf("after two lists there are %q", got)
	}
	if err := sources["apitokens/jira"].Replace(nil, ""); err != nil {
		t.Fatal(err)
	}
	if got := kept(); !slices.Equal(got, []string{"1-team-a"}) {
		t.Errorf("after an empty list of jira there are %q", got)
	}
}

// APITokens are found by the user key and the token id in their records as long as both exist.
func TestObjectsAreFoundByTheirRecords(t *testing.T) {
	index, objects := authn.NewIndex(time.Now), NewObjects()
	site := authn.SiteName{Namespace: "jira", Name: "main"}
	tokens, records := keepingTokens{newTokens(index, ""), objects.apiTokens, ""}, newKeyed(index, &objects.records)
	stored := func(key string) *corev1.Secret {
		t.Helper()
		_, entry, err := record.Mint("asp_0123456789abcdef", record.Delivered, time.Now(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		data, err := (&record.Record{
			TokenID: "asp_0123456789abcdef", User: "alice", UserKey: key, Portal: true, Entries: []record.Entry{entry},
			Site: record.Ref(site), APIToken: record.Ref{Namespace: "ns", Name: "a"},
		}).Encode()
		if err != nil {
			t.Fatal(err)
		}
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "1", UID: "record"}, Data: map[string][]byte{record.DataKey: data}}
	}
	put := func(s store, o client.Object) func() { return func() { _ = put(s, o) } } // one of them cannot be read
	damaged := stored("K1")
	damaged.Data = nil
	for _, step := range []struct {
		name   string
		change func()
		of     map[string]int
		byID   int
	}{
		{"the record came first", put(records, stored("K1")), map[string]int{"K1": 0}, 0},
		{"both came", put(tokens, apiToken("a", "1", "alice")), map[string]int{"K1": 1, "": 0}, 1},
		{"the key changed", put(records, stored("K2")), map[string]int{"K1": 0, "K2": 1}, 1},
		{"the key is gone", put(records, stored("")), map[string]int{"K2": 0, "": 0}, 1},
		{"the key came back", put(records, stored("K1")), map[string]int{"K1": 1}, 1},
		{"the record is damaged", put(records, damaged), map[string]int{"K1": 0}, 0},
		{"the record was mended", put(records, stored("K1")), map[string]int{"K1": 1}, 1},
		{"the record is gone", func() { records.remove(keyOf(damaged)) }, map[string]int{"K1": 0}, 0},
	} {
		step.change()
		for key, want := range step.of {
			if got := len(objects.OfKey(site, key)); got != want {
				t.Errorf("%s: %d of %q, want %d", step.name, got, key, want)
			}
		}
		if got := len(objects.OfTokenID("asp_0123456789abcdef")); got != step.byID || len(objects.OfTokenID("asp_fedcba9876543210")) != 0 {
			t.Errorf("%s: %d have the token id, want %d", step.name, got, step.byID)
		}
	}
	if len(objects.records.byKey)+len(objects.records.byID) != 0 {
		t.Errorf("kept are %v and %v", objects.records.byKey, objects.records.byID)
	}
}

// A new list takes away what it does not have, also what cannot be read, with what it is found by.
func TestManyAreListedAgain(t *testing.T) {
	index, objects := authn.NewIndex(time.Now), NewObjects()
	m := newMetrics(prometheus.NewRegistry(), index)
	from := func(name string, s store) *source {
		return &source{name: name, log: logr.Discard(), synced: make(chan struct{}), metrics: m, store: s}
	}
	tokens, records := from("apitokens", newTokens(index, "")), from("records", newKeyed(index, &objects.records))
	stored := func(name string) *corev1.Secret {
		id, err := token.NewID(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		_, entry, err := record.Mint(id, record.Delivered, time.Now(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		data, err := (&record.Record{
			TokenID: id, User: "alice", UserKey: "K", Portal: true, Entries: []record.Entry{entry},
			Site: record.Ref{Namespace: "jira", Name: "main"}, APIToken: record.Ref{Namespace: "ns", Name: name},
		}).Encode()
		if err != nil {
			t.Fatal(err)
		}
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("record-" + name)}, Data: map[string][]byte{record.DataKey: data}}
	}
	list := func(s *source, objects ...any) {
		if err := s.Replace(objects, ""); err != nil {
			t.Fatal(err)
		}
	}
	list(tokens, apiToken("a", "a", "alice"), apiToken("b", "b", "alice", malformed), apiToken("c", "c", "alice"))
	list(records, stored("a"), stored("c"))
	list(tokens, apiToken("c", "c", "alice"))
	list(records, stored("c"), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "a", UID: "damaged"}})
	if uids := index.TokenUIDs(""); !slices.Equal(uids, []string{"c"}) {
		t.Errorf("the index has the APITokens %q", uids)
	}
	if uids := index.RecordUIDs(); !slices.Equal(uids, []string{"c"}) {
		t.Errorf("the index has the records %q", uids)
	}
	if found := objects.records.ofKey(siteKey{authn.SiteName{Namespace: "jira", Name: "main"}, "K"}); !slices.Equal(found, []string{"c"}) {
		t.Errorf("the user key is that of %q", found)
	}
	list(records)
	if n := len(objects.records.byKey) + len(objects.records.byID) + len(index.RecordUIDs()); n != 0 {
		t.Errorf("%d are left", n)
	}
}

// An APIToken that is kept is shown as it is, but for what the portal does not show.
func TestKeptTokens(t *testing.T) {
	used, created := metav1.NewTime(time.Unix(1_700_000_100, 0)), metav1.NewTime(time.Unix(1_700_000_000, 0))
	usual := func(mods ...func(*tokensv1alpha1.APIToken)) *tokensv1alpha1.APIToken {
		return apiToken("a", "1", "Alice", append(mods, func(t *tokensv1alpha1.APIToken) { t.CreationTimestamp = created })...)
	}
	for name, object := range map[string]*tokensv1alpha1.APIToken{
		"usual": usual(),
		"in use": usual(func(t *tokensv1alpha1.APIToken) {
			t.Status.LastAccessedTime, t.Status.LastAccessedFrom = used, "10.0.0.1"
			t.Status.Conditions = []metav1.Condition{{Type: "Ready", Reason: "Issued"}}
		}),
		"with limits": usual(func(t *tokensv1alpha1.APIToken) {
			t.Spec.LifetimeDays, t.Spec.AllowedPaths, t.Spec.ExpirationTime = new(int32(7)), []string{"/rest/"}, used
			t.Spec.CreatedBy.Namespace, t.Spec.Label, t.Spec.Access = "team", "CI", tokensv1alpha1.AccessReadOnly
		}),
	} {
		if diff := cmp.Diff(object, newKeptToken(object.DeepCopy()).apiToken()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	hidden := usual(func(t *tokensv1alpha1.APIToken) {
		t.Spec.Delivery.SecretName, t.Spec.Rotation.IntervalDays = "s", new(int32(1))
		t.Spec.Credential.Imported = &tokensv1alpha1.ImportedCredential{SecretName: "s"}
	})
	if diff := cmp.Diff(usual(), newKeptToken(hidden).apiToken()); diff != "" {
		t.Errorf("what is not shown: %s", diff)
	}
}
