package site_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/index"
	"apitokens.dev/operator/controllers/internal/packed"
	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/enrolment"
	"apitokens.dev/operator/internal/upstream"
)

// manage runs the reconciler in a manager until the test ends.
func (w *world) manage() {
	w.Helper()
	user := env.User(w.T, kubetest.Controller, "system:serviceaccounts", "system:serviceaccounts:"+kubetest.SystemNamespace)
	mgr, err := ctrl.NewManager(user, ctrl.Options{
		Scheme: w.reconciler.Client.Scheme(), Logger: logr.Discard(),
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Client:     client.Options{FieldOwner: "apitoken-controller"},
		Controller: config.Controller{SkipNameValidation: new(true)}, // so that the test can be repeated
		Cache: cache.Options{ReaderFailOnMissingInformer: true, DefaultTransform: packed.Transform, ByObject: map[client.Object]cache.ByObject{
			&corev1.Secret{}: {Namespaces: map[string]cache.Config{kubetest.SystemNamespace: {}, kubetest.CredentialsNamespace: {}, kubetest.IntakeNamespace: {}}},
		}},
	})
	if err != nil {
		w.Fatal(err)
	}
	if err := index.AddTo(w.Context(), mgr.GetCache()); err != nil {
		w.Fatal(err)
	}
	w.reconciler.Client, w.reconciler.Live = mgr.GetClient(), mgr.GetAPIReader()
	w.reconciler.Events = mgr.GetEventRecorder("apitoken-controller")
	if err := w.reconciler.SetupWithManager(mgr, 8); err != nil {
		w.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(w.Context()) }()
	w.Cleanup(func() {
		if err := <-ended; err != nil {
			w.Error(err)
		}
	})
}

// awaitReady waits until Ready has this reason. It gives up before the periodic pass after a minute.
func (w *world) awaitReady(s *tokensv1alpha1.AtlassianSite, reason string) {
	w.Helper()
	kubetest.Eventually(w.T, func() error {
		var now tokensv1alpha1.AtlassianSite
		if err := env.Admin.Get(w.Context(), client.ObjectKeyFromObject(s), &now); err != nil {
			return err
		}
		if c := apimeta.FindStatusCondition(now.Status.Conditions, tokensv1alpha1.ConditionReady); c == nil || c.Reason != reason {
			return fmt.Errorf("%s is %+v, want %s", s.Name, c, reason)
		}
		*s = now
		return nil
	})
}

// A change of another site, or of a Secret that is kept for a site, causes a pass at once.
func TestWatches(t *testing.T) {
	w := newWorld(t)
	w.jira("jira", "alice")
	w.giveTo("a-older", "alice", pat("alice", 1))
	w.manage()
	same := baseURL("https://" + w.ns + ".example")
	older := w.site("a-older", same, users("alice"))
	w.awaitReady(older, tokensv1alpha1.ReasonServing)
	newer := w.site("b-newer", same)
	w.awaitReady(newer, tokensv1alpha1.ReasonBaseURLConflict)

	key := w.expectAuthURLs(older)
	w.remove(w.keysSecret(older))
	kubetest.Eventually(t, func() error {
		keys, err := w.storedKeys(older)
		urls := w.authURLs(older)
		if err != nil || urls == nil {
			return errors.Join(err, errors.New("no auth URLs"))
		}
		now := keys.Address(authurl.Nginx)
		if now.Key == key || string(urls.Data["nginx"]) != webhookURL+now.String() {
			return errors.New("the deleted keys were not made anew, or the auth URLs do not have them")
		}
		return nil
	})
	w.remove(w.copySecret(older, "alice"))
	kubetest.Eventually(t, func() error {
		if w.copySecret(older, "alice") == nil {
			return errors.New("the working copy was not restored")
		}
		return nil
	})

	w.remove(w.projectionSecret(older))
	kubetest.Eventually(t, func() error {
		if w.projectionSecret(older) == nil {
			return errors.New("the projection was not restored")
		}
		return nil
	})

	w.remove(older.DeepCopy())
	w.awaitReady(newer, tokensv1alpha1.ReasonServing)
	kubetest.Eventually(t, func() error {
		if keys, err := w.storedKeys(older); err != nil || keys.Served {
			return fmt.Errorf("the caller keys are %+v, %w", keys, err)
		}
		if w.projectionSecret(older) != nil || w.authURLs(older) != nil || w.copySecret(older, "alice") != nil {
			return errors.New("something of the deleted site is there still")
		}
		return nil
	})

	want := map[string]bool{"a-older Serving": true, "b-newer BaseURLConflict": true, "b-newer Serving": true}
	kubetest.Eventually(t, func() error {
		var list eventsv1.EventList
		if err := env.Admin.List(t.Context(), &list, client.InNamespace(w.ns)); err != nil {
			return err
		}
		for _, e := range list.Items {
			w.expectNoSecret("an Event", e.Note)
			delete(want, e.Regarding.Name+" "+e.Reason)
		}
		if len(want) > 0 {
			return fmt.Errorf("there is no Event of %v", want)
		}
		return nil
	})
}

