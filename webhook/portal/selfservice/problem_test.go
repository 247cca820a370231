package selfservice_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"
	"testing/iotest"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"apitokens.dev/operator/webhook/portal/selfservice"
)

type roundTrip func() (*http.Response, error)

func (r roundTrip) RoundTrip(*http.Request) (*http.Response, error) { return r() }

// Transient errors are Unavailable. Unexpected errors do not reveal their text.
func TestAsProblem(t *testing.T) {
	resource := schema.GroupResource{Group: "apitokens.dev", Resource: "apitokens"}
	unreachable := selfservice.MarkConnectionErrors(roundTrip(func() (*http.Response, error) { return nil, errors.New("secret") }))
	_, unanswered := unreachable.RoundTrip(&http.Request{})
	cutOff := selfservice.MarkConnectionErrors(roundTrip(func() (*http.Response, error) {
		return &http.Response{Body: io.NopCloser(iotest.ErrReader(errors.New("http2: client connection lost")))}, nil
	}))
	response, err := cutOff.RoundTrip(&http.Request{})
	if err != nil {
		t.Fatal(err)
	}
	_, unread := io.ReadAll(response.Body)
	_ = response.Body.Close()
	expected := &selfservice.Problem{Kind: selfservice.Conflict, Message: "The label is taken."}
	for name, tc := range map[string]struct {
		err  error
		want selfservice.Kind
	}{
		"expected":          {fmt.Errorf("creating: %w", expected), selfservice.Conflict},
		"no answer":         {fmt.Errorf("creating: %w", &url.Error{Op: "Post", URL: "secret", Err: unanswered}), selfservice.Unavailable},
		"half an answer":    {fmt.Errorf("creating: %w", unread), selfservice.Unavailable},
		"internal error":    {apierrors.NewInternalError(errors.New("etcdserver: request timed out, secret")), selfservice.Unavailable},
		"cancelled":         {context.Canceled, selfservice.Unavailable},
		"deadline":          {fmt.Errorf("x: %w", context.DeadlineExceeded), selfservice.Unavailable},
		"too many requests": {apierrors.NewTooManyRequests("later", 1), selfservice.Unavailable},
		"unavailable":       {apierrors.NewServiceUnavailable("secret"), selfservice.Unavailable},
		"server timeout":    {apierrors.NewServerTimeout(resource, "create", 1), selfservice.Unavailable},
		"forbidden":         {apierrors.NewForbidden(resource, "secret", errors.New("secret")), selfservice.Internal},
		"anything else":     {errors.New("secret"), selfservice.Internal},
		"malformed URL":     {&url.Error{Op: "parse", URL: "secret", Err: errors.New("secret")}, selfservice.Internal},
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
