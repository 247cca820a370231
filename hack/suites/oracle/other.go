package oracle

import (
	"fmt"
	"slices"
	"strings"
)

// others says what a site does with requests without a token: an action for each class, and the exceptions.
type others struct {
	// actions are Observe, Refuse, or Forward, which may be missing.
	actions                                  map[string]string
	exemptUsers, exemptPaths, challengePaths []string
}

// judgeOther judges a request without a token of ours. dead are the lines that the log may get about a dead imported token.
func judgeOther(q question, s *site, target string, c presented, dead []logged) answer {
	rawPath, query, _ := strings.Cut(target, "?")
	a := forward(q.header["Authorization"], target)
	if s.header == otherHeader {
		a.identity = ""
	}
	if len(dead) > 0 {
		a.log, a.otherwise = dead[0], fmt.Sprint(dead)
	}
	shown, claimed, exempt := shownBy(q, query, c, s)
	if len(shown) == 1 && shown[0] == "anonymous" && isAt(rawPath, s, s.others.challengePaths) {
		return refusal(401, "challenge", "")
	}
	for _, action := range []string{"Refuse", "Observe"} {
		for _, class := range shown {
			does := s.others.actions[class]
			if class == "password" && does == "Refuse" && (exempt || isAt(rawPath, s, s.others.exemptPaths)) {
				does = "Observe"
			}
			switch {
			case does != action:
			case does == "Observe" && len(dead) > 0:
				return a
			case does == "Observe":
				a.log = logged{reason: class + "_observed", claimed: claimed}
				return a
			case class == "anonymous":
				return refusal(401, "anonymous_refused", "")
			default:
				return refusedOther(class, claimed, dead)
			}
		}
	}
	return a
}

func refusedOther(class, claimed string, dead []logged) answer {
	a := refusal(403, strings.ToUpper(class[:1])+class[1:]+"Refused", "")
	if a.log.claimed = claimed; len(dead) > 0 {
		lines := slices.Clone(dead)
		for i := range lines {
			lines[i].reason = a.reason
		}
		a.log, a.otherwise = lines[0], fmt.Sprint(lines)
	}
	return a
}

// shownBy lists the classes of what a request presents, in their order, the user whose password it is, and whether the site exempts
// all users that it names.
func shownBy(q question, query string, c presented, s *site) (shown []string, claimed string, exempt bool) {
	var users []string
	password := c.class == "password"
	if password {
		if users = append(users, lower(c.user)); c.password != "" {
			claimed = lower(c.user)
		}
	}
	anyParameter(strings.ReplaceAll(query, "+", " "), func(name, value string) bool {
		if lower(name) == "os_username" {
			if users = append(users, lower(value)); claimed == "" {
				claimed = lower(value)
			}
		}
		password = password || lower(name) == "os_username" || lower(name) == "os_password"
		return false
	})
	if password {
		shown = append(shown, "password")
	}
	if c.class == "bearer" {
		shown = append(shown, "bearer")
	}
	if strings.Trim(strings.Join(q.header["Cookie"], ""), " \t") != "" {
		shown = append(shown, "session")
	}
	if len(shown) == 0 {
		shown = []string{"anonymous"}
	}
	exempt = len(users) > 0 && !slices.ContainsFunc(users, func(u string) bool { return !slices.Contains(s.others.exemptUsers, u) })
	return shown, claimed, exempt
}

// isAt reports whether every server finds a raw path at or below one of these.
func isAt(raw string, s *site, paths []string) bool {
	path, special, ok := pathOf(raw)
	below, inside := strings.CutPrefix(path, s.contextPath)
	redispatched := strings.HasPrefix(strings.ToLower(below), "/s/") && strings.Contains(below, "/_/")
	return ok && inside && !special && !redispatched && !strings.Contains(raw, "//") && paths != nil && isBelow(below, paths)
}

// fitsHeader reports whether a header can hold a name: visible ASCII, with spaces inside alone.
func fitsHeader(name string) bool {
	return strings.Trim(name, " ") == name && !strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c > '~' })
}