// Sites are reconciled side by side: one with a product that hangs keeps no other waiting.
func TestOneSiteHangs(t *testing.T) {
	w := newWorld(t)
	hanging, ended := make(chan struct{}, 8), make(chan struct{}, 8)
	w.serve("slow", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		hanging <- struct{}{}
		<-r.Context().Done()
		ended <- struct{}{}
	}))
	w.jira("jira", "alice")
	w.giveTo("b-quick", "alice", pat("alice", 1))
	w.manage()
	slow := w.site("a-slow", upstreamURL(w.origin("slow")+"/jira"))
	<-hanging
	quick := w.site("b-quick", users("alice"))
	w.awaitReady(quick, tokensv1alpha1.ReasonServing)
	w.expectHeld(quick, map[string]string{"alice": pat("alice", 1)})
	select {
	case <-ended:
		t.Error("the other site waited until the request to the product that hangs was given up")
	default:
	}
	w.awaitReady(slow, tokensv1alpha1.ReasonNoAnswer)
	if c := w.expectReady(slow, tokensv1alpha1.ReasonNoAnswer); !strings.Contains(c.Message, "within 10 seconds") {
		t.Errorf("message %q", c.Message)
	}
}

// The deletion of a user's last APIToken causes a pass at once.
func TestLastTokenIsWatched(t *testing.T) {
	w, j, s := enrolledWorld(t, fakeproduct.Options{})
	w.later(time.Hour)
	w.change(s, func(s *tokensv1alpha1.AtlassianSite) { s.Spec.TokenPaths = []string{"/rest/", "/plugins/"} })
	w.manage()
	kubetest.Eventually(t, func() error { // until the manager has looked at it, with the APIToken there
		w.awaitReady(s, tokensv1alpha1.ReasonServing)
		if c := apimeta.FindStatusCondition(s.Status.Conditions, tokensv1alpha1.ConditionReady); c.ObservedGeneration != s.Generation {
			return fmt.Errorf("seen was generation %d", c.ObservedGeneration)
		}
		return nil
	})
	w.passAgain(j, s)
	w.remove(w.tokenOf("alice"))
	kubetest.Eventually(t, func() error {
		if w.copySecret(s, "alice") != nil || len(ours(j, s, "alice")) != 0 {
			return errors.New("it is held still")
		}
		return nil
	})
}

// What happens to an enrolment or a working copy is seen in the next pass, which does not look at all of them.
func TestEnrolmentsAreWatched(t *testing.T) {
	w, j, s := enrolledWorld(t, fakeproduct.Options{})
	w.manage()
	w.passAgain(j, s)
	w.remove(w.secret(kubetest.SystemNamespace, enrolment.SecretName(s.Namespace, s.Name, "alice")))
	w.eventually(s, "alice", enrolment.Held)
	w.passAgain(j, s)
	w.remove(w.copySecret(s, "alice"))
	w.eventually(s, "alice", enrolment.None)
}

// eventually waits for the state of an enrolment, through as many passes as it takes.
func (w *world) eventually(s *tokensv1alpha1.AtlassianSite, user string, want enrolment.State) {
	w.Helper()
	kubetest.Eventually(w.T, func() error {
		w.causePass(s)
		if e := w.published(s, user); e.State != want {
			return fmt.Errorf("published is %+v, want %s", e, want)
		}
		return nil
	})
}

// causePass causes a pass that has nothing to look at.
func (w *world) causePass(s *tokensv1alpha1.AtlassianSite) {
	w.asked++
	since := time.Unix(0, 0).Add(time.Duration(w.asked) * time.Second)
	w.reconciler.Memory.Ask(client.ObjectKeyFromObject(s), upstream.SecretName(s.Namespace, s.Name, "nobody"), since)
}

// passAgain waits for the end of so many passes that a next one has nothing to look at.
func (w *world) passAgain(j *fakeproduct.Jira, s *tokensv1alpha1.AtlassianSite) {
	w.Helper()
	for range 5 {
		before := len(j.Requests())
		kubetest.Eventually(w.T, func() error {
			if len(j.Requests()) == before { // each pass looks whether the product answers
				w.causePass(s)
				return errors.New("no pass")
			}
			return nil
		})
	}
}
