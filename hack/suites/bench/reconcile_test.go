package main

import (
	"context"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// The API server may end a watch: it closes it, or sends an error. Another one tells the rest.
func TestAwaitReadyOutlivesWatches(t *testing.T) {
	for name, end := range map[string]func(*watch.FakeWatcher){
		"closed": func(w *watch.FakeWatcher) { w.Stop() },
		"error":  func(w *watch.FakeWatcher) { w.Error(&metav1.Status{Reason: metav1.StatusReasonExpired}) },
	} {
		t.Run(name, func(t *testing.T) {
			watches := 0
			err := awaitReady(t.Context(), 2, func(context.Context) (watch.Interface, error) {
				w := watch.NewFakeWithChanSize(3, false)
				for i := range watches + 1 {
					ready := appliedToken("applied", i)
					ready.Status.Conditions = []metav1.Condition{{Type: tokensv1alpha1.ConditionReady, Status: metav1.ConditionTrue}}
					w.Add(ready)
				}
				if watches++; watches == 1 {
					end(w)
				}
				return w, nil
			})
			if err != nil || watches != 2 {
				t.Errorf("%v after %d watches", err, watches)
			}
		})
	}
}
