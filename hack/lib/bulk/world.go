// Package bulk makes a control plane with many tokens, written straight to etcd as the API server stores them: the API server itself
// would take hours. Tokens are generated, imported with mode Follow, and made in the portal, in equal parts; each five tokens have a
// user, whose personal access token the operator holds.
package bulk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/controlplane"
	"apitokens.dev/operator/hack/lib/rig"
)

const (
	// upstreamAddress is where the product answers. Every working copy names it, so it is always the same.
	upstreamAddress = "127.0.0.1:9780"
	upstreamURL     = "http://" + upstreamAddress
	// version is that of the objects. A folder of another version is not used.
	version = "2"

	siteTimeout = 2 * time.Minute
)

// World is a control plane with many tokens, and the product of their site. The operator does not run.
type World struct {
	*controlplane.ControlPlane

	// Tokens is the number of tokens.
	Tokens int

	rig     *rig.Rig
	product *http.Server
	folder  string
}

// Start starts a world with so many tokens, and with more flags of the API server. The data of the tokens is made once, and kept in a
// folder of the repository. What happens in a world changes a copy. processes starts processes of the operator with the accounts of the
// world.
func Start(ctx context.Context, processes *rig.Rig, tokens int, flags map[string]string, progress io.Writer) (w *World, err error) {
	kept := filepath.Join(controlplane.RepositoryRoot(), "bin", "bulk", fmt.Sprintf("etcd-%s-%d", version, tokens))
	w = &World{Tokens: tokens, rig: processes}
	if w.product, err = startProduct(ctx); err != nil {
		return nil, err
	}
	if _, err := os.Stat(kept); err != nil {
		if err := w.make(ctx, kept, progress); err != nil {
			return nil, errors.Join(err, w.product.Close())
		}
	}
	if w.folder, err = os.MkdirTemp(filepath.Dir(kept), "copy-"); err == nil {
		data := filepath.Join(w.folder, "etcd")
		err = copyFolder(ctx, kept, data)
		if err == nil {
			err = w.startControlPlane(data, flags)
		}
	}
	if err != nil {
		return nil, errors.Join(err, w.Stop())
	}
	return w, nil
}

// Stop ends the world, and removes the copy.
func (w *World) Stop() error {
	errs := []error{w.product.Close()}
	if w.ControlPlane != nil {
		errs = append(errs, w.ControlPlane.Stop())
	}
	if w.folder != "" {
		errs = append(errs, os.RemoveAll(w.folder))
	}
	return errors.Join(errs...)
}

func copyFolder(ctx context.Context, from, to string) error {
	if out, err := exec.CommandContext(ctx, "cp", "-r", "--reflink=auto", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("copying the data of etcd: %w: %s", err, out)
	}
	return nil
}

func (w *World) startControlPlane(data string, flags map[string]string) (err error) {
	if w.ControlPlane, err = controlplane.StartWith(data, flags); err != nil {
		return err
	}
	return w.rig.Join(w.ControlPlane)
}

// Client returns a client of an administrator.
func (w *World) Client() (client.Client, error) {
	s := runtime.NewScheme()
	if err := errors.Join(scheme.AddToScheme(s), tokensv1alpha1.AddToScheme(s)); err != nil {
		return nil, fmt.Errorf("registering the API types: %w", err)
	}
	config := w.Admin()
	config.QPS = -1
	c, err := client.New(config, client.Options{Scheme: s})
	if err != nil {
		return nil, fmt.Errorf("connecting to the control plane: %w", err)
	}
	return c, nil
}

