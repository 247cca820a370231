package door

import (
	"context"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/event"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

const (
	// period is the time between two looks at a site, up to a fifth more. It is soonAgain until the ingress is protected.
	period, soonAgain = 4 * time.Minute, time.Minute
	jitter            = 0.2
	// parallel is how many sites are looked at at the same time. Each is bounded by roundTimeout.
	parallel = 64
)

// Prober looks at the ingress of each site at once and every few minutes. Sites do not wait for each other, nor does the
// reconciler wait for them: it reads the finding, and is told when there is another one.
type Prober struct {
	clock   clock.Clock
	look    func(context.Context, Site) Finding
	changed chan event.GenericEvent
	slots   chan struct{}

	mu    sync.Mutex
	sites map[types.NamespacedName]*watched
	// begin starts looking at a site. It is nil unless the prober runs.
	begin func(types.NamespacedName, *watched)
}

// watched is a site that is looked at.
type watched struct {
	// site and finding are guarded by the Prober's lock. Without a finding the site as it is has not been looked at.
	site    Site
	finding *Finding
	// again has a message when the site has changed. gone is closed when it is forgotten.
	again, gone chan struct{}
}

// NewProber returns a Prober that looks at sites with a function such as Asker.Look.
func NewProber(c clock.Clock, look func(context.Context, Site) Finding) *Prober {
	return &Prober{
		clock: c, look: look, changed: make(chan event.GenericEvent, 1), slots: make(chan struct{}, parallel),
		sites: map[types.NamespacedName]*watched{},
	}
}

// Changed has an event for each site about which there is another finding.
func (p *Prober) Changed() <-chan event.GenericEvent { return p.changed }

// Found returns the finding about a site as it is now. It has the site looked at from now on, and at once if it has changed.
func (p *Prober) Found(name types.NamespacedName, s Site) (f Finding, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w, known := p.sites[name]
	switch {
	case !known:
		w = &watched{site: s, again: make(chan struct{}, 1), gone: make(chan struct{})}
		if p.sites[name] = w; p.begin != nil {
			p.begin(name, w)
		}
	case !w.site.same(s):
		w.finding = nil
		select {
		case w.again <- struct{}{}:
		default: // it is due already
		}
	}
	if w.site = s; w.finding == nil {
		return Finding{}, false
	}
	return *w.finding, true
}

// Forget ends looking at a site.
func (p *Prober) Forget(name types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w, known := p.sites[name]; known {
		close(w.gone)
		delete(p.sites, name)
	}
}

// Start looks at sites until ctx is done.
func (p *Prober) Start(ctx context.Context) error {
	var group sync.WaitGroup
	p.mu.Lock()
	p.begin = func(name types.NamespacedName, w *watched) { group.Go(func() { p.watch(ctx, name, w) }) }
	for name, w := range p.sites {
		p.begin(name, w)
	}
	p.mu.Unlock()
	<-ctx.Done()
	p.mu.Lock()
	p.begin = nil
	p.mu.Unlock()
	group.Wait()
	return nil
}

// watch looks at one site again and again.
func (p *Prober) watch(ctx context.Context, name types.NamespacedName, w *watched) {
	for {
		next := soonAgain
		if f, ok := p.lookAt(ctx, name, w); ok && f.Status() == metav1.ConditionTrue {
			next = period
		}
		select {
		case <-ctx.Done():
			return
		case <-w.gone:
			return
		case <-w.again:
		case <-p.clock.After(wait.Jitter(next, jitter)):
		}
	}
}

// lookAt looks at one site, and has it reconciled if the finding is another one. It returns false if the site changed meanwhile.
func (p *Prober) lookAt(ctx context.Context, name types.NamespacedName, w *watched) (f Finding, ok bool) {
	select {
	case <-ctx.Done():
		return Finding{}, false
	case <-w.gone:
		return Finding{}, false
	case p.slots <- struct{}{}:
	}
	p.mu.Lock()
	site := w.site
	p.mu.Unlock()
	f = p.look(ctx, site)
	<-p.slots
	p.mu.Lock()
	ok = ctx.Err() == nil && w.site.same(site)
	news := ok && (w.finding == nil || *w.finding != f)
	if news {
		w.finding = &f
	}
	p.mu.Unlock()
	if news {
		select {
		case <-ctx.Done():
		case <-w.gone:
		case p.changed <- event.GenericEvent{Object: &tokensv1alpha1.AtlassianSite{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}}}:
		}
	}
	return f, ok
}
