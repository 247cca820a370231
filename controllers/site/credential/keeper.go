// Package credential keeps the working copies of personal access tokens, with which token owners act at a product. For
// each copy of a site it observes, decides the next step, and acts. The site reports the findings in its status.
package credential

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/index"
	"apitokens.dev/operator/controllers/internal/owned"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/enrolment"
	"apitokens.dev/operator/internal/siteurl"
	"apitokens.dev/operator/internal/upstream"
)

const (
	// requestsTimeout bounds the requests of one pass to a product that is slow, and copiesAtOnce those to one that is quick. The
	// next pass goes on with those that waited longest.
	requestsTimeout = 40 * time.Second
	// atOnce is how many copies of a site are in work at the same time: one for each connection to its product.
	atOnce = 4
	// maxRelists is how often a pass reads all APITokens of a site from the API server for copies that are withdrawn. Further times
	// are relistPeriod apart.
	maxRelists   = 20
	relistPeriod = 2 * time.Second
	// maxSteps is more than any working copy needs.
	maxSteps = 8
)

// Product answers who a user is, and manages their personal access tokens. It is an *atlassian.Client.
type Product interface {
	WhoAmI(ctx context.Context, u atlassian.Upstream, as atlassian.Credential) (atlassian.User, error)
	CreatePAT(ctx context.Context, u atlassian.Upstream, as atlassian.Credential, name string, days int) (atlassian.PAT, error)
	ListPATs(ctx context.Context, u atlassian.Upstream, as atlassian.Credential) ([]atlassian.PAT, error)
	DeletePAT(ctx context.Context, u atlassian.Upstream, as atlassian.Credential, id int64) error
}

// Keeper keeps the working copies of all sites.
type Keeper struct {
	// Client reads from the cache. Live reads from the API server, also in namespaces that are not cached.
	Client  client.Client
	Live    client.Reader
	Clock   clock.PassiveClock
	Product Product
	Memory  *Memory
	// Namespace holds the working copies, StateNamespace the projections and enrolments, and IntakeNamespace the intakes.
	Namespace, StateNamespace, IntakeNamespace string
}

// Findings are the results of one pass over the working copies of a site.
type Findings struct {
	// Rejections are personal access tokens that are not in use, or soon will not be. Each user has at most one.
	Rejections []Rejection
	// None means that there is no personal access token: no entry of `upstreamCredentials`, and no working copy.
	None bool
	// Events are changes at the product. A pass finds each once, so each has to be emitted even if the status is not written.
	Events []Event
}

// pass is one pass over the working copies of a site.
type pass struct {
	*Keeper
	Findings

	site *tokensv1alpha1.AtlassianSite
	name types.NamespacedName
	// origin is the scheme, host and port of `upstreamURL`.
	origin string
	// mu guards the findings, copies, owners and relisted: copies are worked on side by side.
	mu sync.Mutex
	// product is nil if the product does not answer. silent means that it gave an unclear answer in this pass.
	product *atlassian.Upstream
	silent  atomic.Bool
	// share is how many requests to the API server the pass has left, for what nobody waits for.
	share atomic.Int64
	// requests is the context for requests to the product. It ends with the time that this pass has for them.
	requests context.Context
	// copies is the number of working copies that are left.
	copies int
	// entries holds `upstreamCredentials` by the name of the working copy.
	entries map[string]tokensv1alpha1.UpstreamCredential
	// owners are the users with APITokens at the site.
	owners map[string]bool
	// whole means that the pass looks at all working copies, and not just at those that are due.
	whole bool
	// published holds the enrolments in the cache of what the pass looks at, by the name of their Secret.
	published map[string]enrolment.Enrolment
	// relisted is when all APITokens of the site were last read from the API server, and relists how often in this pass.
	relisted time.Time
	relists  int
}

