package apitoken_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/index"
	"apitokens.dev/operator/hack/lib/controlplane"
	"apitokens.dev/operator/hack/lib/gatewaytest"
	"apitokens.dev/operator/hack/lib/kubetest"
)

// maySeeSecrets gives the controller's account the rights of the component, in the namespace of the test.
func (w *world) maySeeSecrets() {
	w.Helper()
	for _, role := range gatewaytest.Read(w.T, filepath.Join(controlplane.RepositoryRoot(), "config/components/watch-secrets/role.yaml")) {
		if err := env.Admin.Create(w.Context(), role); client.IgnoreAlreadyExists(err) != nil {
			w.Fatal(err)
		}
		w.create(&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: role.GetName()},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.GetName()},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: kubetest.Controller}},
		})
	}
}

// A controller that watches Secrets sees every change of one with a token, while no round of rechecks comes to it.
func TestWatchedSecrets(t *testing.T) {
	w := newWorld(t)
	w.maySeeSecrets()
	deleted, edited, replaced := kubetest.Token(w.ns, "deleted"), kubetest.Token(w.ns, "edited"), kubetest.Token(w.ns, "replaced")
	followed, awaited, withdrawn := w.importing("followed", tokensv1alpha1.ImportFollow), w.importing("awaited", tokensv1alpha1.ImportOnce),
		w.importing("withdrawn", tokensv1alpha1.ImportFollow)
	w.source("followed", firstImport)
	w.source("withdrawn", weakImport)
	w.create(deleted, edited, replaced, followed, awaited, withdrawn)
	for _, tok := range []*tokensv1alpha1.APIToken{deleted, edited, replaced} {
		w.settled(tok)
	}
	w.reconcile(followed, tokensv1alpha1.ReasonImported)
	w.reconcile(withdrawn, tokensv1alpha1.ReasonImported)
	w.reconcile(awaited, tokensv1alpha1.ReasonSourceMissing)
	w.awaitFirstPass(w.manage(watchingSecrets))

	delivered := w.secret(w.ns, "edited-token")
	delivered.Data["username"] = []byte("mallory")
	foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "replaced-token"}, Data: map[string][]byte{"password": []byte("not a token")}}
	for _, err := range []error{
		env.Admin.Delete(t.Context(), w.secret(w.ns, "deleted-token")),
		env.Admin.Update(t.Context(), delivered),
		env.Admin.Delete(t.Context(), w.secret(w.ns, "replaced-token")),
		ignoreExisting(env.Admin.Create(t.Context(), foreign)), // the controller may be faster, and deliver anew
		env.Admin.Delete(t.Context(), w.secret(w.ns, "withdrawn-source")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	w.source("followed", secondImport)
	w.source("awaited", secondImport+"2")
	for what, seen := range map[string]func() bool{
		"a deleted Secret was not delivered anew": func() bool { return w.secret(w.ns, "deleted-token") != nil },
		"an edited Secret was not put right":      func() bool { return string(w.secret(w.ns, "edited-token").Data["username"]) == "alice" },
		"a replaced Secret was not noticed": func() bool {
			return w.says(replaced, tokensv1alpha1.ReasonDeliveryConflict) || w.secret(w.ns, "replaced-token").Type == corev1.SecretTypeBasicAuth
		},
		"a changed import was not followed": func() bool { return w.record(followed).Verify([]byte(secondImport)) == 0 },
		"an import was not seen to come":    func() bool { return w.says(awaited, tokensv1alpha1.ReasonImported) },
		"an import was not seen to go":      func() bool { return w.says(withdrawn, "any more") },
	} {
		kubetest.Eventually(t, func() error {
			if !seen() {
				return errors.New(what)
			}
			return nil
		})
	}
}

func ignoreExisting(err error) error {
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// says reports whether a condition of an APIToken has a reason or message with this text.
func (w *world) says(t *tokensv1alpha1.APIToken, text string) bool {
	w.Helper()
	if err := env.Admin.Get(w.Context(), client.ObjectKeyFromObject(t), t); err != nil {
		w.Fatal(err)
	}
	return slices.ContainsFunc(t.Status.Conditions, func(c metav1.Condition) bool { return strings.Contains(c.Reason+" "+c.Message, text) })
}

// countingReader counts the reads of each object.
type countingReader struct {
	client.Reader

	mu    sync.Mutex
	reads map[string]int
}

func (c *countingReader) wrap(w *world, _ ctrl.Manager) error {
	c.Reader, w.reconciler.Live = w.reconciler.Live, c
	return nil
}

// Get implements client.Reader.
func (c *countingReader) Get(ctx context.Context, name client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	c.mu.Lock()
	c.reads[name.Name]++
	c.mu.Unlock()
	return c.Reader.Get(ctx, name, into, opts...)
}

func (c *countingReader) of(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reads[name]
}

// newBusyWorld returns a world whose controller watches Secrets, and an APIToken that follows the one that source writes for "busy".
func newBusyWorld(t *testing.T, wrap func(*world, ctrl.Manager) error) (*world, *tokensv1alpha1.APIToken) {
	t.Helper()
	w := newWorld(t)
	w.maySeeSecrets()
	tok := w.importing("busy", tokensv1alpha1.ImportFollow)
	w.source("busy", firstImport)
	w.create(tok)
	w.reconcile(tok, tokensv1alpha1.ReasonImported)
	w.awaitFirstPass(w.manage(watchingSecrets, wrap))
	return w, tok
}

// awaitImport waits until an APIToken has imported a secret.
func (w *world) awaitImport(tok *tokensv1alpha1.APIToken, secret string) {
	w.Helper()
	kubetest.Eventually(w.T, func() error {
		if w.record(tok).Verify([]byte(secret)) != 0 {
			return errors.New("the last write was not followed")
		}
		return nil
	})
}

// Changes that follow each other have one pass. Those of Secrets without a token have none.
func TestWatchedSecretsCostLittle(t *testing.T) {
	live := &countingReader{reads: map[string]int{}}
	w, tok := newBusyWorld(t, live.wrap)
	began := time.Now()
	for i := range 40 {
		w.source("busy", fmt.Sprint(secondImport, i))
		w.source("idle", fmt.Sprint(secondImport, i)) // nothing imports from it
	}
	w.awaitImport(tok, fmt.Sprint(secondImport, 39))
	passes := int(time.Since(began)/time.Second) + 3 // each second, the one at the start, and rereads after a write
	if got := live.of("busy-source"); got == 0 || got > 3*passes {
		t.Errorf("the Secret was read %d times in %s, want at most %d", got, time.Since(began), 3*passes)
	}
	if got := live.of("idle-source"); got != 0 {
		t.Errorf("a Secret without a token was read %d times", got)
	}
}

// countingLists counts the lists of the APITokens of a Secret.
type countingLists struct {
	client.Client

	lists atomic.Int64
}

func (c *countingLists) wrap(w *world, _ ctrl.Manager) error {
	c.Client, w.reconciler.Client = w.reconciler.Client, c
	return nil
}

// List implements client.Reader.
func (c *countingLists) List(ctx context.Context, into client.ObjectList, opts ...client.ListOption) error {
	var o client.ListOptions
	if o.ApplyOptions(opts); o.FieldSelector != nil && o.FieldSelector.Requirements()[0].Field == index.BySecret {
		c.lists.Add(1)
	}
	return c.Client.List(ctx, into, opts...)
}

// Somebody may write a Secret a thousand times a second, and ten thousand APITokens may name it. These are not looked for at each write:
// that takes longer than the write, so writes would pile up in memory, and hold up all other Secrets.
func TestWritesOfASecretDoNotPileUp(t *testing.T) {
	lists := &countingLists{}
	w, tok := newBusyWorld(t, lists.wrap)
	began := time.Now()
	for i := range 100 {
		w.source("busy", fmt.Sprint(secondImport, i))
	}
	w.awaitImport(tok, fmt.Sprint(secondImport, 99))
	if got, seconds := int(lists.lists.Load()), int(time.Since(began)/time.Second); got > seconds+2 {
		t.Errorf("the APITokens of the Secret were looked for %d times in %d s", got, seconds)
	}
}

// A Secret that is deleted while no controller runs is missed by the next one at once: its watch has the names of those that are there.
func TestSecretDeletedBeforeTheStart(t *testing.T) {
	w := newWorld(t)
	w.maySeeSecrets()
	tok, followed := kubetest.Token(w.ns, "ci"), w.importing("followed", tokensv1alpha1.ImportFollow)
	w.source("followed", firstImport)
	w.create(tok, followed)
	w.settled(tok)
	w.reconcile(followed, tokensv1alpha1.ReasonImported)
	for _, name := range []string{"ci-token", "followed-source"} {
		if err := env.Admin.Delete(t.Context(), w.secret(w.ns, name)); err != nil {
			t.Fatal(err)
		}
	}
	w.manage(watchingSecrets)
	kubetest.Eventually(t, func() error {
		if w.secret(w.ns, "ci-token") == nil || !w.says(followed, "any more") {
			return errors.New("a deleted Secret is not missed")
		}
		return nil
	})
}
