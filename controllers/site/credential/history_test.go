package credential

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/enrolment"
	"apitokens.dev/operator/internal/upstream"
)

// moody is a product that changes its mind about its users.
type moody struct {
	Product

	mu     sync.Mutex
	mood   map[string]string
	silent bool
	made   int
}

func (p *moody) WhoAmI(_ context.Context, _ atlassian.Upstream, as atlassian.Credential) (atlassian.User, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	user, _, _ := strings.Cut(strings.TrimPrefix(as.Authorization, "Bearer "), "-")
	switch mood := p.mood[user]; {
	case p.silent:
		return atlassian.User{}, context.DeadlineExceeded
	case mood == "refuses":
		return atlassian.User{}, atlassian.ErrRefused
	case mood == "renamed":
		return atlassian.User{Name: user + "2", Key: "K-" + user}, nil
	case mood == "another":
		return atlassian.User{Name: "other", Key: "K-other"}, nil
	default:
		return atlassian.User{Name: user, Key: "K-" + user}, nil
	}
}

func (p *moody) CreatePAT(_ context.Context, _ atlassian.Upstream, as atlassian.Credential, _ string, days int) (atlassian.PAT, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	user, _, _ := strings.Cut(strings.TrimPrefix(as.Authorization, "Bearer "), "-")
	switch {
	case p.silent:
		return atlassian.PAT{}, context.DeadlineExceeded
	case p.mood[user] == "full":
		return atlassian.PAT{}, atlassian.ErrPATRefused
	}
	p.made++
	return atlassian.PAT{ID: int64(100 + p.made), Token: fmt.Sprintf("%s-%d", user, p.made), Expires: time.Now().Add(time.Duration(days) * day).UTC()}, nil
}

func (p *moody) ListPATs(context.Context, atlassian.Upstream, atlassian.Credential) ([]atlassian.PAT, error) {
	return nil, nil
}

func (p *moody) DeletePAT(context.Context, atlassian.Upstream, atlassian.Credential, int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.silent {
		return context.DeadlineExceeded
	}
	return nil
}

// history is a site whose copies, enrolments, APITokens, product and clock change at random. The memory is told as the controller is.
type history struct {
	*testing.T
	*rand.Rand

	keeper *Keeper
	site   *tokensv1alpha1.AtlassianSite
	moody  *moody
	// refuses means that the API server takes no writes.
	refuses bool
	done    []string
}

