package apierror_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"apitokens.dev/operator/controllers/internal/apierror"
	"apitokens.dev/operator/internal/authurl"
)

// denied is the answer of the API server after an admission webhook denied a request with this code.
func denied(code int32, reason metav1.StatusReason) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: code, Reason: reason, Message: `admission webhook "house.example.com" denied the request: no`,
	}}
}

func TestRefusal(t *testing.T) {
	broken := errors.New("broken")
	immutable := field.ErrorList{field.Forbidden(field.NewPath("data"), "field is immutable when `immutable` is set")}
	for name, tc := range map[string]struct {
		err  error
		want bool
	}{
		"none":                           {nil, false},
		"no answer":                      {fmt.Errorf("delivering: %w", context.DeadlineExceeded), false},
		"a quota":                        {apierrors.NewForbidden(secrets, "x", errors.New("exceeded quota: few-secrets")), true},
		"an immutable Secret":            {apierrors.NewInvalid(schema.GroupKind{Kind: "Secret"}, "x", immutable), true},
		"too large":                      {apierrors.NewRequestEntityTooLargeError("limit is 3145728"), true},
		"a webhook":                      {denied(http.StatusForbidden, metav1.StatusReasonForbidden), true},
		"a webhook, as a bad request":    {denied(http.StatusBadRequest, metav1.StatusReasonBadRequest), true},
		"a webhook, as a conflict":       {denied(http.StatusConflict, metav1.StatusReasonConflict), true},
		"a webhook, as if it were there": {denied(http.StatusConflict, metav1.StatusReasonAlreadyExists), true},
		"the namespace is missing":       {apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "x"), true},
		"a conflict":                     {apierrors.NewConflict(secrets, "x", errors.New("changed")), false},
		"came":                           {apierrors.NewAlreadyExists(secrets, "x"), false},
		"went":                           {apierrors.NewNotFound(secrets, "x"), false},
		"an expired credential":          {apierrors.NewUnauthorized("expired"), false},
		"too many requests":              {apierrors.NewTooManyRequests("later", 1), false},
		"a webhook that is away":         {apierrors.NewInternalError(errors.New("failed calling webhook")), false},
		"away":                           {apierrors.NewServiceUnavailable("etcd is away"), false},
		"a timeout":                      {apierrors.NewTimeoutError("late", 1), false},
		"something else":                 {broken, false},
		"two quotas":                     {errors.Join(apierrors.NewForbidden(secrets, "x", broken), apierrors.NewForbidden(secrets, "y", broken)), true},
		"a quota and something else":     {errors.Join(apierrors.NewForbidden(secrets, "x", broken), broken), false},
	} {
		err := tc.err
		if err != nil {
			err = fmt.Errorf("delivering the token: %w", err)
		}
		message, refused := apierror.Refusal(err)
		if refused != tc.want || refused == apierror.IsRace(err) && refused {
			t.Errorf("%s: refused is %t, want %t", name, refused, tc.want)
		}
		if refused && (!strings.Contains(message, "delivering the token: ") || !strings.HasSuffix(message, ".")) {
			t.Errorf("%s: message %q", name, message)
		}
	}
}

// An admission policy can quote the Secret that it refuses, as a whole.
func TestRefusalQuotesNoSecret(t *testing.T) {
	const (
		text = "asp_DquJoZLwlsNJm6gU_" + "0123456789abcdefghijklmnopqrstuvwxyzABCD" + "00EFGH"
		hash = "$sha256$v=1$AAAAAAAAAAAAAAAAAAAAAA$BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"
	)
	key := authurl.NewKeys("jira", "a-site", time.Now()).Address(authurl.Nginx).Key
	for _, secret := range []string{text, hash, key, base64.StdEncoding.EncodeToString([]byte(text)), base64.StdEncoding.EncodeToString([]byte(`{"hash":"` + hash + `"}`))} {
		message, _ := apierror.Refusal(apierrors.NewForbidden(secrets, "ci-token", fmt.Errorf("object is {data: {password: %s}}\nand more", secret)))
		if strings.Contains(message, secret) || strings.Contains(message, secret[21:]) || !strings.Contains(message, "(removed)") || strings.Contains(message, "\n") {
			t.Errorf("message %q", message)
		}
		broken := fmt.Errorf("applying: http://webhook/nginx/%s/jira/a-site: %w", secret, errors.New("no"))
		if redacted := apierror.Redact(broken); strings.Contains(redacted.Error(), secret) || !errors.Is(redacted, broken) {
			t.Errorf("error %q", redacted)
		}
	}
	long, _ := apierror.Refusal(apierrors.NewForbidden(secrets, "x", errors.New(strings.Repeat("no ä ", 1000))))
	if len(long) > 1200 || !strings.Contains(long, " ....") {
		t.Errorf("%d bytes: %q", len(long), long)
	}
}
