package audit

import (
	"cmp"
	"context"
	"log/slog"

	"apitokens.dev/operator/internal/authn"
)

// Action is what became of a token.
type Action string

// What owners and administrators do with tokens.
const (
	Created Action = "created"
	Rotated Action = "rotated"
	Revoked Action = "revoked"
)

// Event is something that somebody did with a token.
type Event struct {
	Action Action
	// TokenID is the public id of the token, Owner whose it is, and Actor who did it: the same, an administrator, or if it is
	// empty, whoever presented the token to have it revoked.
	TokenID, Owner, Actor string
	// With is the id of the token that the actor brought, if he brought one.
	With string
	Site authn.SiteName
	// Client and RequestID are what the ingress says of the request.
	Client, RequestID string
}

// Tell writes the line of an event. Unlike requests, events are never lost: they wait for room.
func (l *Log) Tell(e Event) { l.events <- e }

func (e Event) write(lines *slog.Logger) {
	actor := cmp.Or(e.Actor, "Whoever presented it")
	lines.LogAttrs(context.Background(), slog.LevelInfo, actor+" has "+string(e.Action)+" API Token ("+e.TokenID+")",
		slog.String("action", string(e.Action)),
		slog.String("site", e.Site.String()),
		slog.String("user", e.Owner),
		slog.String("tokenID", e.TokenID),
		slog.String("actor", e.Actor),
		slog.String("with", e.With),
		slog.String("client", clean(e.Client)),
		slog.String("requestID", clean(e.RequestID)),
	)
}
