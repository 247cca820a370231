package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/bulk"
	"apitokens.dev/operator/hack/lib/rig"
	"apitokens.dev/operator/internal/authurl"
)

const (
	// changedTokens is the number of tokens in the world that changes.
	changedTokens = 10_000
	replicas      = 3
	// revocations and creations are how many of each are measured.
	revocations, creations = 200, 60
	// authentications is how many requests a second the replicas answer together meanwhile.
	authentications = 1_000
	// lookPause is the time between two looks whether a replica has seen a change. Without it, the looks would keep all cores busy.
	lookPause = 500 * time.Microsecond
	// seenLimit is how long a replica may take to see a change before the measurement fails.
	seenLimit = 30 * time.Second
)

// changes measures the time until a change counts on each of three webhooks.
var changes = group{
	name: "changes", measure: measureChanges,
	figures: []figure{
		{"revoke_ack_p99_ms", atMost(10), "milliseconds from the answer to a DELETE until each of 3 webhooks answers 401; 10,000 tokens, 1,000 requests a second"},
		{"revoke_ack_max_ms", atMost(100), "the longest of them"},
		{"create_usable_p99_ms", atMost(300), "milliseconds from a POST to the REST API until each of 3 webhooks answers 200"},
		{"reconcile_vs_bare_writes", atLeast(0.8), "APITokens a second from applied to seen Ready, over those of a bare client that does the least writes"},
		{"reconciled_s", atLeast(400), "these APITokens a second"},
		{"writes_per_token", atMost(3), "writes of the controller for each"},
		{"reads_per_token", goal{}, "reads of the controller for each"},
	},
}

func measureChanges(*bench) (figures map[string]float64, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c, err := startCluster(ctx, changedTokens, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	w, stop, err := c.startWebhooks(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	figures = map[string]float64{}
	if err := w.measureRevocations(ctx, figures); err != nil {
		return nil, err
	}
	controller, err := c.startController(ctx, map[string]float64{}) // alone, so it needs no leader election
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, controller.Stop()) }()
	portal, err := c.rig.StartPortal(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, portal.Stop()) }()
	// Webhooks write last accesses for a while after requests. The bare client would not have them beside it.
	if err := errors.Join(w.measureCreations(ctx, figures), portal.Stop(), stop()); err != nil {
		return nil, err
	}
	return figures, w.measureReconciler(ctx, controller, figures)
}

// webhooks are the webhooks of a cluster.
type webhooks struct {
	*cluster

	admin kube.Client
	// urls are their auth URLs.
	urls   []string
	client *http.Client
}

// startWebhooks starts three webhooks. stop ends them.
func (c *cluster) startWebhooks(ctx context.Context) (w *webhooks, stop func() error, err error) {
	w = &webhooks{cluster: c, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	if w.admin, err = c.Client(); err != nil {
		return nil, nil, err
	}
	var stored corev1.Secret
	if err := w.admin.Get(ctx, kube.ObjectKey{Namespace: "apitoken-credentials", Name: authurl.KeysSecretName(bulk.Namespace, bulk.Site)}, &stored); err != nil {
		return nil, nil, fmt.Errorf("reading the caller keys: %w", err)
	}
	keys, err := authurl.DecodeKeys(stored.Data[authurl.KeysDataKey])
	if err != nil {
		return nil, nil, err
	}
	var running []*rig.Replica
	stop = func() (err error) {
		for _, r := range running {
			err = errors.Join(err, r.Stop())
		}
		return err
	}
	for i := range replicas {
		r, err := c.rig.NewReplica(fmt.Sprintf("webhook-%d", i), c.rig.Kubeconfig("apitoken-webhook"), 0)
		if err == nil {
			err = r.Start(ctx)
		}
		if err != nil {
			return nil, nil, errors.Join(err, stop())
		}
		running = append(running, r)
		w.urls = append(w.urls, r.URL+keys.Address(authurl.Nginx).String())
	}
	return w, stop, nil
}

// ask asks a webhook about a request with a token, and returns the status of its answer.
func (w *webhooks) ask(ctx context.Context, url, user, text string) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, fmt.Errorf("asking a webhook: %w", err)
	}
	r.SetBasicAuth(user, text)
	r.Header.Set("X-Original-Method", http.MethodGet)
	r.Header.Set("X-Original-Url", "https://jira.example.com/rest/api/2/myself")
	answer, err := w.client.Do(r)
	if err != nil {
		return 0, fmt.Errorf("asking a webhook: %w", err)
	}
	_ = answer.Body.Close()
	return answer.StatusCode, nil
}

