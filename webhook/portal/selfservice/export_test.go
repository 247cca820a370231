package selfservice

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// What decides without a cluster is tested without one.
var (
	NamePrefix = namePrefix
	WithoutIDs = withoutIDs
)

// Refusal is what the schema has against an APIToken, in the words of the REST API.
func Refusal(field, message string) *Problem {
	return refusal(metav1.StatusCause{Field: field, Message: message})
}
