package apierror

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/internal/conditions"
)

// maxWords is how many bytes of the API server's answer a message quotes.
const maxWords = 1024

// secretLike matches hashes, tokens, encoded Secret data and caller keys. An admission policy may quote the object that it refuses.
var secretLike = regexp.MustCompile(`[A-Za-z0-9+/=_$]{40,}|\b[A-Z2-7]{26,}\b`)

// Refusal returns a message for people about a request that the API server refuses for a cause that lasts: a quota, an
// admission policy or webhook, a validation, or a missing right. It quotes err, which says what was being done. refused is
// false for races, and for errors that pass by themselves.
func Refusal(err error) (message string, refused bool) {
	if err == nil || IsRace(err) || !lasts(err) {
		return "", false
	}
	return fmt.Sprintf("The API server refuses a request of the operator, %s. Remove the cause: the operator tries again every minute.", Words(err)), true
}

// lasts reports whether err is an answer of the API server that stays the same until somebody removes its cause. Of joined
// errors each has to be one, so that none hides another.
func lasts(err error) bool {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return !slices.ContainsFunc(joined.Unwrap(), func(err error) bool { return !lasts(err) })
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	switch code := int(status.Status().Code); code {
	case http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return false
	default:
		return code >= 400 && code < 500
	}
}

// Words returns the text of an error on one line, without secrets, and cut to maxWords.
func Words(err error) string {
	words := strings.TrimRight(strings.Join(strings.Fields(secretLike.ReplaceAllString(err.Error(), "(removed)")), " "), ".")
	if len(words) > maxWords {
		words = strings.ToValidUTF8(words[:maxWords], "") + " ..."
	}
	return words
}

// Redact returns the same error with a text without secrets.
func Redact(err error) error {
	if err == nil || !secretLike.MatchString(err.Error()) {
		return err
	}
	return &redacted{err}
}

type redacted struct{ err error }

func (r *redacted) Error() string { return secretLike.ReplaceAllString(r.err.Error(), "(removed)") }
func (r *redacted) Unwrap() error { return r.err }

// EmitRefusal emits an Event for a refused write that no condition can report. It reports whether err is one.
func EmitRefusal(ctx context.Context, to events.EventRecorder, regarding client.Object, err error) bool {
	message, refused := Refusal(err)
	if !refused {
		return false
	}
	ctrl.LoggerFrom(ctx).Info("The API server refuses a write", "object", klog.KObj(regarding), "message", message)
	to.Eventf(regarding, nil, corev1.EventTypeWarning, tokensv1alpha1.ReasonWriteRefused, "Reconcile", "%s", conditions.Note(message))
	return true
}