// seen returns the time from begun until each webhook answers with a status.
func (w *webhooks) seen(ctx context.Context, begun time.Time, status int, user, text string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, seenLimit)
	defer cancel()
	var group errgroup.Group
	times := make([]time.Duration, len(w.urls))
	for i, url := range w.urls {
		group.Go(func() error {
			for {
				got, err := w.ask(ctx, url, user, text)
				if times[i] = time.Since(begun); err != nil || got == status {
					return err
				}
				<-time.After(lookPause)
			}
		})
	}
	err := group.Wait()
	return slices.Max(times), err
}

// burden asks the webhooks at an even pace about tokens that stay, until ctx is done.
func (w *webhooks) burden(ctx context.Context) {
	ticker := time.NewTicker(time.Second / authentications)
	defer ticker.Stop()
	var asked sync.WaitGroup
	defer asked.Wait()
	free := make(chan struct{}, 64)
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		t, err := bulk.NewToken(revocations*len(w.urls) + i%1000)
		if err != nil {
			return
		}
		select {
		case free <- struct{}{}:
			asked.Go(func() {
				_, _ = w.ask(ctx, w.urls[i%len(w.urls)], t.User, t.Text) // the measurement itself notices a webhook that fails
				<-free
			})
		default: // the machine is too slow for this pace
		}
	}
}

// measureRevocations deletes APITokens under load. The controller does not run.
func (w *webhooks) measureRevocations(ctx context.Context, figures map[string]float64) error {
	under, over := context.WithCancel(ctx)
	defer over()
	var load sync.WaitGroup
	load.Go(func() { w.burden(under) })
	defer load.Wait()
	defer over()
	var took []time.Duration
	for i := range revocations {
		t, err := bulk.NewToken(60 + 3*i) // generated ones
		if err != nil {
			return err
		}
		if status, err := w.ask(ctx, w.urls[i%len(w.urls)], t.User, t.Text); err != nil || status != http.StatusOK {
			return errors.Join(err, fmt.Errorf("%s is answered with %d before it is revoked", t.Name, status))
		}
		object := &tokensv1alpha1.APIToken{ObjectMeta: metav1.ObjectMeta{Namespace: t.Namespace, Name: t.Name}}
		if err := w.admin.Delete(ctx, object); err != nil {
			return fmt.Errorf("revoking a token: %w", err)
		}
		after, err := w.seen(ctx, time.Now(), http.StatusUnauthorized, t.User, t.Text)
		if err != nil {
			return err
		}
		took = append(took, after)
	}
	figures["revoke_ack_p99_ms"], figures["revoke_ack_max_ms"] = milliseconds(p99(took)), milliseconds(slices.Max(took))
	return nil
}

// measureCreations creates tokens over REST, each for another user.
func (w *webhooks) measureCreations(ctx context.Context, figures map[string]float64) error {
	var took []time.Duration
	for i := range creations {
		owner, err := bulk.NewToken(5000 + 5*i)
		if err != nil {
			return err
		}
		begun := time.Now()
		text, err := w.portal(ctx, http.MethodPost, "/rest/api-tokens/latest/", owner.User, `{"label":"bench"}`)
		if err != nil {
			return err
		}
		var made struct {
			Token string `json:"token"`
		}
		if err := json.Unmarshal(text, &made); err != nil {
			return fmt.Errorf("reading the answer of the portal: %w", err)
		}
		after, err := w.seen(ctx, begun, http.StatusOK, owner.User, made.Token)
		if err != nil {
			return err
		}
		took = append(took, after)
	}
	figures["create_usable_p99_ms"] = milliseconds(p99(took))
	return nil
}

// milliseconds returns a time as a figure.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