// make makes the data of a world.
func (w *World) make(ctx context.Context, kept string, progress io.Writer) (err error) {
	if err := os.MkdirAll(filepath.Dir(kept), 0o755); err != nil {
		return fmt.Errorf("making the folder of the data: %w", err)
	}
	making, err := os.MkdirTemp(filepath.Dir(kept), "making-")
	if err != nil {
		return fmt.Errorf("making the folder of the data: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(making)) }()
	if err := w.startControlPlane(making, nil); err != nil {
		return err
	}
	err = w.fill(ctx, progress)
	if err := errors.Join(err, w.ControlPlane.Stop()); err != nil {
		return err
	}
	w.ControlPlane = nil
	if err := os.Rename(making, kept); err != nil {
		return fmt.Errorf("keeping the data: %w", err)
	}
	return nil
}

// fill installs the operator, has its controller serve the site, and writes the tokens.
func (w *World) fill(ctx context.Context, progress io.Writer) error {
	if err := w.Install("config/core"); err != nil {
		return err
	}
	admin, err := w.Client()
	if err != nil {
		return err
	}
	names := []string{Namespace}
	for i := range teams {
		names = append(names, fmt.Sprintf(Team+"%02d", i))
	}
	for _, name := range names {
		if err := admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			return fmt.Errorf("creating a namespace: %w", err)
		}
	}
	if err := errors.Join(admin.Create(ctx, newSite()), w.AwaitPolicies(ctx)); err != nil {
		return fmt.Errorf("creating the site: %w", err)
	}
	if err := w.serveSite(ctx, admin); err != nil {
		return err
	}
	return w.write(ctx, progress)
}

func newSite() *tokensv1alpha1.AtlassianSite {
	return &tokensv1alpha1.AtlassianSite{
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: Site},
		Spec: tokensv1alpha1.AtlassianSiteSpec{
			Product: tokensv1alpha1.ProductJira, BaseURL: baseURL, UpstreamURL: upstreamURL, TokenPaths: []string{"/rest/"},
			AllowedNamespaces:  tokensv1alpha1.AllowedNamespaces{From: tokensv1alpha1.NamespacesFromAll},
			Handoff:            tokensv1alpha1.Handoff{Type: tokensv1alpha1.HandoffPersonalAccessToken},
			CallerVerification: tokensv1alpha1.CallerVerification{Type: tokensv1alpha1.CallerVerificationSharedKey},
			Administrators:     []string{Administrator},
		},
	}
}

// write writes the tokens and the users to etcd.
func (w *World) write(ctx context.Context, progress io.Writer) error {
	now, begun := time.Now().UTC().Truncate(time.Second), time.Now()
	err := w.put(ctx, w.Tokens, func(i int) ([]pair, error) {
		t, err := NewToken(i)
		if err != nil {
			return nil, err
		}
		if (i+1)%10_000 == 0 {
			_, _ = fmt.Fprintf(progress, "  wrote %d of %d tokens to etcd (%.0f s)\n", i+1, w.Tokens, time.Since(begun).Seconds())
		}
		return t.stored(now)
	})
	if err != nil {
		return err
	}
	return w.Age(ctx, 0)
}

// Age writes the users to etcd, so that the product confirmed their personal access tokens so long ago, and no controller since. That of
// a kept world grows. No controller may run meanwhile.
func (w *World) Age(ctx context.Context, age time.Duration) error {
	confirmed := time.Now().UTC().Truncate(time.Second).Add(-age)
	return w.put(ctx, UserOf(w.Tokens-1)+1, func(i int) ([]pair, error) { return storedUser(i, confirmed) })
}

// put writes so many to etcd.
func (w *World) put(ctx context.Context, n int, stored func(i int) ([]pair, error)) error {
	to, waiting := etcd{w.EtcdURL()}, []pair(nil)
	for i := range n {
		pairs, err := stored(i)
		if err != nil {
			return err
		}
		waiting = append(waiting, pairs...)
		if len(waiting) >= putsAtOnce || i == n-1 {
			if err := to.put(ctx, waiting); err != nil {
				return err
			}
			waiting = waiting[:0]
		}
	}
	return nil
}

// serveSite has a controller serve the site.
func (w *World) serveSite(ctx context.Context, admin client.Client) error {
	controller, err := w.rig.StartController(ctx)
	if err != nil {
		return err
	}
	err = wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, siteTimeout, true, func(ctx context.Context) (bool, error) {
		var s tokensv1alpha1.AtlassianSite
		if err := admin.Get(ctx, client.ObjectKey{Namespace: Namespace, Name: Site}, &s); err != nil {
			return false, err
		}
		return apimeta.IsStatusConditionTrue(s.Status.Conditions, tokensv1alpha1.ConditionReady), nil
	})
	if err := errors.Join(err, controller.Stop()); err != nil {
		return fmt.Errorf("waiting until the site is served: %w", err)
	}
	return nil
}

// startProduct starts a Jira that knows the users by their personal access tokens.
func startProduct(ctx context.Context) (*http.Server, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", upstreamAddress)
	if err != nil {
		return nil, fmt.Errorf("starting the product: %w", err)
	}
	server := &http.Server{Handler: http.HandlerFunc(answer), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }() // it ends with Close
	return server, nil
}

func answer(w http.ResponseWriter, r *http.Request) {
	user, known := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer pat.")
	switch {
	case !known:
		w.WriteHeader(http.StatusUnauthorized)
	case strings.HasPrefix(r.URL.Path, "/rest/pat/"):
		_, _ = io.WriteString(w, "[]")
	default:
		_, _ = fmt.Fprintf(w, `{"name":%q,"key":"JIRAUSER%s"}`, user, strings.TrimPrefix(user, "user-"))
	}
}
