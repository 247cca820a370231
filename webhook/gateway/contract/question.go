package contract

import (
	"sync"

	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/authn"
)

// Question is one question of a gateway, and what was decided. Questions are used again: on the stack of a new connection, one would
// make the stack grow.
type Question struct {
	audit.Exchange

	Request authn.Request
}

var questions = sync.Pool{New: func() any { return &Question{} }}

// NewQuestion returns a question that nobody understands, as long as it is not asked.
func NewQuestion() *Question {
	q := questions.Get().(*Question)
	q.Decision = authn.Decision{Verdict: authn.CannotDecide, Reason: ReasonUnknownContract}
	return q
}

// Ask asks decider.
func (q *Question) Ask(decider Decider) { q.Decision = decider.Decide(&q.Request) }

// Free ends the use of a question. Nobody may have it after that.
func (q *Question) Free() {
	*q = Question{}
	questions.Put(q)
}
