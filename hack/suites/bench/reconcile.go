package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	tokensac "apitokens.dev/operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/bulk"
	"apitokens.dev/operator/hack/lib/rig"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/recordstore"
)

const (
	// applied is the number of APITokens that are applied, and bareWorkers how many a bare client works on at the same time: as many
	// as the controller.
	applied, bareWorkers = 1500, 128
)

// measureReconciler applies APITokens and waits until the controller has made all of them Ready. Then the controller ends, and a bare
// client writes the least for as many: a record, a delivered Secret and a status for each.
func (w *webhooks) measureReconciler(ctx context.Context, running *rig.Process, figures map[string]float64) error {
	readsBefore, writesBefore, err := w.asked(ctx)
	if err != nil {
		return err
	}
	controller, err := w.readyPerSecond(ctx, "applied", func(*tokensv1alpha1.APIToken) {})
	if err != nil {
		return err
	}
	reads, writes, err := w.asked(ctx)
	if err != nil {
		return err
	}
	if err := running.Stop(); err != nil {
		return err
	}
	bare, err := w.barePerSecond(ctx)
	if err != nil {
		return err
	}
	figures["writes_per_token"] = (writes-writesBefore)/applied - 1 // the APIToken itself
	figures["reads_per_token"] = (reads - readsBefore) / applied
	figures["reconciled_s"], figures["reconcile_vs_bare_writes"] = controller, controller/bare
	return nil
}

// readyPerSecond applies APITokens of a kind, hands each to next, and returns how many a second a watch has shown Ready.
func (w *webhooks) readyPerSecond(ctx context.Context, kind string, next func(*tokensv1alpha1.APIToken)) (float64, error) {
	watched, err := w.watched(kind)
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	err = each(applied, func(i int) error {
		t := appliedToken(kind, i)
		if err := w.admin.Create(ctx, t); err != nil {
			return fmt.Errorf("applying an APIToken: %w", err)
		}
		next(t)
		return nil
	})
	if err == nil {
		err = awaitReady(ctx, applied, watched)
	}
	return applied / time.Since(begun).Seconds(), err
}

// barePerSecond is readyPerSecond with a bare client in the place of the controller.
func (w *webhooks) barePerSecond(ctx context.Context) (float64, error) {
	operator, err := w.operator()
	if err != nil {
		return 0, err
	}
	created := make(chan *tokensv1alpha1.APIToken, applied)
	var workers errgroup.Group
	for range bareWorkers {
		workers.Go(func() error {
			for t := range created {
				if err := writeBare(ctx, operator, t); err != nil {
					return fmt.Errorf("writing as a bare client: %w", err)
				}
			}
			return nil
		})
	}
	bare, err := w.readyPerSecond(ctx, "bare", func(t *tokensv1alpha1.APIToken) { created <- t })
	close(created)
	return bare, errors.Join(err, workers.Wait())
}

// asked returns how many reads the controller has made so far, and how many writes anybody has. Webhooks and portal do not run.
func (w *webhooks) asked(ctx context.Context) (reads, writes float64, err error) {
	if reads, err = scrape(ctx, w.rig.ControllerMetricsURL, "rest_client_requests_total", map[string]string{"method": http.MethodGet}); err != nil {
		return 0, 0, err
	}
	writes, err = w.writes(ctx)
	return reads, writes, err
}

// each calls do for so many numbers, several at the same time.
func each(n int, do func(int) error) error {
	var group errgroup.Group
	group.SetLimit(bareWorkers)
	for i := range n {
		group.Go(func() error { return do(i) })
	}
	return group.Wait()
}

func appliedToken(kind string, i int) *tokensv1alpha1.APIToken {
	name := fmt.Sprintf("%s-%04d", kind, i)
	return &tokensv1alpha1.APIToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: bulk.Namespace, Name: name, Labels: map[string]string{"kind": kind}},
		Spec: tokensv1alpha1.APITokenSpec{
			SiteRef: tokensv1alpha1.SiteReference{Name: bulk.Site}, User: fmt.Sprintf("user-%05d", 1500+i/5), Label: "for a measurement",
			Credential: tokensv1alpha1.Credential{Type: tokensv1alpha1.CredentialGenerated}, Delivery: tokensv1alpha1.Delivery{SecretName: name},
		},
	}
}

