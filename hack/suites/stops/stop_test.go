package stops_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/hack/lib/kubetest"
)

// order is a stop with its target.
type order struct {
	what string
	// portal carries it out. It is nil for a stop in Kubernetes.
	portal *process
	// run returns the answer of one try.
	run func() answer
	// killed notes it in the model.
	killed func()
	// alone means that nobody makes anything meanwhile, because the clock steps.
	alone bool
	// spared is a token that nobody rotates meanwhile: the stop rotates it, or is asked for with a secret of it.
	spared *apiToken
	// takes says whether a token that another one was making meanwhile is to die, or that a session was making if by is nil.
	takes func(user string, by *apiToken) fate
}

// stops are the stops by name. Each returns nil if it has no target in this history.
var stops = map[string]func(*history) *order{
	"revoke one":              revokeOne,
	"revoke one by itself":    revokeItself,
	"revoke with descendants": revokeLine,
	"revoke all":              revokeAll,
	"revoke all on the page":  revokeAllOnPage,
	"present":                 present,
	"administrator, one":      administratorOne,
	"administrator, all":      administratorAll,
	"delete with kubectl":     deleteObject,
	"suspend":                 suspendObject,
	"block a user":            blockUser,
	"epoch":                   epoch,
	"close the namespace":     closeNamespace,
	"make the site again":     makeSiteAgain,
	"rename a user":           rename,
	"reuse a name":            reuseName,
	"let it expire":           expire,
	"rotate without overlap":  rotateAway,
	"revoke all with a token": revokeAllByToken,
}

// line is a stop of one token with its descendants. What any of them was making meanwhile dies too.
func (h *history) line(match func(*secret) bool, r func(*secret) request) *order {
	var root *apiToken
	o := h.one(match, func(s *secret) request {
		root = s.of
		return r(s)
	})
	if o == nil {
		return nil
	}
	o.what += ", with its descendants"
	o.killed = func() {
		for _, t := range h.tokens {
			if t == root || t.descends(root) {
				t.revoked = yes
			}
		}
	}
	o.takes = func(_ string, by *apiToken) fate {
		if by != nil && (by == root || by.descends(root)) {
			return yes
		}
		return no
	}
	return o
}

// one is a stop of one token. What it was making meanwhile may live.
func (h *history) one(match func(*secret) bool, r func(*secret) request) *order {
	s := h.someone(match)
	if h.unseen != nil && h.chance(50) {
		s = h.unseen
	}
	if s == nil {
		return nil
	}
	q := r(s)
	q.portal = h.at
	return &order{
		what: q.String() + ", which is token " + strconv.Itoa(s.of.n), portal: q.portal, spared: q.token(),
		run:    func() answer { return h.send(q) },
		killed: func() { s.of.revoked = yes },
		takes: func(_ string, by *apiToken) fate {
			if by == s.of {
				return maybe
			}
			return no
		},
	}
}

func revokeOne(h *history) *order {
	return h.one(portalMade, func(s *secret) request {
		return request{what: "revokes " + s.of.id, user: s.of.user, method: http.MethodDelete, target: restPath + "/" + s.of.id}
	})
}

func revokeItself(h *history) *order {
	return h.one(portalMade, func(s *secret) request {
		return request{what: "revokes itself", user: s.of.user, by: s, method: http.MethodDelete, target: restPath + "/" + s.of.id}
	})
}

func present(h *history) *order {
	return h.line(func(*secret) bool { return true }, func(s *secret) request {
		return request{what: "presents secret " + itoa(s.n), method: http.MethodPost, target: restPath + "/revoke", body: `{"token":"` + s.text + `"}`}
	})
}

func revokeLine(h *history) *order {
	return h.line(portalMade, func(s *secret) request {
		return request{what: "revokes " + s.of.id, user: s.of.user, method: http.MethodDelete, target: restPath + "/" + s.of.id + "?descendants=true"}
	})
}

func administratorOne(h *history) *order {
	return h.line(func(*secret) bool { return true }, func(s *secret) request {
		return request{what: "revokes " + s.of.id, user: "carol", method: http.MethodDelete, target: restPath + "/admin/" + s.of.id}
	})
}

// all is a stop of all tokens of a user. What their tokens were making dies too. What their session was making may live.
func (h *history) all(user string, r request) *order {
	r.portal = h.at
	return &order{
		what: r.String(), portal: r.portal, spared: r.token(),
		run: func() answer { return h.send(r) },
		killed: func() {
			for _, t := range h.tokens {
				if t.user == user {
					t.revoked = yes
				}
			}
		},
		takes: func(of string, by *apiToken) fate {
			switch {
			case of != user:
				return no
			case by == nil:
				return maybe
			}
			return yes
		},
	}
}