func newHistory(t *testing.T, seed uint64) *history {
	h := &history{T: t, Rand: rand.New(rand.NewPCG(seed, 0)), moody: &moody{mood: map[string]string{}}}
	h.keeper, h.site = slowSite(1, h.moody)
	h.site.UID, h.site.Generation = "1", 1
	api := h.keeper.Client.(client.WithWatch)
	after := func(o client.Object, write func() error) error {
		if h.refuses {
			return errors.New("the API server takes no writes")
		}
		err := write()
		if s, ok := o.(*corev1.Secret); ok && err == nil {
			h.keeper.Memory.SecretChanged(client.ObjectKeyFromObject(h.site), s.Type, s.Name)
		}
		return err
	}
	told := interceptor.NewClient(api, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			return after(o, func() error { return c.Create(ctx, o, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			return after(o, func() error { return c.Update(ctx, o, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			return after(o, func() error { return c.Delete(ctx, o, opts...) })
		},
	})
	h.keeper.Client = told
	h.restart()
	return h
}

func (h *history) restart() {
	h.keeper.Memory = NewMemory()
	_ = h.keeper.Memory.Source()
}

// secrets returns the Secrets of a type.
func (h *history) secrets(secretType corev1.SecretType) (found []corev1.Secret) {
	var list corev1.SecretList
	if err := h.keeper.Live.(client.Client).List(h.Context(), &list); err != nil {
		h.Fatal(err)
	}
	return slices.DeleteFunc(list.Items, func(s corev1.Secret) bool { return s.Type != secretType })
}

// any returns one of the Secrets of a type, or nil.
func (h *history) any(secretType corev1.SecretType) *corev1.Secret {
	all := h.secrets(secretType)
	if len(all) == 0 {
		return nil
	}
	return &all[h.IntN(len(all))]
}

func (h *history) user() string { return fmt.Sprintf("u%02d", h.IntN(6)) }

// steps are what can happen between two passes.
var steps = map[string]func(h *history){
	"enrol": func(h *history) { h.store(upstream.Enrolled) },
	"paste": func(h *history) { h.store(upstream.Pasted) },
	"token": func(h *history) {
		user := h.user()
		o := &tokensv1alpha1.APIToken{}
		o.Namespace, o.Name, o.Spec.SiteRef.Name, o.Spec.User = h.site.Namespace, user, h.site.Name, user
		_ = h.keeper.Client.Create(h.Context(), o)
	},
	"no token": func(h *history) {
		user := h.user()
		o := &tokensv1alpha1.APIToken{}
		o.Namespace, o.Name = h.site.Namespace, user
		if h.keeper.Client.Delete(h.Context(), o) == nil {
			h.keeper.Memory.Changed(client.ObjectKeyFromObject(h.site), upstream.SecretName(h.site.Namespace, h.site.Name, user))
		}
	},
	"mood": func(h *history) {
		moods := []string{"", "", "refuses", "renamed", "another", "full"}
		h.moody.mood[h.user()] = moods[h.IntN(len(moods))]
	},
	"silence": func(h *history) { h.moody.silent = !h.moody.silent },
	"refuse":  func(h *history) { h.refuses = !h.refuses },
	"restart": (*history).restart,
	"ask": func(h *history) {
		h.keeper.Memory.Ask(client.ObjectKeyFromObject(h.site), upstream.SecretName(h.site.Namespace, h.site.Name, h.user()), time.Now())
	},
	"spec": func(h *history) {
		h.site.Generation++
		h.site.Spec.BlockedUsers = nil
		if h.IntN(2) == 0 {
			h.site.Spec.BlockedUsers = []tokensv1alpha1.BlockedUser{{Name: h.user()}}
		}
		h.site.Spec.UpstreamURL = here
		if h.IntN(4) == 0 {
			h.site.Spec.UpstreamURL = "http://jira2.dev.svc:8080"
		}
	},
	"garble": func(h *history) {
		for _, secretType := range []corev1.SecretType{upstream.SecretType, enrolment.SecretType} {
			if s := h.any(secretType); s != nil && h.IntN(2) == 0 {
				s.Data = map[string][]byte{}
				_ = h.keeper.Client.Update(h.Context(), s)
			}
		}
	},
	"remove": func(h *history) {
		for _, secretType := range []corev1.SecretType{upstream.SecretType, enrolment.SecretType} {
			if s := h.any(secretType); s != nil && h.IntN(2) == 0 {
				_ = h.keeper.Client.Delete(h.Context(), s)
			}
		}
	},
	"foreign name": func(h *history) {
		for _, secretType := range []corev1.SecretType{upstream.SecretType, enrolment.SecretType} {
			if s := h.any(secretType); s != nil {
				s.Name, s.ResourceVersion = []string{"foreign", "upstream.foreign", "enrolment.foreign"}[h.IntN(3)], ""
				_ = h.keeper.Client.Create(h.Context(), s)
			}
		}
	},
}

// store stores a copy as the intake does, without an enrolment.
func (h *history) store(source upstream.Source) {
	user := h.user()
	c := upstream.Credential{
		Namespace: h.site.Namespace, Site: h.site.Name, User: user, Origin: here, Source: source, Stored: time.Now().UTC(), UserKey: "K-" + user,
	}
	if h.IntN(3) == 0 {
		c.UserKey = ""
	}
	h.moody.made++
	c.Token = fmt.Sprintf("%s-%d", user, h.moody.made)
	if source == upstream.Enrolled {
		c.ID, c.Expires = int64(100+h.moody.made), time.Now().Add(time.Duration(1+h.IntN(90))*day).UTC()
		if h.IntN(3) == 0 {
			c.Replaced = 7
		}
	}
	stored, _, err := h.keeper.stored(h.Context(), c.SecretName())
	if err != nil {
		h.Fatal(err)
	}
	_ = h.keeper.store(h.Context(), c, stored)
}

// pass makes a pass, after it has checked that the pass will look at all that it has to.
func (h *history) pass() {
	up := &atlassian.Upstream{Product: atlassian.Jira, URL: h.site.Spec.UpstreamURL}
	if h.IntN(10) == 0 {
		up = nil
	}
	h.expectEnough(up)
	_, all := h.keeper.Memory.begin(h.site, time.Now())
	before := h.names()
	_, _ = h.keeper.Reconcile(h.Context(), h.site, up) // it fails if writes do
	h.expectEnough(up)
	for name := range h.keeper.Memory.agendas[client.ObjectKeyFromObject(h.site)].byName {
		if !before[name] && !h.names()[name] {
			h.Fatalf("%s is remembered after a pass over all: %t, and there is no such copy\nafter %q", name, all, h.done)
		}
	}
}

// expectEnough expects that the next pass looks at all that it has something to do about or to report.
func (h *history) expectEnough(up *atlassian.Upstream) {
	h.Helper()
	names, all := h.keeper.Memory.begin(h.site, time.Now())
	p, err := h.keeper.newPass(h.site, up)
	if err != nil {
		h.Fatal(err)
	}
	if all {
		return
	}
	looks := func(name string) bool {
		_, entry := p.entries[name]
		return entry || slices.Contains(names, name)
	}
	states, err := p.observeAll(h.Context())
	if err != nil {
		h.Fatal(err)
	}
	copied := map[string]bool{}
	for _, s := range states {
		copied[enrolment.OfCopy(s.name)] = true
		e := p.published[enrolment.OfCopy(s.name)]
		if !looks(s.name) && (s.next() != leave || s.rejection(h.site) != nil || describe(e, &s.credential, s.origin) != e) {
			h.Fatalf("at %s, the pass does not look at %s of %s, whose step is %s: %+v, %+v\nafter %q", s.now, s.name, s.credential.User, s.next(), s.credential, e, h.done)
		}
	}
	for e := range p.published {
		if n := enrolment.CopyOf(e); !copied[e] && (n == "" || !looks(n)) {
			h.Fatalf("the pass does not look at %s\nafter %q", e, h.done)
		}
	}
}

// names returns the names of working copies that there are, or of which there is an enrolment.
func (h *history) names() map[string]bool {
	names := map[string]bool{}
	for _, s := range h.secrets(upstream.SecretType) {
		names[s.Name] = true
	}
	for _, s := range h.secrets(enrolment.SecretType) {
		names[enrolment.CopyOf(s.Name)] = true
	}
	return names
}

// Whatever happens to copies, enrolments, APITokens, product and clock, a pass looks at all that it has something to do about.
func TestPassesLookAtEnough(t *testing.T) {
	names := slices.Sorted(maps.Keys(steps))
	whole, partial := 0, 0
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			h := newHistory(t, seed)
			for range 60 {
				for range h.IntN(3) {
					step := names[h.IntN(len(names))]
					h.done = append(h.done, step)
					steps[step](h)
				}
				waits := []time.Duration{time.Second, time.Minute, time.Minute, time.Minute, 10 * time.Minute, time.Hour, day}
				wait := waits[h.IntN(len(waits))]
				h.done = append(h.done, wait.String())
				<-time.After(wait)
				if _, all := h.keeper.Memory.begin(h.site, time.Now()); all {
					whole++
				} else {
					partial++
				}
				h.pass()
			}
		})
	}
	if partial < whole/4 {
		t.Errorf("%d passes look at all, and %d do not", whole, partial)
	}
}

// touching counts the objects that are read.
type touching struct {
	client.Client

	objects int
}

func (c *touching) Get(ctx context.Context, key client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	c.objects++
	return c.Client.Get(ctx, key, into, opts...)
}

func (c *touching) List(ctx context.Context, into client.ObjectList, opts ...client.ListOption) error {
	err := c.Client.List(ctx, into, opts...)
	c.objects += apimeta.LenList(into)
	return err
}

// A pass after a change of one copy reads as many objects among few copies as among many.
func TestPassReadsWhatChanged(t *testing.T) {
	read := map[int]int{}
	for _, copies := range []int{100, 1000} {
		synctest.Test(t, func(t *testing.T) {
			k, s := slowSite(0, prompt{})
			reads := &touching{Client: k.Client}
			k.Client, k.Live = reads, reads
			_ = k.Memory.Source()
			c := upstream.Credential{Namespace: s.Namespace, Site: s.Name, UserKey: "k1", Origin: here, Token: "x", Source: upstream.Pasted, Stored: time.Now().UTC()}
			for i := range copies {
				c.User = fmt.Sprintf("u%d", i)
				if err := k.store(t.Context(), c, nil); err != nil {
					t.Fatal(err)
				}
			}
			passes(t, k, s, 4*time.Minute)
			k.Memory.Changed(client.ObjectKeyFromObject(s), c.SecretName())
			reads.objects = 0
			passes(t, k, s, time.Second)
			read[copies] = reads.objects
		})
	}
	if read[100] == 0 || read[100] != read[1000] {
		t.Errorf("objects that a pass reads, by the number of copies: %v", read)
	}
}
