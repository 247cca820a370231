package tokens

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/plugin/exit"
	"apitokens.dev/operator/internal/plugin/output"
	"apitokens.dev/operator/internal/plugin/selection"
	"apitokens.dev/operator/internal/plugin/session"
)

// change is a command that does the same to each of several APITokens.
type change struct {
	*session.Session

	// past says what was done, such as revoked. infinitive says what will be.
	past, infinitive string
	// asks says that it asks also about tokens that are named.
	asks bool
	// apply does it to one APIToken. With a dry run by the API server it passes that on; with one by the client it is not called.
	apply func(context.Context, client.Client, *tokensv1alpha1.APIToken) error
	// warn says what people should know before they answer. It may be nil.
	warn func(context.Context, client.Client, []tokensv1alpha1.APIToken)

	which  selection.Flags
	format output.Format
	dry    dryRun
	yes    bool
}

func (c *change) addTo(cmd *cobra.Command) {
	c.which.AddTo(cmd)
	c.format.AddTo(cmd, output.JSON, output.YAML, output.Name)
	c.dry.addTo(cmd)
	cmd.Flags().BoolVarP(&c.yes, "yes", "y", false, "do not ask")
	cmd.ValidArgsFunction = selection.CompleteNames(c.Session)
}

// outcome is what became of one APIToken.
type outcome struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	TokenID   string `json:"tokenID,omitempty"`
	User      string `json:"user"`
	Site      string `json:"site"`
	// Result is what was done, or failed. Error says why it failed.
	Result string `json:"result"`
	Error  string `json:"error,omitempty"`
}

// run does it to the APITokens that the arguments name or the flags select.
func (c *change) run(cmd *cobra.Command, args []string) error {
	if err := c.format.Check(); err != nil {
		return err
	}
	switch {
	case len(args) == 0 && !c.which.Given():
		return exit.Usagef("which tokens? Name them, or select them with --user, --site, --selector, --older-than or --unused-for")
	case len(args) > 0 && (c.which.Given() || c.which.AllNamespaces):
		return exit.Usagef("name tokens or select them by flags, not both")
	}
	api, err := c.Client()
	if err != nil {
		return err
	}
	targets, err := c.targets(cmd.Context(), api, args)
	if err != nil {
		return err
	}
	if len(targets) == 0 {
		fmt.Fprintln(c.ErrOut, "No API tokens found.")
		return c.finish(nil)
	}
	if c.warn != nil {
		c.warn(cmd.Context(), api, targets)
	}
	if !c.yes && !c.dry.isDry() && (c.asks || len(args) == 0) {
		if err := c.confirm(targets); err != nil {
			return err
		}
	}
	return c.each(cmd.Context(), api, targets)
}

func (c *change) targets(ctx context.Context, api client.Client, args []string) ([]tokensv1alpha1.APIToken, error) {
	if len(args) > 0 {
		return selection.Named(ctx, c.Session, api, args)
	}
	return c.which.List(ctx, c.Session, api)
}

// confirm shows the APITokens and asks. The answer has to be typed: the name of a single one, or the number of several.
func (c *change) confirm(targets []tokensv1alpha1.APIToken) error {
	for i := range targets {
		t := &targets[i]
		fmt.Fprintf(c.ErrOut, "  %s/%s  %s: %s  %s  last used %s\n", t.Namespace, t.Name, t.Spec.User, t.Spec.Label, t.Status.TokenID,
			output.Moment(c.Now(), t.Status.LastAccessedTime, "never"))
	}
	want, what := targets[0].Name, "its name"
	if len(targets) > 1 {
		want, what = strconv.Itoa(len(targets)), "their number"
	}
	fmt.Fprintf(c.ErrOut, "To %s %s, type %s (%s): ", c.infinitive, count(len(targets)), what, want)
	answer, err := bufio.NewReader(c.In).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if strings.TrimSpace(answer) != want {
		return exit.Usagef("not confirmed: nothing was %s; without a terminal, give --yes", c.past)
	}
	return nil
}

// count says how many API tokens there are.
func count(n int) string {
	if n == 1 {
		return "this API token"
	}
	return fmt.Sprintf("these %d API tokens", n)
}

// each does it to one APIToken after the other, and says at once what became of it.
func (c *change) each(ctx context.Context, api client.Client, targets []tokensv1alpha1.APIToken) error {
	outcomes, failures := make([]outcome, 0, len(targets)), []error{}
	for i := range targets {
		t := &targets[i]
		o := outcome{
			Namespace: t.Namespace, Name: t.Name, TokenID: t.Status.TokenID, User: t.Spec.User,
			Site: t.SiteNamespace() + "/" + t.Spec.SiteRef.Name, Result: c.past + c.dry.suffix(),
		}
		var err error
		if c.dry != dryRunClient {
			err = c.apply(ctx, api, t)
		}
		if err != nil {
			o.Result, o.Error = "failed", err.Error()
			failures = append(failures, err)
		}
		outcomes = append(outcomes, o)
		c.say(t, o)
		if ctx.Err() != nil {
			break // interrupted: the others are left as they are
		}
	}
	if err := c.finish(outcomes); err != nil {
		return err
	}
	return c.summary(len(targets), len(outcomes), failures)
}

// say prints the outcome for people.
func (c *change) say(t *tokensv1alpha1.APIToken, o outcome) {
	switch {
	case o.Error != "":
		fmt.Fprintf(c.ErrOut, "%s in %s: %s\n", selection.Ref(t), o.Namespace, o.Error)
	case c.format.ForPeople():
		fmt.Fprintf(c.Out, "%s %s (%s, %s)\n", selection.Ref(t), o.Result, o.Namespace, strings.TrimSpace(o.User+" "+o.TokenID))
	case c.format.Is(output.Name):
		fmt.Fprintln(c.Out, selection.Ref(t))
	}
}

// finish prints the outcomes for programs.
func (c *change) finish(outcomes []outcome) error {
	if c.format.ForPeople() || c.format.Is(output.Name) {
		return nil
	}
	return c.format.Value(c.Out, append([]outcome{}, outcomes...)) // an empty list, not null
}

func (c *change) summary(all, tried int, failures []error) error {
	switch {
	case len(failures) == 0 && tried == all:
		return nil
	case all == 1:
		return failures[0]
	case len(failures) == all:
		return fmt.Errorf("none of %d API tokens was %s", all, c.past)
	}
	return exit.With(exit.Partial, fmt.Errorf("%d of %d API tokens were %s, %d failed, %d were not tried",
		tried-len(failures), all, c.past, len(failures), all-tried))
}

// patch changes the spec of an APIToken, and of no other one that has its name meanwhile.
func (c *change) patch(ctx context.Context, api client.Client, t *tokensv1alpha1.APIToken, spec string) error {
	body := fmt.Sprintf(`{"metadata":{"uid":%q},"spec":%s}`, t.UID, spec)
	err := api.Patch(ctx, t, client.RawPatch("application/merge-patch+json", []byte(body)), &client.PatchOptions{DryRun: c.dry.option()})
	return session.Doing("changing the APIToken "+t.Namespace+"/"+t.Name, err)
}
