package admission

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/internal/apierror"
)

// probe creates the APIToken as a dry run. The operator has no right to issue, so the issue policy must refuse it. Name, labels
// and annotations are those of the APIToken, so that other rules of the cluster accept the probe as they accepted the APIToken.
func probe(ctx context.Context, c client.Client, t *tokensv1alpha1.APIToken) error {
	return c.Create(ctx, &tokensv1alpha1.APIToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: t.Namespace, Name: t.Name, Labels: t.Labels, Annotations: t.Annotations},
		Spec:       *t.Spec.DeepCopy(),
	}, client.DryRunAll)
}

// answer is the meaning of the API server's answer to a probe.
type answer int

const (
	// unknown: the API server did not answer.
	unknown answer = iota
	// refused: the issue policy is in force.
	refused
	// admitted: it is not.
	admitted
	// unclear: something else refused the probe.
	unclear
)

func answerOf(err error) answer {
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return admitted
	case !errors.As(err, &status):
		return unknown
	case deniedBy(IssuePolicy, status.Status()):
		return refused
	case apierrors.IsAlreadyExists(err) && status.Status().Details != nil && status.Status().Details.Name != "":
		return admitted // by admission; the API server's storage knows the name
	}
	switch code := int(status.Status().Code); {
	case code == http.StatusUnauthorized, code == http.StatusRequestTimeout, code == http.StatusTooManyRequests, code > http.StatusInternalServerError:
		return unknown
	default:
		return unclear
	}
}

// deniedBy reports whether a policy denied the request, through the binding of its name. The API server repeats the denial as
// the only cause. A webhook can return any cause, but its message always begins with its own name. Another policy can say
// anything, but after its own name.
func deniedBy(policy string, s metav1.Status) bool {
	if s.Code != http.StatusForbidden || s.Reason != metav1.StatusReasonForbidden || s.Details == nil || len(s.Details.Causes) != 1 {
		return false
	}
	said := s.Details.Causes[0].Message
	resource := s.Details.Kind
	if s.Details.Group != "" {
		resource += "." + s.Details.Group
	}
	return strings.HasPrefix(said, fmt.Sprintf("ValidatingAdmissionPolicy '%s' with binding '%s' denied request: ", policy, policy)) &&
		s.Message == fmt.Sprintf("%s %q is forbidden: %s", resource, s.Details.Name, said)
}

// notVerified is the state after an unclear answer.
func notVerified(err error) State {
	return State{Reason: tokensv1alpha1.ReasonAdmissionNotVerified, Message: fmt.Sprintf(
		"It is not known whether the ValidatingAdmissionPolicy '%s' is in force in this namespace: "+
			"the API server refuses the operator's dry run for another reason, %s. Nothing is issued until it is known. "+
			"Remove the cause, or exempt dry runs of the operator's account: it tries again every minute.",
		IssuePolicy, apierror.Words(err))}
}
