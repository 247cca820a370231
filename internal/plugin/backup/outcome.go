package backup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/plugin/archive"
	"apitokens.dev/operator/internal/plugin/exit"
)

// outcome is what became of one object of the archive.
type outcome struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	TokenID   string `json:"tokenID,omitempty"`
	User      string `json:"user,omitempty"`
	// Result is what was done, or failed. Why says why nothing was done, or why a token is suspended.
	Result string `json:"result"`
	Why    string `json:"why,omitempty"`
	// Error says why it failed.
	Error string `json:"error,omitempty"`
}

// summary says what the archive is, and what is about to happen.
func (r *restore) summary(a *archive.Archive, p *plan) {
	var active, suspended, dead, conflicts, unchanged int
	for i := range p.tokens {
		switch s := &p.tokens[i]; {
		case isActive(s):
			active++
		case s.Action == archive.Restore:
			suspended++
		case s.Action == archive.Dead || s.Action == archive.Revoke:
			dead++
		case s.Action == archive.Conflict:
			conflicts++
		default:
			unchanged++
		}
	}
	fmt.Fprintf(r.ErrOut, "Backup of %s, tokens: %d in all, %d come back active, %d suspended, %d stay dead, %d are there already, %d are left alone.\n",
		a.Created.Format("2006-01-02T15:04:05Z"), len(a.Tokens), active, suspended, dead, unchanged, conflicts)
}

// confirm asks. The answer has to be typed: the number of objects.
func (r *restore) confirm(p *plan) error {
	if r.yes {
		return nil
	}
	want := strconv.Itoa(p.writes())
	fmt.Fprintf(r.ErrOut, "To write these %s objects, sites and Secrets included, type their number (%s): ", want, want)
	answer, err := bufio.NewReader(r.In).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if strings.TrimSpace(answer) != want {
		return exit.Usagef("not confirmed: nothing was restored; without a terminal, give --yes")
	}
	return nil
}

// run is a restore under way.
type run struct {
	*restore

	// outcomes are those of the objects so far. failed counts those that failed, or are left alone although they are in the way.
	outcomes []outcome
	failed   int
	total    int
}

// carryOut does one step after the other, and says at once what became of each. A failure of one does not stop the others.
func (r *restore) carryOut(ctx context.Context, c *cluster, p *plan) error {
	now := &run{restore: r, total: len(p.before) + len(p.sites) + len(p.tokens) + len(p.after)}
	a := &applier{cluster: c, uids: p.uids}
	now.secrets(ctx, a, p.before)
	for i := range p.sites {
		s := &p.sites[i]
		now.do(ctx, outcome{Kind: "AtlassianSite", Namespace: s.Site.Namespace, Name: s.Site.Name, Why: s.Why}, s.Action,
			func() error { return a.site(ctx, s) })
	}
	for i := range p.tokens {
		now.token(ctx, a, &p.tokens[i])
	}
	now.secrets(ctx, a, p.after)
	return now.finish()
}

func (r *run) secrets(ctx context.Context, a *applier, steps []archive.SecretStep) {
	for i := range steps {
		s := &steps[i]
		o := outcome{Kind: "Secret", Namespace: a.system, Name: s.Secret.Name, Why: s.Why}
		if s.Secret.BesideCredentials() {
			o.Namespace = a.credentials
		}
		r.do(ctx, o, s.Action, func() error { return a.secret(ctx, s) })
	}
}

func (r *run) token(ctx context.Context, a *applier, s *archive.TokenStep) {
	name := s.Token.Name()
	o := outcome{
		Kind: "APIToken", Namespace: name.Namespace, Name: name.Name, TokenID: s.Token.ID(), User: s.Token.APIToken.Spec.User, Why: s.Why,
	}
	r.do(ctx, o, s.Action, func() error {
		if s.Action == archive.Revoke {
			return a.revoke(ctx, s)
		}
		return a.token(ctx, s)
	}, s.State == tokensv1alpha1.StateSuspended)
}

// do does a step, unless it is none, and notes its outcome.
func (r *run) do(ctx context.Context, o outcome, action archive.Action, step func() error, suspended ...bool) {
	o.Result = string(action)
	if action == archive.Restore && len(suspended) > 0 && suspended[0] {
		o.Result += " suspended"
	}
	writes := one(action) > 0
	switch {
	case ctx.Err() != nil && writes:
		return // interrupted: the others are left as they are
	case r.dryRun && writes:
		o.Result += " (dry run)"
	case writes:
		if err := step(); err != nil {
			o.Result, o.Error = "failed", err.Error()
		}
	}
	if o.Error != "" || action == archive.Conflict {
		r.failed++
	}
	r.outcomes = append(r.outcomes, o)
	r.say(o)
}

// say prints an outcome for people.
func (r *run) say(o outcome) {
	at := strings.TrimPrefix(o.Namespace+"/"+o.Name, "/")
	text := fmt.Sprintf("%s %s %s", o.Kind, at, o.Result)
	if who := strings.TrimSpace(o.User + " " + o.TokenID); who != "" {
		text += " (" + who + ")"
	}
	switch {
	case o.Error != "":
		fmt.Fprintf(r.ErrOut, "%s: %s\n", text, o.Error)
	case r.format.ForPeople() && o.Why != "":
		fmt.Fprintf(r.Out, "%s: %s\n", text, o.Why)
	case r.format.ForPeople():
		fmt.Fprintln(r.Out, text)
	}
}

// finish prints the outcomes for programs, and says how to go on.
func (r *run) finish() error {
	if !r.format.ForPeople() {
		if err := r.format.Value(r.Out, append([]outcome{}, r.outcomes...)); err != nil {
			return err
		}
	}
	suspended := 0
	for _, o := range r.outcomes {
		if o.Result == "restored suspended" && o.Why != "" {
			suspended++
		}
	}
	if suspended > 0 {
		fmt.Fprintf(r.ErrOut, "%d tokens are suspended. Ask their owners, and let those live that shall: kubectl apitoken resume NAME -n NAMESPACE. "+
			"Or run this again with --audit.\n", suspended)
	}
	left := r.total - len(r.outcomes)
	switch r.failed + left {
	case 0:
		return nil
	case r.total:
		return errors.New("nothing was restored: what is in the way is said above. Remove that, and run this again")
	}
	return exit.With(exit.Partial, fmt.Errorf("%d of %d objects failed or were left alone, and %d were not tried. Remove what is in the way, and run this "+
		"again: what is done is not done twice", r.failed, r.total, left))
}
