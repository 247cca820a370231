package usage_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"sort"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	tokensac "apitokens.dev/operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/webhook/gateway/usage"
)

var env kubetest.Env

func TestMain(m *testing.M) { os.Exit(env.Main(m)) }

// writer returns a Writer with the rights of the webhook's account.
func writer(t *testing.T) usage.Writer {
	t.Helper()
	config := env.User(t, kubetest.Webhook)
	write, err := usage.NewWriter(config)
	if err != nil {
		t.Fatal(err)
	}
	return write
}

func newToken(t *testing.T) *tokensv1alpha1.APIToken {
	t.Helper()
	token := kubetest.Token(env.Namespace(t), "ci")
	if err := env.Admin.Create(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	return token
}

func nameOf(t *tokensv1alpha1.APIToken) authn.APITokenName {
	return authn.APITokenName{Namespace: t.Namespace, Name: t.Name, UID: string(t.UID)}
}

// report writes the status of a token as the controller would.
func report(t *testing.T, token *tokensv1alpha1.APIToken) {
	t.Helper()
	apply := tokensac.APIToken(token.Name, token.Namespace).WithStatus(tokensac.APITokenStatus().WithTokenID("asp_DquJoZLwlsNJm6gU"))
	if err := env.Client(t, kubetest.Controller).Status().Apply(t.Context(), apply, client.ForceOwnership); err != nil {
		t.Fatal(err)
	}
}

// status returns the stored status without its generation, which only the controller writes.
func status(t *testing.T, token *tokensv1alpha1.APIToken) tokensv1alpha1.APITokenStatus {
	t.Helper()
	var now tokensv1alpha1.APIToken
	if err := env.Admin.Get(t.Context(), client.ObjectKeyFromObject(token), &now); err != nil {
		t.Fatal(err)
	}
	now.Status.ObservedGeneration = 0
	return now.Status
}

const second = 1_767_225_600 // 2026-01-01T00:00:00Z

func TestWriter(t *testing.T) {
	from, elsewhere := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	at := func(second int64) metav1.Time { return metav1.NewTime(time.Unix(second, 0)) }
	tests := map[string]struct {
		// before changes a token that was not used before.
		before func(*tokensv1alpha1.APIToken, usage.Writer) error
		use    usage.Use
		want   error
		status tokensv1alpha1.APITokenStatus
	}{
		"first use": {
			use:    usage.Use{Second: second, From: from},
			status: tokensv1alpha1.APITokenStatus{LastAccessedTime: at(second), LastAccessedFrom: "192.0.2.1"},
		},
		"first use, from nowhere": {
			use:    usage.Use{Second: second},
			status: tokensv1alpha1.APITokenStatus{LastAccessedTime: at(second)},
		},
		"first use, beside what the controller observed": {
			before: func(token *tokensv1alpha1.APIToken, _ usage.Writer) error {
				report(t, token)
				return nil
			},
			use:    usage.Use{Second: second, From: from},
			status: tokensv1alpha1.APITokenStatus{TokenID: "asp_DquJoZLwlsNJm6gU", LastAccessedTime: at(second), LastAccessedFrom: "192.0.2.1"},
		},
		"later": {
			before: used(t, from),
			use:    usage.Use{Second: second + 1, From: elsewhere},
			status: tokensv1alpha1.APITokenStatus{LastAccessedTime: at(second + 1), LastAccessedFrom: "2001:db8::1"},
		},
		"later, from nowhere": {
			before: used(t, from),
			use:    usage.Use{Second: second + 1},
			status: tokensv1alpha1.APITokenStatus{LastAccessedTime: at(second + 1)},
		},
		"in the same second": {
			before: used(t, from),
			use:    usage.Use{Second: second, From: elsewhere},
			status: tokensv1alpha1.APITokenStatus{LastAccessedTime: at(second), LastAccessedFrom: "2001:db8::1"},
		},
		"earlier": {
			before: used(t, from),
			use:    usage.Use{Second: second - 1, From: elsewhere},
			want:   usage.ErrRefused,
			status: tokensv1alpha1.APITokenStatus{LastAccessedTime: at(second), LastAccessedFrom: "192.0.2.1"},
		},
	}
	write := writer(t)
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			token := newToken(t)
			if tc.before != nil {
				if err := tc.before(token, write); err != nil {
					t.Fatal(err)
				}
			}
			tc.use.Token = nameOf(token)
			if err := write(t.Context(), tc.use); !errors.Is(err, tc.want) || err == nil != (tc.want == nil) {
				t.Errorf("%v, want %v", err, tc.want)
			}
			if diff := cmp.Diff(tc.status, status(t, token)); diff != "" {
				t.Errorf("status (-want +got):\n%s", diff)
			}
		})
	}
}

