package controlplane

import (
	"context"
	"fmt"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/wait"
)

// policyAge is the age at which the operator trusts a new admission policy, rounded up.
const policyAge = 6 * time.Second

// AwaitPolicies waits until the operator's admission policies are old enough that it issues tokens for new APITokens.
func (c *ControlPlane) AwaitPolicies(ctx context.Context) error {
	admin, err := c.admin()
	if err != nil {
		return fmt.Errorf("connecting to the control plane: %w", err)
	}
	err = wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, 10*policyAge, true, func(ctx context.Context) (bool, error) {
		var bindings admissionv1.ValidatingAdmissionPolicyBindingList
		if err := admin.List(ctx, &bindings); err != nil {
			return false, err
		}
		for i := range bindings.Items {
			b := &bindings.Items[i]
			if strings.HasSuffix(b.Name, ".apitokens.dev") && time.Since(b.CreationTimestamp.Time) < policyAge {
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("waiting until the admission policies count: %w", err)
	}
	return nil
}
