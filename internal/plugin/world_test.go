package plugin_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/plugin"
	"apitokens.dev/operator/internal/plugin/exit"
)

var env kubetest.Env

func TestMain(m *testing.M) { os.Exit(env.Main(m)) }

const day = 24 * time.Hour

// later is how long after the creation of the objects the commands run, so that ages are the same in each run.
const later = 40*day + time.Hour

// world is a namespace of its own, with kubeconfigs.
type world struct {
	*testing.T

	namespace string
	// controller and webhook write what the operator would.
	controller, webhook client.Client
	homes               string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	account := func(name string) client.Client {
		return env.Client(t, name, "system:serviceaccounts", "system:serviceaccounts:"+kubetest.SystemNamespace)
	}
	return &world{T: t, namespace: env.Namespace(t), homes: t.TempDir(), controller: account(kubetest.Controller), webhook: account(kubetest.Webhook)}
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// now is the clock of the commands.
func (w *world) now() time.Time {
	w.Helper()
	var n corev1.Namespace
	w.must(env.Admin.Get(w.Context(), client.ObjectKey{Name: w.namespace}, &n))
	return n.CreationTimestamp.Add(later)
}

// result is what a command did.
type result struct {
	out, errOut string
	code        int
	err         error
}

// admin runs a command as a cluster administrator.
func (w *world) admin(args ...string) result { return w.run("admin", "", args...) }

// run runs a command as a user, with a text on its standard input.
func (w *world) run(user, in string, args ...string) result {
	w.Helper()
	return w.runWith(user, strings.NewReader(in), args...)
}

func (w *world) runWith(user string, in io.Reader, args ...string) result {
	w.Helper()
	kubeconfig := filepath.Join(w.homes, user)
	if _, err := os.Stat(kubeconfig); err != nil {
		groups := []string{"people"}
		if user == "admin" {
			groups = []string{"system:masters"}
		}
		w.must(env.WriteKubeconfig(kubeconfig, user, groups...))
	}
	var out, errOut bytes.Buffer
	c := plugin.New(genericiooptions.IOStreams{In: in, Out: &out, ErrOut: &errOut}, w.now)
	c.SetArgs(append([]string{"--kubeconfig", kubeconfig, "--namespace", w.namespace}, args...))
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	err := c.ExecuteContext(ctx)
	// The name of the namespace differs in each run, and so do the ids.
	same := strings.NewReplacer(w.namespace, "jira", strings.TrimSuffix(w.id(0), "00"), strings.TrimSuffix(tokenID(0), "00"))
	return result{out: same.Replace(out.String()), errOut: same.Replace(errOut.String()), code: exit.CodeOf(err), err: err}
}

// allow lets a user do what a ClusterRole allows, in the namespace.
func (w *world) allow(user, role string) {
	w.Helper()
	w.must(env.Admin.Create(w.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, GenerateName: "test-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}))
}

// id is a token id that no other test has. Outputs have the one of tokenID in its place.
func (w *world) id(n int) string {
	return fmt.Sprintf("asp_CEMdV8w5t%s%02d", strings.TrimPrefix(w.namespace, "test-"), n)
}

func tokenID(n int) string { return fmt.Sprintf("asp_CEMdV8w5tmJF87%02d", n) }

// token creates an APIToken, with the status that the operator would write.
func (w *world) token(name string, n int, mods ...func(*tokensv1alpha1.APIToken)) {
	w.Helper()
	t := kubetest.Token(w.namespace, name)
	t.Spec.Label = "CI scripts"
	t.Status = tokensv1alpha1.APITokenStatus{TokenID: w.id(n), Conditions: []metav1.Condition{issued()}}
	for _, mod := range mods {
		mod(t)
	}
	status := t.Status
	w.must(env.Admin.Create(w.Context(), t))
	used, from := status.LastAccessedTime, status.LastAccessedFrom
	status.LastAccessedTime, status.LastAccessedFrom, status.ObservedGeneration = metav1.Time{}, "", t.Generation
	before := t.DeepCopy()
	t.Status = status
	w.must(w.controller.Status().Patch(w.Context(), t, client.MergeFrom(before)))
	if !used.IsZero() { // only the webhook writes this
		before := t.DeepCopy()
		t.Status.LastAccessedTime, t.Status.LastAccessedFrom = used, from
		w.must(w.webhook.Status().Patch(w.Context(), t, client.MergeFrom(before)))
	}
}

func issued() metav1.Condition {
	return condition(tokensv1alpha1.ConditionReady, metav1.ConditionTrue, tokensv1alpha1.ReasonIssued, "The token is delivered.")
}

func condition(of string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{Type: of, Status: status, Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(time.Unix(1, 0))}
}

// notReady sets the Ready condition of an APIToken to False.
func notReady(reason, message string) func(*tokensv1alpha1.APIToken) {
	return func(t *tokensv1alpha1.APIToken) {
		t.Status.Conditions = []metav1.Condition{condition(tokensv1alpha1.ConditionReady, metav1.ConditionFalse, reason, message)}
	}
}

// site creates a site with the status that the operator would write.
func (w *world) site(name string, mods ...func(*tokensv1alpha1.AtlassianSite)) *tokensv1alpha1.AtlassianSite {
	w.Helper()
	s := kubetest.Site(w.namespace, name)
	s.Status = tokensv1alpha1.AtlassianSiteStatus{AuthURLSecretName: name + "-auth-urls", Conditions: []metav1.Condition{
		condition(tokensv1alpha1.ConditionReady, metav1.ConditionTrue, tokensv1alpha1.ReasonServing, "The site works."),
		condition(tokensv1alpha1.ConditionUpstreamReachable, metav1.ConditionTrue, tokensv1alpha1.ReasonAnswered, "Jira answers."),
	}}
	for _, mod := range mods {
		mod(s)
	}
	status := s.Status
	w.must(env.Admin.Create(w.Context(), s))
	w.Cleanup(func() { w.must(env.Admin.Delete(context.Background(), s)) })
	before := s.DeepCopy()
	s.Status = status
	s.Status.ObservedGeneration = s.Generation
	w.must(w.controller.Status().Patch(w.Context(), s, client.MergeFrom(before)))
	return s
}
