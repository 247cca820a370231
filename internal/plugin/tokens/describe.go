package tokens

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/printers"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/plugin/exit"
	"apitokens.dev/operator/internal/plugin/output"
	"apitokens.dev/operator/internal/plugin/selection"
	"apitokens.dev/operator/internal/plugin/session"
)

// NewDescribe returns the command describe.
func NewDescribe(s *session.Session) *cobra.Command {
	var format output.Format
	cmd := &cobra.Command{
		Use:   "describe NAME|TOKEN-ID...",
		Short: "Show all about an API token: limits, life, conditions and Events",
		Long: "Show all about API tokens: whose they are, what they may do, their life, and their conditions and Events.\n\n" +
			"A token id, as the log has it, is searched in all namespaces, if you may read them. A secret is never shown.",
		Example: `  kubectl apitoken describe ci -n jira
  kubectl apitoken describe asp_CEMdV8w5tmJF87Qp
  kubectl apitoken describe ci -o yaml`,
		Args:              exit.Args(cobra.MinimumNArgs(1)),
		ValidArgsFunction: selection.CompleteNames(s),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := format.Check(); err != nil {
				return err
			}
			c, err := s.Client()
			if err != nil {
				return err
			}
			all, err := selection.Named(cmd.Context(), s, c, args)
			if err != nil {
				return err
			}
			if !format.ForPeople() {
				return format.Objects(s.Out, objectOrList(all))
			}
			for i := range all {
				if i > 0 {
					fmt.Fprintln(s.Out)
				}
				d := description{token: &all[i], events: eventsOf(cmd.Context(), c, &all[i]), now: s.Now(), style: output.StyleOf(s.Out)}
				if err := d.print(s.Out); err != nil {
					return err
				}
			}
			return nil
		},
	}
	format.AddTo(cmd, output.JSON, output.YAML, output.Name)
	return cmd
}

// objectOrList returns a single APIToken itself, as kubectl prints it.
func objectOrList(all []tokensv1alpha1.APIToken) runtime.Object {
	if len(all) == 1 {
		return &all[0]
	}
	return &tokensv1alpha1.APITokenList{Items: all}
}

// events are the Events about an object, or the reason for which they are not known.
type events struct {
	items []corev1.Event
	err   error
}

// eventsOf reads the Events about an APIToken, oldest first. It takes a right of its own, without which the rest is still shown.
func eventsOf(ctx context.Context, c client.Client, t *tokensv1alpha1.APIToken) events {
	var all corev1.EventList
	if err := c.List(ctx, &all, client.InNamespace(t.Namespace), client.MatchingFields{"involvedObject.uid": string(t.UID)}); err != nil {
		return events{err: session.Doing("listing Events", err)}
	}
	slices.SortStableFunc(all.Items, func(a, b corev1.Event) int { return lastSeen(&a).Compare(lastSeen(&b)) })
	return events{items: all.Items}
}

// lastSeen returns when an Event happened last. Events of the newer API have other fields.
func lastSeen(e *corev1.Event) time.Time {
	switch {
	case e.Series != nil:
		return e.Series.LastObservedTime.Time
	case !e.EventTime.IsZero():
		return e.EventTime.Time
	}
	return e.LastTimestamp.Time
}

// description is what describe shows about one APIToken.
type description struct {
	token  *tokensv1alpha1.APIToken
	events events
	now    time.Time
	style  output.Style
}

func (d *description) print(w io.Writer) error {
	tab := printers.GetNewTabWriter(w)
	for _, field := range slices.Concat(d.identity(), d.limits(), d.life()) {
		if field[1] != "" {
			fmt.Fprintf(tab, "%s:\t%s\n", field[0], field[1])
		}
	}
	if err := tab.Flush(); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	d.printConditions(w)
	d.printEvents(w)
	return nil
}

