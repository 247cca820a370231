package door

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/probe"
)

// judge says what the answers of a round mean. The first thing that it finds gives the reason, and the message has all of them.
func judge(s Site, a answers) Finding {
	switch {
	case a.anonymous.err != nil:
		return unreachable(s, a.anonymous.err)
	case a.anonymous.redirects() && a.madeUp.redirects() && (a.due.redirects() || !a.due.asked()):
		return redirects(s, a.anonymous.header.Get("Location"))
	}
	found := judgeIdentity(s, a)
	if err := a.err(); err == nil {
		judgeVerdicts := judgeGateway
		if s.Key == (probe.Key{}) {
			judgeVerdicts = judgeRefusal
		}
		found = append(found, judgeVerdicts(s, a)...)
	} else if len(found) == 0 {
		return unreachable(s, err)
	}
	if len(found) == 0 {
		return Finding{tokensv1alpha1.ReasonProtected, fmt.Sprintf(
			"The ingress at %s asks the webhook about tokens, follows its verdicts, and serves no request as a user without a credential.", s.BaseURL)}
	}
	messages := make([]string, len(found))
	for i, f := range found {
		messages[i] = f.Message
	}
	return Finding{found[0].Reason, strings.Join(messages, " ")}
}

func unreachable(s Site, err error) Finding {
	return Finding{tokensv1alpha1.ReasonBaseURLUnreachable, fmt.Sprintf(
		"The operator cannot look at the ingress: asking %s failed with '%s'. Let the controller reach it from the cluster, or look from outside.",
		s.BaseURL, inWords(err))}
}

// redirects is the finding where nothing but redirects was seen. The operator does not follow them.
func redirects(s Site, location string) Finding {
	to := "elsewhere"
	if u, err := url.Parse(location); err == nil && u.Host != "" {
		to = "to " + clip(u.Scheme+"://"+u.Host)
	}
	return Finding{tokensv1alpha1.ReasonBaseURLRedirects, fmt.Sprintf(
		"The ingress at %s redirects every request %s, also those with a token. Correct `baseURL` to the address that answers, "+
			"or leave the paths of tokens out of what redirects.", s.BaseURL, to)}
}

// judgeIdentity looks for requests that are served as a user although nobody proved to be one.
func judgeIdentity(s Site, a answers) (found []Finding) {
	for _, one := range []struct {
		answer

		what string
	}{{a.anonymous, "without a credential"}, {a.beside, "without a credential"}, {a.madeUp, "with a token that does not exist"}} {
		if one.user != "" && len(found) == 0 {
			found = append(found, Finding{tokensv1alpha1.ReasonOpenDoor, fmt.Sprintf(
				"The door is open: %s serves a request %s as the user '%s'. See that the ingress adds no identity and no credential of its own, "+
					"and that nothing keeps answers.", s.BaseURL, one.what, clip(one.user))})
		}
	}
	for _, f := range a.forged {
		if f.honest.err != nil || f.err != nil || !f.namesMadeUp && (f.status/100 != 2 || f.honest.status/100 == 2) {
			continue
		}
		return append(found, Finding{tokensv1alpha1.ReasonIdentityHeaderNotCleared, fmt.Sprintf(
			"The product serves a request with the client's own header '%s', at %s, as the user in it. "+
				"Have the ingress remove it, on every path and in each of the spellings with '-', '_' and '.', before anything else.",
			f.name, strings.TrimSuffix(s.BaseURL, s.ContextPath)+f.path)})
	}
	return found
}

// judgeGateway looks at the way to the webhook and back.
func judgeGateway(s Site, a answers) []Finding {
	contract, believed := a.believed()
	switch {
	case a.limited():
		return limited(s)
	case believed:
		return one(tokensv1alpha1.ReasonWrongContract, "The ingress at %s asks with the auth URL of the contract '%s', and leaves the headers of that contract "+
			"to the client: the webhook judges any path that a client names. Give it the auth URL of its own contract, in Secret '%s', "+
			"and have it set these headers itself.", s.BaseURL, contract, s.AuthURLSecret)
	case a.undecided():
		return noVerdict(s, a)
	case !a.asked():
		return notAsked(s, a)
	default:
		return altered(s, a)
	}
}

// judgeRefusal looks at the refusal of a token that does not exist, which is all that there is without the key of the site.
func judgeRefusal(s Site, a answers) []Finding {
	switch {
	case a.limited():
		return limited(s)
	case a.madeUp.unavailable():
		return noVerdict(s, a)
	case !a.madeUp.unauthorized():
		return notAsked(s, a)
	}
	return altered(s, a)
}

func limited(s Site) []Finding {
	return one(tokensv1alpha1.ReasonInconclusive, "The ingress at %s answers 429 to the operator, so that nothing is known. "+
		"Exempt the controller from its limit.", s.BaseURL)
}

