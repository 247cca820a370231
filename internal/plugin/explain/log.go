package explain

import (
	"fmt"
	"io"

	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/plugin/logfile"
)

// line is a line of the webhook's log. docs/reference/log.md has its fields.
type line struct {
	Time        string       `json:"time"`
	Verdict     string       `json:"verdict"`
	Reason      authn.Reason `json:"reason"`
	Site        string       `json:"site"`
	User        string       `json:"user"`
	ClaimedUser string       `json:"claimedUser"`
	TokenID     string       `json:"tokenID"`
	Client      string       `json:"client"`
	Method      string       `json:"method"`
	Path        string       `json:"path"`
	RequestID   string       `json:"requestID"`
	Peer        string       `json:"peer"`
}

// find returns the last line of a log about a request. Lines that are not the webhook's are passed over.
func find(log io.Reader, requestID string) (found *line, err error) {
	err = logfile.Each(log, func(l line) {
		if l.RequestID == requestID && l.Reason != "" {
			found = &l
		}
	})
	if err != nil {
		return nil, err
	}
	if found == nil {
		return nil, fmt.Errorf("the log has no line about the request %q; of many refusals in a second, some are only counted", hide(requestID))
	}
	return found, nil
}

// facts says with what the webhook decided.
func (l *line) facts() (all []string) {
	for _, field := range [][2]string{
		{"time", l.Time}, {"site", l.Site}, {"user", l.User}, {"claimed user", l.ClaimedUser}, {"token id", l.TokenID}, {"client", l.Client},
		{"method", l.Method}, {"path", l.Path}, {"asked by", l.Peer},
	} {
		if field[1] != "" {
			all = append(all, field[0]+": "+hide(field[1]))
		}
	}
	return all
}