// Reconcile makes one pass over the working copies of a site: first those for `upstreamCredentials`, then those that are
// stored. product is nil if the product does not answer. The findings are valid even if there is an error.
func (k *Keeper) Reconcile(ctx context.Context, s *tokensv1alpha1.AtlassianSite, product *atlassian.Upstream) (Findings, error) {
	p, err := k.newPass(s, product)
	if err != nil {
		return Findings{}, err
	}
	requests, cancel := context.WithTimeout(ctx, requestsTimeout)
	defer cancel()
	p.requests = requests
	err = errors.Join(p.projectGiven(ctx), p.keepStored(ctx))
	p.None = len(p.entries) == 0 && p.copies == 0
	return p.Findings, err
}

func (k *Keeper) newPass(s *tokensv1alpha1.AtlassianSite, product *atlassian.Upstream) (*pass, error) {
	url, err := siteurl.Parse(s.Spec.UpstreamURL)
	if err != nil {
		return nil, err
	}
	p := &pass{
		Keeper: k, site: s, name: client.ObjectKeyFromObject(s), origin: url.Origin, product: product, published: map[string]enrolment.Enrolment{},
		entries: map[string]tokensv1alpha1.UpstreamCredential{}, owners: map[string]bool{},
	}
	for _, c := range s.Spec.UpstreamCredentials {
		p.entries[upstream.SecretName(s.Namespace, s.Name, c.User)] = c
	}
	return p, nil
}

// copiesAtOnce is how many copies of a site may be worked on in one pass. It follows their number, so that each of them comes
// within an hour, of which there are at least 36 passes.
func copiesAtOnce(copies int) int { return max(100, copies/30) }

// keepStored takes the due steps for the stored working copies. The cache tells which copies may need one. The step itself is
// decided on a live read. The copy that was asked about longest ago comes first.
func (p *pass) keepStored(ctx context.Context) error {
	all, err := p.observe(ctx)
	if err != nil {
		return err
	}
	slices.SortStableFunc(all, func(a, b state) int { return a.tried.Compare(b.tried) })
	given, busy, most, waits := len(p.Rejections), 0, copiesAtOnce(p.copies), false
	p.share.Store(p.Memory.share(p.name, p.copies, p.Clock.Now()))
	errs := make([]error, len(all), len(all)+1)
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, s := range all {
		if !p.takes(s.next()) || busy >= most || p.requests.Err() != nil {
			waits = waits || busy >= most && !s.wanted.IsZero()
			p.reject(s)
			continue
		}
		step := func() error {
			done, err := p.checkKnown(ctx, s)
			if done {
				p.reject(s)
			} else {
				err = p.settle(ctx, s.name)
			}
			errs[i] = p.rejectRefused(s.credential.User, err)
			return nil
		}
		if busy++; busy == 1 {
			_ = step() // alone: if the product gives an unclear answer, it was about the one that waited longest
			continue
		}
		group.Go(step)
	}
	_ = group.Wait() // the errors are in errs
	p.Memory.keepShare(p.name, p.share.Load())
	if waits && p.answers() {
		p.Memory.again(p.name)
	}
	p.plan(all)
	// The order must be the same in each pass: entries first, then users by name.
	slices.SortFunc(p.Rejections[given:], func(a, b Rejection) int { return strings.Compare(a.User, b.User) })
	return errors.Join(append(errs, p.mend(ctx, all))...)
}

// plan notes when to look again at these working copies, as they were when the pass began. What the pass wrote comes back as a change.
func (p *pass) plan(all []state) {
	again := make([]look, 0, len(all))
	for _, s := range all {
		at := s.again(p.published[enrolment.OfCopy(s.name)])
		again = append(again, look{name: s.name, at: at, copied: true, answered: s.lastAnswered()})
	}
	p.Memory.looked(p.name, slices.Values(again), p.whole)
}

var errUnsettled = errors.New("a working copy did not settle: something else keeps changing it")

