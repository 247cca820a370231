package admission

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

const ourWords = "ValidatingAdmissionPolicy 'issue.apitokens.dev' with binding 'issue.apitokens.dev' denied request: may not issue"

// denial is the API server's answer after a policy denied a request with these words.
func denial(words string, mods ...func(*metav1.Status)) error {
	err := apierrors.NewForbidden(schema.GroupResource{Group: "apitokens.dev", Resource: "apitokens"}, "ci", errors.New(words))
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Message: words}}
	for _, mod := range mods {
		mod(&err.ErrStatus)
	}
	return err
}

// webhook is the answer after an admission webhook denied the request, and returned this itself.
func webhook(words string, causes ...metav1.StatusCause) error {
	return denial(words, func(s *metav1.Status) {
		s.Message, s.Details.Causes = `admission webhook "evil.example.com" denied the request: `+words, causes
	})
}

// Only our policy's own refusal counts, whatever others quote.
func TestAnswers(t *testing.T) {
	foreign := "ValidatingAdmissionPolicy 'house.example.com' with binding 'house.example.com' denied request: "
	for name, tc := range map[string]struct {
		err  error
		want answer
	}{
		"our policy":                       {denial(ourWords), refused},
		"no refusal":                       {nil, admitted},
		"the name is taken":                {apierrors.NewAlreadyExists(schema.GroupResource{Resource: "apitokens"}, "ci"), admitted},
		"a foreign policy":                 {denial(foreign + "no label"), unclear},
		"a foreign policy that quotes":     {denial(foreign + ourWords), unclear},
		"our policy by another binding":    {denial(strings.Replace(ourWords, "binding 'issue", "binding 'x.issue", 1)), unclear},
		"our policy without a binding":     {denial("ValidatingAdmissionPolicy 'issue.apitokens.dev' denied request: may not issue"), unclear},
		"two causes":                       {denial(ourWords, func(s *metav1.Status) { s.Details.Causes = append(s.Details.Causes, s.Details.Causes[0]) }), unclear},
		"no causes":                        {denial(ourWords, func(s *metav1.Status) { s.Details.Causes = nil }), unclear},
		"no details":                       {denial(ourWords, func(s *metav1.Status) { s.Details = nil }), unclear},
		"another reason":                   {denial(ourWords, func(s *metav1.Status) { s.Reason = metav1.StatusReasonInvalid }), unclear},
		"another code":                     {denial(ourWords, func(s *metav1.Status) { s.Code = http.StatusUnprocessableEntity }), unclear},
		"a webhook":                        {webhook("no"), unclear},
		"a webhook that quotes":            {webhook(ourWords), unclear},
		"a webhook that forges the cause":  {webhook(ourWords, metav1.StatusCause{Message: ourWords}), unclear},
		"a webhook that forges everything": {webhook(denial(ourWords).Error(), metav1.StatusCause{Message: ourWords}), unclear},
		"a webhook without dry run":        {apierrors.NewBadRequest(`admission webhook "x" does not support dry run`), unclear},
		"a webhook that is away":           {apierrors.NewInternalError(errors.New("failed calling webhook")), unclear},
		"RBAC":                             {apierrors.NewForbidden(schema.GroupResource{Resource: "apitokens"}, "", errors.New("cannot create")), unclear},
		"a webhook: it exists":             {webhook("", metav1.StatusCause{}), unclear},
		"away":                             {apierrors.NewServiceUnavailable("x"), unknown},
		"a timeout":                        {apierrors.NewTimeoutError("x", 1), unknown},
		"too many requests":                {apierrors.NewTooManyRequests("x", 1), unknown},
		"an expired credential":            {apierrors.NewUnauthorized("x"), unknown},
		"no answer":                        {context.DeadlineExceeded, unknown},
	} {
		err := tc.err
		if err != nil {
			err = fmt.Errorf("wrapped: %w", err)
		}
		if got := answerOf(err); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}

func TestUnclearAnswersAreQuoted(t *testing.T) {
	s := notVerified(webhook("a team label is missing"))
	if s.InForce() || s.Reason != tokensv1alpha1.ReasonAdmissionNotVerified || !strings.Contains(s.Message, "a team label is missing") {
		t.Errorf("state %+v", s)
	}
}
