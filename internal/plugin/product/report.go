package product

import (
	"fmt"
	"io"
	"strings"

	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/version"
)

// The outcomes of a check.
const (
	Confirmed = "confirmed"
	Refuted   = "refuted"
	NotTried  = "not tried"
)

// Report says which assumptions hold for a product. It has no secret, and does not name the product nor the user.
type Report struct {
	Product atlassian.Product `json:"product"`
	// Version is the product's own; empty if it does not tell.
	Version string `json:"version"`
	// Note says what is to know about the version.
	Note string `json:"note,omitempty"`
	// BasicAuth is on, off or unknown.
	BasicAuth string   `json:"basicAuth"`
	Plugin    string   `json:"plugin"`
	Results   []Result `json:"results"`
	// Left is what could not be undone.
	Left []string `json:"left,omitempty"`
}

// Result is the outcome of one check.
type Result struct {
	ID         string    `json:"id"`
	Assumption string    `json:"assumption"`
	Outcome    string    `json:"outcome"`
	Detail     string    `json:"detail,omitempty"`
	Traffic    []Traffic `json:"traffic,omitempty"`

	// exchanges are what Traffic is made of. They have secrets.
	exchanges []exchange
}

// Traffic is one request with its answer, without what is secret.
type Traffic struct {
	Request       string   `json:"request"`
	Headers       []string `json:"headers,omitempty"`
	Body          string   `json:"body,omitempty"`
	Answer        string   `json:"answer"`
	AnswerHeaders []string `json:"answerHeaders,omitempty"`
	AnswerBody    string   `json:"answerBody,omitempty"`
}

func (k *kit) report() *Report {
	r := &Report{Product: k.product, Version: k.version, BasicAuth: k.isBasic(), Plugin: version.Running().Line("kubectl-apitoken")}
	switch _, known := releaseOf(k.product, k.version); {
	case k.version == "":
		r.Note = "The product does not tell its version."
	case !known:
		r.Note = "It is none of the versions that the operator supports: " + supported(k.product) + "."
	}
	return r
}

// supported lists the versions of a product that the operator supports.
func supported(p atlassian.Product) string {
	var versions []string
	for _, r := range releases {
		if r.product == p {
			versions = append(versions, r.version)
		}
	}
	return strings.Join(versions, ", ")
}

// Count returns how many checks had an outcome.
func (r *Report) Count(outcome string) (n int) {
	for i := range r.Results {
		if r.Results[i].Outcome == outcome {
			n++
		}
	}
	return n
}

// Write writes the report in Markdown, as an issue takes it.
func (r *Report) Write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s %s\n\n", r.Product, r.Version)
	if r.Note != "" {
		fmt.Fprintf(&b, "%s\n\n", r.Note)
	}
	fmt.Fprintf(&b, "%d assumptions are confirmed, %d refuted, %d not tried. Basic authentication is %s. By %s.\n",
		r.Count(Confirmed), r.Count(Refuted), r.Count(NotTried), r.BasicAuth, r.Plugin)
	for _, left := range r.Left {
		fmt.Fprintf(&b, "\n**Left behind:** %s\n", left)
	}
	for _, outcome := range []string{Refuted, NotTried, Confirmed} {
		if r.Count(outcome) > 0 {
			r.writeOutcome(&b, outcome)
		}
	}
	_, err := io.WriteString(w, b.String())
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

func (r *Report) writeOutcome(b *strings.Builder, outcome string) {
	fmt.Fprintf(b, "\n## %s%s\n\n", strings.ToUpper(outcome[:1]), outcome[1:])
	for i := range r.Results {
		result := &r.Results[i]
		if result.Outcome != outcome {
			continue
		}
		fmt.Fprintf(b, "- `%s`: %s\n", result.ID, result.Assumption)
		if result.Detail != "" {
			fmt.Fprintf(b, "  **%s**\n", strings.ReplaceAll(result.Detail, "*", `\*`))
		}
		if len(result.Traffic) > 0 {
			result.writeTraffic(b)
		}
	}
}

// writeTraffic writes requests and answers: whole where an assumption is refuted, else in a line each. An issue has room for 65,536
// characters.
func (r *Result) writeTraffic(b *strings.Builder) {
	b.WriteString("  <details><summary>requests</summary>\n\n  ```text\n")
	for i := range r.Traffic {
		if t := &r.Traffic[i]; r.Outcome == Confirmed {
			line(b, ">", t.Request+" < "+t.Answer)
		} else {
			t.write(b)
		}
	}
	b.WriteString("  ```\n\n  </details>\n\n")
}

// line writes a text with a mark before each of its lines. A fence in an answer must not end the block.
func line(b *strings.Builder, mark, text string) {
	for one := range strings.Lines(text) {
		fmt.Fprintf(b, "  %s %s\n", mark, strings.ReplaceAll(strings.TrimSpace(one), "```", "'''"))
	}
}

func (t *Traffic) write(b *strings.Builder) {
	line(b, ">", t.Request)
	for _, h := range t.Headers {
		line(b, ">", h)
	}
	line(b, ">", t.Body)
	line(b, "<", t.Answer)
	for _, h := range t.AnswerHeaders {
		line(b, "<", h)
	}
	line(b, "<", t.AnswerBody)
}
