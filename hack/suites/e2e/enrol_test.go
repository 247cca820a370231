//go:build e2e

package e2e_test

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/events"
	testclock "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	sites "apitokens.dev/operator/controllers/site"
	"apitokens.dev/operator/controllers/site/credential"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/license"
)

const day = 24 * time.Hour

// ahead is a second reconciler of sites with the account of the controller and a clock that the test steps.
type ahead struct {
	*sites.Reconciler

	clock *testclock.FakePassiveClock
}

func newAhead(t *testing.T) *ahead {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", world.Kubeconfig("apitoken-controller"))
	if err != nil {
		t.Fatal(err)
	}
	types := runtime.NewScheme()
	if err := scheme.AddToScheme(types); err != nil {
		t.Fatal(err)
	}
	if err := tokensv1alpha1.AddToScheme(types); err != nil {
		t.Fatal(err)
	}
	server, err := client.NewWithWatch(config, client.Options{Scheme: types, FieldOwner: "apitoken-controller"})
	if err != nil {
		t.Fatal(err)
	}
	api := kubetest.Indexed(server)
	told := events.NewBroadcaster(&events.EventSinkImpl{Interface: kubernetes.NewForConfigOrDie(config).EventsV1()})
	ctx, cancel := context.WithCancel(context.Background()) //nolint:usetesting // until the test is over
	t.Cleanup(func() {
		cancel()
		told.Shutdown()
	})
	if err := told.StartRecordingToSinkWithContext(ctx); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(world.licenseKeys)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := license.ParseKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	clock := testclock.NewFakePassiveClock(time.Now())
	return &ahead{&sites.Reconciler{
		Client: api, Live: api, Events: told.NewRecorder(types, "apitoken-controller"), Clock: clock, Product: atlassian.NewClient(), Memory: credential.NewMemory(),
		Namespace: systemNamespace, CredentialsNamespace: credentialsNamespace, IntakeNamespace: intakeNamespace,
		WebhookURL: world.WebhookURL, PortalURL: world.PortalURL, AllowExternalUpstreams: true, Licenses: license.NewVerifier(keys...),
	}, clock}
}

// step sets this clock and the clock of the products ahead by d. Then it reconciles until a condition holds.
func (a *ahead) step(t *testing.T, s *site, by time.Duration, what string, holds func() (bool, string)) {
	t.Helper()
	world.SetProductAhead(by)
	a.clock.SetTime(time.Now().Add(by))
	await(t, what, func() (bool, string) {
		if _, err := a.Reconcile(t.Context(), ctrl.Request{NamespacedName: types.NamespacedName{Namespace: s.namespace, Name: s.name}}); err != nil {
			return false, err.Error()
		}
		return holds()
	})
}

// A personal access token is renewed after two thirds of its lifetime. The API token stays valid all the time.
func TestRenewal(t *testing.T) {
	t.Cleanup(func() { world.SetProductAhead(0) })
	for _, s := range []*site{world.jira, world.wiki} {
		t.Run(s.name, func(t *testing.T) {
			carol := s.session("carol")
			_, text := carol.create(t, `{"label":"outlives its personal access token"}`)
			script := s.basic("carol", text)
			script.is(t, "carol")
			first, _ := s.held(t, "carol")

			controller := newAhead(t)
			controller.step(t, s, 59*day, "nothing is due on day 59", func() (bool, string) {
				held, _ := s.held(t, "carol")
				return held.ID == first.ID, "renewed"
			})
			controller.step(t, s, 61*day, "it is renewed on day 61", func() (bool, string) {
				held, _ := s.held(t, "carol")
				return held.ID != first.ID && held.Replaced == first.ID, "not renewed"
			})
			renewed, _ := s.held(t, "carol")
			script.is(t, "carol")
			await(t, "the new one is used", func() (bool, string) {
				s.product.Reset()
				script.is(t, "carol")
				seen := s.product.Requests()
				return len(seen) == 1 && seen[0].Header.Get("Authorization") == "Bearer "+renewed.Token, "the one before it"
			})
			controller.step(t, s, 61*day+time.Hour, "the product revokes the one before it", func() (bool, string) {
				for _, pat := range s.product.PersonalAccessTokens("carol") {
					if pat.ID == first.ID {
						return false, "the product has both"
					}
				}
				return true, ""
			})
			script.is(t, "carol")
			world.SetProductAhead(100 * day) // the first one would have ended on day 90
			script.is(t, "carol")
			world.SetProductAhead(0)
			carol.tokens(t, http.StatusNoContent, "DELETE", "/all", "")
		})
	}
}

