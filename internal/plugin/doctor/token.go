package doctor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/plugin/exit"
	"apitokens.dev/operator/internal/plugin/session"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/internal/username"
)

const (
	// pollInterval is how often it is asked whether something has happened. readyTimeout is how long a token may take to work, and
	// deadTimeout how long a revoked one may go on working: a gateway that asks takes milliseconds.
	pollInterval, readyTimeout, deadTimeout = 200 * time.Millisecond, 30 * time.Second, 3 * time.Second
	// maxTokenFile is the largest file with a token, in bytes.
	maxTokenFile = 4096
)

// checkWithToken asks with a token, if the user gave one or lets one be made.
func (e *exam) checkWithToken(ctx context.Context) error {
	if e.tokenFile == "" && e.createFor == "" {
		e.missed(checkToken, "No token was used: the way to the product and back, and a revocation, were not tried.",
			"give --token-file FILE, or --create-token USER: it creates a read-only token, and revokes it")
		return nil
	}
	if len(e.sites) != 1 {
		return exit.Usagef("--token-file and --create-token are for one site: name it (there are %d)", len(e.sites))
	}
	v, err := e.newVisit(&e.sites[0], &sync.Mutex{})
	if err != nil {
		return err
	}
	defer v.http.CloseIdleConnections()
	if e.createFor != "" {
		return v.withNewToken(ctx)
	}
	user, secret, err := readToken(e.tokenFile)
	if err != nil {
		return err
	}
	found, err := v.withToken(ctx, user, secret)
	e.made(checkToken, found...)
	return err
}

