package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"apitokens.dev/operator/internal/plugin/exit"
	"apitokens.dev/operator/internal/plugin/output"
)

// severity says how bad a finding is.
type severity string

const (
	// problem means that something does not work, or is not safe.
	problem severity = "Problem"
	// warning means that it will stop to work, or works worse than it could.
	warning severity = "Warning"
)

// The checks.
const (
	checkSites       = "sites"
	checkTokens      = "tokens"
	checkPolicies    = "policies"
	checkRights      = "rights"
	checkDeployments = "deployments"
	checkForms       = "forms"
	checkReplicas    = "replicas"
	checkIngress     = "ingress"
	checkToken       = "token"
	checkClocks      = "clocks"
)

// finding is something that a check found, with what mends it.
type finding struct {
	Severity severity `json:"severity"`
	Check    string   `json:"check"`
	// Object is what the finding is about, as KIND NAMESPACE/NAME.
	Object string `json:"object"`
	Reason string `json:"reason"`
	Found  string `json:"found"`
	// Do is a command that mends it, or what to do.
	Do string `json:"do"`
}

// gap is a check that could not be made.
type gap struct {
	Check string `json:"check"`
	Why   string `json:"why"`
	// Do says what makes the check possible.
	Do string `json:"do"`
}

// report is what doctor says.
type report struct {
	Findings []finding `json:"findings"`
	// Checked are the checks that were made, with or without a finding.
	Checked    []string `json:"checked"`
	NotChecked []gap    `json:"notChecked"`
}

// made notes that a check was made.
func (r *report) made(check string, found ...finding) {
	if !slices.Contains(r.Checked, check) {
		r.Checked = append(r.Checked, check)
	}
	for _, f := range found {
		f.Check = check
		r.Findings = append(r.Findings, f)
	}
}

// missed notes that a check could not be made.
func (r *report) missed(check, why, do string) {
	if g := (gap{check, why, do}); !slices.Contains(r.NotChecked, g) {
		r.NotChecked = append(r.NotChecked, g)
	}
}

// sort puts problems before warnings, and keeps the order of the checks otherwise.
func (r *report) sort() {
	slices.SortStableFunc(r.Findings, func(a, b finding) int { return cmp.Compare(a.Severity, b.Severity) })
}

// count returns how many findings have a severity.
func (r *report) count(s severity) (n int) {
	for _, f := range r.Findings {
		if f.Severity == s {
			n++
		}
	}
	return n
}

// print prints a report. A problem has an exit code of its own.
func (c *command) print(r *report) error {
	if c.format.ForPeople() {
		r.printForPeople(c)
	} else if err := c.format.Value(c.Out, r); err != nil {
		return err
	}
	if n := r.count(problem); n > 0 {
		return exit.With(exit.No, errors.New(amount(n, "problem")))
	}
	return nil
}

func (r *report) printForPeople(c *command) {
	style := output.StyleOf(c.Out)
	for _, f := range r.Findings {
		heading := strings.ToUpper(string(f.Severity))
		if f.Severity == problem {
			heading = style.Bad(heading)
		}
		fmt.Fprintf(c.Out, "%s  %s: %s\n", heading, f.Object, style.Bold(f.Reason))
		indent(c, f.Found)
		indent(c, "Do: "+f.Do)
		fmt.Fprintln(c.Out)
	}
	for i, g := range r.NotChecked {
		if i == 0 || r.NotChecked[i-1].Check != g.Check {
			fmt.Fprintf(c.Out, "NOT CHECKED  %s\n", style.Bold(g.Check))
		}
		indent(c, g.Why)
		indent(c, "Do: "+g.Do)
		if i+1 == len(r.NotChecked) || r.NotChecked[i+1].Check != g.Check {
			fmt.Fprintln(c.Out)
		}
	}
	fmt.Fprintf(c.Out, "%s, %s; checked: %s.\n", amount(r.count(problem), "problem"), amount(r.count(warning), "warning"), strings.Join(r.Checked, ", "))
}

// columns is the width of a line for people.
const columns = 118

// indent prints a text in lines of its own below a heading.
func indent(c *command, text string) {
	line := "   "
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > columns && line != "   " {
			fmt.Fprintln(c.Out, line)
			line = "   "
		}
		line += " " + word
	}
	fmt.Fprintln(c.Out, line)
}

func amount(n int, of string) string {
	if n != 1 {
		of += "s"
	}
	return fmt.Sprintf("%d %s", n, of)
}