// settle takes steps until a working copy needs none, and publishes each. Before it destroys a copy that nobody seems to need,
// it asks the API server for the APITokens.
func (p *pass) settle(ctx context.Context, name string) error {
	for range maxSteps {
		secret, c, err := p.stored(ctx, name)
		if err != nil && !errors.Is(err, errForeign) {
			return err
		}
		if secret == nil { // foreign, or removed
			p.removed()
			return nil
		}
		if err := p.findOwner(ctx, c); err != nil {
			return err
		}
		s := p.state(name, c)
		if s.destroys(s.next()) {
			if s.owned, err = p.needed(ctx, s.credential); err != nil {
				return err
			}
		}
		next := s.next()
		if next == leave || next.isQuiet() && !p.spend(replaceCost) {
			p.reject(s)
			return nil
		}
		if err := p.act(ctx, next, secret, s); err != nil {
			return client.IgnoreNotFound(err) // another leader removed it meanwhile
		}
		if !s.readable {
			continue
		}
		if err := p.publish(ctx, s.credential.User, s.heard); err != nil {
			return err
		}
	}
	return errUnsettled
}

// needed reports whether a user has an APIToken after all. The copy was marked as ending, and this mark is published before the
// API server is asked. So a maker of a token either finds the mark, or is found here. The API server selects users by the
// exact spelling, so all APITokens of the site are read. For each of many copies that would be too much.
func (p *pass) needed(ctx context.Context, c upstream.Credential) (bool, error) {
	if err := p.publish(ctx, c.User, nil); err != nil {
		return false, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	which := client.MatchingFields{bySite: p.name.Name}
	if p.relists >= maxRelists && p.Clock.Now().Sub(p.relisted) < relistPeriod {
		which["spec.user"] = c.User
	} else {
		p.relists, p.relisted = p.relists+1, p.Clock.Now()
	}
	err := p.findOwners(ctx, p.Live, which)
	return p.owners[c.User], err
}

// answers reports whether the product can be asked in this pass.
func (p *pass) answers() bool { return p.product != nil && !p.silent.Load() }

// add adds a rejection, unless the user has one.
func (p *pass) add(r Rejection) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Findings.add(r)
}

func (p *pass) emit(e Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Events = append(p.Events, e)
}

// log records a change of a user's personal access token, without the token.
func (p *pass) log(ctx context.Context, c upstream.Credential, message string) {
	ctrl.LoggerFrom(ctx).Info(message, "user", c.User, "site", c.Site, "source", string(c.Source))
}

// RemoveAll removes every working copy, intake and enrolment of a site that is gone.
func (k *Keeper) RemoveAll(ctx context.Context, site types.NamespacedName) error {
	k.Memory.forgetSite(site)
	var all []corev1.Secret
	keep := func(s *corev1.Secret) error {
		all = append(all, *s)
		return nil
	}
	if err := errors.Join(k.eachCopy(ctx, site, keep), k.eachEnrolment(ctx, site, keep), k.eachIntake(ctx, site, keep)); err != nil {
		return err
	}
	for _, s := range all {
		if err := owned.Remove(ctx, k.Client, &s); err != nil {
			return err
		}
	}
	return nil
}

// eachCopy calls do for each working copy of a site in the cache, readable or not.
func (k *Keeper) eachCopy(ctx context.Context, site types.NamespacedName, do func(*corev1.Secret) error) error {
	if err := k.each(ctx, k.Namespace, upstream.SecretType, site, do); err != nil {
		return fmt.Errorf("listing the working copies of personal access tokens: %w", err)
	}
	return nil
}

// each calls do for each Secret of a type that is kept for a site. It holds copies of a part of them at a time.
func (k *Keeper) each(
	ctx context.Context, namespace string, secretType corev1.SecretType, site types.NamespacedName, do func(*corev1.Secret) error,
) error {
	for part := range index.Kept(secretType, site) {
		var list corev1.SecretList
		if err := k.Client.List(ctx, &list, client.InNamespace(namespace), part); err != nil {
			return err
		}
		for i := range list.Items {
			if s := &list.Items[i]; s.Type == secretType {
				if err := do(s); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
