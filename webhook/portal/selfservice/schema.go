package selfservice

import (
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// createProblem translates the API server's refusal of a new APIToken. The messages are our own, from the schema.
func (s *Service) createProblem(c *Caller, err error) error {
	status := apierrors.APIStatus(nil)
	switch {
	case apierrors.IsAlreadyExists(err):
		return errFormUsed
	case apierrors.IsInvalid(err) && errors.As(err, &status) && status.Status().Details != nil && len(status.Status().Details.Causes) > 0:
		return schemaProblem(status.Status().Details.Causes[0])
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return problem(Unavailable, "This site is being removed.")
	case apierrors.IsForbidden(err): // a quota or a policy of the cluster; its words are for the administrator
		s.Logger.Error(err, "The API server refused an APIToken", "site", c.Ref().String())
		return problem(Conflict, "Kubernetes does not accept another API token here, for example because a quota is used up. Ask the administrator of this site.")
	}
	return fmt.Errorf("creating the APIToken: %w", err)
}

// schemaProblem translates a violation of the schema. checkRequest finds those of the request first, so most that remain are
// about the user name.
func schemaProblem(c metav1.StatusCause) *Problem {
	field := requestField(c.Field)
	switch field {
	case "user":
		return problem(Conflict, "Your user name cannot have API tokens: %s.", schemaMessage(c))
	case "":
		return invalid("", "The API token is not valid: %s.", schemaMessage(c))
	}
	return invalid(field, "%s is not valid: %s.", field, schemaMessage(c))
}

// requestField returns the field of a request for a field of an APIToken.
func requestField(path string) string {
	name := strings.TrimPrefix(path, "spec.")
	name, _, _ = strings.Cut(name, "[")
	name, _, _ = strings.Cut(name, ".")
	switch name {
	case "spec":
		return ""
	case "expirationTime":
		return "expiresAt"
	}
	return name
}

// schemaMessage returns the message of the schema without the value, which may be confidential.
func schemaMessage(c metav1.StatusCause) string {
	message := c.Message
	if strings.HasPrefix(message, "Invalid value: ") {
		if i := strings.LastIndex(message, `": `); i >= 0 {
			message = message[i+len(`": `):]
		}
	}
	return strings.ReplaceAll(strings.ReplaceAll(message, "`", ""), "expirationTime", "expiresAt")
}
