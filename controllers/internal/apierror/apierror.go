// Package apierror says what an error of the API server means for a pass of a controller.
package apierror

import (
	"errors"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// IsRace reports whether a pass only met another writer: an object changed, came or went between its read and its write.
// The next pass reads it again. Of joined errors each has to be a race, so that none hides another.
func IsRace(err error) bool {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return !slices.ContainsFunc(joined.Unwrap(), func(err error) bool { return !IsRace(err) })
	}
	return (apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)) && namesObject(err)
}

// namesObject reports whether the API server's own storage answers about one object. The answer of an admission webhook names
// none, and a missing namespace or resource type does not come back by itself.
func namesObject(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	details := status.Status().Details
	return details != nil && details.Name != "" && details.Kind != "namespaces" && len(details.Causes) == 0
}
