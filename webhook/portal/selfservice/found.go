package selfservice

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
)

// Find is a text that a leak scanner takes for a token, and the URL at which it found it.
type Find struct{ Text, URL string }

// RevokeFound revokes the tokens whose secrets a scanner found, at whichever site, with their descendants. It tells the owners where
// they were found. It returns how many it revoked. A text that is no token, or one of a token that is gone, changes nothing: a
// message may come twice.
//
// The scanner names the service whose message this is. The caller has verified that it is.
func (s *Service) RevokeFound(ctx context.Context, r *http.Request, site *Site, scanner string, finds []Find) (n int, err error) {
	found, err := s.locateFinds(ctx, finds)
	if err != nil {
		return 0, err
	}
	var failed []error // one site is no reason to leave the tokens of another alive
	_, target := Mounted(r)
	for at, doomed := range found {
		c := s.Anonymous(r, site, target)
		c.Site, c.scanner = nameOnly(at), scanner
		revoked, err := s.revoke(ctx, c, doomed, true)
		n, failed = n+revoked, append(failed, err)
	}
	return n, errors.Join(failed...)
}

// nameOnly returns a site that revocation can work with, even if it is not served any more.
func nameOnly(at authn.SiteName) *Site {
	return &Site{AtlassianSite: &tokensv1alpha1.AtlassianSite{ObjectMeta: metav1.ObjectMeta{Namespace: at.Namespace, Name: at.Name}}}
}

// foundBySite are the tokens of which a secret was found.
type foundBySite map[authn.SiteName][]doomed

func (f foundBySite) add(at authn.SiteName, d doomed, where string) {
	if !slices.ContainsFunc(f[at], func(known doomed) bool { return known.uid == d.uid }) {
		d.found, d.foundAt = true, where
		f[at] = append(f[at], d)
	}
}

// locateFinds returns the tokens that the texts are secrets of. It asks the API server only about those that the portal has not seen.
func (s *Service) locateFinds(ctx context.Context, finds []Find) (foundBySite, error) {
	found, unseen := foundBySite{}, map[string][]Find{} // by token id
	for _, f := range finds {
		id, ok := token.Parse([]byte(f.Text))
		if !ok {
			continue
		}
		if !s.addSeen(found, string(id), f) {
			unseen[string(id)] = append(unseen[string(id)], f)
		}
	}
	ids := make([]string, 0, len(unseen))
	for id := range unseen {
		ids = append(ids, id)
	}
	for batch := range slices.Chunk(ids, maxIDs) {
		if err := s.addStored(ctx, found, batch, unseen); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// addSeen adds the token in the index that a text is a secret of, and reports whether there is one.
func (s *Service) addSeen(found foundBySite, id string, f Find) (seen bool) {
	for _, t := range s.Objects.OfTokenID(id) {
		at := authn.SiteName{Namespace: t.SiteNamespace(), Name: t.Spec.SiteRef.Name}
		if name, known := s.Index.Presented(at, []byte(f.Text)); known && name.UID == string(t.UID) {
			found.add(at, s.doomedOf(t), place(f.URL))
			seen = true
		}
	}
	return seen
}

// maxIDs is how many token ids one list of the API server looks for. A list reads every record, whatever it looks for.
const maxIDs = 100

// addStored adds the tokens with these ids that the API server has, as storedWithTokenID does for one.
func (s *Service) addStored(ctx context.Context, found foundBySite, ids []string, finds map[string][]Find) error {
	leave, ok := s.lookups.enter(ctx)
	if !ok {
		return errTooManyPresented
	}
	defer leave()
	sought, err := labels.NewRequirement(record.LabelTokenID, selection.In, ids)
	if err != nil {
		return fmt.Errorf("looking for records: %w", err)
	}
	return s.eachStored(ctx, client.MatchingLabelsSelector{Selector: labels.NewSelector().Add(*sought)}, func(r *record.Record) bool {
		return firstFind(r, finds) != nil
	}, func(r *record.Record, d doomed) {
		found.add(authn.SiteName(r.Site), d, place(firstFind(r, finds).URL))
	})
}

// firstFind returns the first find that is a secret of a record.
func firstFind(r *record.Record, finds map[string][]Find) *Find {
	of := finds[r.TokenID]
	if i := slices.IndexFunc(of, func(f Find) bool { return r.Verify([]byte(f.Text)) >= 0 }); i >= 0 {
		return &of[i]
	}
	return nil
}

// maxPlace is the longest URL of a find that is shown, in bytes.
const maxPlace = 512

// place returns the URL of a find as it may be shown. Everybody who commits a file chooses its path: a URL that is long, or that has
// a token in it, is cut to its host, and what is no URL of the web is dropped.
func place(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return ""
	}
	host := url.URL{Scheme: u.Scheme, Host: u.Host}
	shown := host
	shown.Path, shown.RawPath, shown.Fragment = u.Path, u.RawPath, u.Fragment
	for _, candidate := range []string{shown.String(), host.String()} {
		if _, secret := token.Find(candidate); !secret && len(candidate) <= maxPlace {
			return candidate
		}
	}
	return ""
}

// tellOwner writes an Event about a token that was revoked because it, or one that made it, was found. The log has a line in any
// case, so an Event that cannot be written is no reason to fail. A scanner that has gone away is none to leave it out: the token is
// deleted, and a second message would not find it.
func (s *Service) tellOwner(ctx context.Context, c *Caller, d doomed) {
	own, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTimeout)
	defer cancel()
	what := "the API token with which this one was made"
	switch {
	case d.foundAt != "":
		what = "this API token at " + d.foundAt
	case d.found:
		what = "this API token"
	}
	event := &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, GenerateName: d.Name + "-"}, EventTime: metav1.NewMicroTime(s.Clock.Now()),
		ReportingController: eventReporter, ReportingInstance: eventReporter, Type: corev1.EventTypeWarning,
		Reason: ReasonLeaked, Action: "Revoke", Note: c.scanner + " reported that it found " + what + ". It was revoked. Look for its use in the log.",
		Regarding: corev1.ObjectReference{
			APIVersion: tokensv1alpha1.GroupVersion.String(), Kind: "APIToken", Namespace: d.Namespace, Name: d.Name, UID: d.uid,
		},
	}
	if err := s.Client.Create(own, event); err != nil {
		s.Logger.Error(err, "Writing the Event of a leaked token failed", "apiToken", d.String())
	}
}

const (
	// ReasonLeaked is the reason of the Event for a token that was revoked because a leak scanner found it. No condition has it: the
	// APIToken is gone.
	ReasonLeaked = "Leaked"
	// eventReporter is what the Events of the portal name as their source.
	eventReporter = "apitoken-portal"
)
