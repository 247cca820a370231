package audit

import (
	"cmp"
	"context"
	"log/slog"

	"apitokens.dev/operator/internal/authn"
)

// Action is a change to a token.
type Action string

// The actions of owners and administrators.
const (
	Created Action = "created"
	Rotated Action = "rotated"
	Revoked Action = "revoked"
)

// Event is one action on one token.
type Event struct {
	Action Action
	// TokenID is the public id of the token. Owner is the user it belongs to.
	TokenID, Owner string
	// Actor is the user who acted: the owner or an administrator. It is empty if somebody presented the token to revoke it.
	Actor string
	// With is the id of the token that the actor authenticated with, or empty.
	With string
	Site authn.SiteName
	// Client and RequestID are the ingress's words about the request.
	Client, RequestID string
}

// EmitEvent queues the line of an event. Unlike requests, events are never lost: EmitEvent waits for room.
func (l *Log) EmitEvent(e Event) { l.events <- e }

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
