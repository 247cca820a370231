package apitoken

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"apitokens.dev/operator/controllers/internal/watch"
	"apitokens.dev/operator/internal/record"
)

// Each record comes up every 5 minutes, or with very many after their number divided by 50 seconds, and no more than that on average.
// So does one that is new, and none that is gone, or that is no record.
func TestSweep(t *testing.T) {
	for _, n := range []int{0, 10, 1000, 20_000} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { checkSweep(t, n) })
		})
	}
}

func checkSweep(t *testing.T, n int) {
	stored := newMemory()
	put := func(name string, secretType corev1.SecretType) *corev1.Secret {
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: name}, Type: secretType}
		stored.put(s)
		return s
	}
	for i := range n {
		put(fmt.Sprintf("record-%d", i), record.SecretType)
	}
	put("other", "apitokens.dev/enrolment")
	gone := put("gone", record.SecretType)
	s := &sweep{clock: clock.RealClock{}, cache: stored, namespace: systemNamespace, due: make(chan watch.Due)}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Start(ctx) }()
	round := max(sweepPeriod, time.Duration(n+2)*time.Second/sweepPerSecond) + time.Duration(n)*time.Second/sweepPerSecond/4
	came := map[types.NamespacedName]int{}
	during := func(d time.Duration) {
		clear(came)
		for end := time.After(d); ; {
			select {
			case due := <-s.due:
				came[due.Object]++
			case <-end:
				return
			}
		}
	}
	during(round)
	if len(came) != n+1 {
		t.Fatalf("%d of %d records came up in %s", len(came), n+1, round)
	}
	put("new", record.SecretType)
	stored.remove(gone)
	during(2 * round)
	for name, times := range came {
		if times < 1 || times > 4 || name.Name == gone.Name || name.Name == "other" {
			t.Errorf("%s came up %d times in %s", name, times, 2*round)
		}
	}
	if len(came) != n+1 || came[types.NamespacedName{Namespace: systemNamespace, Name: "new"}] == 0 {
		t.Errorf("%d of %d records came up", len(came), n+1)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
