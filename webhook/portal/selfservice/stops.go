package selfservice

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/feed"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/recordstore"
	"apitokens.dev/operator/internal/terms"
)

// Reasons of a Problem with which somebody was stopped.
const (
	// ReasonUserBlocked means that the site blocks the user.
	ReasonUserBlocked = "UserBlocked"
	// ReasonReplacedSecret means that a rotation replaced the secret of the request. It only lists and revokes.
	ReasonReplacedSecret = "ReplacedSecret"
	// ReasonRotationPastEnd means that an API token would have extended itself.
	ReasonRotationPastEnd = "RotationPastEnd"
)

var errBlocked = &Problem{Kind: Forbidden, Reason: ReasonUserBlocked, Message: "You are blocked at this site: no API token is created or rotated for you. " +
	"Ask the administrator of this site."}

var errReplacedSecret error = &Problem{Kind: Forbidden, Reason: ReasonReplacedSecret, Message: "A rotation replaced this secret of the API token. " +
	"It may still list and revoke API tokens. Send the newest secret."}

var errCallerChanged error = problem(Conflict, "The API token of this request was changed or revoked in the meantime.")

// checkStops is the step *read live* of the maker's protocol, for a secret of t that was issued at a time. It asks the API server,
// because the feed may lag. If it fails, the maker takes the secret back.
//
// The stopper writes the stop first and then lists what there is. The maker writes first and then reads the stops. So one of the two
// always sees the other.
func (s *Service) checkStops(ctx context.Context, c *Caller, t *tokensv1alpha1.APIToken, issued time.Time) error {
	if err := s.checkParent(ctx, c); err != nil {
		return err
	}
	return s.checkSite(ctx, c, t, issued)
}

// checkParent returns an error if the token that the caller sent may no longer create another one.
func (s *Service) checkParent(ctx context.Context, c *Caller) error {
	if c.Token == nil {
		return nil
	}
	now, err := s.liveAPIToken(ctx, client.ObjectKeyFromObject(c.Token), c.Token.UID)
	switch {
	case err != nil:
		return err
	case now == nil, !equality.Semantic.DeepEqual(feed.Shown(now.Spec), c.Token.Spec):
		return errCallerChanged
	}
	_, r, err := s.readRecord(ctx, c.Token.UID)
	switch {
	case err != nil:
		return err
	case r == nil:
		return errCallerChanged
	}
	return c.mustBeCurrentIn(r)
}

// mustBeCurrentIn refuses a caller whose secret was replaced in this record.
func (c *Caller) mustBeCurrentIn(r *record.Record) error {
	current := func(e record.Entry) bool { return e.Hash == c.entry.Hash && e.State != record.Ending }
	if c.Token != nil && !slices.ContainsFunc(r.Entries, current) {
		return errReplacedSecret
	}
	return nil
}

// mustBeCurrent refuses a caller whose secret was replaced.
func (c *Caller) mustBeCurrent() error {
	if c.Token != nil && c.entry.State == record.Ending {
		return errReplacedSecret
	}
	return nil
}

// readRecord returns the record of an APIToken and the Secret that holds it, as the API server has them. They are nil if there is
// none.
func (s *Service) readRecord(ctx context.Context, uid types.UID) (*corev1.Secret, *record.Record, error) {
	var stored corev1.Secret
	switch err := s.Client.Get(ctx, types.NamespacedName{Namespace: s.Namespace, Name: string(uid)}, &stored); {
	case apierrors.IsNotFound(err):
		return nil, nil, nil
	case err != nil:
		return nil, nil, fmt.Errorf("reading the record: %w", err)
	}
	r, err := recordstore.Decode(&stored)
	return &stored, r, err
}

// checkSite returns an error if the site does not let the caller have a secret that was issued at a time.
func (s *Service) checkSite(ctx context.Context, c *Caller, t *tokensv1alpha1.APIToken, issued time.Time) error {
	now := *c
	var err error
	if now.Site, err = s.siteNow(ctx, c); err != nil {
		return err
	}
	if p := s.checkPolicy(&now, t); p != nil {
		return p
	}
	epoch := now.Spec.IssuedAfter.Time
	switch {
	case c.Token != nil && c.entry.Issued.Before(epoch): // the caller is dead, and the feed does not know it yet
		return errCallerChanged
	case issued.Before(epoch):
		return problem(Conflict, "All API tokens of this site from before %s were revoked in the meantime. Try again.", epoch.UTC().Format(time.RFC3339))
	}
	return s.checkNamespace(ctx, now.AtlassianSite, t.Spec.CreatedBy.Namespace)
}

// siteNow returns the site of a caller as the API server has it, or an error if it is not served any more.
func (s *Service) siteNow(ctx context.Context, c *Caller) (*Site, error) {
	live, err := s.liveSite(ctx, c.Site)
	switch {
	case err != nil:
		return nil, err
	case live == nil:
		return nil, problem(Conflict, "This site was removed, or created again, in the meantime.")
	case live.Malformed != "":
		return nil, notServed(client.ObjectKeyFromObject(live))
	}
	return c.as(live), nil
}

// checkEnrolment returns an error if the site, as the API server has it, takes no enrolment of the caller now.
func (s *Service) checkEnrolment(ctx context.Context, c *Caller) error {
	now := *c
	var err error
	if now.Site, err = s.siteNow(ctx, c); err != nil {
		return err
	}
	if now.Blocked() {
		return errBlocked
	}
	if p := s.checkEpoch(now.Site); p != nil {
		return p
	}
	return nil
}

// liveSite returns a site as the API server has it. It returns nil if it is gone, being deleted, or another one.
func (s *Service) liveSite(ctx context.Context, site *Site) (*tokensv1alpha1.AtlassianSite, error) {
	var now tokensv1alpha1.AtlassianSiteList // the portal has no right to get one
	if err := s.Client.List(ctx, &now, client.InNamespace(site.Namespace), client.MatchingFields{"metadata.name": site.Name}); err != nil {
		return nil, fmt.Errorf("reading the AtlassianSite: %w", err)
	}
	for i := range now.Items {
		if live := &now.Items[i]; live.UID == site.UID && live.DeletionTimestamp.IsZero() {
			return live, nil
		}
	}
	return nil, nil
}

// checkNamespace returns an error if the site does not allow the namespace of the token that creates another one.
func (s *Service) checkNamespace(ctx context.Context, site *tokensv1alpha1.AtlassianSite, namespace string) error {
	if namespace == "" || namespace == site.Namespace {
		return nil
	}
	var now metav1.PartialObjectMetadataList // the portal has no right to get one
	now.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	if err := s.Client.List(ctx, &now, client.MatchingFields{"metadata.name": namespace}); err != nil {
		return fmt.Errorf("reading a Namespace: %w", err)
	}
	allows, _ := terms.OtherNamespaces(site) // a selector that cannot be read allows none
	if len(now.Items) == 0 || !allows(now.Items[0].Labels) {
		return problem(Conflict, "API tokens of namespace '%s' were closed out of this site in the meantime.", namespace)
	}
	return nil
}
