package conditions

import (
	"context"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Apply writes the status in an apply configuration. The client decodes the API server's answer into what it sent. For a
// malformed object that fails, so its status is sent as an unstructured object.
func Apply(ctx context.Context, c client.Client, object runtime.ApplyConfiguration, malformed bool) error {
	if malformed {
		text, err := json.Marshal(object)
		if err != nil {
			return fmt.Errorf("encoding a status: %w", err)
		}
		raw := &unstructured.Unstructured{}
		if err := raw.UnmarshalJSON(text); err != nil {
			return fmt.Errorf("encoding a status: %w", err)
		}
		object = client.ApplyConfigurationFromUnstructured(raw)
	}
	return c.Status().Apply(ctx, object, client.ForceOwnership)
}
