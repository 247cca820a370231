package secretnames

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"apitokens.dev/operator/hack/lib/kubetest"
)

var env kubetest.Env

func TestMain(m *testing.M) { os.Exit(env.Main(m)) }

const plaintext = "the content of a Secret"

// recorder notes the answers of the API server about Secrets.
type recorder struct {
	http.RoundTripper

	mu   sync.Mutex
	said bytes.Buffer
}

// RoundTrip implements http.RoundTripper.
func (r *recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := r.RoundTripper.RoundTrip(request)
	if err == nil && strings.HasSuffix(request.URL.Path, "/secrets") {
		response.Body = &recorded{response.Body, r}
	}
	return response, err
}

type recorded struct {
	io.ReadCloser

	by *recorder
}

// Read implements io.Reader.
func (b *recorded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.by.mu.Lock()
	defer b.by.mu.Unlock()
	b.by.said.Write(p[:n])
	return n, err
}

func (r *recorder) heard(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Contains(r.said.Bytes(), []byte(text))
}

// watching starts a cache with the rights of an administrator.
func watching(t *testing.T, config *rest.Config, namespaces map[string]cache.Config, own ...string) cache.Cache {
	t.Helper()
	mgr, err := ctrl.NewManager(config, ctrl.Options{Logger: logr.Discard(), Metrics: metricsserver.Options{BindAddress: "0"}})
	if err != nil {
		t.Fatal(err)
	}
	names, err := AddTo(mgr, namespaces, own...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := names.cache.GetInformer(t.Context(), kind(), cache.BlockUntilSynced(false)); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	if !names.cache.WaitForCacheSync(ctx) {
		t.Fatal("the cache has no Secrets")
	}
	return names.cache
}

func create(t *testing.T, namespace, name string, secretType corev1.SecretType) *corev1.Secret {
	t.Helper()
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"a": "label"}, Annotations: map[string]string{"an": "annotation"}},
		Type:       secretType, Data: map[string][]byte{"password": []byte(plaintext)},
	}
	if err := env.Admin.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return s
}

// The API server sends nothing that is in a Secret, in the list and in the watch, and the cache keeps names and versions.
func TestNothingButNames(t *testing.T) {
	namespace := env.Namespace(t)
	create(t, namespace, "listed", corev1.SecretTypeOpaque)
	said := &recorder{}
	config := rest.CopyConfig(env.User(t, "admin", "system:masters"))
	config.Wrap(func(to http.RoundTripper) http.RoundTripper { said.RoundTripper = to; return said })
	names := watching(t, config, map[string]cache.Config{namespace: {}})
	last := create(t, namespace, "watched", corev1.SecretTypeOpaque)
	kubetest.Eventually(t, func() error { return names.Get(t.Context(), client.ObjectKeyFromObject(last), kind()) })
	for _, content := range []string{plaintext, base64.StdEncoding.EncodeToString([]byte(plaintext))} {
		if said.heard(content) {
			t.Errorf("the API server said %q", content)
		}
	}
	if !said.heard("listed") || !said.heard("watched") {
		t.Error("the names were not heard: the test looks elsewhere")
	}
	got := kind()
	if err := names.Get(t.Context(), client.ObjectKeyFromObject(last), got); err != nil {
		t.Fatal(err)
	}
	want := kind()
	want.Namespace, want.Name, want.UID, want.ResourceVersion = namespace, "watched", last.UID, last.ResourceVersion
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the cache keeps (-want +got):\n%s", diff)
	}
}

// Secrets of which there are many, and which hold no token, are not watched: the operator's own, and those of two types.
func TestOthersAreLeftOut(t *testing.T) {
	served, own, elsewhere := env.Namespace(t), env.Namespace(t), env.Namespace(t)
	create(t, served, "release", "helm.sh/release.v1")
	create(t, own, "record", corev1.SecretTypeOpaque)
	create(t, served, "token", corev1.SecretTypeBasicAuth)
	create(t, elsewhere, "opaque", corev1.SecretTypeOpaque)
	for _, test := range []struct {
		namespaces map[string]cache.Config
		want       []string
	}{
		{nil, []string{elsewhere + "/opaque", served + "/token"}},
		{map[string]cache.Config{served: {}, own: {}}, []string{served + "/token"}},
	} {
		names := watching(t, env.User(t, "admin", "system:masters"), test.namespaces, own)
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
		if err := names.List(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		var got []string
		for i := range list.Items {
			if o := &list.Items[i]; o.Namespace == served || o.Namespace == own || o.Namespace == elsewhere {
				got = append(got, o.Namespace+"/"+o.Name)
			}
		}
		slices.Sort(test.want)
		if slices.Sort(got); !slices.Equal(got, test.want) {
			t.Errorf("%v: got %v, want %v", test.namespaces, got, test.want)
		}
	}
}

// What is no metadata passes unchanged: the mark of a deletion that was missed.
func TestMarksPass(t *testing.T) {
	mark := errors.New("any other")
	if got, err := nameOf(mark); got != mark || err != nil { //nolint:errorlint // the same value
		t.Errorf("got %v, %v", got, err)
	}
}
