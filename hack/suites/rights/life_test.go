package rights_test

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
)

// live has the operator do everything that needs a right.
func (w *world) live(t *testing.T) {
	t.Helper()
	env.AwaitGuarded(t)
	must(t, env.Admin.Patch(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.away}},
		client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"team":"`+w.away+`"}}}`))))
	site := w.newSite(w.home)
	must(t, env.Admin.Create(t.Context(), site))
	elsewhere := w.newSite(w.unserved)
	must(t, env.Admin.Create(t.Context(), elsewhere))
	urls := w.authURLs(t)
	made := w.usePortal(t)
	declared := w.declare(t)
	w.useGateway(t, urls, declared)
	w.rotate(t, declared)
	w.damageAuthorities(t)
	w.expire(t)
	w.orphan(t)
	w.ask(t, http.MethodDelete, "/"+made, "", http.StatusNoContent)
	must(t, env.Admin.Delete(t.Context(), declared))
	w.gone(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.away, Name: declared.Spec.Delivery.SecretName}})
	must(t, env.Admin.Delete(t.Context(), site))
	w.gone(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.home, Name: "main-auth-urls"}})
	w.checkUnserved(t, elsewhere)
	for _, p := range w.processes {
		p.stop(t)
	}
}

// damageAuthorities has the controller make the authorities of its certificate once more.
func (w *world) damageAuthorities(t *testing.T) {
	t.Helper()
	authorities := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.IntakeNamespace, Name: "apitoken-tls-authorities"}}
	must(t, env.Admin.Patch(t.Context(), authorities, client.RawPatch("application/merge-patch+json", []byte(`{"data":{"authorities.json":""}}`))))
	kubetest.Eventually(t, func() error {
		must(t, env.Admin.Get(t.Context(), client.ObjectKeyFromObject(authorities), authorities))
		if len(authorities.Data["authorities.json"]) == 0 {
			return errors.New("the authorities are not made again")
		}
		return nil
	})
}

func (w *world) newSite(namespace string) *tokensv1alpha1.AtlassianSite {
	return kubetest.Site(namespace, "main", func(s *tokensv1alpha1.AtlassianSite) {
		s.Spec.UpstreamURL = w.productURL
		s.Spec.AllowedNamespaces = tokensv1alpha1.AllowedNamespaces{
			From: tokensv1alpha1.NamespacesFromSelector, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": w.away}},
		}
		s.Spec.TokenPolicy.ExpiredRetentionDays = new(int32(0))
	})
}

// checkUnserved expects that a namespaced installation has not touched a site elsewhere, and that every other one serves it.
func (w *world) checkUnserved(t *testing.T, elsewhere *tokensv1alpha1.AtlassianSite) {
	t.Helper()
	served := func() error {
		var s tokensv1alpha1.AtlassianSite
		must(t, env.Admin.Get(t.Context(), client.ObjectKeyFromObject(elsewhere), &s))
		if s.Status.ObservedGeneration != s.Generation {
			return errors.New("the site is not served")
		}
		return nil
	}
	if w.kind == "namespaced" {
		lost := kubetest.Token(w.away, "lost", func(a *tokensv1alpha1.APIToken) { a.Spec.SiteRef.Namespace = w.unserved })
		must(t, env.Admin.Create(t.Context(), lost))
		kubetest.Eventually(t, func() error {
			must(t, env.Admin.Get(t.Context(), client.ObjectKeyFromObject(lost), lost))
			if c := apimeta.FindStatusCondition(lost.Status.Conditions, tokensv1alpha1.ConditionReady); c == nil || c.Reason != tokensv1alpha1.ReasonSiteNotFound {
				return fmt.Errorf("a token for a site that is not seen is %+v", c)
			}
			return nil
		})
		if err := served(); err == nil {
			t.Error("the operator serves a site in a namespace that was not named")
		}
		return
	}
	kubetest.Eventually(t, served)
}

func (w *world) authURLs(t *testing.T) (urls map[string][]byte) {
	t.Helper()
	kubetest.Eventually(t, func() error {
		var s corev1.Secret
		err := env.Admin.Get(t.Context(), client.ObjectKey{Namespace: w.home, Name: "main-auth-urls"}, &s)
		urls = s.Data
		return err
	})
	return urls
}

// usePortal makes and rotates a token on the portal: the user enrols by that.
func (w *world) usePortal(t *testing.T) (id string) {
	t.Helper()
	kubetest.Eventually(t, func() error { return w.try(t, http.MethodGet, "/", "", http.StatusOK, nil) })
	var made struct{ ID, Token string }
	kubetest.Eventually(t, func() error { return w.try(t, http.MethodPost, "/", `{"label":"by hand"}`, http.StatusCreated, &made) })
	w.ask(t, http.MethodPost, "/"+made.ID+"/rotate", `{"overlapHours":1}`, http.StatusOK)
	var leaked struct{ Token string }
	must(t, w.try(t, http.MethodPost, "/", `{"label":"leaked"}`, http.StatusCreated, &leaked))
	w.ask(t, http.MethodPost, "/leaks/gitlab/v1/revoke_tokens", `[{"type":"gitleaks_rule_id_apitokens-dev","token":"`+leaked.Token+`"}]`, http.StatusNoContent)
	return made.ID
}

func (w *world) ask(t *testing.T, method, path, body string, status int) {
	t.Helper()
	must(t, w.try(t, method, path, body, status, nil))
}

// try sends a request with alice's session, as the ingress passes it on.
func (w *world) try(t *testing.T, method, path, body string, status int, answer any) error {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, w.portal+"/portal/"+w.home+"/main/rest/api-tokens/latest"+path, strings.NewReader(body))
	must(t, err)
	r.AddCookie(w.product.SignIn("alice"))
	r.Header.Set("Content-Type", "application/json")
	if strings.HasPrefix(path, "/leaks/") {
		r.Header.Set("Authorization", gitLabToken)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != status {
		return fmt.Errorf("%s %s answers %d, want %d: %s, %w", method, path, response.StatusCode, status, text, errors.Join(err, errNoAnswer))
	}
	if answer != nil {
		return json.Unmarshal(text, answer)
	}
	return nil
}

var errNoAnswer = errors.New("not the answer that was expected")

func (w *world) declare(t *testing.T) *tokensv1alpha1.APIToken {
	t.Helper()
	declared := kubetest.Token(w.away, "ci", func(a *tokensv1alpha1.APIToken) { a.Spec.SiteRef.Namespace = w.home })
	must(t, env.Admin.Create(t.Context(), declared))
	w.ready(t, declared)
	return declared
}

func (w *world) ready(t *testing.T, declared *tokensv1alpha1.APIToken) {
	t.Helper()
	kubetest.Eventually(t, func() error {
		must(t, env.Admin.Get(t.Context(), client.ObjectKeyFromObject(declared), declared))
		if c := apimeta.FindStatusCondition(declared.Status.Conditions, tokensv1alpha1.ConditionReady); c == nil || c.Status != metav1.ConditionTrue {
			return fmt.Errorf("the token is %+v", c)
		}
		return nil
	})
}

// useGateway asks about a request with a token, until its last use is in the status.
func (w *world) useGateway(t *testing.T, urls map[string][]byte, declared *tokensv1alpha1.APIToken) {
	t.Helper()
	var delivered corev1.Secret
	must(t, env.Admin.Get(t.Context(), client.ObjectKey{Namespace: w.away, Name: declared.Spec.Delivery.SecretName}, &delivered))
	kubetest.Eventually(t, func() error {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, string(urls["nginx"]), http.NoBody)
		must(t, err)
		r.Header.Set("X-Original-URL", "https://main."+w.home+".example/jira/rest/api/2/myself")
		r.Header.Set("X-Original-Method", http.MethodGet)
		r.SetBasicAuth(string(delivered.Data["username"]), string(delivered.Data["password"]))
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("the webhook answers %d", response.StatusCode)
		}
		return nil
	})
	kubetest.Eventually(t, func() error {
		must(t, env.Admin.Get(t.Context(), client.ObjectKeyFromObject(declared), declared))
		if declared.Status.LastAccessedTime.IsZero() {
			return errors.New("no last access is written")
		}
		return nil
	})
}

// rotate has a token rotated.
func (w *world) rotate(t *testing.T, declared *tokensv1alpha1.APIToken) {
	t.Helper()
	before := declared.Status.IssuedTime
	patch := fmt.Sprintf(`{"spec":{"rotation":{"requestedTime":%q}}}`, time.Now().Add(time.Second).UTC().Format(time.RFC3339))
	must(t, env.Admin.Patch(t.Context(), declared, client.RawPatch("application/merge-patch+json", []byte(patch))))
	kubetest.Eventually(t, func() error {
		must(t, env.Admin.Get(t.Context(), client.ObjectKeyFromObject(declared), declared))
		if !declared.Status.IssuedTime.After(before.Time) {
			return fmt.Errorf("the token is that of %s", declared.Status.IssuedTime)
		}
		return nil
	})
}

// orphan leaves a record without an APIToken, of which the controller tells.
func (w *world) orphan(t *testing.T) {
	t.Helper()
	id, err := token.NewID(rand.Reader)
	must(t, err)
	_, entry, err := record.Mint(id, record.Delivered, time.Now(), rand.Reader)
	must(t, err)
	r := &record.Record{
		TokenID: id, User: "alice", DeliverySecret: "none", Entries: []record.Entry{entry},
		Site: record.Ref{Namespace: w.home, Name: "main"}, APIToken: record.Ref{Namespace: w.away, Name: "none"},
	}
	data, err := r.Encode()
	must(t, err)
	kept := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.SystemNamespace, Name: string(uuid.NewUUID())},
		Type:       record.SecretType, Data: map[string][]byte{record.DataKey: data},
	}
	must(t, env.Client(t, kubetest.Controller).Create(t.Context(), kept))
	kubetest.Eventually(t, func() error {
		var told eventsv1.EventList
		must(t, env.Admin.List(t.Context(), &told, client.InNamespace(kubetest.SystemNamespace)))
		if !slices.ContainsFunc(told.Items, func(e eventsv1.Event) bool { return e.Regarding.Name == kept.Name }) {
			return errors.New("nothing is said of a record without an APIToken")
		}
		return nil
	})
}

// expire declares a token that expires soon, and expects it to be deleted.
func (w *world) expire(t *testing.T) {
	t.Helper()
	old := kubetest.Token(w.home, "old", func(a *tokensv1alpha1.APIToken) {
		a.Spec.ExpirationTime = metav1.NewTime(time.Now().Add(10 * time.Second).Truncate(time.Second))
	})
	must(t, env.Admin.Create(t.Context(), old))
	w.gone(t, old)
}

func (w *world) gone(t *testing.T, o client.Object) {
	t.Helper()
	kubetest.Eventually(t, func() error {
		if err := env.Admin.Get(t.Context(), client.ObjectKeyFromObject(o), o); !apierrors.IsNotFound(err) {
			return errors.Join(fmt.Errorf("%T %s is still there", o, o.GetName()), err)
		}
		return nil
	})
}
