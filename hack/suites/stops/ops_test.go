package stops_test

import (
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// live lets users, administrators and the network do something.
func (h *history) live() {
	h.Helper()
	switch what := h.random.IntN(100); {
	case what < 24:
		h.create(pick(h, "alice", "alice", "bob"), nil)
	case what < 44:
		if s := h.someone(func(*secret) bool { return true }); s != nil {
			h.create(s.of.user, s)
		}
	case what < 60:
		h.rotate()
	case what < 66:
		if s := h.someone(portalMade); s != nil {
			h.revokeOne(s)
		}
	case what < 72:
		h.declare()
	case what < 74:
		h.suspend()
	case what < 76:
		h.markPending()
	case what < 84:
		h.step(pick(h, time.Second, time.Minute, time.Hour, 25*time.Hour, 31*24*time.Hour))
	case what < 91:
		h.lagBehind()
	case what < 96:
		h.outage()
	default:
		h.did("the controller makes a round")
		h.reconcile()
	}
}

func portalMade(s *secret) bool { return s.of.name == "" }

// someone returns a secret that must answer 200 and matches, or nil.
func (h *history) someone(match func(*secret) bool) *secret {
	if all := h.sure(h.clock.Now(), match); len(all) > 0 {
		return pick(h, all...)
	}
	return nil
}

func (h *history) create(user string, by *secret) *apiToken {
	r := h.creation(user, by)
	return h.created(r, h.try(r))
}

func (h *history) rotate() {
	s := h.someone(portalMade)
	if s == nil {
		return
	}
	by := s
	if h.chance(50) {
		by = nil
	}
	r, overlap := h.rotation(s.of, by)
	h.rotated(s.of, overlap, h.try(r))
}

func (h *history) revokeOne(s *secret) {
	a := h.try(request{
		what: "revokes a token, of secret " + itoa(s.n), portal: pick(h, h.portals...), user: s.of.user, method: http.MethodDelete, target: restPath + "/" + s.of.id,
	})
	switch {
	case a.ok():
		s.of.revoked = yes
	case !a.clear():
		s.of.revoked = max(s.of.revoked, maybe)
	}
}

// suspend suspends a token with kubectl, or ends that.
func (h *history) suspend() {
	s := h.someone(func(*secret) bool { return true })
	if s == nil {
		return
	}
	h.setState(s.of, tokensv1alpha1.StateSuspended)
	if h.chance(50) {
		h.setState(s.of, tokensv1alpha1.StateActive)
	}
}

// markPending gives a token the mark of one that is being created. It hides nothing that authenticates.
func (h *history) markPending() {
	s := h.someone(func(*secret) bool { return true })
	if s == nil {
		return
	}
	patch := []byte(`{"metadata":{"annotations":{"` + tokensv1alpha1.AnnotationPending + `":"true"}}}`)
	must(h.T, env.Admin.Patch(h.Context(), h.objectOf(s.of), client.RawPatch(types.MergePatchType, patch)))
	h.did("kubectl: token %d is marked as pending", s.of.n)
	h.count("pending mark")
}

func (h *history) setState(t *apiToken, state tokensv1alpha1.State) {
	h.Helper()
	object := h.objectOf(t)
	must(h.T, env.Admin.Patch(h.Context(), object, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"state":"`+string(state)+`"}}`))))
	t.suspended = no
	if state == tokensv1alpha1.StateSuspended {
		t.suspended = yes
	}
	h.did("kubectl: token %d is %s", t.n, state)
}

// lagBehind makes one watch of a process carry nothing, until something waits for it or the faults end.
func (h *history) lagBehind() {
	p := pick(h, h.processes()...)
	resource := pick(h, p.watches...)
	p.catchUp()
	p.lag(resource)
	h.did("%s: its watch of %s lags", p.name, resource)
	h.count("lag")
}

// outage takes the product or the API server away while users try something.
func (h *history) outage() {
	p := pick(h, h.portals...)
	if h.chance(50) {
		h.product.SetUnavailable(true)
		h.did("the product is away")
	} else {
		p.setDown(true)
		h.did("%s cannot reach the API server", p.name)
	}
	h.count("outage")
	h.create("alice", nil)
	h.rotate()
	if s := h.someone(portalMade); s != nil && h.chance(50) {
		h.revokeOne(s)
	}
	h.product.SetUnavailable(false)
	p.setDown(false)
	h.did("it is back")
}

func (h *history) changeSite(edit func(*tokensv1alpha1.AtlassianSiteSpec)) {
	h.Helper()
	before := h.site.DeepCopy()
	edit(&h.site.Spec)
	must(h.T, env.Admin.Patch(h.Context(), h.site, client.MergeFrom(before)))
}

// setEpoch kills everything that was issued before a moment a minute ahead.
func (h *history) setEpoch() {
	h.Helper()
	ahead := metav1.NewTime(h.clock.Now().Add(time.Minute)).Rfc3339Copy()
	h.changeSite(func(s *tokensv1alpha1.AtlassianSiteSpec) { s.IssuedAfter = ahead })
	h.epoch = ahead.Time
}
