package selfservice

import (
	"crypto/rand"
	mathrand "math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/feed"
	"apitokens.dev/operator/internal/record"
)

// replaced has an APIToken that takes the place of another one while a search runs.
type replaced struct {
	Objects

	before feed.Summary
	now    *tokensv1alpha1.APIToken
}

func (r replaced) Summaries(_ authn.SiteName, yield func(feed.Summary) bool) { yield(r.before) }

func (r replaced) APIToken(types.NamespacedName) *tokensv1alpha1.APIToken { return r.now }

// A search shows what it found, and not another APIToken, of whichever site, that has the same name by then.
func TestSearchShowsWhatItFound(t *testing.T) {
	index := authn.NewIndex(time.Now)
	for uid, site := range map[string]string{"1": "main", "2": "secret"} {
		id := "asp_DquJoZLwlsNJm6g" + uid
		_, entry, err := record.Mint(id, record.Delivered, time.Now(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		index.PutRecord(uid, &record.Record{
			TokenID: id, User: "alice", Portal: true, Entries: []record.Entry{entry},
			Site: record.Ref{Namespace: "jira", Name: site}, APIToken: record.Ref{Namespace: "jira", Name: "ci"},
		})
	}
	name := types.NamespacedName{Namespace: "jira", Name: "ci"}
	now := &tokensv1alpha1.APIToken{ObjectMeta: metav1.ObjectMeta{Namespace: "jira", Name: "ci", UID: "2"}}
	now.Spec.SiteRef.Name, now.Spec.User = "secret", "alice"
	s := &Service{Index: index, Objects: replaced{before: feed.Summary{NamespacedName: name, UID: "1", User: "alice"}, now: now}}
	site := &tokensv1alpha1.AtlassianSite{ObjectMeta: metav1.ObjectMeta{Namespace: "jira", Name: "main"}}
	site.Spec.Administrators = []string{"root"}
	page, err := s.Search(&Caller{Site: &Site{AtlassianSite: site}, User: "root"}, Query{MaxResults: 10})
	if err != nil || len(page.Tokens) != 0 {
		t.Errorf("an administrator of site main sees %+v, %v", page.Tokens, err)
	}
}

// Each page of a search is that part of all matches, newest first.
func TestPagesOfMatches(t *testing.T) {
	random := mathrand.New(mathrand.NewPCG(1, 2))
	for range 300 {
		all := make([]match, random.IntN(60))
		for i := range all {
			all[i] = match{id: strconv.Itoa(i), created: time.Unix(int64(random.IntN(8)), 0)}
		}
		q := Query{StartAt: random.IntN(40), MaxResults: 1 + random.IntN(20)}
		found := matches{most: q.StartAt + q.MaxResults}
		for _, m := range all {
			found.add(m)
			if len(found.first) > 2*found.most {
				t.Fatalf("%d kept, for a page that ends at %d", len(found.first), found.most)
			}
		}
		slices.SortFunc(all, newestFirst)
		from := min(q.StartAt, len(all))
		if want, got := all[from:min(from+q.MaxResults, len(all))], found.page(q); found.total != len(all) || !slices.Equal(got, want) {
			t.Fatalf("%+v: %v of %d, want %v of %d", q, got, found.total, want, len(all))
		}
	}
}
