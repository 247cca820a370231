package selfservice

import (
	"crypto/rand"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/feed"
	"apitokens.dev/operator/internal/record"
)

// oneOfMany are the objects of a site with so many APITokens that nothing may go through them all. It has that of alice.
type oneOfMany struct {
	Objects

	t      *testing.T
	alices *tokensv1alpha1.APIToken
}

// Summaries fails the test.
func (o oneOfMany) Summaries(authn.SiteName, func(feed.Summary) bool) {
	o.t.Error("a request goes through all APITokens of the site")
}

// OwnedBy implements Objects.
func (o oneOfMany) OwnedBy(_ authn.SiteName, user string) []*tokensv1alpha1.APIToken {
	if user != "alice" {
		return nil
	}
	return []*tokensv1alpha1.APIToken{o.alices}
}

// OfKey implements Objects.
func (oneOfMany) OfKey(authn.SiteName, string) []*tokensv1alpha1.APIToken { return nil }

// OfTokenID implements Objects.
func (o oneOfMany) OfTokenID(string) []*tokensv1alpha1.APIToken {
	return []*tokensv1alpha1.APIToken{o.alices}
}

// Lists and look-ups by id touch the tokens that they are about, and none of other sites.
func TestRequestsTouchTheirOwn(t *testing.T) {
	const id = "asp_DquJoZLwlsNJm6gU"
	_, entry, err := record.Mint(id, record.Delivered, time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	index := authn.NewIndex(time.Now)
	index.PutRecord("1", &record.Record{
		TokenID: id, User: "alice", Portal: true, Entries: []record.Entry{entry},
		Site: record.Ref{Namespace: "jira", Name: "main"}, APIToken: record.Ref{Namespace: "jira", Name: "a"},
	})
	object := &tokensv1alpha1.APIToken{ObjectMeta: metav1.ObjectMeta{Namespace: "jira", Name: "a", UID: "1"}}
	object.Spec.SiteRef.Name, object.Spec.User = "main", "alice"
	s := &Service{Index: index, Objects: oneOfMany{t: t, alices: object}}
	site := &Site{AtlassianSite: &tokensv1alpha1.AtlassianSite{ObjectMeta: metav1.ObjectMeta{Namespace: "jira", Name: "main"}}}
	caller := &Caller{Site: site, User: "alice"}
	if all := s.List(caller); len(all) != 1 || all[0].ID != id {
		t.Errorf("listed are %+v", all)
	}
	if one, err := s.Get(caller, id); err != nil || one.ID != id {
		t.Errorf("got %+v, %v", one, err)
	}
	found, err := s.withTokenID(t.Context(), site, id, caller.owner().has)
	if err != nil || len(found) != 1 || found[0].id != id {
		t.Errorf("found %+v, %v", found, err)
	}
}
