package selfservice

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

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

// Create creates a token for the caller and returns its plaintext, which is not stored. It is the maker of the protocol:
// *write child* (the APIToken, with a pending mark), *write record*, *read live* whether anything stops it, *finish* (remove the
// mark). If a step fails, Create takes the APIToken back; if the process ends, the controller does.
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
		if err = s.createdAnyway(ctx, c, t, err); err != nil {
			return Token{}, "", err
		}
	}
	text, err = s.makeSecret(ctx, c, t, id)
	if err == nil {
		err = s.checkUnused(ctx, r.Nonce, id, t.UID)
	}
	if err == nil {
		created, err = s.finish(ctx, t)
	}
	if err != nil {
		return Token{}, "", s.takeBackToken(ctx, t, err)
	}
	s.logEvent(c, audit.Created, created.ID, created.User)
	return created, text, nil
}

// makeSecret enrols the caller if that is needed, writes the secret of a new APIToken, and reads live whether anything stops it.
func (s *Service) makeSecret(ctx context.Context, c *Caller, t *tokensv1alpha1.APIToken, id string) (text string, err error) {
	if err := s.settle(ctx, c, t); err != nil {
		return "", err
	}
	if err := s.ensureEnrolled(ctx, c); err != nil {
		return "", err
	}
	text, issued, err := s.issue(ctx, c, t, id)
	if err != nil {
		return "", err
	}
	return text, s.checkStops(ctx, c, t, issued)
}

// plan returns the APIToken for a request, or an error if the caller may not have it.
func (s *Service) plan(c *Caller, r CreateRequest) (*tokensv1alpha1.APIToken, error) {
	t := c.apiToken(r)
	if all := checkRequest(c.Site, t); len(all) > 0 {
		return nil, joined(all)
	}
	name := strings.ToLower(rand.Text())
	if r.Nonce != "" {
		if err := s.checkNonce(r.Nonce); err != nil {
			return nil, err
		}
		name = r.Nonce
	}
	// With a name and a mark of its own, the APIToken is found even if the answer to its creation is lost.
	t.Name, t.Annotations = namePrefix(c.User)+name, map[string]string{tokensv1alpha1.AnnotationPending: rand.Text()}
	if c.Token != nil {
		if err := s.narrow(t, c); err != nil {
			return nil, err
		}
		t.Spec.CreatedBy = c.parent()
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

// settle waits until the feed has seen the new APIToken, then checks the quota again. Of two requests that run at the same time,
// at least one finds the other.
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
	return nil
}

// issue generates the secret of a new APIToken and stores its record: the step *write record*.
func (s *Service) issue(
	ctx context.Context, c *Caller, t *tokensv1alpha1.APIToken, id string,
) (text string, issued time.Time, err error) {
	text, entry, err := s.mint(id)
	if err != nil {
		return "", issued, err
	}
	err = s.records().Create(ctx, t.UID, &record.Record{
		TokenID: id, User: t.Spec.User, UserKey: c.key, Ancestors: c.line, Portal: true, Entries: []record.Entry{entry},
		Site:     record.Ref{Namespace: t.Namespace, Name: t.Spec.SiteRef.Name},
		APIToken: record.Ref{Namespace: t.Namespace, Name: t.Name},
	})
	if err != nil {
		return "", issued, err
	}
	return text, entry.Issued, nil
}

func (s *Service) records() recordstore.Store {
	return recordstore.Store{Client: s.Client, Namespace: s.Namespace, ManagedBy: managedBy}
}

// mint generates a secret. It counts as delivered, because the answer shows it.
func (s *Service) mint(id string) (string, record.Entry, error) {
	return record.Mint(id, record.Delivered, s.Clock.Now(), s.Random)
}

// finish removes the pending mark and waits until the token authenticates here: the step *finish*.
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

// createdAnyway returns no error if the APIToken was created, although the API server did not say so clearly.
func (s *Service) createdAnyway(ctx context.Context, c *Caller, t *tokensv1alpha1.APIToken, err error) error {
	if !isTransient(err) {
		return s.createProblem(c, err)
	}
	if found, err := s.marked(ctx, t); err == nil && found != nil {
		found.DeepCopyInto(t)
		return nil
	}
	return s.takeBackToken(ctx, t, errUnclear)
}

// marked returns the APIToken with the name and the pending mark of t, as the API server has it. The mark of each request differs.
func (s *Service) marked(ctx context.Context, t *tokensv1alpha1.APIToken) (*tokensv1alpha1.APIToken, error) {
	var now tokensv1alpha1.APITokenList // the portal has no right to get one
	if err := s.Client.List(ctx, &now, client.InNamespace(t.Namespace), client.MatchingFields{"metadata.name": t.Name}); err != nil {
		return nil, fmt.Errorf("looking for the APIToken: %w", err)
	}
	for i := range now.Items {
		if found := &now.Items[i]; found.Annotations[tokensv1alpha1.AnnotationPending] == t.Annotations[tokensv1alpha1.AnnotationPending] {
			return found, nil
		}
	}
	return nil, nil
}

// takeBackToken is the step *take back*: it deletes an APIToken that nobody was shown, in the background. It waits until the feed has
// seen that, because the APIToken counts towards the quota until then. It returns the error for the caller.
func (s *Service) takeBackToken(ctx context.Context, of *tokensv1alpha1.APIToken, because error) error {
	t := of.DeepCopy()
	gone := s.takeBack(ctx, func(ctx context.Context) error {
		if t.UID == "" {
			switch found, err := s.marked(ctx, t); {
			case err != nil:
				return err
			case found == nil: // the request may still be on its way
				return errUnclear
			default:
				t = found
			}
		}
		d := s.doomedOf(t)
		if _, err := s.remove(ctx, d); err != nil {
			return err
		}
		return s.awaitDeleted(ctx, deletions{d.uid: d.NamespacedName})
	})
	switch {
	case !isUnclear(because):
		return because
	case gone:
		return problem(Unavailable, "Kubernetes did not answer in time. The API token was taken back: nothing remains of it. Try again.")
	}
	return problem(Unavailable, "Kubernetes does not answer. If the API token was created, it is taken back: nobody gets it. Try again in a moment.")
}