func used(t *testing.T, from netip.Addr) func(*tokensv1alpha1.APIToken, usage.Writer) error {
	return func(token *tokensv1alpha1.APIToken, write usage.Writer) error {
		return write(t.Context(), usage.Use{Token: nameOf(token), Second: second, From: from})
	}
}

// The use of a deleted token must not be written to a new one with the same name.
func TestWriterKnowsTheUID(t *testing.T) {
	write := writer(t)
	for name, reported := range map[string]bool{"with a status": true, "without a status": false} {
		t.Run(name, func(t *testing.T) {
			old := newToken(t)
			use := usage.Use{Token: nameOf(old), Second: second}
			if err := env.Admin.Delete(t.Context(), old); err != nil {
				t.Fatal(err)
			}
			if err := write(t.Context(), use); !errors.Is(err, usage.ErrGone) {
				t.Errorf("deleted: %v", err)
			}
			again := kubetest.Token(old.Namespace, "ci")
			if err := env.Admin.Create(t.Context(), again); err != nil {
				t.Fatal(err)
			}
			if reported {
				report(t, again)
			}
			if err := write(t.Context(), use); !errors.Is(err, usage.ErrGone) {
				t.Errorf("created again: %v", err)
			}
			if s := status(t, again); !s.LastAccessedTime.IsZero() {
				t.Errorf("another one's use was written: %+v", s)
			}
		})
	}
}

// The first status of the controller and the first use may come at the same time. Both are kept.
func TestWriterMeetsTheController(t *testing.T) {
	config := env.User(t, kubetest.Webhook)
	token, requests := newToken(t), 0
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPatch {
				if requests++; requests == 1 {
					report(t, token)
				}
			}
			return next.RoundTrip(r)
		})
	})
	write, err := usage.NewWriter(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := write(t.Context(), usage.Use{Token: nameOf(token), Second: second}); err != nil {
		t.Error(err)
	}
	if s := status(t, token); s.TokenID == "" || s.LastAccessedTime.IsZero() {
		t.Errorf("status %+v", s)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A status that no longer fits into the object is the trouble of that token alone.
func TestStatusTooLarge(t *testing.T) {
	ns, write := env.Namespace(t), writer(t)
	env.WithoutPolicy(t, "metadata.apitokens.dev", func() error {
		return env.Admin.Create(t.Context(), labelled(ns, 65), client.DryRunAll)
	})
	var largest *tokensv1alpha1.APIToken
	const least, most = 40_000, 50_000 // labels that etcd takes, and that it does not
	sort.Search(most-least, func(i int) bool {
		token := labelled(ns, least+i)
		err := env.Admin.Create(t.Context(), token)
		if err == nil {
			largest = token
		}
		return err != nil
	})
	if err := write(t.Context(), usage.Use{Token: nameOf(largest), Second: second}); !errors.Is(err, usage.ErrRejected) {
		t.Errorf("%s: %v", largest.Name, err)
	}
}

func labelled(namespace string, labels int) *tokensv1alpha1.APIToken {
	return kubetest.Token(namespace, fmt.Sprintf("labels-%d", labels), func(t *tokensv1alpha1.APIToken) {
		t.Labels = map[string]string{}
		for i := range labels {
			t.Labels[fmt.Sprintf("label-%d", i)] = "a-value-of-some-length"
		}
	})
}

// Errors that are not about the object itself may pass, so they are not final.
func TestWriterFails(t *testing.T) {
	write, err := usage.NewWriter(env.User(t, "nobody"))
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	use := usage.Use{Token: nameOf(newToken(t)), Second: second}
	for name, err := range map[string]error{"no rights": write(t.Context(), use), "no time": writer(t)(ended, use)} {
		if err == nil || errors.Is(err, usage.ErrGone) || errors.Is(err, usage.ErrRefused) || errors.Is(err, usage.ErrRejected) != (name == "no rights") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
