package selfservice

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/recordstore"
)

const (
	managedByLabel = "app.kubernetes.io/managed-by"
	managedBy      = "apitoken-portal"
)

// Create creates a token for the caller and returns its plaintext, which is not stored. It creates the APIToken with a pending
// mark, then the record, then removes the mark. If a step fails, Create deletes the APIToken; if the process ends, the controller
// does.
func (s *Service) Create(ctx context.Context, c *Caller, r CreateRequest) (created Token, text string, err error) {
	t, err := s.plan(c, r)
	if err != nil {
		return Token{}, "", err
	}
	id, err := s.newID(c, r.Nonce)
	if err != nil {
		return Token{}, "", err
	}
	if err := s.checkUnused(ctx, r.Nonce, id, ""); err != nil {
		return Token{}, "", err
	}
	if err := s.mayEnrol(ctx, c); err != nil {
		return Token{}, "", err
	}
	if err := s.Client.Create(ctx, t); err != nil {
		return Token{}, "", s.createProblem(c, err)
	}
	defer func() {
		if err != nil {
			s.removeUnfinished(ctx, t)
		}
	}()
	if err := s.settle(ctx, c, t); err != nil {
		return Token{}, "", err
	}
	if err := s.ensureEnrolled(ctx, c); err != nil {
		return Token{}, "", err
	}
	if text, err = s.issue(ctx, t, id); err != nil {
		return Token{}, "", err
	}
	if err := s.checkUnused(ctx, r.Nonce, id, t.UID); err != nil {
		return Token{}, "", err
	}
	if created, err = s.finish(ctx, t); err != nil {
		return Token{}, "", err
	}
	s.logEvent(c, audit.Created, created.ID, created.User)
	return created, text, nil
}

// plan returns the APIToken for a request, or an error if the caller may not have it.
func (s *Service) plan(c *Caller, r CreateRequest) (*tokensv1alpha1.APIToken, error) {
	t := c.apiToken(r)
	if all := checkRequest(c.Site, t); len(all) > 0 {
		return nil, joined(all)
	}
	if r.Nonce != "" {
		if err := s.checkNonce(r.Nonce); err != nil {
			return nil, err
		}
		t.GenerateName, t.Name = "", namePrefix(c.User)+r.Nonce
	}
	if c.Token != nil {
		if err := s.narrow(t, c); err != nil {
			return nil, err
		}
	}
	if p := s.checkPolicy(c, t); p != nil {
		return nil, p
	}
	if quota := c.MaxTokens(); len(s.own(c)) >= quota {
		return nil, quotaReached(quota)
	}
	return t, nil
}

func quotaReached(quota int) *Problem {
	return problem(Conflict, "You have reached the limit of API tokens here, which is %d. Revoke one first.", quota)
}

// own returns the caller's APITokens, including those that are still being created.
func (s *Service) own(c *Caller) []*tokensv1alpha1.APIToken {
	return s.Objects.OwnedBy(c.Ref(), c.User)
}

// settle waits until the feed has seen the new APIToken, then checks the quota and the caller's own token again. Of two requests
// that run at the same time, at least one finds the other. A token that was changed or revoked in the meantime creates nothing:
// whoever revoked it before this check could not know the new one, and whoever does so later finds it.
func (s *Service) settle(ctx context.Context, c *Caller, t *tokensv1alpha1.APIToken) error {
	var all []*tokensv1alpha1.APIToken
	err := awaitFeed(ctx, func() bool {
		all = s.own(c)
		return slices.ContainsFunc(all, func(o *tokensv1alpha1.APIToken) bool { return o.UID == t.UID })
	})
	switch quota := c.MaxTokens(); {
	case err != nil:
		return err
	case len(all) > quota:
		return quotaReached(quota)
	}
	return s.checkUnchanged(ctx, c)
}

// checkUnchanged returns an error if the token that the caller sent may no longer create another one. It asks the API server,
// because the feed may lag.
func (s *Service) checkUnchanged(ctx context.Context, c *Caller) error {
	if c.Token == nil {
		return nil
	}
	now, err := s.liveAPIToken(ctx, client.ObjectKeyFromObject(c.Token), c.Token.UID)
	if err != nil {
		return err
	}
	if now == nil || !equality.Semantic.DeepEqual(now.Spec, c.Token.Spec) {
		return problem(Conflict, "The API token of this request was changed or revoked in the meantime.")
	}
	return nil
}

// issue generates the secret of a new APIToken and stores its record.
func (s *Service) issue(ctx context.Context, t *tokensv1alpha1.APIToken, id string) (string, error) {
	text, entry, err := s.mint(id)
	if err != nil {
		return "", err
	}
	err = s.records().Create(ctx, t.UID, &record.Record{
		TokenID: id, User: t.Spec.User, Portal: true, Entries: []record.Entry{entry},
		Site:     record.Ref{Namespace: t.Namespace, Name: t.Spec.SiteRef.Name},
		APIToken: record.Ref{Namespace: t.Namespace, Name: t.Name},
	})
	if err != nil {
		return "", err
	}
	return text, nil
}

func (s *Service) records() recordstore.Store {
	return recordstore.Store{Client: s.Client, Namespace: s.Namespace, ManagedBy: managedBy}
}

// mint generates a secret. It counts as delivered, because the answer shows it.
func (s *Service) mint(id string) (string, record.Entry, error) {
	return record.Mint(id, record.Delivered, s.Clock.Now(), s.Random)
}

// finish removes the pending mark and waits until the token authenticates here.
func (s *Service) finish(ctx context.Context, t *tokensv1alpha1.APIToken) (finished Token, err error) {
	patch := client.RawPatch(client.Merge.Type(), []byte(`{"metadata":{"annotations":{"`+tokensv1alpha1.AnnotationPending+`":null}}}`))
	switch err := s.Client.Patch(ctx, t, patch); {
	case apierrors.IsNotFound(err):
		return Token{}, problem(Conflict, "All your API tokens were revoked in the meantime, including this one.")
	case err != nil:
		return Token{}, fmt.Errorf("finishing the APIToken: %w", err)
	}
	return finished, awaitFeed(ctx, func() (ok bool) {
		seen := s.Objects.APIToken(client.ObjectKeyFromObject(t))
		if seen == nil || seen.UID != t.UID {
			return false
		}
		finished, ok = s.view(seen)
		return ok && finished.State != Damaged
	})
}

// removeUnfinished deletes an APIToken that could not be finished. It waits until the feed has seen that, because the APIToken counts
// towards the quota until then.
func (s *Service) removeUnfinished(ctx context.Context, t *tokensv1alpha1.APIToken) {
	s.cleanUp(ctx, func(ctx context.Context) {
		d := s.doomedOf(t)
		_, err := s.remove(ctx, d)
		if err == nil {
			err = s.awaitDeleted(ctx, deletions{d.uid: d.NamespacedName})
		}
		if err != nil {
			s.Logger.Error(err, "Removing an unfinished APIToken failed; the controller will retry", "namespace", t.Namespace, "name", t.Name)
		}
	})
}