// identity says what the token is.
func (d *description) identity() [][2]string {
	t := d.token
	delivered := ""
	switch t.Spec.Credential.Type {
	case tokensv1alpha1.CredentialImported:
		if from := t.Spec.Credential.Imported; from != nil {
			delivered = fmt.Sprintf("Imported from the key %s of the Secret %s", cmp.Or(from.Key, "password"), from.SecretName)
		}
	case tokensv1alpha1.CredentialPortal:
		delivered = "Portal: shown once to its owner"
	default:
		delivered = "Generated, delivered to the key password of the Secret " + t.Spec.Delivery.SecretName
	}
	parent := ""
	if by := t.Spec.CreatedBy; by.TokenID != "" {
		parent = fmt.Sprintf("the token %s, in the namespace %s", by.TokenID, by.Namespace)
	}
	return [][2]string{
		{"Name", t.Name}, {"Namespace", t.Namespace}, {"User", t.Spec.User}, {"Label", t.Spec.Label},
		{"Site", t.SiteNamespace() + "/" + t.Spec.SiteRef.Name}, {"Token ID", t.Status.TokenID}, {"Secret", delivered}, {"Made with", parent},
		{"GitOps", managedBy(t)},
	}
}

// limits says what the token may do. Those of its site count too.
func (d *description) limits() [][2]string {
	s := d.token.Spec
	return [][2]string{
		{"State", string(s.State)}, {"Access", string(s.Access)},
		{"Allowed sources", strings.Join(s.AllowedSources, ", ")}, {"Allowed paths", strings.Join(s.AllowedPaths, ", ")},
	}
}

// life says when what happens to the token.
func (d *description) life() [][2]string {
	t := d.token
	used := output.Moment(d.now, t.Status.LastAccessedTime, "never")
	if from := t.Status.LastAccessedFrom; from != "" {
		used += " from " + from
	}
	deleted := ""
	if t.DeletionTimestamp != nil {
		deleted = output.Moment(d.now, *t.DeletionTimestamp, "")
	}
	return [][2]string{
		{"Created", output.Moment(d.now, t.CreationTimestamp, "")}, {"Issued", output.Moment(d.now, t.Status.IssuedTime, "not yet")},
		{"Expires", output.Moment(d.now, t.Status.ExpirationTime, "never")}, {"Next rotation", output.Moment(d.now, t.Status.NextRotationTime, "")},
		{"Last used", used}, {"Deleted", deleted},
	}
}

func (d *description) printConditions(w io.Writer) {
	ready := readyOf(d.token)
	conditions := append([]metav1.Condition{ready}, slices.DeleteFunc(slices.Clone(d.token.Status.Conditions), func(c metav1.Condition) bool {
		return c.Type == ready.Type || c.Type == tokensv1alpha1.ConditionStalled // Stalled repeats Ready
	})...)
	fmt.Fprintln(w, d.style.Bold("Conditions:"))
	for _, c := range conditions {
		status := string(c.Status)
		if c.Type == ready.Type {
			status = d.style.Truth(status)
		}
		fmt.Fprintf(w, "  %s=%s %s\n    %s\n", c.Type, status, c.Reason, c.Message)
	}
	if d.token.Status.ObservedGeneration != d.token.Generation {
		fmt.Fprintln(w, "  These are about an earlier version of its spec: the operator has not looked at the last change yet.")
	}
}

func (d *description) printEvents(w io.Writer) {
	switch {
	case d.events.err != nil:
		fmt.Fprintf(w, "%s not known: %v\n", d.style.Bold("Events:"), d.events.err)
		return
	case len(d.events.items) == 0:
		fmt.Fprintln(w, d.style.Bold("Events:"), "none in the last hour or so")
		return
	}
	fmt.Fprintln(w, d.style.Bold("Events:"))
	for i := range d.events.items {
		e := &d.events.items[i]
		fmt.Fprintf(w, "  %s ago  %s %s\n    %s\n", output.Since(d.now, metav1.NewTime(lastSeen(e)), "some time"), e.Type, e.Reason, e.Message)
	}
}
