package audit

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/token"
)

// maxField is the maximum length of a field that a client chose, in bytes.
const maxField = 512

// words are what all lines of a class have in common.
type words struct {
	level string
	// who is the text between the owner of a verified token and the token's id, and message is the text of the other lines.
	who, message string
	// fields are those that name the class.
	fields string
}

// newWords returns the words of a class. The text of an authentication is the one of the plugin "API Tokens for Jira", because alerts
// and reports look for it.
func newWords(c class) words {
	w := words{level: level(c.verdict), message: message(c)}
	switch {
	case others[c.reason] != "":
	case c.verdict == authn.Allow:
		w.who = " has been authenticated via API Token ("
	case c.verdict == authn.Forbidden:
		w.who = " has been refused with API Token ("
	}
	fields := field(field([]byte{'"'}, `,"verdict":"`, c.verdict.String()), `,"reason":"`, string(c.reason))
	if c.verdict != authn.CannotDecide {
		fields = field(fields, `,"site":"`, clean(c.site.String()))
	}
	w.fields = string(fields)
	return w
}

// message is the text of the lines of a class without a verified token.
func message(c class) string {
	if other := others[c.reason]; other != "" {
		return other
	}
	switch c.verdict {
	case authn.Forbidden, authn.Unauthorized:
		return "An API Token has been refused"
	case authn.Forward:
		return "A dead imported secret has been forwarded as a password"
	default:
		return "A gateway has been refused"
	}
}

// appendMessage appends the text of a line.
func (x *Exchange) appendMessage(line []byte, w *words) []byte {
	d := &x.Decision
	if w.who == "" || d.Verdict != authn.Allow && d.User == "" {
		return append(line, w.message...)
	}
	line = append(escape(line, d.User), w.who...)
	return append(escape(line, d.TokenID), ')')
}

// others are the messages about requests without a token of ours.
var others = map[authn.Reason]string{
	authn.ReasonPasswordObserved:  "A password has been forwarded",
	authn.ReasonPasswordRefused:   "A password has been refused",
	authn.ReasonBearerObserved:    "A credential of the product has been forwarded",
	authn.ReasonBearerRefused:     "A credential of the product has been refused",
	authn.ReasonSessionObserved:   "A session has been forwarded",
	authn.ReasonSessionRefused:    "A session has been refused",
	authn.ReasonAnonymousObserved: "An anonymous request has been forwarded",
	authn.ReasonAnonymousRefused:  "An anonymous request has been refused",
}

func level(v authn.Verdict) string {
	if v == authn.CannotDecide {
		return levelWarn
	}
	return levelInfo
}

// appendTo appends the line of an exchange, which has the words of its class.
func (x *Exchange) appendTo(line []byte, w *words) []byte {
	line = x.appendMessage(begin(line, x.At, w.level), w)
	line = append(line, w.fields...)
	if x.Decision.Verdict == authn.CannotDecide { // its class names no site
		line = field(line, `,"site":"`, clean(x.Site.String()))
	}
	line = field(line, `,"user":"`, x.Decision.User)
	line = field(line, `,"claimedUser":"`, clean(visible(x.Decision.Claimed)))
	line = field(line, `,"tokenID":"`, x.Decision.TokenID)
	line = x.appendClient(line)
	line = field(line, `,"method":"`, clean(x.Claimed.Method))
	line = field(line, `,"path":"`, clean(canonical(x.Claimed.Path)))
	line = field(line, `,"requestID":"`, clean(x.Claimed.RequestID))
	line = field(line, `,"peer":"`, x.Peer)
	return end(line)
}

// appendClient appends the address that the decision used. If there is none, it is the gateway's own text.
func (x *Exchange) appendClient(line []byte) []byte {
	if !x.Decision.Client.IsValid() {
		return field(line, `,"client":"`, clean(x.Claimed.Client))
	}
	line = append(line, `,"client":"`...)
	return append(x.Decision.Client.AppendTo(line), '"')
}

// message is the text of a line that stands for several.
func (t tally) message() string {
	switch {
	case t.verdict == authn.Forward && others[t.reason] != "":
		return "Further requests have been forwarded"
	case t.verdict == authn.Forward:
		return "Further dead imported secrets have been forwarded as passwords"
	}
	return "Further requests have been refused"
}

// appendTo appends the line that stands for several.
func (t tally) appendTo(line []byte, now time.Time) []byte {
	line = append(begin(line, now, level(t.verdict)), t.message()...)
	line = append(line, '"')
	line = field(line, `,"verdict":"`, t.verdict.String())
	line = field(line, `,"reason":"`, string(t.reason))
	line = field(line, `,"site":"`, t.label())
	line = append(line, `,"count":`...)
	return end(strconv.AppendUint(line, t.count, 10))
}

// clean makes a text that a client chose fit for the log: it blanks the secrets of tokens and cuts a long text.
func clean(text string) string { return shorten(blank(text)) }

// visible returns a text with escapes for characters that cannot be seen, such as those that change the direction of text.
func visible(text string) string {
	if utf8.ValidString(text) && !strings.ContainsFunc(text, unseen) {
		return text
	}
	quoted := strconv.Quote(text)
	return quoted[1 : len(quoted)-1]
}

// blanked stands for the secret of a token. The id before it is public.
const blanked = "***"

// blank replaces the secret of each token in a text, in any spelling.
func blank(text string) string {
	found, ok := token.Find(text)
	if !ok {
		return text
	}
	return text[:found.Start] + found.ID + "_" + blanked + blank(text[found.End:])
}

// shorten cuts the middle of a text that is longer than maxField, so that neither end can push the other one out.
func shorten(text string) string {
	if len(text) <= maxField {
		return text
	}
	const half = maxField / 2
	return text[:half] + "…(" + strconv.Itoa(len(text)-2*half) + " bytes cut)…" + text[len(text)-half:]
}