// watched returns how to watch the APITokens of a kind. Listing them again and again would burden the API server.
func (w *webhooks) watched(kind string) (func(context.Context) (watch.Interface, error), error) {
	config := w.Admin()
	config.QPS = -1
	c, err := kube.NewWithWatch(config, kube.Options{Scheme: w.admin.Scheme(), Mapper: w.admin.RESTMapper()})
	if err != nil {
		return nil, fmt.Errorf("watching APITokens: %w", err)
	}
	return func(ctx context.Context) (watch.Interface, error) {
		return c.Watch(ctx, &tokensv1alpha1.APITokenList{}, kube.InNamespace(bulk.Namespace), kube.MatchingLabels{"kind": kind})
	}, nil
}

// awaitReady returns when n APITokens were seen Ready. The API server may end a watch at any time. The next one begins with all of them.
func awaitReady(ctx context.Context, n int, watched func(context.Context) (watch.Interface, error)) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for ready := map[string]bool{}; len(ready) < n; {
		seen, err := watched(ctx)
		if err != nil {
			return fmt.Errorf("watching APITokens, of which %d of %d are ready: %w", len(ready), n, err)
		}
		noteReady(ctx, seen, n, ready)
		seen.Stop()
		if ctx.Err() != nil {
			return fmt.Errorf("%d of %d new APITokens are ready after %s", len(ready), n, startLimit)
		}
	}
	return nil
}

// noteReady notes which APITokens are Ready, until n are or the watch ends.
func noteReady(ctx context.Context, seen watch.Interface, n int, ready map[string]bool) {
	for len(ready) < n {
		select {
		case <-ctx.Done():
			return
		case e := <-seen.ResultChan():
			t, ok := e.Object.(*tokensv1alpha1.APIToken)
			if !ok {
				return
			}
			if apimeta.IsStatusConditionTrue(t.Status.Conditions, tokensv1alpha1.ConditionReady) {
				ready[t.Name] = true
			}
		}
	}
}

// operator returns a client that may write as the controller.
func (w *webhooks) operator() (kube.Client, error) {
	config, err := clientcmd.BuildConfigFromFlags("", w.rig.Kubeconfig("apitoken-controller"))
	if err != nil {
		return nil, fmt.Errorf("connecting as the controller: %w", err)
	}
	config.QPS = -1
	c, err := kube.New(config, kube.Options{Scheme: w.admin.Scheme(), Mapper: w.admin.RESTMapper()})
	if err != nil {
		return nil, fmt.Errorf("connecting as the controller: %w", err)
	}
	return kube.WithFieldOwner(c, "apitoken-controller"), nil
}

// writeBare writes what a controller has to write for an APIToken: its record, the delivered Secret and the status.
func writeBare(ctx context.Context, operator kube.Client, t *tokensv1alpha1.APIToken) error {
	id, text, err := mint()
	if err != nil {
		return err
	}
	hash, err := record.NewHash(text, rand.Reader)
	if err != nil {
		return err
	}
	err = recordstore.Store{Client: operator, Namespace: "apitoken-system", ManagedBy: "apitoken-operator"}.Create(ctx, t.UID, &record.Record{
		TokenID: id, User: t.Spec.User, DeliverySecret: t.Name, Site: record.Ref{Namespace: bulk.Namespace, Name: bulk.Site},
		APIToken: record.Ref{Namespace: t.Namespace, Name: t.Name},
		Entries:  []record.Entry{{Hash: hash, State: record.Delivered, Issued: time.Now().UTC()}},
	})
	if err != nil {
		return err
	}
	err = operator.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: t.Namespace, Name: t.Name}, Type: corev1.SecretTypeBasicAuth,
		Data: map[string][]byte{"username": []byte(t.Spec.User), "password": []byte(text), "url": []byte("https://jira.example.com")},
	})
	if err != nil {
		return err
	}
	ready := metav1ac.Condition().WithType(tokensv1alpha1.ConditionReady).WithStatus(metav1.ConditionTrue).WithReason(tokensv1alpha1.ReasonIssued).
		WithMessage("The token is delivered to Secret '" + t.Name + "'.").WithObservedGeneration(t.Generation).WithLastTransitionTime(metav1.Now())
	status := tokensac.APITokenStatus().WithObservedGeneration(t.Generation).WithTokenID(id).WithIssuedTime(metav1.Now()).WithConditions(ready)
	return operator.Status().Apply(ctx, tokensac.APIToken(t.Name, t.Namespace).WithUID(t.UID).WithStatus(status), kube.ForceOwnership)
}
