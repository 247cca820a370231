package credential

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/index"
	"apitokens.dev/operator/internal/enrolment"
	"apitokens.dev/operator/internal/terms"
	"apitokens.dev/operator/internal/upstream"
	"apitokens.dev/operator/internal/username"
)

// bySite is the field by which the API server selects APITokens.
const bySite = "spec.siteRef.name"

// observe returns the states of the working copies in the cache that the pass has to look at, and notes their enrolments.
func (p *pass) observe(ctx context.Context) (states []state, err error) {
	due, whole := p.Memory.begin(p.site, p.Clock.Now())
	if p.whole = whole; whole {
		states, err = p.observeAll(ctx)
	} else {
		states, err = p.observeDue(ctx, due)
	}
	if err != nil {
		return nil, err
	}
	p.remember(due, states)
	return states, nil
}

// remember notes what the pass has found: the next pass looks at it again, unless plan gives it another time. What was due and is gone is
// forgotten.
func (p *pass) remember(due []string, states []state) {
	found := map[string]look{}
	for name := range p.published {
		if copyName := enrolment.CopyOf(name); copyName != "" {
			found[copyName] = look{name: copyName}
		} else {
			p.Memory.Changed(p.name, "") // until it is gone
		}
	}
	for _, s := range states {
		found[s.name] = look{name: s.name, copied: true, answered: s.lastAnswered()}
	}
	if p.whole {
		p.Memory.keep(p.name, func(name string) bool {
			if of, ok := strings.CutPrefix(name, entryPrefix); ok {
				_, listed := p.entries[of]
				return listed
			}
			_, ok := found[name]
			return ok
		})
	}
	for _, name := range due {
		if _, ok := found[name]; !ok {
			p.Memory.forget(p.name, name)
		}
	}
	p.copies = p.Memory.looked(p.name, maps.Values(found), false)
}

func (p *pass) observeAll(ctx context.Context) (states []state, err error) {
	if p.published, err = p.enrolments(ctx, p.name); err != nil {
		return nil, err
	}
	return states, p.eachCopy(ctx, p.name, func(s *corev1.Secret) error { return p.see(ctx, s, &states) })
}

// observeDue looks at what is due, and at the copies for `upstreamCredentials`, about which this pass may have done something.
func (p *pass) observeDue(ctx context.Context, due []string) (states []state, err error) {
	names := slices.AppendSeq(slices.Clone(due), maps.Keys(p.entries))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		e, err := p.cached(ctx, p.StateNamespace, enrolment.OfCopy(name), enrolment.SecretType)
		if err != nil {
			return nil, fmt.Errorf("reading an enrolment: %w", err)
		}
		if e != nil {
			p.published[e.Name] = decodeEnrolment(e)
		}
		c, err := p.cached(ctx, p.Namespace, name, upstream.SecretType)
		if err != nil {
			return nil, fmt.Errorf("reading the working copy of a personal access token: %w", err)
		}
		if c != nil {
			if err := p.see(ctx, c, &states); err != nil {
				return nil, err
			}
		}
	}
	return states, nil
}

// see adds the state of a working copy.
func (p *pass) see(ctx context.Context, s *corev1.Secret, to *[]state) error {
	c := decode(s)
	err := p.findOwner(ctx, c)
	*to = append(*to, p.state(s.Name, c))
	return err
}

// cached returns a Secret of a type that is kept for the site, or nil.
func (p *pass) cached(ctx context.Context, namespace, name string, secretType corev1.SecretType) (*corev1.Secret, error) {
	var s corev1.Secret
	err := p.Client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, &s)
	if apierrors.IsNotFound(err) || err == nil && !index.IsKept(&s, secretType, p.name) {
		return nil, nil
	}
	return &s, err
}

// findOwner notes whether the cache has an APIToken of the user of a working copy at the site, whatever state it is in. It does so
// once, if the copy ends without one, by now or before this pass decides about it, or if there is something to tell its owner. The
// copy may be nil.
func (p *pass) findOwner(ctx context.Context, c *upstream.Credential) error {
	if c == nil || c.Source == upstream.Given || c.Usable() && c.Origin == p.origin && !outlives(*c, p.Clock.Now().Add(time.Minute)) {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.owners[c.User]; known {
		return nil
	}
	var tokens tokensv1alpha1.APITokenList
	of := client.MatchingFields{index.ByOwner: index.Owner(p.name.Namespace, p.name.Name, c.User)}
	if err := p.Client.List(ctx, &tokens, of, client.Limit(1)); err != nil {
		return fmt.Errorf("looking for APITokens of a user: %w", err)
	}
	p.owners[c.User] = len(tokens.Items) > 0
	return nil
}

// findOwners adds the users with APITokens at the site, whatever state these are in.
func (p *pass) findOwners(ctx context.Context, from client.Reader, which ...client.ListOption) error {
	var tokens tokensv1alpha1.APITokenList
	if err := from.List(ctx, &tokens, which...); err != nil {
		return fmt.Errorf("listing the APITokens of the site: %w", err)
	}
	for i := range tokens.Items {
		if t := &tokens.Items[i]; t.SiteNamespace() == p.name.Namespace && t.Spec.SiteRef.Name == p.name.Name {
			p.owners[username.Fold(t.Spec.User)] = true
		}
	}
	return nil
}

// state returns what the decision about a working copy needs. c is nil if the copy cannot be read.
func (p *pass) state(name string, c *upstream.Credential) state {
	_, listed := p.entries[name]
	p.mu.Lock()
	s := state{now: p.Clock.Now(), name: name, readable: c != nil, listed: listed, origin: p.origin, answering: p.answers()}
	if c != nil {
		s.credential, s.owned = *c, p.owners[c.User]
		s.blocked = terms.Blocks(p.site, c.User, c.UserKey)
	}
	p.mu.Unlock()
	e := p.published[enrolment.OfCopy(name)]
	s.note, s.wanted = p.Memory.of(p.name, name, s.credential.Stored, e.Checked, s.now), p.Memory.wanted(p.name, name, e, s.now)
	return s
}

// removed counts a working copy that is gone.
func (p *pass) removed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.copies--
}

var errForeign = errors.New("not written by the operator")

// stored reads a working copy live. The credential is nil if it cannot be decoded: such a copy is replaced.
func (k *Keeper) stored(ctx context.Context, name string) (*corev1.Secret, *upstream.Credential, error) {
	var s corev1.Secret
	err := k.Live.Get(ctx, types.NamespacedName{Namespace: k.Namespace, Name: name}, &s)
	if apierrors.IsNotFound(err) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading the working copy of a personal access token: %w", err)
	}
	if s.Type != upstream.SecretType {
		return nil, nil, errForeign
	}
	return &s, decode(&s), nil
}

// decode returns nil if a Secret does not hold the credential that its name stands for.
func decode(s *corev1.Secret) *upstream.Credential {
	c, err := upstream.Decode(s.Data[upstream.DataKey])
	if err != nil || c.SecretName() != s.Name {
		return nil
	}
	return &c
}

// fromPortal reports whether only the owner could give a personal access token again.
func fromPortal(s *corev1.Secret) bool {
	c := decode(s)
	return c != nil && c.Source != upstream.Given
}
