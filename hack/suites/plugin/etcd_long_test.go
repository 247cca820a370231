//go:build long

package plugin_test

import (
	"context"
	"errors"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/controlplane"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/hack/lib/rig"
	"apitokens.dev/operator/internal/authurl"
)

// snapshots is an installation on an etcd whose data can be replaced by older ones.
type snapshots struct {
	*testing.T
	*rig.Rig

	api     client.Client
	webhook *rig.Replica
}

// What was revoked after a snapshot of etcd is back with it, until the epoch of the site is set: docs/how-to/restore.md.
func TestLongEtcdSnapshot(t *testing.T) {
	bare, err := rig.Bare(t.Context())
	s := &snapshots{T: t, Rig: bare}
	s.must(err)
	now, snapshot := filepath.Join(t.TempDir(), "now"), filepath.Join(t.TempDir(), "snapshot")
	s.start(now, true)
	s.declare("kept")
	s.declare("revoked")
	kept, revoked := s.delivered("kept", ""), s.delivered("revoked", "")
	s.stop()
	s.must(exec.CommandContext(t.Context(), "cp", "-r", now, snapshot).Run())

	s.start(now, false)
	s.expect(revoked, http.StatusForbidden) // verified: there is no personal access token to go on with
	s.must(s.api.Delete(t.Context(), kubetest.Token(rig.Namespace, "revoked")))
	s.expect(revoked, http.StatusUnauthorized)
	s.stop()

	s.start(snapshot, false)
	s.expect(revoked, http.StatusForbidden)
	s.expect(kept, http.StatusForbidden)
	epoch := time.Now().Add(3 * time.Second).UTC().Truncate(time.Second)
	site := kubetest.Site(rig.Namespace, rig.Site)
	s.must(s.api.Patch(t.Context(), site, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"issuedAfter":"`+epoch.Format(time.RFC3339)+`"}}`))))
	s.expect(revoked, http.StatusUnauthorized)
	s.expect(kept, http.StatusUnauthorized)
	s.expect(s.delivered("kept", kept), http.StatusForbidden)
	s.stop()
}

func (s *snapshots) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// start starts everything on the data of etcd in a folder, for the first time with nothing there.
func (s *snapshots) start(data string, first bool) {
	s.Helper()
	cp, err := controlplane.StartWith(data, nil)
	s.must(err)
	s.ControlPlane = cp
	s.must(s.Join(cp))
	types := runtime.NewScheme()
	s.must(errors.Join(scheme.AddToScheme(types), tokensv1alpha1.AddToScheme(types)))
	s.api, err = client.New(cp.Admin(), client.Options{Scheme: types})
	s.must(err)
	if first {
		s.must(cp.Install("config/core"))
	}
	_, err = s.StartController(s.Context())
	s.must(err)
	s.must(s.AwaitPolicies(s.Context()))
	if first {
		s.must(s.api.Create(s.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: rig.Namespace}}))
		s.must(s.api.Create(s.Context(), kubetest.Site(rig.Namespace, rig.Site)))
	}
	s.webhook, err = s.StartReplica(s.Context(), "webhook", 0)
	s.must(err)
}

func (s *snapshots) stop() {
	s.Helper()
	s.must(errors.Join(s.webhook.Stop(), s.Controller.Stop(), s.ControlPlane.Stop()))
}

func (s *snapshots) declare(name string) {
	s.Helper()
	s.must(s.api.Create(s.Context(), kubetest.Token(rig.Namespace, name)))
}

// delivered returns the delivered token, once it is another one than before.
func (s *snapshots) delivered(name, before string) (token string) {
	s.Helper()
	s.must(wait.PollUntilContextTimeout(s.Context(), 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		var secret corev1.Secret
		err := s.api.Get(ctx, client.ObjectKey{Namespace: rig.Namespace, Name: name + "-token"}, &secret)
		token = string(secret.Data[corev1.BasicAuthPasswordKey])
		return token != "" && token != before, client.IgnoreNotFound(err)
	}))
	return token
}

// expect waits until the webhook answers so about a request of alice with a token.
func (s *snapshots) expect(token string, want int) {
	s.Helper()
	var urls corev1.Secret
	s.must(wait.PollUntilContextTimeout(s.Context(), 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		err := s.api.Get(ctx, client.ObjectKey{Namespace: rig.Namespace, Name: rig.Site + "-auth-urls"}, &urls)
		return err == nil, client.IgnoreNotFound(err)
	}))
	_, path, _ := strings.Cut(string(urls.Data[string(authurl.Forward)]), "/"+string(authurl.Forward)+"/")
	got := 0
	err := wait.PollUntilContextTimeout(s.Context(), 50*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.webhook.URL+"/"+string(authurl.Forward)+"/"+path, http.NoBody)
		if err != nil {
			return false, err
		}
		request.SetBasicAuth("alice", token)
		request.Header.Set("X-Forwarded-Method", http.MethodGet)
		request.Header.Set("X-Forwarded-Uri", "/jira/rest/api/2/myself")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return false, err
		}
		got = response.StatusCode
		return got == want, response.Body.Close()
	})
	if err != nil {
		s.Errorf("the webhook answers %d, want %d: %v", got, want, err)
	}
}
