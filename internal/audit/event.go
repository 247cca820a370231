package audit

import (
	"cmp"
	"time"

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
	// Scanner is the service that had a leaked token revoked, and FoundAt the URL at which it found it. Both may be empty.
	Scanner, FoundAt string
	Site             authn.SiteName
	// Client and RequestID are the ingress's words about the request.
	Client, RequestID string
}

// EmitEvent queues the line of an event. Unlike requests, events are never lost: EmitEvent waits for room.
func (l *Log) EmitEvent(e Event) { l.events <- e }

// appendTo appends the line of an event.
func (e Event) appendTo(line []byte, now time.Time) []byte {
	actor := cmp.Or(e.Actor, e.Scanner, "The holder of the token")
	line = escape(begin(line, now, levelInfo), actor+" has "+string(e.Action)+" API Token ("+e.TokenID+")")
	line = append(line, '"')
	line = field(line, `,"action":"`, string(e.Action))
	line = field(line, `,"site":"`, e.Site.String())
	line = field(line, `,"user":"`, e.Owner)
	line = field(line, `,"tokenID":"`, e.TokenID)
	line = field(line, `,"actor":"`, e.Actor)
	line = field(line, `,"with":"`, e.With)
	if e.Scanner != "" {
		line = field(line, `,"scanner":"`, e.Scanner)
		line = field(line, `,"foundAt":"`, clean(e.FoundAt))
	}
	line = field(line, `,"client":"`, clean(e.Client))
	line = field(line, `,"requestID":"`, clean(e.RequestID))
	return end(line)
}
