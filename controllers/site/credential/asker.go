package credential

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	"apitokens.dev/operator/controllers/internal/watch"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/upstream"
	"apitokens.dev/operator/internal/username"
)

// askTimeout bounds the questions to a product that are asked together. Those that are left over then have no answer.
const askTimeout = 5 * time.Second

// Asker asks products at once whose the working copies are, for those who wait for the answer. Questions about the same copy that come
// before it is asked are one. It writes nothing: what else follows from an answer is left to the next pass over the site.
type Asker struct {
	*Keeper

	mu sync.Mutex
	// waiting are those who wait, by site and working copy.
	waiting map[types.NamespacedName]map[string][]whenNamed
	// quiet is when products that gave no clear answer are asked again.
	quiet map[types.NamespacedName]time.Time
	// calls are for questions to the products of sites.
	calls watch.Calls
}

// whenNamed takes user key and folded name of the owner whom the product named, or nothing if there is no answer.
type whenNamed = func(userKey, name string)

// NewAsker returns an asker of the products of all sites.
func NewAsker(k *Keeper) *Asker {
	return &Asker{
		Keeper: k, waiting: map[types.NamespacedName]map[string][]whenNamed{}, quiet: map[types.NamespacedName]time.Time{},
	}
}

// SetupWithManager starts it with the manager, for so many sites at the same time.
func (a *Asker) SetupWithManager(mgr ctrl.Manager, workers int) error {
	err := ctrl.NewControllerManagedBy(mgr).Named("owner").WatchesRawSource(a.calls.Source()).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers, ReconciliationTimeout: askTimeout}).
		Complete(a)
	if err != nil {
		return fmt.Errorf("setting up the controller that asks for owners: %w", err)
	}
	return nil
}

// Ask has the product asked whose a working copy is. It calls answer once, with nothing if the product gives no clear answer soon, or
// gave none within the last minute.
func (a *Asker) Ask(site types.NamespacedName, copyName string, answer func(userKey, name string)) {
	if !a.add(site, copyName, answer) {
		answer("", "")
	}
}

// add returns false if the product is not to be asked now.
func (a *Asker) add(site types.NamespacedName, copyName string, answer whenNamed) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if again, quiet := a.quiet[site]; quiet {
		if left := again.Sub(a.Clock.Now()); left > 0 && left <= recheckPeriod { // else the clock was ahead
			return false
		}
		delete(a.quiet, site)
	}
	if a.waiting[site] == nil {
		a.waiting[site] = map[string][]whenNamed{}
	}
	a.waiting[site][copyName] = append(a.waiting[site][copyName], answer)
	a.calls.For(site)
	return true
}

// take returns those who wait for answers about a site. Their questions begin after it.
func (a *Asker) take(site types.NamespacedName) map[string][]whenNamed {
	a.mu.Lock()
	defer a.mu.Unlock()
	waiting := a.waiting[site]
	delete(a.waiting, site)
	return waiting
}

// Reconcile asks the product of a site what somebody waits for.
func (a *Asker) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	waiting := a.take(request.NamespacedName)
	if len(waiting) == 0 {
		return ctrl.Result{}, nil
	}
	p, err := a.passAt(ctx, request.NamespacedName)
	var group errgroup.Group
	group.SetLimit(atOnce)
	for name, answers := range waiting {
		group.Go(func() error {
			var userKey, owner string
			if p != nil {
				userKey, owner = p.ownerOf(ctx, name)
			}
			for _, answer := range answers {
				answer(userKey, owner)
			}
			return nil
		})
	}
	_ = group.Wait() // none fails
	if p != nil && p.silent.Load() {
		a.mu.Lock()
		a.quiet[request.NamespacedName] = a.Clock.Now().Add(recheckPeriod)
		a.mu.Unlock()
	}
	if errors.Is(err, errNotServed) {
		err = nil
	}
	return ctrl.Result{}, err
}

// ownerOf asks the product whose a working copy in the cache is. It returns nothing about a copy that is not in use as it is, or of
// another user key.
func (p *pass) ownerOf(ctx context.Context, name string) (userKey, owner string) {
	var s corev1.Secret
	if err := p.Client.Get(ctx, types.NamespacedName{Namespace: p.Namespace, Name: name}, &s); err != nil || s.Type != upstream.SecretType {
		return "", ""
	}
	c := decode(&s)
	if !p.answers() || c == nil || !c.Usable() || !c.Ending.IsZero() || c.UserKey == "" || c.Origin != p.origin {
		return "", ""
	}
	user, err := p.Product.WhoAmI(p.requests, *p.product, atlassian.Bearer(c.Token))
	switch found := judge(*c, user, err); {
	case found == unclear:
		p.silent.Store(true)
	case found == accepted && user.Key == c.UserKey:
		return user.Key, username.Fold(user.Name)
	}
	return "", ""
}
