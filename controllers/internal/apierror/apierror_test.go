package apierror_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"apitokens.dev/operator/controllers/internal/apierror"
)

var secrets = schema.GroupResource{Resource: "secrets"}

func TestIsRace(t *testing.T) {
	conflict := fmt.Errorf("writing: %w", apierrors.NewConflict(secrets, "x", errors.New("changed")))
	broken := errors.New("broken")
	for name, tc := range map[string]struct {
		err  error
		want bool
	}{
		"none":                       {nil, false},
		"something else":             {broken, false},
		"changed":                    {conflict, true},
		"came":                       {apierrors.NewAlreadyExists(secrets, "x"), true},
		"went":                       {fmt.Errorf("removing: %w", apierrors.NewNotFound(secrets, "x")), true},
		"the namespace is missing":   {apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "x"), false},
		"the kind is missing":        {apierrors.NewGenericServerResponse(http.StatusNotFound, "GET", secrets, "x", "", 0, true), false},
		"not allowed":                {apierrors.NewForbidden(secrets, "x", broken), false},
		"two races":                  {errors.Join(conflict, apierrors.NewAlreadyExists(secrets, "x")), true},
		"a race and something else":  {fmt.Errorf("twice: %w", errors.Join(conflict, broken)), false},
		"something else and a race":  {errors.Join(broken, conflict), false},
		"a race with nothing at all": {errors.Join(conflict, nil), true},
	} {
		if got := apierror.IsRace(tc.err); got != tc.want {
			t.Errorf("%s: %t, want %t", name, got, tc.want)
		}
	}
}