func revokeAll(h *history) *order {
	user := pick(h, "alice", "alice", "bob")
	return h.all(user, request{what: "revokes all", user: user, method: http.MethodDelete, target: restPath + "/all"})
}

func revokeAllByToken(h *history) *order {
	s := h.someone(portalMade)
	if s == nil {
		return nil
	}
	return h.all(s.of.user, request{what: "revokes all", user: s.of.user, by: s, method: http.MethodDelete, target: restPath + "/all"})
}

func administratorAll(h *history) *order {
	user := pick(h, "alice", "alice", "bob")
	return h.all(user, request{what: "revokes all of " + user, user: "carol", method: http.MethodDelete, target: restPath + "/admin/tokens?user=" + user})
}

// revokeAllOnPage sends the form with the number of tokens that the page shows.
func revokeAllOnPage(h *history) *order {
	user := pick(h, "alice", "alice", "bob")
	return h.all(user, request{
		what: "revokes all on the page", user: user, method: http.MethodPost, target: pagePath + "/revoke-all", dialog: pagePath + "?dialog=revoke-all",
		form: url.Values{},
	})
}

// inKubernetes is a stop that kubectl carries out.
func (h *history) inKubernetes(what string, run func(), killed func(), takes func(string, *apiToken) fate) *order {
	return &order{
		what: "kubectl: " + what, killed: killed, takes: takes,
		run: func() answer {
			run()
			return answer{status: http.StatusOK}
		},
	}
}

func nothing(string, *apiToken) fate { return no }

func deleteObject(h *history) *order {
	s := h.someone(func(*secret) bool { return true })
	if s == nil {
		return nil
	}
	object := h.objectOf(s.of)
	return h.inKubernetes(fmt.Sprintf("token %d is deleted", s.of.n),
		func() { must(h.T, client.IgnoreNotFound(env.Admin.Delete(h.Context(), object))) },
		func() { s.of.revoked = yes },
		func(_ string, by *apiToken) fate {
			if by == s.of {
				return maybe
			}
			return no
		})
}

func suspendObject(h *history) *order {
	s := h.someone(func(*secret) bool { return true })
	if s == nil {
		return nil
	}
	return h.inKubernetes(fmt.Sprintf("token %d is suspended", s.of.n),
		func() { h.setState(s.of, tokensv1alpha1.StateSuspended) }, func() {},
		func(_ string, by *apiToken) fate {
			if by == s.of {
				return maybe
			}
			return no
		})
}

func epoch(h *history) *order {
	return h.inKubernetes("everything issued before a minute from now ends", h.setEpoch, func() {}, nothing)
}

func blockUser(h *history) *order {
	user := pick(h, "alice", "alice", "bob")
	byKey := h.enrolled[user] == yes && h.chance(50) // no key is known of others
	if byKey {
		h.settle()
	}
	return h.inKubernetes(fmt.Sprintf("%s is blocked, by key: %t", user, byKey), func() {
		block := tokensv1alpha1.BlockedUser{Name: user}
		if byKey {
			block = tokensv1alpha1.BlockedUser{Key: h.keys[user]}
		}
		h.changeSite(func(s *tokensv1alpha1.AtlassianSiteSpec) { s.BlockedUsers = append(s.BlockedUsers, block) })
	}, func() { h.blocked = append(h.blocked, user) }, nothing)
}

func closeNamespace(h *history) *order {
	return h.inKubernetes("the site takes no tokens of other namespaces any more", func() {
		h.changeSite(func(s *tokensv1alpha1.AtlassianSiteSpec) {
			s.AllowedNamespaces.From = tokensv1alpha1.NamespacesFromSame
		})
		h.closed = true
	}, func() {}, nothing)
}

// formerAlice is the name of the first alice after another one took hers.
const formerAlice = "alicia"

// rename renames alice, which kills nothing: her tokens belong to her key. What she makes from now on has the new name.
func rename(h *history) *order {
	if h.enrolled["alice"] != yes {
		return nil
	}
	h.settle()
	o := h.inKubernetes("the product renames alice", func() {
		if !h.product.Rename("alice", formerAlice) {
			h.wrong("the product refuses")
		}
		h.renamed, h.keys[formerAlice] = true, h.keys["alice"]
	}, func() {}, nothing)
	o.alone = true
	return o
}

