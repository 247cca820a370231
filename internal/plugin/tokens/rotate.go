package tokens

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/plugin/exit"
	"apitokens.dev/operator/internal/plugin/session"
)

// unset is the value of --overlap-hours that leaves the overlap of a token as it is.
const unset = -1

// rotation is the command rotate.
type rotation struct {
	change
	waiting

	overlapHours int32
}

// NewRotate returns the command rotate.
func NewRotate(s *session.Session) *cobra.Command {
	r := &rotation{change: change{Session: s, past: "rotated", infinitive: "rotate"}}
	r.apply = r.rotate
	cmd := &cobra.Command{
		Use:   "rotate [NAME|TOKEN-ID...]",
		Short: "Give tokens a new secret, in the Secret that they are delivered to",
		Long: "Give API tokens a new secret, delivered to the same Secret. The token id stays. The old secret works for the overlap\n" +
			"of the token, 24 hours by default: use --overlap-hours=0 for a secret that leaked. It is for this rotation only.\n\n" +
			"Only generated tokens can be rotated. Rotate those of the portal there, and replace an imported secret in its Secret.\n" +
			"It needs the right to issue tokens for their users. It asks before it rotates tokens that flags select.",
		Example: `  kubectl apitoken rotate ci -n jira
  kubectl apitoken rotate ci -n jira --overlap-hours=0
  kubectl apitoken rotate -A --site jira/main --older-than 365d --dry-run=server`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if r.overlapHours != unset && !r.wait {
				return exit.Usagef("--overlap-hours needs --wait: the overlap of the token is set again after the rotation")
			}
			return r.run(cmd, args)
		},
		Args: cobra.ArbitraryArgs,
	}
	r.change.addTo(cmd)
	r.waiting.addTo(cmd, "the new secret is delivered")
	cmd.Flags().Int32Var(&r.overlapHours, "overlap-hours", unset, "how many hours the old secrets work for this time; -1: as the token says")
	return cmd
}

// rotate requests a rotation, and waits for it.
func (r *rotation) rotate(ctx context.Context, api client.Client, t *tokensv1alpha1.APIToken) error {
	if kind := t.Spec.Credential.Type; kind != tokensv1alpha1.CredentialGenerated {
		return fmt.Errorf("its type is %s: rotate a token of the portal there, and replace an imported secret in its Secret", kind)
	}
	// A secret is replaced if it is older than the requested time, which has no fractions of a second.
	requested := r.Now()
	if t.Status.IssuedTime.After(requested) {
		requested = t.Status.IssuedTime.Time // the clock of this machine is behind
	}
	requested = requested.Truncate(time.Second).Add(time.Second)
	asked := map[string]any{"requestedTime": requested.UTC().Format(time.RFC3339)}
	before := t.Spec.Rotation.OverlapHours
	if r.overlapHours != unset {
		asked["overlapHours"] = r.overlapHours
	}
	if err := r.patchRotation(ctx, api, t, asked); err != nil {
		return err
	}
	if r.dry.isDry() || !r.wait {
		return nil
	}
	err := r.await(ctx, r.Session, api, t, func() bool { return !t.Status.IssuedTime.Time.Before(requested) })
	if r.overlapHours == unset {
		return err
	}
	if err != nil {
		return fmt.Errorf("its overlap is %d hours until you change it: %w", r.overlapHours, err)
	}
	if err := r.patchRotation(ctx, api, t, map[string]any{"overlapHours": before}); err != nil {
		return fmt.Errorf("it is rotated, but its overlap is %d hours still: %w", r.overlapHours, err)
	}
	return nil
}

func (r *rotation) patchRotation(ctx context.Context, api client.Client, t *tokensv1alpha1.APIToken, fields map[string]any) error {
	spec, err := json.Marshal(map[string]any{"rotation": fields})
	if err != nil {
		return fmt.Errorf("changing the rotation: %w", err)
	}
	return r.patch(ctx, api, t, string(spec))
}
