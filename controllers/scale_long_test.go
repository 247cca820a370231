//go:build long

package controllers_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers"
	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/enrolment"
	"apitokens.dev/operator/internal/manager"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/upstream"
)

var env kubetest.Env

func TestMain(m *testing.M) { os.Exit(env.Main(m)) }

const manyTokens, manyCopies = 20000, 12000

// With 20,000 APITokens and 12,000 personal access tokens of one site, the controller starts within a minute: it looks only at
// the APITokens of its owner when a copy comes.
func TestLongControllerStartsWithMany(t *testing.T) {
	ns := env.Namespace(t)
	jira := fakeproduct.NewJira(fakeproduct.Options{ContextPath: "/jira"})
	product := httptest.NewServer(jira)
	defer product.Close()
	s := kubetest.Site(ns, "main", func(s *tokensv1alpha1.AtlassianSite) { s.Spec.UpstreamURL = product.URL + "/jira" })
	must(t, env.Admin.Create(t.Context(), s))
	operator := env.Client(t, kubetest.Controller, "system:serviceaccounts", "system:serviceaccounts:"+kubetest.SystemNamespace)
	begun := time.Now()
	each(t, manyTokens, func(ctx context.Context, i int) error { return env.Admin.Create(ctx, newToken(ns, i)) })
	each(t, manyCopies, func(ctx context.Context, i int) error { return putCopy(ctx, operator, s, i, product.URL) })
	t.Logf("%d APITokens and %d copies were made in %s", manyTokens, manyCopies, time.Since(begun).Round(time.Second))

	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	begun = time.Now()
	go func() {
		ended <- controllers.Run(ctx, env.User(t, kubetest.Controller, "system:serviceaccounts", "system:serviceaccounts:"+kubetest.SystemNamespace),
			controllers.Options{
				Telemetry: manager.Telemetry{Health: "0", Metrics: "0"}, Namespace: kubetest.SystemNamespace,
				CredentialsNamespace: kubetest.CredentialsNamespace, IntakeNamespace: kubetest.IntakeNamespace,
				WebhookURL: "http://webhook.example", PortalURL: "http://portal.example", AllowExternalUpstreams: true,
			}, logr.Discard())
	}()
	var now tokensv1alpha1.AtlassianSite
	for deadline := time.Now().Add(2 * time.Minute); ; <-time.After(100 * time.Millisecond) {
		must(t, env.Admin.Get(t.Context(), client.ObjectKeyFromObject(s), &now))
		if c := apimeta.FindStatusCondition(now.Status.Conditions, tokensv1alpha1.ConditionUpstreamReachable); c != nil && c.Status == metav1.ConditionTrue {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after two minutes the conditions are %+v", now.Status.Conditions)
		}
	}
	took := time.Since(begun)
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	t.Logf("the site was reported after %s, with %d MiB in use", took.Round(time.Millisecond), memory.HeapInuse>>20)
	if took > time.Minute {
		t.Errorf("the start took %s", took)
	}
	stop()
	must(t, <-ended)
}

// each calls a function for 0 to n-1, many at once.
func each(t *testing.T, n int, call func(context.Context, int) error) {
	t.Helper()
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(32)
	for i := range n {
		group.Go(func() error { return call(ctx, i) })
	}
	must(t, group.Wait())
}

func newToken(ns string, i int) *tokensv1alpha1.APIToken {
	return kubetest.Token(ns, fmt.Sprintf("t%05d", i), func(t *tokensv1alpha1.APIToken) {
		t.Spec.User, t.Spec.State = fmt.Sprintf("u%05d", i%manyCopies), tokensv1alpha1.StateSuspended
		t.Spec.Credential, t.Spec.Delivery = tokensv1alpha1.Credential{Type: tokensv1alpha1.CredentialPortal}, tokensv1alpha1.Delivery{}
	})
}

// putCopy stores a working copy that was checked just now, and its enrolment.
func putCopy(ctx context.Context, operator client.Client, s *tokensv1alpha1.AtlassianSite, i int, origin string) error {
	c := upstream.Credential{
		Namespace: s.Namespace, Site: s.Name, User: fmt.Sprintf("u%05d", i), UserKey: fmt.Sprintf("K%d", i), Origin: origin, Source: upstream.Pasted,
		Token: strings.Repeat("x", 44), Stored: time.Now().UTC(),
	}
	e := enrolment.Enrolment{
		Namespace: s.Namespace, Site: s.Name, User: c.User, State: enrolment.Held, UserKey: c.UserKey, Checked: time.Now().UTC().Truncate(time.Second),
	}
	labels := map[string]string{"app.kubernetes.io/managed-by": "apitoken-operator", record.LabelSiteNamespace: s.Namespace, record.LabelSite: s.Name}
	held, err := c.Encode()
	if err != nil {
		return err
	}
	published, err := e.Encode()
	if err != nil {
		return err
	}
	err = operator.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.CredentialsNamespace, Name: c.SecretName(), Labels: labels},
		Type:       upstream.SecretType, Data: map[string][]byte{upstream.DataKey: held},
	})
	if err != nil {
		return err
	}
	return operator.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.SystemNamespace, Name: e.SecretName(), Labels: labels},
		Type:       enrolment.SecretType, Data: map[string][]byte{enrolment.DataKey: published},
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
