package authn

import (
	"cmp"
	"strings"

	"apitokens.dev/operator/internal/pathprefix"
	"apitokens.dev/operator/internal/username"
)

// class is a kind of credential that is no token of ours. A request can present several of them.
type class int

const (
	// classAnonymous: none of the others.
	classAnonymous class = iota
	// classPassword: Basic, or the parameters os_username and os_password.
	classPassword
	// classBearer: every other Authorization.
	classBearer
	// classSession: a cookie. Nobody but the product knows which cookies are sessions.
	classSession

	classes = iota
)

func (c class) String() string {
	return [...]string{"anonymous", "password", "bearer", "session"}[c]
}

// Action says what happens to requests of a class. A greater one is stricter.
type Action int

const (
	// ActionForward leaves them to the product.
	ActionForward Action = iota
	// ActionObserve does too, and counts and logs them.
	ActionObserve
	// ActionRefuse refuses them.
	ActionRefuse
)

func (a Action) String() string { return [...]string{"forward", "observe", "refuse"}[a] }

// OtherCredentials says what happens to requests without a token of ours, by class. The zero value forwards them all.
type OtherCredentials struct {
	Password, Bearer, Session, Anonymous Action
	// ExemptUsers are users with passwords that are observed where others are refused. Names are folded.
	ExemptUsers []string
	// ExemptPaths are the same for paths below the context path, each with everything below it.
	ExemptPaths []string
	// ChallengePaths are the paths at which an anonymous request is challenged, whatever Anonymous says.
	ChallengePaths []string
}

// others are OtherCredentials in the form that requests need.
type others struct {
	// judged is false if all requests are forwarded.
	judged                      bool
	actions                     [classes]Action
	exemptUsers                 map[string]bool
	exemptPaths, challengePaths []string
}

func newOthers(o OtherCredentials) others {
	of := others{
		actions:     [classes]Action{classPassword: o.Password, classBearer: o.Bearer, classSession: o.Session, classAnonymous: o.Anonymous},
		exemptUsers: setOf(o.ExemptUsers), exemptPaths: o.ExemptPaths, challengePaths: o.ChallengePaths,
	}
	of.judged = of.actions != [classes]Action{} || len(of.challengePaths) > 0
	return of
}

// presented is what a request without a token of ours presents.
type presented struct {
	classes [classes]bool
	// claimed is the first user whose password it is, for the log, or empty.
	claimed string
	// exempt says that the site exempts every user whose password it could be.
	exempt bool
}

var (
	observedReasons = [classes]Reason{ReasonAnonymousObserved, ReasonPasswordObserved, ReasonBearerObserved, ReasonSessionObserved}
	refusedReasons  = [classes]Reason{ReasonAnonymousRefused, ReasonPasswordRefused, ReasonBearerRefused, ReasonSessionRefused}
)

// other decides about a request without a token of ours. If it presents several classes, the strictest action counts: nobody
// knows which credential the product would take.
func (ix *Index) other(q *question, c *credential) Decision {
	d := ix.forward(q, c)
	of := &q.site.others
	if !of.judged {
		return d
	}
	p := of.presented(q, c)
	strictest, action := of.strictest(q, p)
	switch {
	case p.classes[classAnonymous] && q.mode == gatewayRequest && q.isBelow(of.challengePaths):
		return unauthorized(ReasonChallenge, "")
	case action == ActionForward:
		return d
	case action == ActionObserve && d.Reason == ReasonNoToken:
		d.Reason, d.Claimed = observedReasons[strictest], p.claimed
		return d
	case action == ActionObserve: // the line about an imported token that is dead says more
		return d
	case strictest == classAnonymous:
		return unauthorized(ReasonAnonymousRefused, "")
	}
	return Decision{Verdict: Forbidden, Reason: refusedReasons[strictest], TokenID: d.TokenID, Claimed: p.claimed}
}

// strictest returns the first class with the strictest action among those that a request presents. The operator's own REST API
// answers anonymous requests itself, and people manage their tokens with a session.
func (o *others) strictest(q *question, p presented) (of class, action Action) {
	for _, c := range [...]class{classPassword, classBearer, classSession, classAnonymous} {
		if !p.classes[c] || q.mode == ownAPIRequest && c != classPassword && c != classBearer {
			continue
		}
		its := o.actions[c]
		if c == classPassword && its == ActionRefuse && (p.exempt || q.isBelow(o.exemptPaths)) {
			its = ActionObserve
		}
		if its > action {
			of, action = c, its
		}
	}
	return of, action
}

// presented finds out what a request presents. c is what Authorization presents.
func (o *others) presented(q *question, c *credential) presented {
	p := presented{exempt: true}
	if p.classes[c.class] = true; c.class == classPassword {
		p.exempt = o.exemptUsers[string(c.user)]
		// With an empty password, the secret may stand in the place of the user.
		if len(c.password) > 0 {
			p.claimed = string(c.user)
		}
	}
	o.addParameters(q.query(), &p)
	for _, value := range q.Cookies {
		p.classes[classSession] = p.classes[classSession] || strings.Trim(value, " \t") != ""
	}
	p.classes[classAnonymous] = p.classes == [classes]bool{classAnonymous: true}
	return p
}

// addParameters adds the password that the parameters of a raw query present, and its users.
func (o *others) addParameters(query string, p *presented) {
	users, basic := 0, p.classes[classPassword]
	anyParameter(query, func(name, value string) bool {
		var buf [16]byte
		switch decoded := string(appendUnescaped(buf[:0], name, cap(buf))); {
		case strings.EqualFold(decoded, "os_username"):
			user := decodeUser(value)
			users++
			p.exempt = p.exempt && o.exemptUsers[user]
			p.claimed = cmp.Or(p.claimed, user)
			p.classes[classPassword] = true
		case strings.EqualFold(decoded, "os_password"):
			p.classes[classPassword] = true
		}
		return false
	})
	// A password that no name belongs to could be anybody's.
	p.exempt = p.exempt && (users > 0 || basic)
}

// maxUser is longer than any user name, in bytes.
const maxUser = 1024

// decodeUser decodes a form-encoded user name and folds it. Here a plus stands for a space.
func decodeUser(value string) string {
	var buf [maxUser]byte
	decoded := appendUnescaped(buf[:0], strings.ReplaceAll(value, "+", " "), cap(buf))
	username.FoldInPlace(decoded)
	return string(decoded)
}

// isBelow reports whether the request is at one of these paths below the context path. At a path that two servers could read
// differently it is not.
func (q *question) isBelow(paths []string) bool {
	if len(paths) == 0 || strings.Contains(q.path(), "//") {
		return false
	}
	var buf [maxPath]byte
	path, fault := canonicalPath(buf[:0], q.path())
	if fault != faultless || !pathprefix.Covers(q.site.contextPath, path) {
		return false
	}
	below := path[len(q.site.contextPath):]
	for _, p := range paths {
		if pathprefix.Covers(p, below) {
			return !isRedispatched(below)
		}
	}
	return false
}
