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

// Transient errors are Unavailable. Unexpected errors do not reveal their text.
func TestAsProblem(t *testing.T) {
	resource := schema.GroupResource{Group: "apitokens.dev", Resource: "apitokens"}
	refused := &url.Error{Op: "Post", URL: "https://10.0.0.1", Err: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}}
	expected := &selfservice.Problem{Kind: selfservice.Conflict, Message: "The label is taken."}
	for name, tc := range map[string]struct {
		err  error
		want selfservice.Kind
	}{
		"expected":           {fmt.Errorf("creating: %w", expected), selfservice.Conflict},
		"connection refused": {fmt.Errorf("creating: %w", refused), selfservice.Unavailable},
		"cancelled":          {context.Canceled, selfservice.Unavailable},
		"deadline":           {fmt.Errorf("x: %w", context.DeadlineExceeded), selfservice.Unavailable},
		"too many requests":  {apierrors.NewTooManyRequests("later", 1), selfservice.Unavailable},
		"unavailable":        {apierrors.NewServiceUnavailable("secret"), selfservice.Unavailable},
		"server timeout":     {apierrors.NewServerTimeout(resource, "create", 1), selfservice.Unavailable},
		"forbidden":          {apierrors.NewForbidden(resource, "secret", errors.New("secret")), selfservice.Internal},
		"anything else":      {errors.New("secret"), selfservice.Internal},
		"malformed URL":      {&url.Error{Op: "parse", URL: "secret", Err: errors.New("secret")}, selfservice.Internal},
	} {
		got := selfservice.AsProblem(tc.err)
		if got.Kind != tc.want || got.Message == "" {
			t.Errorf("%s: %+v, want kind %d", name, got, tc.want)
		}
		if name != "expected" && (got.Field != "" || got.Reason != "" || errors.Is(got, tc.err)) {
			t.Errorf("%s: %+v reveals details", name, got)
		}
	}
}