// readToken reads USER:TOKEN from a file. Errors do not quote it.
func readToken(name string) (user, secret string, err error) {
	file, err := os.Open(name)
	if err != nil {
		return "", "", fmt.Errorf("reading the token: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(file, maxTokenFile))
	if err != nil {
		return "", "", fmt.Errorf("reading the token: %w", err)
	}
	user, secret, ok := strings.Cut(strings.TrimSpace(string(text)), ":")
	if !ok || user == "" || secret == "" {
		return "", "", exit.Usagef("--token-file %s: want one line, USER:TOKEN", name)
	}
	return user, secret, nil
}

// as returns the header of a request with a token.
func as(user, secret string) http.Header {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, secret)
	return r.Header
}

// withToken asks who the product takes the owner of a token for, and whether the connection is bound to them.
func (v *visit) withToken(ctx context.Context, user, secret string) ([]finding, error) {
	first, err := v.get(ctx, v.whoAmI(), as(user, secret))
	if err != nil {
		return nil, err
	}
	id := "TOKEN-ID"
	if found, ok := token.Find(secret); ok {
		id = found.ID
	}
	object := named(v.site, kindSite)
	if first.status != http.StatusOK {
		return []finding{{
			Severity: problem, Object: object, Reason: reasonTokenRefused,
			Found: fmt.Sprintf("A GET of %s with a token of %s got %d.", v.whoAmI(), user, first.status),
			Do:    fmt.Sprintf("kubectl apitoken explain %s -n %s", id, v.site.Namespace),
		}}, nil
	}
	product := atlassian.Product(v.door.Product)
	if name := product.Named(first.body); username.Fold(name) != username.Fold(user) {
		return []finding{{
			Severity: problem, Object: object, Reason: reasonOtherUser,
			Found: fmt.Sprintf("The product takes the owner of a token of %s for %q.", user, name),
			Do:    "shut the ingress, and see which credential it sends on: docs/how-to/runbooks/open-door.md",
		}}, nil
	}
	then, err := v.get(ctx, v.whoAmI(), nil)
	if err != nil {
		return nil, err
	}
	if name := product.Named(then.body); then.status == http.StatusOK && name != "" {
		return []finding{{
			Severity: problem, Object: object, Reason: reasonConnectionKeepsUser,
			Found: fmt.Sprintf("After a request with a token, the next one without a credential is served as %q.", name),
			Do:    "have the ingress keep no answers, and bind no connection to a user: docs/how-to/is-the-door-shut.md",
		}}, nil
	}
	return nil, nil
}

// withNewToken creates a token, asks with it, revokes it, and sees that it is refused then.
func (v *visit) withNewToken(ctx context.Context) error {
	name := "doctor-" + strings.ToLower(rand.Text()[:8])
	fmt.Fprintf(v.ErrOut, "Creating the read-only APIToken %s/%s for the product user %s, for a day. It is deleted in a moment.\n",
		v.site.Namespace, name, v.createFor)
	t := &tokensv1alpha1.APIToken{ObjectMeta: metav1.ObjectMeta{Namespace: v.site.Namespace, Name: name}, Spec: tokensv1alpha1.APITokenSpec{
		SiteRef: tokensv1alpha1.SiteReference{Name: v.site.Name}, User: v.createFor, Label: "kubectl apitoken doctor",
		Access: tokensv1alpha1.AccessReadOnly, LifetimeDays: new(int32(1)),
		Credential: tokensv1alpha1.Credential{Type: tokensv1alpha1.CredentialGenerated}, Delivery: tokensv1alpha1.Delivery{SecretName: name},
	}}
	switch err := v.api.Create(ctx, t); {
	case apierrors.IsForbidden(err):
		v.missed(checkToken, fmt.Sprintf("You may not create a token for %s: %v.", v.createFor, err),
			"give a user for whom you may issue tokens, or have the right granted: docs/how-to/grant-rights.md")
		return nil
	case err != nil:
		return session.Doing("creating an APIToken", err)
	}
	secret, err := v.delivered(ctx, t)
	var found []finding
	if err == nil && secret != "" {
		if found, err = v.withToken(ctx, v.createFor, secret); err == nil && len(found) == 0 {
			found, err = v.write(ctx, secret)
		}
	}
	// It ends whatever happened, also after Ctrl-C.
	if deleteErr := v.api.Delete(context.WithoutCancel(ctx), t); deleteErr != nil && !apierrors.IsNotFound(deleteErr) {
		err = errors.Join(err, fmt.Errorf("deleting the APIToken: %w; do it yourself: kubectl apitoken revoke %s -n %s", deleteErr, name, t.Namespace))
	}
	if err != nil || secret == "" {
		return err
	}
	v.made(checkToken, found...)
	return v.dead(ctx, secret, deadTimeout)
}

// delivered waits until a token is delivered, and returns it. Without it, the report says why.
func (v *visit) delivered(ctx context.Context, t *tokensv1alpha1.APIToken) (string, error) {
	err := wait.PollUntilContextTimeout(ctx, pollInterval, readyTimeout, true, func(ctx context.Context) (bool, error) {
		if err := v.api.Get(ctx, client.ObjectKeyFromObject(t), t); err != nil {
			return false, session.Doing("waiting for the APIToken", err)
		}
		return apimeta.IsStatusConditionTrue(t.Status.Conditions, tokensv1alpha1.ConditionReady), nil
	})
	switch {
	case wait.Interrupted(err) && ctx.Err() == nil:
		found := ofTokens([]tokensv1alpha1.APIToken{*t})
		if len(found) == 0 {
			found = []finding{{
				Severity: problem, Object: named(t, kindToken), Reason: reasonNotSeen, Found: "The operator did not issue the token in time.",
				Do: "kubectl -n " + v.system + " get deployments: docs/how-to/runbooks/controller-away.md",
			}}
		}
		v.made(checkToken, found...)
		return "", nil
	case err != nil:
		return "", err
	}
	var secret corev1.Secret
	if err := v.api.Get(ctx, client.ObjectKey{Namespace: t.Namespace, Name: t.Spec.Delivery.SecretName}, &secret); err != nil {
		return "", session.Doing("reading the delivered Secret", v.unless(err, checkToken, "get", "secrets", t.Namespace))
	}
	return string(secret.Data[corev1.BasicAuthPasswordKey]), nil
}

// write asks to write with a read-only token.
func (v *visit) write(ctx context.Context, secret string) ([]finding, error) {
	a, err := v.ask(ctx, http.MethodPost, v.whoAmI(), as(v.createFor, secret), http.NoBody, 0)
	if err != nil || a.status == http.StatusForbidden {
		return nil, err
	}
	return []finding{{
		Severity: problem, Object: named(v.site, kindSite), Reason: reasonWriteNotRefused,
		Found: fmt.Sprintf("A POST with a read-only token got %d, and not 403: the ingress does not tell the webhook the method.", a.status),
		Do:    "have the ingress send the headers of its sample: docs/how-to/gateways/README.md",
	}}, nil
}

// dead waits until a revoked token is refused, for so long.
func (v *visit) dead(ctx context.Context, secret string, patience time.Duration) error {
	var last answered
	err := wait.PollUntilContextTimeout(ctx, pollInterval, patience, true, func(ctx context.Context) (done bool, err error) {
		last, err = v.get(ctx, v.whoAmI(), as(v.createFor, secret))
		return last.status != http.StatusOK, err
	})
	switch {
	case wait.Interrupted(err) && ctx.Err() == nil:
		v.made(checkToken, finding{
			Severity: problem, Object: named(v.site, kindSite), Reason: reasonRevokedStillWorks,
			Found: fmt.Sprintf("A token that was revoked %s ago still works: the ingress keeps verdicts or answers, or a replica is stale.", patience),
			Do:    "turn the cache of the ingress off: docs/how-to/is-the-door-shut.md; look at the findings about replicas",
		})
		return nil
	case err != nil:
		return err
	}
	v.made(checkToken)
	return nil
}
