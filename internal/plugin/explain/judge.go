package explain

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/feed"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/siteurl"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/internal/username"
)

// objects are what the user may read of what the webhook reads. What is missing is assumed.
type objects struct {
	site  *tokensv1alpha1.AtlassianSite
	token *tokensv1alpha1.APIToken // nil: there is none
	// labels are those of the token's namespace; nil if they are not known.
	labels map[string]string
	// record is that of the token; nil if the user may not read it.
	record *record.Record
}

// asked is the request that is judged.
type asked struct {
	pasted

	// client is the client's address; empty if it is not known.
	client string
}

// judged is the answer of the decision, with what it was assumed from.
type judged struct {
	authn.Decision

	assumed []string
}

// callerKey is the caller key of the question: whether the real gateway has the right one cannot be seen from here.
const callerKey = "assumed"

// judge asks the same function as the webhook, about the objects that the user may read.
func judge(o objects, a asked, now time.Time) (judged, error) {
	site, err := feed.ReadSite(o.site)
	if err != nil {
		return judged{}, fmt.Errorf("reading the spec of the site: %w", err)
	}
	j := judged{assumed: []string{"The gateway asks the webhook, with the right caller key or certificate."}}
	ix := authn.NewIndex(func() time.Time { return now })
	site.CallerNames, site.TrustedHops = nil, 0 // --client is the address after the proxies
	if a.client == "" {
		j.assumeSource(&site.Limits)
	}
	j.namespace(&site, o, ix)
	ix.PutCallerKeys(site.Name, map[authurl.Contract][]string{authurl.Nginx: {callerKey}}, nil)
	ix.PutMemory(site.Name, authn.Memory{UID: site.UID})
	putLicence(ix, site, o.site, now)
	if o.token != nil {
		if err := j.token(ix, site, o, a, now); err != nil {
			return judged{}, err
		}
	}
	if served(o.site) {
		ix.PutSite(site)
	}
	ix.SetReady()
	j.Decision = ix.Decide(&authn.Request{
		Contract: authurl.Nginx, CallerKey: callerKey, Site: site.Name, Authorization: a.authorization, Cookies: a.cookies,
		Target: a.target, Method: a.method, Client: authn.Client{Address: a.client},
	})
	return j, nil
}

// assumeSource removes the networks from limits: nothing is known about the client.
func (j *judged) assumeSource(limits *authn.Limits) {
	if limits.Sources != nil {
		limits.Sources = nil
		j.assumed = append(j.assumed, "The client is in an allowed network: give --client to check its address.")
	}
}

// served reports whether the webhook answers for a site.
func served(s *tokensv1alpha1.AtlassianSite) bool {
	ready := apimeta.FindStatusCondition(s.Status.Conditions, tokensv1alpha1.ConditionReady)
	return ready == nil || ready.Reason != tokensv1alpha1.ReasonBaseURLConflict && ready.Reason != tokensv1alpha1.ReasonUpstreamNotAllowed
}

// readyReason returns the reason of the token's Ready condition.
func readyReason(t *tokensv1alpha1.APIToken) string {
	return cmp.Or(apimeta.FindStatusCondition(t.Status.Conditions, tokensv1alpha1.ConditionReady), &metav1.Condition{}).Reason
}

// namespace puts in the labels of the token's namespace. If they are not known, the condition of the token says whether they match.
func (j *judged) namespace(site *authn.Site, o objects, ix *authn.Index) {
	switch {
	case o.token == nil || o.token.Namespace == o.site.Namespace:
	case o.labels != nil:
		ix.PutNamespace(o.token.Namespace, o.labels)
	case o.site.Spec.AllowedNamespaces.From == tokensv1alpha1.NamespacesFromSelector:
		allowed := readyReason(o.token) != tokensv1alpha1.ReasonNamespaceNotAllowed
		site.AllowsNamespace = func(map[string]string) bool { return allowed }
		ix.PutNamespace(o.token.Namespace, map[string]string{})
		j.assumed = append(j.assumed, "The site allows the namespace, or not, as the condition of the token says: you may not read the Namespace.")
	}
}

func putLicence(ix *authn.Index, site authn.Site, s *tokensv1alpha1.AtlassianSite, now time.Time) {
	c := apimeta.FindStatusCondition(s.Status.Conditions, tokensv1alpha1.ConditionLicensed)
	if c == nil {
		return // the operator does not verify licences
	}
	ix.RequireLicenses()
	l := authn.License{Products: []string{site.Product}, Expires: now.Add(time.Hour)}
	if c.Status != metav1.ConditionTrue {
		l = authn.License{Invalid: authn.Reason("Invalid" + c.Reason)}
	}
	ix.PutLicense(site.Name, l)
}

