package portal_test

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

	"apitokens.dev/operator/webhook/portal"
)

// What passes by itself is 503. What was not foreseen tells nobody anything.
func TestAsProblem(t *testing.T) {
	resource := schema.GroupResource{Group: "apitokens.dev", Resource: "apitokens"}
	refused := &url.Error{Op: "Post", URL: "https://10.0.0.1", Err: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}}
	foreseen := &portal.Problem{Kind: portal.Conflict, Message: "It cannot be."}
	for name, tc := range map[string]struct {
		err  error
		want portal.Kind
	}{
		"foreseen":              {fmt.Errorf("creating: %w", foreseen), portal.Conflict},
		"nobody listens":        {fmt.Errorf("creating: %w", refused), portal.Unavailable},
		"cut off":               {context.Canceled, portal.Unavailable},
		"took too long":         {fmt.Errorf("x: %w", context.DeadlineExceeded), portal.Unavailable},
		"too many requests":     {apierrors.NewTooManyRequests("later", 1), portal.Unavailable},
		"unavailable":           {apierrors.NewServiceUnavailable("secret"), portal.Unavailable},
		"server timeout":        {apierrors.NewServerTimeout(resource, "create", 1), portal.Unavailable},
		"forbidden":             {apierrors.NewForbidden(resource, "secret", errors.New("secret")), portal.Internal},
		"anything else":         {errors.New("secret"), portal.Internal},
		"a URL that is no good": {&url.Error{Op: "parse", URL: "secret", Err: errors.New("secret")}, portal.Internal},
	} {
		got := portal.AsProblem(tc.err)
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
		if got := portal.NamePrefix(user); got != want {
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
		if got := portal.WithoutIDs(target); got != want {
			t.Errorf("%s: %s, want %s", target, got, want)
		}
	}
}

// What the schema says is told without what it says it of.
func TestRefusal(t *testing.T) {
	for name, tc := range map[string]struct {
		field, message string
		want           portal.Problem
	}{
		"a rule": {"spec.label", "Invalid value: \"secret\": `label` must not be blank",
			portal.Problem{Kind: portal.Invalid, Field: "label", Message: "label is not as it should be: label must not be blank."}},
		"a rule for all": {"spec", "Invalid value: \"object\": only one of `lifetimeDays` and `expirationTime` may be given",
			portal.Problem{Kind: portal.Invalid, Message: "This API token cannot be: only one of lifetimeDays and expiresAt may be given."}},
		"an entry": {"spec.allowedPaths[3]", "Invalid value: \"secret\": each of `allowedPaths` must be a path",
			portal.Problem{Kind: portal.Invalid, Field: "allowedPaths", Message: "allowedPaths is not as it should be: each of allowedPaths must be a path."}},
		"a time": {"spec.expirationTime", "Invalid value: \"secret\": must be a time",
			portal.Problem{Kind: portal.Invalid, Field: "expiresAt", Message: "expiresAt is not as it should be: must be a time."}},
		"the owner": {"spec.user", "Invalid value: \"Ärger\": `user` must not contain ':'",
			portal.Problem{Kind: portal.Conflict, Message: "Your user name cannot have API tokens: user must not contain ':'."}},
	} {
		if got := portal.Refusal(tc.field, tc.message); *got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, *got, tc.want)
		}
	}
}