// When a personal access token is revoked at the product, its user and the administrator of the site see what to do. After
// a new enrolment, the same API tokens work again.
func TestRevokedAtTheProduct(t *testing.T) {
	t.Cleanup(func() { world.SetProductAhead(0) })
	for _, s := range []*site{world.jira, world.wiki} {
		t.Run(s.name, func(t *testing.T) {
			dave := s.session("dave")
			_, text := dave.create(t, `{"label":"whose personal access token is revoked"}`)
			script := s.basic("dave", text)
			script.is(t, "dave")
			held, _ := s.held(t, "dave")
			controller := newAhead(t)
			controller.step(t, s, 0, "the site is content", func() (bool, string) { return s.credentialsAre(t, "Verified") })
			if !s.product.RevokePAT(held.Token) {
				t.Fatal("the product does not know it")
			}
			script.isRefused(t, http.StatusUnauthorized) // by the product
			controller.step(t, s, 2*time.Hour, "the site says who has to sign in, and where", func() (bool, string) {
				return s.credentialsAre(t, "CredentialUnusable", "'dave' has to sign in and open "+s.page())
			})
			s.awaitEvent(t, "dave", "UpstreamCredentialRefused")
			refused := script.isRefused(t, http.StatusForbidden)
			if reason := refused.header.Get("X-Api-Token-Reason"); reason != "UpstreamCredentialMissing" || !strings.Contains(refused.body, s.page()) {
				t.Errorf("refused for %s: %s", reason, refused.body)
			}
			s.awaitConditions(t, "UpstreamCredentialMissing")
			world.SetProductAhead(0)
			if s == world.jira {
				s.inState(t, "enrolment ended", "dave", map[string]any{"token": text})
			} else {
				dave.create(t, `{"label":"enrols again"}`)
			}
			script.is(t, "dave")
			dave.tokens(t, http.StatusNoContent, "DELETE", "/all", "")
		})
	}
}

// credentialsAre reports whether the condition of the site contains all of these texts.
func (s *site) credentialsAre(t *testing.T, said ...string) (bool, string) {
	t.Helper()
	condition := s.kubectl(t, "get", "atlassiansite", s.name, "-o", `jsonpath={.status.conditions[?(@.type=="UpstreamCredentialsReady")]}`)
	return !slices.ContainsFunc(said, func(part string) bool { return !strings.Contains(condition, part) }), condition
}

// page returns the URL of the page of tokens.
func (s *site) page() string { return s.url + "/plugins/servlet/api-tokens" }

// awaitEvent waits for an Event of the site that names a user, with one of these reasons.
func (s *site) awaitEvent(t *testing.T, about, reason string) {
	t.Helper()
	await(t, "an Event tells of "+about, func() (bool, string) {
		var list eventsv1.EventList
		if err := json.Unmarshal([]byte(s.kubectl(t, "get", "events.v1.events.k8s.io", "-o", "json")), &list); err != nil {
			t.Fatal(err)
		}
		var others []string
		for _, event := range list.Items {
			if event.Reason == reason && event.Regarding.Name == s.name && strings.Contains(event.Note, about) {
				return true, ""
			}
			others = append(others, event.Reason)
		}
		return false, strings.Join(others, " ")
	})
}

// awaitConditions waits until the condition of every token of the site has this reason.
func (s *site) awaitConditions(t *testing.T, reason string) {
	t.Helper()
	await(t, "the tokens say "+reason, func() (bool, string) {
		reasons := s.kubectl(t, "get", "apitokens", "-o", `jsonpath={.items[*].status.conditions[?(@.type=="Ready")].reason}`)
		return strings.ReplaceAll(strings.ReplaceAll(reasons, reason, ""), " ", "") == "" && reasons != "", reasons
	})
}
