package oracle

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// world is all objects at one moment, in the words of the documentation. Times have exported names, because fmt calls
// String only on exported fields.
type world struct {
	now time.Time
	// ready is false while the webhook still loads.
	ready bool
	// licensesRequired says that the operator wants licences.
	licensesRequired bool
	sites            map[siteName]*site
	memories         map[siteName]memory
	namespaces       map[string]map[string]string // labels by name
	callerKeys       map[siteName]map[string][]string
	// authorities are those that sign certificates of gateways, by name. A site that cannot read them has none here.
	authorities map[siteName][]string
	apiTokens   map[string]*apiToken    // by UID
	records     map[string]*tokenRecord // by UID
	credentials map[owner]*credential
	licenses    map[siteName]*license
	probeKeys   map[siteName]string
}

type siteName struct{ namespace, name string }

// owner is a user of a site.
type owner struct {
	site siteName
	user string
}

type site struct {
	uid                            string
	product, contextPath, upstream string
	tokenPaths                     []string
	defaultDays, maxDays           int32
	IssuedAfter                    time.Time
	limits                         limits
	blockedNames, blockedKeys      []string
	// from is Same, All or Selector, which wants the label team.
	from, team  string
	trustedHops int
	// bearer says that tokens count as Bearer too.
	bearer bool
	others others
	// callers are the names of which a gateway's certificate must have one. Nil means that gateways have keys.
	callers []string
	// header is the name of the header that hands users over, or empty.
	header string
}

// memory is what is remembered of a name: the UID of a site, and the highest epoch.
type memory struct {
	uid         string
	IssuedAfter time.Time
}

// limits narrow what a token may do. Nil means any.
type limits struct {
	readOnly       bool
	sources, paths []string
}

type apiToken struct {
	namespace, name, user string
	site                  siteName
	// credential is Generated, Imported or Portal.
	credential   string
	lifetimeDays int32
	Expiration   time.Time
	suspended    bool
	limits       limits
	// parent is the namespace of the token that it was created with, or "".
	parent string
}

type tokenRecord struct {
	tokenID, user, credential string
	userKey                   string
	site, apiToken            siteName
	// Secrets are valid or end soon. Dead are those that were replaced and have ended.
	Secrets, Dead []secret
	// Deleted is when the APIToken was found deleted.
	Deleted time.Time
}

// secret is one secret of a record, with its plaintext, which is stored nowhere.
type secret struct {
	text string
	// weak says that its hash is slow.
	weak         bool
	state        string
	Issued, Ends time.Time
}

// credential is what a user acts with at the product.
type credential struct{ authorization, upstream, userKey string }

type license struct {
	products []string
	Expires  time.Time
	// invalid is why the text is no licence.
	invalid string
}

func newWorld(now time.Time) *world {
	return &world{
		now: now, sites: map[siteName]*site{}, memories: map[siteName]memory{}, namespaces: map[string]map[string]string{},
		callerKeys: map[siteName]map[string][]string{}, authorities: map[siteName][]string{},
		apiTokens: map[string]*apiToken{}, records: map[string]*tokenRecord{}, credentials: map[owner]*credential{}, licenses: map[siteName]*license{},
		probeKeys: map[siteName]string{},
	}
}

// String lists all that exists, one object in a line.
func (w *world) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "now %s, ready %t, licences required %t\n", w.now.Format(time.RFC3339Nano), w.ready, w.licensesRequired)
	list(&b, "site", w.sites)
	for name, m := range w.memories {
		fmt.Fprintf(&b, "memory of %v %+v\n", name, m)
	}
	list(&b, "licence of", w.licenses)
	list(&b, "PAT of", w.credentials)
	list(&b, "APIToken", w.apiTokens)
	list(&b, "record", w.records)
	for _, name := range slices.Sorted(maps.Keys(w.namespaces)) {
		fmt.Fprintf(&b, "namespace %s %v\n", name, w.namespaces[name])
	}
	for name, keys := range w.callerKeys {
		fmt.Fprintf(&b, "caller keys of %v %v\n", name, keys)
	}
	for name, authorities := range w.authorities {
		fmt.Fprintf(&b, "authorities of %v %v\n", name, authorities)
	}
	return strings.ReplaceAll(b.String(), time.Time{}.String(), "-")
}

func list[K comparable, V any](b *strings.Builder, kind string, objects map[K]*V) {
	var lines []string
	for name, object := range objects {
		lines = append(lines, fmt.Sprintf("%s %v %+v\n", kind, name, *object))
	}
	slices.Sort(lines)
	for _, line := range lines {
		b.WriteString(line)
	}
}
