package usage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// fieldOwner owns the two fields. All replicas share it.
const fieldOwner = "apitoken-webhook"

// Writer writes a use into the status of its APIToken. ErrGone and ErrRefused are final. After another error, try again; after
// ErrRejected, not soon.
type Writer func(context.Context, Use) error

var (
	// ErrGone means that the APIToken does not exist any more, or that another one has its name.
	ErrGone = errors.New("the APIToken is gone")
	// ErrRefused means that the API server knows a later use.
	ErrRefused = errors.New("the APIToken was used later than that")
	// ErrRejected means that the API server does not take the status of this APIToken. Others are not affected.
	ErrRejected = errors.New("the API server rejects the status")
)

// NewWriter returns a Writer with the rights of config.
func NewWriter(config *rest.Config) (Writer, error) {
	scheme := runtime.NewScheme()
	if err := tokensv1alpha1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("registering the API types: %w", err)
	}
	config = rest.CopyConfig(config)
	config.QPS = -1 // the Recorder limits the writes
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("making the client for last accesses: %w", err)
	}
	return func(ctx context.Context, u Use) error { return patch(ctx, c, u) }, nil
}

func patch(ctx context.Context, c client.Client, u Use) error {
	operations, err := json.Marshal(operationsFor(u))
	if err != nil {
		return fmt.Errorf("encoding a patch: %w", err)
	}
	object := &tokensv1alpha1.APIToken{ObjectMeta: metav1.ObjectMeta{Namespace: u.Token.Namespace, Name: u.Token.Name}}
	err = c.Status().Patch(ctx, object, client.RawPatch(types.JSONPatchType, operations), client.FieldOwner(fieldOwner))
	switch {
	case err == nil:
		return nil
	case apierrors.IsNotFound(err):
		return ErrGone
	case apierrors.IsInvalid(err) && !apierrors.HasStatusCause(err, metav1.CauseTypeFieldValueInvalid):
		return ErrGone // an invalid result names a field; a patch that does not apply, because the UID differs, names none
	case apierrors.IsInvalid(err):
		return ErrRefused
	case rejects(err):
		return fmt.Errorf("%w: %w", ErrRejected, err)
	}
	return fmt.Errorf("writing a last access: %w", err)
}

// rejects reports whether an error is about one object, and not about the API server or the time. Of an object that is too
// large for etcd, the API server has only these words.
func rejects(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	switch code := status.Status().Code; code {
	case http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests:
		return false
	case http.StatusInternalServerError:
		return strings.Contains(err.Error(), "request is too large") || strings.Contains(err.Error(), "larger than max")
	default:
		return code >= http.StatusBadRequest && code < http.StatusInternalServerError
	}
}

// operation is one operation of a JSON patch (RFC 6902). Only a JSON patch can test the UID: in other patches to the status
// of a custom resource, the API server ignores a UID.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// operationsFor relies on the default of the status: every APIToken has one.
func operationsFor(u Use) []operation {
	const lastTime, lastFrom = "/status/lastAccessedTime", "/status/lastAccessedFrom"
	at := time.Unix(u.Second, 0).UTC().Format(time.RFC3339)
	operations := []operation{{"test", "/metadata/uid", u.Token.UID}, {"add", lastTime, at}, {"add", lastFrom, u.From.String()}}
	if !u.From.IsValid() {
		// A missing field cannot be removed, so it is added first.
		operations = append(operations, operation{"remove", lastFrom, nil})
	}
	return operations
}
