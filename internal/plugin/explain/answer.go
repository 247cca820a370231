package explain

import (
	"fmt"
	"strings"
	"time"

	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/plugin/exit"
	"apitokens.dev/operator/internal/plugin/output"
)

// answer is what explain says.
type answer struct {
	Verdict string `json:"verdict,omitempty"`
	// Status is what the client gets from the gateway.
	Status int    `json:"status,omitempty"`
	Reason string `json:"reason"`
	Step   string `json:"step"`
	Means  string `json:"means"`
	// Facts are what the reason was decided with. Assumed is what could not be read.
	Facts    []string `json:"facts,omitempty"`
	Do       string   `json:"do"`
	Assumed  []string `json:"assumed,omitempty"`
	Site     string   `json:"site,omitempty"`
	APIToken string   `json:"apiToken,omitempty"`
}

// statuses are what the webhook answers. nginx makes 500 of 503.
var statuses = map[string]int{
	authn.Allow.String(): 200, authn.Forward.String(): 200, authn.Unauthorized.String(): 401, authn.Forbidden.String(): 403, authn.CannotDecide.String(): 503,
}

func newAnswer(o objects, a asked, j judged, now time.Time) *answer {
	advice := reasons[j.Reason]
	site := o.site.Namespace + "/" + o.site.Name
	names := []string{"SITE", site}
	full := &answer{
		Verdict: j.Verdict.String(), Status: statuses[j.Verdict.String()], Reason: string(j.Reason), Step: advice.step, Means: advice.means,
		Facts: facts(o, a, j.Decision, now), Assumed: j.assumed, Site: site,
	}
	if o.token != nil {
		full.APIToken = o.token.Namespace + "/" + o.token.Name
		names = append(names, "NAMESPACE", o.token.Namespace, "NAME", o.token.Name)
	}
	full.Do = strings.NewReplacer(names...).Replace(advice.do)
	return full
}

// print prints an answer. A refusal has an exit code of its own.
func (c *command) print(a *answer) error {
	if !c.format.ForPeople() {
		if err := c.format.Value(c.Out, a); err != nil {
			return err
		}
	} else {
		a.printForPeople(c)
	}
	if a.Status >= 400 {
		return exit.With(exit.No, fmt.Errorf("the request is refused: %d %s", a.Status, a.Reason))
	}
	return nil
}

func (a *answer) printForPeople(c *command) {
	style := output.StyleOf(c.Out)
	say := func(what, text string) {
		if text != "" {
			fmt.Fprintf(c.Out, "%-10s%s\n", what, text)
		}
	}
	switch {
	case a.Status >= 400:
		say("Refused:", style.Bad(fmt.Sprintf("%d %s", a.Status, a.Reason)))
	case a.Status > 0:
		say("Passes:", style.Good(fmt.Sprintf("%d %s", a.Status, a.Reason)))
	default:
		say("Reason:", a.Reason)
	}
	say("Step:", a.Step)
	say("Token:", a.APIToken)
	say("Site:", a.Site)
	say("Because:", a.Means)
	for _, fact := range a.Facts {
		say("", fact)
	}
	say("Do:", a.Do)
	for i, assumed := range a.Assumed {
		say(map[bool]string{true: "Assumed:"}[i == 0], assumed)
	}
}
