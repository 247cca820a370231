package outage_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/hack/lib/fault"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/hack/lib/rig"
)

// outage is a failure of the API server, or of the path to it.
type outage struct {
	kubeconfig string
	begin, end func()
	// hidden is the time during which a client cannot notice it.
	hidden time.Duration
	// leaky means that changes are still seen during it, late.
	leaky bool
	// resources are the resources that it affects, all if empty.
	resources []string
}

// outages are failures that a webhook survives in the same way.
var outages = map[string]func(*testing.T) outage{
	"stopped":        stopped,
	"restarted anew": restartedAnew,
	"frozen":         frozen,
	"lost":           lost,
	"error 500":      func(t *testing.T) outage { return failing(t, fault.Fail(http.StatusInternalServerError)) },
	"error 503":      func(t *testing.T) outage { return failing(t, fault.Fail(http.StatusServiceUnavailable)) },
	"busy":           func(t *testing.T) outage { return failing(t, fault.Busy(1)) },
	"busy for long":  func(t *testing.T) outage { return failing(t, fault.Busy(30)) },
	"mute":           func(t *testing.T) outage { return failing(t, fault.Mute) },
	"slow":           func(t *testing.T) outage { return impaired(t, fault.Delay(2*time.Second)) },
	"watches cut":    func(t *testing.T) outage { return impaired(t, fault.CutWatches(time.Second)) },
}

// stopped is an API server that stops, and comes back unchanged.
func stopped(t *testing.T) outage {
	line := newLine(t, apiServer(t))
	return outage{kubeconfig: kubeconfig(t, line.Address()), begin: line.Refuse, end: func() { must(t, line.Pass()) }}
}

// restartedAnew is one that comes back without its watch cache: clients cannot resume their watches.
func restartedAnew(t *testing.T) outage {
	api := newAPI(t)
	line := newLine(t, strings.TrimPrefix(api.URL(), "http://"))
	return outage{
		kubeconfig: openKubeconfig(t, "http://"+line.Address()),
		begin: func() {
			line.Refuse()
			api.Set(fault.Forget)
		},
		end: func() { must(t, line.Pass()) },
	}
}

// frozen is a network that carries no data and closes no connection.
func frozen(t *testing.T) outage {
	line := newLine(t, apiServer(t))
	return outage{kubeconfig: kubeconfig(t, line.Address()), begin: line.Freeze, end: func() { must(t, line.Pass()) }, hidden: unanswered}
}

// lost is a network that drops every packet: new connections fail too.
func lost(t *testing.T) outage {
	line := newLine(t, apiServer(t))
	return outage{
		kubeconfig: kubeconfig(t, line.Address()), hidden: unanswered,
		begin: func() { must(t, line.Lose()) }, end: func() { must(t, line.Pass()) },
	}
}

// unanswered is the time after which the feed's transport gives up a connection: its idle time and its ping timeout.
const unanswered = 7 * time.Second

func failing(t *testing.T, f fault.Fault) outage {
	api := newAPI(t)
	change := func(f fault.Fault) func() {
		return func() {
			api.Set(f)
			api.Cut()
		}
	}
	return outage{kubeconfig: openKubeconfig(t, api.URL()), begin: change(f), end: change(fault.Pass)}
}

// impaired is an API server with errors or delays that answers in the end.
func impaired(t *testing.T, f fault.Fault) outage {
	o := failing(t, f)
	o.leaky = true
	return o
}

// hold is the duration of a short outage after it can be noticed.
const hold = 5 * time.Second

func TestOutage(t *testing.T) {
	t.Parallel()
	for name, prepare := range outages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := prepare(t)
			newScene(t, o.kubeconfig, 2).survives(o, o.hidden+hold)
		})
	}
}

// survives runs an outage of the given duration, with requests all the time.
func (s *scene) survives(o outage, lasts time.Duration) {
	s.revoke(s.revoked)
	s.awaitRevoked(time.Now(), s.revoked)

	o.begin()
	begun := time.Now()
	s.revoke(s.during)
	for ticker := time.NewTicker(100 * time.Millisecond); time.Since(begun) < lasts; <-ticker.C {
		s.expectUnimpaired()
	}
	for _, r := range s.replicas {
		if o.leaky {
			continue
		}
		s.expect(r, s.during, http.StatusOK) // else this was no outage
		s.expectStale(r, begun, o.resources...)
	}
	o.end()

	ended := time.Now()
	s.revoke(s.after)
	s.awaitRevoked(ended, s.during, s.after)
	s.expectUnimpaired()
}

