package audit

import (
	"log/slog"
	"strings"

	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/token"
)

// maxField is the maximum length of a field that a client chose, in bytes.
const maxField = 512

// message is the text of a line. The text of an authentication is the one of the plugin "API Tokens for Jira", because
// alerts and reports look for it.
func message(x Exchange) string {
	switch d := x.Decision; d.Verdict {
	case authn.Allow:
		return d.User + " has been authenticated via API Token (" + d.TokenID + ")"
	case authn.Forbidden:
		return d.User + " has been refused with API Token (" + d.TokenID + ")"
	case authn.Unauthorized:
		return "An API Token has been refused"
	default:
		return "A gateway has been refused"
	}
}

func level(v authn.Verdict) slog.Level {
	if v == authn.CannotDecide {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

func attributes(x Exchange) []slog.Attr {
	return []slog.Attr{
		slog.String("verdict", x.Decision.Verdict.String()),
		slog.String("reason", string(x.Decision.Reason)),
		slog.String("site", clean(x.Site.String())),
		slog.String("user", x.Decision.User),
		slog.String("tokenID", x.Decision.TokenID),
		slog.String("client", client(x)),
		slog.String("method", clean(x.Claimed.Method)),
		slog.String("path", clean(x.Claimed.Path)),
		slog.String("requestID", clean(x.Claimed.RequestID)),
		slog.String("peer", x.Peer),
	}
}

// client is the address that the decision used. If there is none, it is the gateway's own text.
func client(x Exchange) string {
	if x.Decision.Client.IsValid() {
		return x.Decision.Client.String()
	}
	return clean(x.Claimed.Client)
}

func (t tally) attributes() []slog.Attr {
	return []slog.Attr{
		slog.String("verdict", t.verdict.String()),
		slog.String("reason", string(t.reason)),
		slog.String("site", t.site),
		slog.Uint64("count", t.count),
	}
}

// clean bounds a text that a client chose. It drops the whole text if it could contain a token in the wrong place.
func clean(text string) string {
	if strings.Contains(text, token.Prefix) {
		return "(contains " + token.Prefix + ")"
	}
	if len(text) > maxField {
		return text[:maxField]
	}
	return text
}
