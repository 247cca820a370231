package archive

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/token"
)

// Log is what happened since a backup, by the logs of the operator and by the audit log of Kubernetes.
type Log struct {
	// since is the time of the backup, and until the first moment that does not count. Zero is no end.
	since, until time.Time

	// revoked and replaced are the last times, by token id, and stopped is the last time at which a token was refused because somebody
	// had stopped it. used is when it last authenticated.
	revoked, replaced, stopped, used map[string]time.Time
	// deleted, changed and emptied are the last times, by namespace/name of an APIToken, and by namespace.
	deleted, changed, emptied map[string]time.Time
	// sitesChanged and sitesDeleted are the same of AtlassianSites.
	sitesChanged, sitesDeleted map[string]time.Time
	// recordsChanged are the last times by the UID of the APIToken. secretsSeen says that the audit log of Kubernetes has changes of Secrets.
	recordsChanged map[string]time.Time
	secretsSeen    bool
	// controller and kubernetes are the first moments from which on these logs would show a deletion with kubectl.
	controller, kubernetes time.Time
}

// clockSkew is how far the clocks of the machines may differ. A revocation shortly before the backup counts as one since then.
const clockSkew = 5 * time.Minute

// NewLog returns a log without a line.
func NewLog(since, until time.Time) *Log {
	l := &Log{since: since, until: until}
	for _, m := range []*map[string]time.Time{
		&l.revoked, &l.replaced, &l.stopped, &l.used, &l.deleted, &l.changed, &l.emptied, &l.sitesChanged, &l.sitesDeleted, &l.recordsChanged,
	} {
		*m = map[string]time.Time{}
	}
	return l
}

// line is a line of a log of the operator, or an event of the audit log of Kubernetes.
type line struct {
	// Time is that of standard output, and TS that of standard error.
	Time    string       `json:"time"`
	TS      any          `json:"ts"`
	Action  audit.Action `json:"action"`
	TokenID string       `json:"tokenID"`
	Verdict string       `json:"verdict"`
	Reason  authn.Reason `json:"reason"`
	// Controller is in each line of the controller. At the level `error` it would not log what it removes.
	Controller string `json:"controller"`
	Level      string `json:"level"`

	Kind        string `json:"kind"`
	APIVersion  string `json:"apiVersion"`
	Stage       string `json:"stage"`
	Verb        string `json:"verb"`
	RequestURI  string `json:"requestURI"`
	RequestTime string `json:"requestReceivedTimestamp"`
	Object      object `json:"objectRef"`
	Answer      struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
}

type object struct {
	Resource    string `json:"resource"`
	Namespace   string `json:"namespace"`
	Name        string `json:"name"`
	APIGroup    string `json:"apiGroup"`
	Subresource string `json:"subresource"`
}

// Read reads a log: lines of JSON, with anything before them, such as the name of a pod. Other lines are passed over. One that is cut is
// an error.
func (l *Log) Read(from io.Reader) error {
	lines := bufio.NewReader(from)
	for number := 1; ; number++ {
		text, err := lines.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading the log: %w", err)
		}
		if begins := bytes.Index(text, []byte(`{"`)); begins >= 0 || bytes.Contains(text, []byte(`"tokenID"`)) {
			var read line
			if json.Unmarshal(text[max(begins, 0):], &read) != nil {
				return fmt.Errorf("reading the log: line %d is no whole line of JSON: what it says of revocations is lost", number)
			}
			l.note(&read)
		}
		if err != nil {
			return nil
		}
	}
}

// Complete returns an error unless the log begins before the backup, and would show what was deleted with kubectl.
func (l *Log) Complete() error {
	first := earlier(l.controller, l.kubernetes)
	switch {
	case first.IsZero():
		return errors.New("the log has neither lines of the controller nor of the audit log of Kubernetes. " +
			"Only these say which APITokens were deleted with kubectl: add one of them, or restore without --audit")
	case first.After(l.since):
		return fmt.Errorf("the log of the controller, or the audit log of Kubernetes, begins at %s, after the backup of %s: "+
			"add the lines before, or restore without --audit", stamp(first), stamp(l.since))
	}
	return nil
}

