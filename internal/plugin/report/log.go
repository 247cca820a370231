package report

import (
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"apitokens.dev/operator/internal/plugin/logfile"
)

// usage is what a log says about one token.
type usage struct {
	requests       int
	paths, clients map[string]int
}

// maxListed is how many paths and clients of a token are listed: a report is read by people.
const maxListed = 20

var (
	number = regexp.MustCompile(`^[0-9]+$`)
	issue  = regexp.MustCompile(`^[A-Z][A-Z0-9]+-[0-9]+$`)
)

// count reads the authenticated requests of a log, by token id. Lines that are not the webhook's are passed over.
func count(log io.Reader) (map[string]*usage, error) {
	seen := map[string]*usage{}
	err := logfile.Each(log, func(l struct{ Verdict, TokenID, Method, Path, Client string }) {
		if l.Verdict != "allow" || l.TokenID == "" {
			return
		}
		u := seen[l.TokenID]
		if u == nil {
			u = &usage{paths: map[string]int{}, clients: map[string]int{}}
			seen[l.TokenID] = u
		}
		u.requests++
		u.paths[strings.TrimSpace(l.Method+" "+kind(l.Path))]++
		u.clients[l.Client]++
	})
	return seen, err
}

// kind returns a path with N for each number and KEY for each key of an issue, so that paths of a kind are one. The version of an
// API stays: Cloud does not have all of them.
func kind(path string) string {
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		switch {
		case number.MatchString(segment) && (i == 0 || segments[i-1] != "api"):
			segments[i] = "N"
		case issue.MatchString(segment):
			segments[i] = "KEY"
		}
	}
	return strings.Join(segments, "/")
}

// cells returns what the report says. A token that the log does not have was not used.
func (u *usage) cells() (requests, paths, clients string) {
	if u == nil {
		return "0", "", ""
	}
	return strconv.Itoa(u.requests), most(u.paths), most(u.clients)
}

// most lists what was counted, the most frequent first.
func most(counted map[string]int) string {
	names := slices.SortedFunc(maps.Keys(counted), func(a, b string) int {
		if counted[a] != counted[b] {
			return counted[b] - counted[a]
		}
		return strings.Compare(a, b)
	})
	more := ""
	if len(names) > maxListed {
		names, more = names[:maxListed], fmt.Sprintf("; and %d more", len(names)-maxListed)
	}
	return strings.Join(names, "; ") + more
}