// expectUnimpaired fails unless every replica answers as before the outage.
func (s *scene) expectUnimpaired() {
	s.Helper()
	for _, r := range s.replicas {
		s.expect(r, s.live, http.StatusOK)
		s.expect(r, s.revoked, http.StatusUnauthorized)
		if ready := s.ready(r); ready != http.StatusOK {
			s.Fatalf("/readyz answers %d", ready)
		}
	}
}

// truth is the allowed error of the exported staleness.
const truth = 1500 * time.Millisecond

// expectStale fails unless a replica exports, for these resources or all, that it has had no watch since then.
func (s *scene) expectStale(r *rig.Replica, since time.Time, resources ...string) {
	s.Helper()
	least := time.Since(since) - truth
	stale := s.staleness(r)
	most := time.Since(since) + truth
	for resource, stale := range stale {
		if len(resources) > 0 && !slices.Contains(resources, resource) {
			continue
		}
		if stale < least || stale > most {
			s.Errorf("says of %s that it is stale for %s, after %s", resource, stale, time.Since(since))
		}
	}
}

// A frozen connection is noticed, and a new one shows what happened meanwhile.
func TestFrozenConnection(t *testing.T) {
	t.Parallel()
	line := newLine(t, apiServer(t))
	s := newScene(t, kubeconfig(t, line.Address()), 2)
	s.revoke(s.revoked)
	s.awaitRevoked(time.Now(), s.revoked)
	line.FreezeOpen()
	begun := time.Now()
	s.revoke(s.during)
	for _, r := range s.replicas {
		s.expect(r, s.during, http.StatusOK)
	}
	noticed := make([]bool, len(s.replicas))
	s.eventually(time.Until(begun.Add(detection)), func() error {
		var errs []error
		for i, r := range s.replicas {
			fresh := s.fresh(r)
			noticed[i] = noticed[i] || fresh != nil
			if s.ask(r, s.during) != http.StatusUnauthorized {
				errs = append(errs, fmt.Errorf("replica %d has not seen the revocation", i))
			}
			errs = append(errs, fresh)
		}
		return errors.Join(errs...)
	})
	t.Logf("noticed, and seen through another after %s", time.Since(begun).Round(10*time.Millisecond))
	if slices.Contains(noticed, false) {
		t.Errorf("a replica never said that it was stale: %t", noticed)
	}
	s.expectUnimpaired()
}

// Open watches continue without rights. When they end, the last known state counts until the rights are back.
func TestRightsWithdrawn(t *testing.T) {
	line := newLine(t, apiServer(t))
	s := newScene(t, kubeconfig(t, line.Address()), 2)
	binding := &rbacv1.ClusterRoleBinding{}
	must(t, env.Admin.Get(t.Context(), client.ObjectKey{Name: "apitoken-webhook"}, binding))
	binding.SetResourceVersion("")
	s.survives(outage{
		resources: []string{"apitokens", "atlassiansites"},
		begin: func() {
			must(t, env.Admin.Delete(t.Context(), binding.DeepCopy()))
			s.awaitAllowed(false)
			line.Reset()
		},
		end: func() {
			must(t, env.Admin.Create(t.Context(), binding.DeepCopy()))
			s.awaitAllowed(true)
		},
	}, hold)
}

// awaitAllowed waits until the API server enforces that the webhook may, or may not, read.
func (s *scene) awaitAllowed(want bool) {
	s.Helper()
	s.eventually(recovery, func() error {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: kubetest.Webhook, ResourceAttributes: &authorizationv1.ResourceAttributes{
				Group: "apitokens.dev", Resource: "apitokens", Verb: "watch",
			},
		}}
		must(s.T, env.Admin.Create(s.Context(), review))
		if review.Status.Allowed != want {
			return fmt.Errorf("the webhook may read: %t", review.Status.Allowed)
		}
		return nil
	})
}

// A replica that starts during an outage is not ready and answers 503.
func TestStartedDuringOutage(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"stopped", "frozen", "error 500", "mute"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := outages[name](t)
			s := newScene(t, o.kubeconfig, 0)
			o.begin()
			r, begun, asked := s.launch(), time.Now(), 0
			for ticker := time.NewTicker(20 * time.Millisecond); time.Since(begun) < o.hidden+hold; <-ticker.C {
				switch got := s.ask(r, s.live); got {
				case http.StatusServiceUnavailable:
					asked++
				case 0: // it does not listen yet
				default:
					t.Fatalf("answered %d", got)
				}
				if ready := s.ready(r); ready == http.StatusOK {
					t.Fatal("ready")
				}
			}
			if asked == 0 {
				t.Error("it never answered")
			}
			o.end()
			ended := time.Now()
			s.await(r, recovery)
			t.Logf("ready %s after the end, having answered 503 %d times", time.Since(ended).Round(10*time.Millisecond), asked)
			s.expect(r, s.live, http.StatusOK)
		})
	}
}