// audited reports whether the audit log of Kubernetes is there, from before the backup on. It has deletions that no controller saw.
func (l *Log) audited() bool { return !l.kubernetes.IsZero() && !l.kubernetes.After(l.since) }

// hasRotations reports whether the log of the controller is there, from before the backup on. It has each new secret that the controller
// made.
func (l *Log) hasRotations() bool { return !l.controller.IsZero() && !l.controller.After(l.since) }

// earlier returns the earlier of two times of which the zero one is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// at returns when a line was written.
func (r *line) at() (time.Time, bool) {
	for _, text := range []any{r.RequestTime, r.Time, r.TS} {
		switch v := text.(type) {
		case string:
			for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.000Z0700"} {
				if t, err := time.Parse(layout, v); err == nil {
					return t.UTC(), true
				}
			}
		case float64:
			seconds, fraction := math.Modf(v)
			return time.Unix(int64(seconds), int64(fraction*1e9)).UTC(), true
		}
	}
	return time.Time{}, false
}

func (l *Log) note(r *line) {
	at, ok := r.at()
	if !ok || !l.until.IsZero() && !at.Before(l.until) {
		return
	}
	audited := r.Kind == "Event" && r.RequestTime != ""
	switch {
	case audited:
		l.kubernetes = earlier(l.kubernetes, at)
		l.secretsSeen = l.secretsSeen || r.Object.Resource == "secrets" && r.Verb == "update"
	case r.Controller != "" && r.Level == "info":
		l.controller = earlier(l.controller, at)
	}
	switch {
	case at.Before(l.since.Add(-clockSkew)):
	case audited:
		l.noteAudited(r, at)
	case token.ValidID(r.TokenID):
		l.noteToken(r, at)
	}
}

// noteToken notes a line of the operator about one token. Each of these reasons stands only in a line about the right secret: anybody can
// send an id.
func (l *Log) noteToken(r *line, at time.Time) {
	switch {
	case r.Action == audit.Revoked:
		latest(l.revoked, r.TokenID, at)
	case r.Action == audit.Rotated:
		latest(l.replaced, r.TokenID, at)
	case r.Verdict == "allow":
		latest(l.used, r.TokenID, at)
	case r.Reason == authn.ReasonDeleted:
		latest(l.revoked, r.TokenID, at)
	case r.Reason == authn.ReasonSuspended || r.Reason == authn.ReasonUserBlocked || r.Reason == authn.ReasonRevokedByEpoch:
		latest(l.stopped, r.TokenID, at)
	}
}

// noteAudited notes a request that the API server carried out.
func (l *Log) noteAudited(r *line, at time.Time) {
	dry := bytes.Contains([]byte(r.RequestURI), []byte("dryRun="))
	done := (r.Stage == "" || r.Stage == "ResponseComplete") && r.Answer.Code < 300
	if !dry && done && at.After(l.since) && r.Object.APIGroup == "" && r.Object.Resource == "secrets" && r.Verb == "update" {
		latest(l.recordsChanged, r.Object.Name, at)
	}
	if dry || !done || r.Object.APIGroup != "apitokens.dev" || r.Object.Subresource != "" {
		return
	}
	name := r.Object.Namespace + "/" + r.Object.Name
	tokens, changes := r.Object.Resource == "apitokens", r.Verb == "update" || r.Verb == "patch"
	sites := r.Object.Resource == "atlassiansites"
	switch {
	case tokens && r.Verb == "delete":
		latest(l.deleted, name, at)
	case tokens && r.Verb == "deletecollection":
		latest(l.emptied, r.Object.Namespace, at)
	case changes && at.Before(l.since): // the archive has it
	case tokens && changes:
		latest(l.changed, name, at)
	case sites && r.Verb == "delete":
		latest(l.sitesDeleted, name, at)
	case sites && r.Verb == "deletecollection":
		latest(l.sitesDeleted, r.Object.Namespace+"/", at)
	case sites && changes:
		latest(l.sitesChanged, name, at)
	}
}

func latest(of map[string]time.Time, key string, at time.Time) {
	if at.After(of[key]) {
		of[key] = at
	}
}
