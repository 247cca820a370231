package page_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/record"
)

// onRecord is called with the labels of each record that the portal is about to create. After an error it is not created.
var onRecord atomic.Pointer[func(labels map[string]string) error]

type hooked struct{ http.RoundTripper }

func (h hooked) RoundTrip(r *http.Request) (*http.Response, error) {
	if hook := onRecord.Load(); hook != nil && r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/secrets") {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		var s corev1.Secret
		if err := json.Unmarshal(body, &s); err == nil && s.Type == record.SecretType {
			if err := (*hook)(s.Labels); err != nil {
				return nil, err
			}
		}
	}
	return h.RoundTripper.RoundTrip(r)
}

// hook lets onRecord see the portal's writes.
func hook(_ *testing.T, config *rest.Config) *rest.Config {
	config.ContentType = "application/json"
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return hooked{next} })
	return config
}

// left returns how many APITokens of the site there are.
func (b browser) left() int {
	b.t.Helper()
	var all tokensv1alpha1.APITokenList
	must(b.t, env.Admin.List(b.t.Context(), &all, client.InNamespace(b.Site.Namespace)))
	return len(all.Items)
}

// A form that created a token creates none again, even after its token was revoked. Nothing is left of the attempt.
func TestFormWorksOnceAfterItsTokenWasRevoked(t *testing.T) {
	alice := signedIn(t, env.Jira(t), "alice")
	form := alice.filled("CI")
	id := alice.post(http.StatusOK, "/create", form).secret()[:20]
	alice.post(http.StatusSeeOther, "/revoke", url.Values{"id": {id}})
	asked := len(alice.Product.PersonalAccessTokens("alice"))
	for range 2 {
		alice.post(http.StatusConflict, "/create", form).shows("Already done", "was already created", "open the page again")
	}
	if n := alice.left(); n != 0 {
		t.Errorf("%d APITokens are left", n)
	}
	if made := alice.Product.PersonalAccessTokens("alice"); len(made) != asked {
		t.Errorf("there are %+v", made)
	}
	alice.get(http.StatusOK, "").shows("You have no API tokens yet")
}

// Two portals get one form: the other one has created its token, which was revoked, while this one was about to write its record.
func TestFormWorksOnceAtTwoPortals(t *testing.T) {
	alice := signedIn(t, env.Jira(t), "alice")
	var seen atomic.Int64
	other := func(labels map[string]string) error {
		if seen.Add(1) > 1 {
			return nil
		}
		return alice.Controller.Create(t.Context(), &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.SystemNamespace, Name: "of-" + alice.Site.Namespace, Labels: labels},
			Type:       record.SecretType, Data: map[string][]byte{record.DataKey: []byte("of the other portal")},
		})
	}
	form := alice.filled("CI")
	onRecord.Store(&other)
	defer onRecord.Store(nil)
	alice.post(http.StatusConflict, "/create", form).shows("Already done", "was already created")
	kubetest.Eventually(t, func() error {
		if n := alice.left(); n != 0 {
			return &leftOver{n}
		}
		return nil
	})
	alice.get(http.StatusOK, "").shows("You have no API tokens yet")
	alice.create("another form")
}

type leftOver struct{ n int }

func (e *leftOver) Error() string { return "APITokens are left" }

// A form whose token could not be created is shown again, and can be sent again.
func TestFormAfterAFailure(t *testing.T) {
	alice := signedIn(t, env.Jira(t), "alice")
	form := alice.filled("CI")
	lost := func(map[string]string) error { return errors.New("the connection is lost") }
	onRecord.Store(&lost)
	again := alice.post(http.StatusServiceUnavailable, "/create", form)
	onRecord.Store(nil)
	form.Set("nonce", again.field("nonce"))
	alice.post(http.StatusOK, "/create", form).secret()
}
