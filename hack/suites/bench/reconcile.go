package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/bulk"
)

const (
	// applied is the number of APITokens that are applied, and bareWorkers how many a bare client works on at the same time: as many
	// as the controller.
	applied, bareWorkers = 600, 8
)

// measureReconciler applies APITokens and waits until the controller has made all of them Ready. Then a bare client does what the
// controller wrote, but for the status: a record, its change, a delivered Secret and an Event.
func (w *webhooks) measureReconciler(ctx context.Context, figures map[string]float64) error {
	before, err := w.requests(ctx, changing...)
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := each(applied, func(i int) error { return w.admin.Create(ctx, appliedToken("applied", i)) }); err != nil {
		return fmt.Errorf("applying APITokens: %w", err)
	}
	if err := until(ctx, startLimit, "all new APITokens are ready", func() bool { return w.allReady(ctx) }); err != nil {
		return err
	}
	controller := applied / time.Since(begun).Seconds()
	after, err := w.requests(ctx, changing...)
	if err != nil {
		return err
	}
	begun = time.Now()
	if err := each(applied, func(i int) error { return w.writeBare(ctx, i) }); err != nil {
		return fmt.Errorf("writing as a bare client: %w", err)
	}
	bare := applied / time.Since(begun).Seconds()
	figures["writes_per_token"] = (after-before)/applied - 1
	figures["reconciled_s"], figures["reconcile_vs_bare_writes"] = controller, controller/bare
	return nil
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

func (w *webhooks) allReady(ctx context.Context) bool {
	var list tokensv1alpha1.APITokenList
	if err := w.admin.List(ctx, &list, kube.InNamespace(bulk.Namespace), kube.MatchingLabels{"kind": "applied"}); err != nil {
		return false
	}
	for i := range list.Items {
		if !apimeta.IsStatusConditionTrue(list.Items[i].Status.Conditions, tokensv1alpha1.ConditionReady) {
			return false
		}
	}
	return true
}

// writeBare writes an APIToken and what a controller has to write for it.
func (w *webhooks) writeBare(ctx context.Context, i int) error {
	t := appliedToken("bare", i)
	t.Labels["apitokens.dev/bare"] = "true"
	t.Spec.State = tokensv1alpha1.StateSuspended // the controller writes no more than its status
	if err := w.admin.Create(ctx, t); err != nil {
		return err
	}
	for _, namespace := range []string{bulk.Namespace, "default"} {
		secret := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: t.Name}, Data: map[string][]byte{"record.json": make([]byte, 400)},
		}
		if err := w.admin.Create(ctx, secret); err != nil {
			return err
		}
		if namespace == "default" {
			secret.Data["record.json"][0] = 'x'
			if err := w.admin.Update(ctx, secret); err != nil {
				return err
			}
		}
	}
	return w.admin.Create(ctx, &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: bulk.Namespace, GenerateName: t.Name}, Reason: "Issued", Message: "Issued a token.", Type: "Normal",
		InvolvedObject: corev1.ObjectReference{Namespace: bulk.Namespace, Name: t.Name, Kind: "APIToken"},
	})
}
