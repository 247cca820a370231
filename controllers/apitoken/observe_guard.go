package apitoken

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/admission"
)

// guardedAnnotation is the annotation of a record with the note about its APIToken: UID, generation, and since when the admission
// policies were in force without a gap. Only the operator writes records.
const guardedAnnotation = "apitokens.dev/guarded"

func guardOf(s admission.State) guard {
	return guard{since: s.GuardedSince, reason: s.Reason, message: s.Message}
}

func writeNote(t *tokensv1alpha1.APIToken, g guard) string {
	return fmt.Sprintf("%s %d %s", t.UID, t.Generation, g.since.UTC().Format(time.RFC3339Nano))
}

// readNote returns the note about an APIToken, or nil if there is none. A record that was copied to another UID has none.
func readNote(stored *corev1.Secret, t *tokensv1alpha1.APIToken) *note {
	var uid, since string
	var n note
	if _, err := fmt.Sscanf(stored.Annotations[guardedAnnotation], "%s %d %s", &uid, &n.generation, &since); err != nil || uid != string(t.UID) {
		return nil
	}
	at, err := time.Parse(time.RFC3339Nano, since)
	if err != nil {
		return nil
	}
	n.since = at
	return &n
}