// noVerdict judges a gateway that answers every token with an error.
func noVerdict(s Site, a answers) []Finding {
	if a.beside.unavailable() && !s.ProductAnswers {
		return one(tokensv1alpha1.ReasonInconclusive, "The ingress at %s answers %d to everything, and the product does not answer the operator either, "+
			"so that nothing is known. See that the product runs.", s.BaseURL, a.madeUp.status)
	}
	return one(tokensv1alpha1.ReasonWebhookNotReached, "The ingress at %s answers %d to every token: it gets no verdict. See that it reaches the webhook, "+
		"and that its auth URL and caller key are those in Secret '%s'. If it does reach it, the webhook's log says why there is no verdict.",
		s.BaseURL, a.madeUp.status, s.AuthURLSecret)
}

func one(reason, format string, a ...any) []Finding {
	return []Finding{{reason, fmt.Sprintf(format, a...)}}
}

// limited reports whether the gateway limits the rate of the operator's requests.
func (a answers) limited() bool {
	for _, one := range a.decisive() {
		if one.status == http.StatusTooManyRequests {
			return true
		}
	}
	return false
}

// notAsked judges a gateway whose refusals are not this webhook's.
func notAsked(s Site, a answers) []Finding {
	switch {
	case a.madeUp.unauthorized() && a.due.status == http.StatusUnauthorized:
		return one(tokensv1alpha1.ReasonOtherSite, "The ingress at %s asks a webhook that does not know this site: its auth URL is that of another site, "+
			"or of another operator. Give it the auth URL in Secret '%s'.", s.BaseURL, s.AuthURLSecret)
	case a.madeUp.unauthorized():
		return one(tokensv1alpha1.ReasonAnswerAltered, "The ingress at %s makes %d of a 403 of the webhook. "+
			"Have it pass on 401 and 403 as they are.", s.BaseURL, a.due.status)
	default:
		return one(tokensv1alpha1.ReasonGatewayDoesNotAsk, "The ingress at %s does not ask the webhook: a token that does not exist got %d at %s, "+
			"and not the webhook's refusal. So tokens do not work, and reach the product. Have it ask with the auth URL in Secret '%s'.",
			s.BaseURL, a.madeUp.status, a.path, s.AuthURLSecret)
	}
}

// altered judges what a gateway makes of questions to this webhook, and of its answers.
func altered(s Site, a answers) (found []Finding) {
	if a.bound.asked() && a.bound.status != http.StatusForbidden {
		found = append(found, one(tokensv1alpha1.ReasonPathAltered, "The ingress at %s tells the webhook another path than the client's, so that tokens are judged "+
			"by a path that nobody asked for. Have it ask before it rewrites the path.", s.BaseURL)...)
	}
	if s.Everything && a.passedUnasked() {
		found = append(found, one(tokensv1alpha1.ReasonGatewayDoesNotAsk, "The ingress at %s does not ask the webhook about every request, and this site needs "+
			"that: it hands users over in a header, or refuses other credentials than tokens. A request without a credential beside the token paths "+
			"passed unasked. Have the ingress ask about every path that reaches the product.", s.BaseURL)...)
	}
	if a.early.status == http.StatusUnauthorized && a.late.status == http.StatusUnauthorized {
		found = append(found, one(tokensv1alpha1.ReasonVerdictCached, "The ingress at %s gives an earlier verdict of the webhook again: "+
			"a revoked token works for as long as its cache keeps it. Turn off the cache of verdicts.", s.BaseURL)...)
	}
	switch header := leaked(a); {
	case !a.madeUp.unauthorized() && a.madeUp.status == http.StatusUnauthorized:
		found = append(found, one(tokensv1alpha1.ReasonAnswerAltered, "The ingress at %s alters the header 'WWW-Authenticate' of the webhook's 401, "+
			"or leaves it out, so that clients that wait for it do not send their token. Have it pass on this header as it is.", s.BaseURL)...)
	case !a.madeUp.unauthorized():
		found = append(found, one(tokensv1alpha1.ReasonAnswerAltered, "The ingress at %s makes %d of a 401 of the webhook. "+
			"Have it pass on 401 and 403 as they are.", s.BaseURL, a.madeUp.status)...)
	case header != "":
		found = append(found, one(tokensv1alpha1.ReasonAnswerAltered, "The ingress at %s passes on the header '%s' of the webhook's answer to the client. "+
			"The holder of a token gets the personal access token behind it in the same way. Have it pass on no header of a 200.", s.BaseURL, header)...)
	}
	return found
}

// leaked returns a header that is for the product alone and that a client got.
func leaked(a answers) string {
	for _, name := range []string{"X-Api-Token-Target", "X-Api-Token-Id"} {
		if a.anonymous.header.Get(name) != "" || a.beside.header.Get(name) != "" {
			return name
		}
	}
	return ""
}
