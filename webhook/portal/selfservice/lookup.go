package selfservice

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/recordstore"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/internal/username"
)

// doomed is an APIToken that is to be revoked.
type doomed struct {
	types.NamespacedName

	uid types.UID
	// id is empty if the portal has not seen the record of the APIToken, or if there is none.
	id, owner string
	// gone says that the APIToken is deleted already. Tokens that were created with it may be there.
	gone bool
	// found says that a leak scanner found a secret of it, at the URL foundAt if that may be shown.
	found   bool
	foundAt string
}

func (s *Service) doomedOf(t *tokensv1alpha1.APIToken) doomed {
	d := doomed{NamespacedName: client.ObjectKeyFromObject(t), uid: t.UID, owner: username.Fold(t.Spec.User)}
	if r := s.Index.Record(string(t.UID)); r != nil {
		d.id = r.TokenID
	}
	return d
}

// withTokenID returns the tokens of the site that have this id and a record that mine accepts, also deleted ones. It asks the API
// server if the portal has seen none: another replica may have created it just now.
func (s *Service) withTokenID(ctx context.Context, site *Site, id string, mine func(*record.Record) bool) (found []doomed, err error) {
	if !token.ValidID(id) {
		return nil, nil
	}
	for _, t := range s.Objects.OfTokenID(id) {
		here := site.Ref() == authn.SiteName{Namespace: t.SiteNamespace(), Name: t.Spec.SiteRef.Name}
		if r := s.Index.Record(string(t.UID)); here && r != nil && r.TokenID == id && mine(r) {
			found = append(found, s.doomedOf(t))
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	return s.storedWithTokenID(ctx, site, id, mine)
}

// liveAPIToken returns an APIToken as the API server has it. It returns nil if it is gone or being deleted.
func (s *Service) liveAPIToken(ctx context.Context, name types.NamespacedName, uid types.UID) (*tokensv1alpha1.APIToken, error) {
	var now tokensv1alpha1.APITokenList // the portal has no right to get one
	if err := s.Client.List(ctx, &now, client.InNamespace(name.Namespace), client.MatchingFields{"metadata.name": name.Name}); err != nil {
		return nil, fmt.Errorf("reading the APIToken: %w", err)
	}
	for i := range now.Items {
		if t := &now.Items[i]; t.UID == uid && t.DeletionTimestamp.IsZero() {
			return t, nil
		}
	}
	return nil, nil
}

// storedWithTokenID returns the tokens of the site with records of this id that the API server has. The APIToken of a record may be
// deleted: the record stays for 30 days. Only the label of a record can be searched for; its content decides.
func (s *Service) storedWithTokenID(ctx context.Context, site *Site, id string, accepts func(*record.Record) bool) (found []doomed, err error) {
	here := record.Ref{Namespace: site.Namespace, Name: site.Name}
	err = s.eachStored(ctx, client.MatchingLabels{record.LabelTokenID: id},
		func(r *record.Record) bool { return r.TokenID == id && r.Site == here && accepts(r) },
		func(_ *record.Record, d doomed) { found = append(found, d) })
	return found, err
}

// eachStored calls yield for the token of each record that the API server has under these labels, and that is accepted.
func (s *Service) eachStored(
	ctx context.Context, labeled client.ListOption, accepts func(*record.Record) bool, yield func(*record.Record, doomed),
) error {
	var stored corev1.SecretList
	err := s.Client.List(ctx, &stored, client.InNamespace(s.Namespace), labeled, client.MatchingFields{"type": record.SecretType})
	if err != nil {
		return fmt.Errorf("looking for the record: %w", err)
	}
	for i := range stored.Items {
		r, err := recordstore.Decode(&stored.Items[i])
		if err != nil || !accepts(r) {
			continue
		}
		d := doomed{NamespacedName: types.NamespacedName(r.APIToken), uid: types.UID(stored.Items[i].Name), id: r.TokenID, owner: r.User}
		t, err := s.liveAPIToken(ctx, d.NamespacedName, d.uid)
		if err != nil {
			return err
		}
		d.gone = t == nil
		yield(r, d)
	}
	return nil
}

var errTooManyPresented error = problem(Unavailable, "Too many API tokens are presented at the same time. Try again in a moment.")

// presented returns the tokens of the site that text is a secret of.
func (s *Service) presented(ctx context.Context, site *Site, text string) ([]doomed, error) {
	id, ok := token.Parse([]byte(text))
	if !ok {
		return nil, nil
	}
	if name, known := s.Index.Presented(site.Ref(), []byte(text)); known {
		if t := s.Objects.APIToken(types.NamespacedName{Namespace: name.Namespace, Name: name.Name}); t != nil && string(t.UID) == name.UID {
			return []doomed{s.doomedOf(t)}, nil
		}
	}
	leave, ok := s.lookups.enter(ctx)
	if !ok {
		return nil, errTooManyPresented
	}
	defer leave()
	return s.storedWithTokenID(ctx, site, string(id), func(r *record.Record) bool { return r.Verify([]byte(text)) >= 0 })
}

// maxLookups is how many presented tokens are looked up in the API server at the same time. Anonymous clients can present any number.
const maxLookups = 4

// gate bounds how many are inside at the same time. The zero value is ready for use.
type gate struct {
	once  sync.Once
	slots chan struct{}
}

// enter waits for a place until ctx is done. The caller must call leave if ok is true.
func (g *gate) enter(ctx context.Context) (leave func(), ok bool) {
	g.once.Do(func() { g.slots = make(chan struct{}, maxLookups) })
	select {
	case g.slots <- struct{}{}:
		return func() { <-g.slots }, true
	case <-ctx.Done():
		return nil, false
	}
}