// reuseName renames alice, and another user gets the name and makes a token. The tokens of the first act as neither. One that is declared
// for the other before they sign in acts as nobody until then.
func reuseName(h *history) *order {
	if h.enrolled["alice"] != yes {
		return nil
	}
	h.settle() // the tokens of alice belong to a key as soon as the controller knows it
	o := h.inKubernetes("alice is renamed, and another alice comes", func() {
		if !h.product.Rename("alice", formerAlice) || !h.product.Add(fakeproduct.User{Name: "alice", Key: "KEY9"}) {
			h.wrong("the product refuses")
		}
		h.cookies["alice"], h.keys["alice"] = h.product.SignIn("alice"), "KEY9"
		h.declareForTheNext("alice")
		for range 3 { // a machine with much to do may answer 503
			if h.create("alice", nil) != nil {
				return
			}
		}
		h.wrong("the new alice cannot have a token")
	}, func() {}, nothing)
	o.alone = true
	return o
}

// declareForTheNext declares a token for the next user of a name, under which the operator holds a personal access token of the former one.
func (h *history) declareForTheNext(user string) {
	h.Helper()
	t := h.declareFor(user)
	h.settle()
	for _, g := range h.gateways {
		for _, s := range t.secrets {
			if status, _ := askGateway(g, h.address(), h.site.Spec.BaseURL, user, s.text); status == http.StatusOK {
				h.wrong("%s: secret %d for the next %s acts as the former one", g.name, s.n, user)
			}
		}
	}
	h.count("token for the next user of a name")
}

// makeSiteAgain deletes the site and creates one of the same name. Without its epoch nothing comes back; for another product, at
// another base URL, all tokens are dead. The API server tells the time of the new site, so the clock must not be ahead of it.
func makeSiteAgain(h *history) *order {
	kills, other := h.chance(50), !h.stepped && h.chance(50)
	host, what := h.site.Name+".example", "the site is made again"
	if other {
		host, what = h.site.Name+".other.example", "a site for another base URL is made under the name"
	}
	o := h.inKubernetes(what, func() {
		if kills {
			h.setEpoch()
			h.did("kubectl: all tokens are revoked by an epoch")
		}
		h.reconcile()
		h.removeSite()
		h.awaitClock()
		h.createSite(h.site.Name, host)
		h.reconcile()
	}, func() {
		for _, s := range h.secrets {
			s.foreign = s.foreign || other
		}
	}, nothing)
	o.alone = true
	return o
}

// awaitClock waits until the API server's clock is not behind, unless time was skipped.
func (h *history) awaitClock() {
	h.Helper()
	if h.stepped {
		return
	}
	kubetest.Eventually(h.T, func() error {
		if time.Now().Before(h.clock.Now().Add(time.Second)) {
			return errors.New("the clock of the history is ahead")
		}
		return nil
	})
}

// removeSite deletes the site. While there is none, nothing answers 200.
func (h *history) removeSite() {
	h.Helper()
	address := h.address()
	must(h.T, env.Admin.Delete(h.Context(), h.site))
	h.reconcile()
	h.catchUp(h.T)
	for _, s := range h.secrets {
		for _, g := range h.gateways {
			if status, _ := askGateway(g, address, h.site.Spec.BaseURL, s.of.user, s.text); status == http.StatusOK {
				h.wrong("%s: secret %d answers 200 without a site", g.name, s.n)
			}
		}
	}
	clear(h.enrolled)
	for _, u := range users {
		for _, pat := range h.product.PersonalAccessTokens(u.Name) {
			h.abandoned[pat.ID] = true
		}
	}
}

func expire(h *history) *order {
	s := h.someone(func(s *secret) bool { return !s.ends.IsZero() })
	if s == nil {
		return nil
	}
	o := h.inKubernetes(fmt.Sprintf("secret %d expires", s.n), func() {}, func() { h.step(s.ends.Sub(h.clock.Now()) + time.Millisecond) }, nothing)
	o.alone = true
	return o
}

// rotateAway ends the older secrets of a token at once, also one that was to live on for a day.
func rotateAway(h *history) *order {
	s := h.someone(portalMade)
	if s == nil {
		return nil
	}
	before := request{
		what: fmt.Sprintf("rotates token %d with an overlap of a day", s.of.n), portal: h.at, user: s.of.user,
		method: http.MethodPost, target: restPath + "/" + s.of.id + "/rotate", body: `{"overlapHours":24}`,
	}
	h.rotated(s.of, 24*time.Hour, h.try(before))
	q := request{
		what: fmt.Sprintf("rotates token %d without an overlap", s.of.n), portal: h.at, user: s.of.user,
		method: http.MethodPost, target: restPath + "/" + s.of.id + "/rotate", body: `{"overlapHours":0}`,
	}
	var last answer
	return &order{
		what: q.String(), portal: q.portal, takes: nothing, spared: s.of,
		run: func() answer {
			last = h.send(q)
			return last
		},
		killed: func() { h.rotated(s.of, time.Duration(0), last) },
	}
}