// token puts in the token, its record and what its owner acts with.
func (j *judged) token(ix *authn.Index, site authn.Site, o objects, a asked, now time.Time) error {
	t, err := feed.ReadToken(o.token)
	if err != nil {
		return fmt.Errorf("reading the spec of the APIToken: %w", err)
	}
	if a.client == "" {
		j.assumeSource(&t.Limits)
	}
	reason := readyReason(o.token)
	r := o.record
	if r == nil {
		// As a generated one, it is found by the id, which imported ones have too.
		t.Imported, t.Portal = false, false
		if r, err = j.assumeRecord(o.token, a, now); err != nil {
			return err
		}
	}
	if o.token.DeletionTimestamp.IsZero() {
		ix.PutToken(t)
	}
	held := authn.UpstreamCredential{Site: site.Name, User: username.Fold(t.User), Authorization: "Bearer assumed", Origin: site.Origin}
	switch {
	case reason == tokensv1alpha1.ReasonOwnerChanged && r != nil:
		r.UserKey, held.UserKey = "before", "now"
	case j.upstreamChanged(o):
		held.Origin = "another"
	}
	if r != nil {
		ix.PutRecord(t.UID, r)
	}
	if reason != tokensv1alpha1.ReasonUpstreamCredentialMissing {
		ix.PutUpstreamCredential(held)
	}
	return nil
}

// upstreamChanged reports whether the site says that personal access tokens of the owner came from another server.
func (j *judged) upstreamChanged(o objects) bool {
	c := apimeta.FindStatusCondition(o.site.Status.Conditions, tokensv1alpha1.ConditionUpstreamCredentialsReady)
	return c != nil && c.Reason == tokensv1alpha1.ReasonUpstreamChanged && strings.Contains(c.Message, username.Fold(o.token.Spec.User))
}

// unissued are the conditions of a token without a secret that could authenticate.
var unissued = map[string]bool{
	tokensv1alpha1.ReasonRecordMissing: true, tokensv1alpha1.ReasonRecordDamaged: true, tokensv1alpha1.ReasonRecordOrphaned: true,
	tokensv1alpha1.ReasonDeliveryConflict: true,
}

// assumeRecord returns the record that the token would have, if the pasted secret is its own. It returns nil for a token that was
// never issued.
func (j *judged) assumeRecord(t *tokensv1alpha1.APIToken, a asked, now time.Time) (*record.Record, error) {
	if t.Status.TokenID == "" || unissued[readyReason(t)] {
		return nil, nil
	}
	text := a.secretOf(t.Status.TokenID)
	if text == "" { // the request has none, so that any will do
		var err error
		if text, err = token.New(t.Status.TokenID, rand.Reader); err != nil {
			return nil, errors.New("making a secret to judge with: the token id in the status is malformed")
		}
	}
	j.assumed = append(j.assumed, "The secret is the token's present one: you may not read its record.")
	hash, err := record.NewHash(text, rand.Reader)
	if err != nil {
		return nil, err
	}
	issued := t.Status.IssuedTime.Time
	if issued.IsZero() {
		issued = t.CreationTimestamp.Time
	}
	if issued.After(now) {
		issued = now
	}
	return &record.Record{
		TokenID: t.Status.TokenID, User: username.Fold(t.Spec.User), DeliverySecret: "assumed",
		Site:     record.Ref{Namespace: t.SiteNamespace(), Name: t.Spec.SiteRef.Name},
		APIToken: record.Ref{Namespace: t.Namespace, Name: t.Name},
		Entries:  []record.Entry{{Hash: hash, State: record.Delivered, Issued: issued.UTC()}},
	}, nil
}

// secretOf returns the whole token with this id in the request, or nothing.
func (p pasted) secretOf(id string) string {
	for _, text := range append(p.plain(), p.alone) {
		if f, ok := token.Find(text); ok && f.ID == id {
			if _, whole := token.Parse([]byte(text[f.Start:f.End])); whole {
				return text[f.Start:f.End]
			}
		}
	}
	return ""
}

// isAt reports whether a request is for a site: by host and context path.
func isAt(s *tokensv1alpha1.AtlassianSite, host, target string) bool {
	base, err := siteurl.Parse(s.Spec.BaseURL)
	if err != nil {
		return false
	}
	_, at, _ := strings.Cut(base.Origin, "://")
	path, _, _ := strings.Cut(target, "?")
	return strings.EqualFold(withoutDefaultPort(host), at) && (path == base.Path || strings.HasPrefix(path, base.Path+"/"))
}

func withoutDefaultPort(host string) string {
	return strings.TrimSuffix(strings.TrimSuffix(host, ":443"), ":80")
}
