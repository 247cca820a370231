package selfservice

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// NamePrefix needs no API server.
var NamePrefix = namePrefix

// SchemaProblem translates a violation of the schema.
func SchemaProblem(field, message string) *Problem {
	return schemaProblem(metav1.StatusCause{Field: field, Message: message})
}
