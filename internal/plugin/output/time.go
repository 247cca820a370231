package output

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// Since says how long ago a time was, as kubectl does. Without a time it says none.
func Since(now time.Time, t metav1.Time, none string) string {
	if t.IsZero() {
		return none
	}
	return duration.HumanDuration(now.Sub(t.Time))
}

// Until says how long it is until a time, or how long ago that was. Without a time it says never.
func Until(now time.Time, t metav1.Time) string {
	switch {
	case t.IsZero():
		return "never"
	case t.After(now):
		return "in " + duration.HumanDuration(t.Sub(now))
	}
	return duration.HumanDuration(now.Sub(t.Time)) + " ago"
}

// Moment says when a time was or is, exactly and from now. Without a time it says none.
func Moment(now time.Time, t metav1.Time, none string) string {
	if t.IsZero() {
		return none
	}
	return t.UTC().Format(time.RFC3339) + " (" + Until(now, t) + ")"
}
