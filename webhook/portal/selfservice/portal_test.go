package selfservice_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"syscall"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"apitokens.dev/operator/webhook/portal/selfservice"
)

// What passes by itself is 503. What was not foreseen tells nobody anything.
func TestAsProblem(t *testing.T) {
	resource := schema.GroupResource{Group: "apitokens.dev", Resource: "apitokens"}
	refused := &url.Error{Op: "Post", URL: "https://10.0.0.1", Err: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}}
	foreseen := &selfservice.Problem{Kind: selfservice.Conflict, Message: "It cannot be."}
	for name, tc := range map[string]struct {
		err  error
		want selfservice.Kind
	}{
		"foreseen":              {fmt.Errorf("creating: %w", foreseen), selfservice.Conflict},
		"nobody listens":        {fmt.Errorf("creating: %w", refused), selfservice.Unavailable},
		"cut off":               {context.Canceled, selfservice.Unavailable},
		"took too long":         {fmt.Errorf("x: %w", context.DeadlineExceeded), selfservice.Unavailable},
		"too many requests":     {apierrors.NewTooManyRequests("later", 1), selfservice.Unavailable},
		"unavailable":           {apierrors.NewServiceUnavailable("secret"), selfservice.Unavailable},
		"server timeout":        {apierrors.NewServerTimeout(resource, "create", 1), selfservice.Unavailable},
		"forbidden":             {apierrors.NewForbidden(resource, "secret", errors.New("secret")), selfservice.Internal},
		"anything else":         {errors.New("secret"), selfservice.Internal},
		"a URL that is no good": {&url.Error{Op: "parse", URL: "secret", Err: errors.New("secret")}, selfservice.Internal},
	} {
		got := selfservice.AsProblem(tc.err)
		if got.Kind != tc.want || got.Message == "" {
			t.Errorf("%s: %+v, want kind %d", name, got, tc.want)
		}
		if name != "foreseen" && (got.Field != "" || got.Reason != "" || errors.Is(got, tc.err)) {
			t.Errorf("%s: %+v tells something", name, got)
		}
	}
}

func TestNamePrefix(t *testing.T) {
	for user, want := range map[string]string{
		"alice": "alice-", "a@b@example.com": "a-b-example-com-", `corp\alice`: "corpalice-", "alice q. example": "aliceq-example-", "李": "user-", "": "user-", "-.-": "user-",
		"_a_": "a-", "jürgen": "jrgen-", "a123456789b123456789c123456789d": "a123456789b123456789c123456789-"[:30] + "-",
	} {
		if got := selfservice.NamePrefix(user); got != want {
			t.Errorf("%q: %q, want %q", user, got, want)
		}
	}
}

// An id is public, and a token is not.
func TestWithoutIDs(t *testing.T) {
	const id = "asp_DquJoZLwlsNJm6gU"
	for target, want := range map[string]string{
		"/admin": "/admin", "/admin?q=ci": "/admin?q=ci", "/admin?q=" + id: "/admin?", "/admin?user=a&q=" + id + "&startAt=1": "/admin?user=a&startAt=1",
		"/admin?q=" + id + "x": "/admin?q=" + id + "x", "/admin?os_password=" + id + "_secret": "/admin?os_password=" + id + "_secret", "/" + id: "/" + id,
		"/admin?" + id: "/admin?" + id, "/admin?q=%61" + id[1:]: "/admin?q=%61" + id[1:],
	} {
		if got := selfservice.WithoutIDs(target); got != want {
			t.Errorf("%s: %s, want %s", target, got, want)
		}
	}
}

// What the schema says is told without what it says it of.
func TestRefusal(t *testing.T) {
	for name, tc := range map[string]struct {
		field, message string
		want           selfservice.Problem
	}{
		"a rule": {"spec.label", "Invalid value: \"secret\": `label` must not be blank",
			selfservice.Problem{Kind: selfservice.Invalid, Field: "label", Message: "label is not as it should be: label must not be blank."}},
		"a rule for all": {"spec", "Invalid value: \"object\": only one of `lifetimeDays` and `expirationTime` may be given",
			selfservice.Problem{Kind: selfservice.Invalid, Message: "This API token cannot be: only one of lifetimeDays and expiresAt may be given."}},
		"an entry": {"spec.allowedPaths[3]", "Invalid value: \"secret\": each of `allowedPaths` must be a path",
			selfservice.Problem{Kind: selfservice.Invalid, Field: "allowedPaths", Message: "allowedPaths is not as it should be: each of allowedPaths must be a path."}},
		"a time": {"spec.expirationTime", "Invalid value: \"secret\": must be a time",
			selfservice.Problem{Kind: selfservice.Invalid, Field: "expiresAt", Message: "expiresAt is not as it should be: must be a time."}},
		"the owner": {"spec.user", "Invalid value: \"Ärger\": `user` must not contain ':'",
			selfservice.Problem{Kind: selfservice.Conflict, Message: "Your user name cannot have API tokens: user must not contain ':'."}},
	} {
		if got := selfservice.Refusal(tc.field, tc.message); *got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, *got, tc.want)
		}
	}
}
