package authn

import (
	"crypto/subtle"
	"hash/maphash"
	"sync"
	"time"

	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/lifetime"
	"apitokens.dev/operator/internal/record"
)

// Token is what the index needs of an APIToken that exists and is not being deleted.
type Token struct {
	UID, Namespace, Name string
	// User is the product user of the spec; Site the site that it refers to.
	User string
	Site SiteName
	// Lifetime is what it asks for, Suspended that it is not to authenticate, Limits what it may do.
	Lifetime  lifetime.Requested
	Suspended bool
	// Imported says that its secret is not of our making, Portal that it was shown once to its owner.
	Imported, Portal bool
	Limits           Limits
}

// Site is what the index needs of an AtlassianSite.
type Site struct {
	Name SiteName
	// Product is what its licence has to be for.
	Product string
	// ContextPath is the path of the base URL, without a slash at the end.
	ContextPath string
	// TokenPaths are the prefixes below it where tokens count, each with a slash at both ends.
	TokenPaths []string
	// Origin is scheme, host and port that upstream credentials are sent to.
	Origin string
	// Lifetime and Limits hold for every token of the site.
	Lifetime lifetime.Policy
	Limits   Limits
	// AllowsNamespace says by its labels whether another namespace's tokens count. Nil means that none's do.
	AllowsNamespace func(labels map[string]string) bool
	// TrustedHops is how many proxies in front of the gateway tell the client's address.
	TrustedHops int
}

// UpstreamCredential is what a user acts with at the product.
type UpstreamCredential struct {
	Site SiteName
	User string
	// Authorization is the value of the header.
	Authorization string
	// Origin is where it was obtained, and the only place it is released to.
	Origin string
}

// Index joins what authenticates: APITokens, their records, sites, caller keys, upstream credentials and licences.
// They arrive in any order; what is incomplete authenticates nothing.
// What is put in must not be changed afterwards.
type Index struct {
	now     func() time.Time
	mu      sync.RWMutex
	ready   bool
	tokens  map[string]*Token         // by UID
	records map[string]*record.Record // by UID
	byID    map[string]*entry         // by token id: complete ones only
	// joined are the same entries by UID, and decoys in any order: each stands in for tokens that are unknown.
	joined      map[string]*entry
	decoys      []*entry
	seed        maphash.Seed
	imported    imports
	sites       map[SiteName]*site
	namespaces  map[string]map[string]string // labels by name
	callerKeys  map[SiteName]map[authurl.Contract][]string
	credentials map[credentialKey]UpstreamCredential
	licenses    map[SiteName]License
	// licensesRequired says that a site without a licence is refused.
	licensesRequired bool
}

// site is a Site with what every request would otherwise compute.
type site struct {
	product             string
	contextPath, origin string
	tokenPaths          []string
	lifetime            lifetime.Policy
	limits              Limits
	allowsNamespace     func(map[string]string) bool
	trustedHops         int
}

type credentialKey struct {
	site SiteName
	user string
}

// NewIndex returns an empty index that is not ready, and goes by this clock.
func NewIndex(now func() time.Time) *Index {
	return &Index{
		now:         now,
		tokens:      map[string]*Token{},
		records:     map[string]*record.Record{},
		byID:        map[string]*entry{},
		joined:      map[string]*entry{},
		seed:        maphash.MakeSeed(),
		imported:    newImports(),
		sites:       map[SiteName]*site{},
		namespaces:  map[string]map[string]string{},
		callerKeys:  map[SiteName]map[authurl.Contract][]string{},
		credentials: map[credentialKey]UpstreamCredential{},
		licenses:    map[SiteName]License{},
	}
}

// SetReady says that the index has seen the whole initial list. Before that it decides nothing.
func (ix *Index) SetReady() {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	ix.ready = true
}

// Size returns the number of tokens that can authenticate.
func (ix *Index) Size() int {
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	return len(ix.byID) + ix.imported.size()
}

// PutToken adds or replaces an APIToken.
func (ix *Index) PutToken(t Token) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	old := ix.leave(t.UID)
	ix.tokens[t.UID] = &t
	ix.join(t.UID, old)
}

// DeleteToken removes an APIToken: from now on it does not authenticate, whatever is left of it.
func (ix *Index) DeleteToken(uid string) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	ix.leave(uid)
	delete(ix.tokens, uid)
}

// PutRecord adds or replaces the record of the APIToken with this UID.
func (ix *Index) PutRecord(uid string, r *record.Record) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	old := ix.leave(uid)
	ix.records[uid] = r
	ix.join(uid, old)
}

// DeleteRecord removes the record of the APIToken with this UID.
func (ix *Index) DeleteRecord(uid string) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	ix.leave(uid)
	delete(ix.records, uid)
}

// PutSite adds or replaces a site.
func (ix *Index) PutSite(s Site) {
	paths := make([]string, len(s.TokenPaths))
	for i, p := range s.TokenPaths {
		paths[i] = s.ContextPath + p
	}
	ix.mu.Lock()
	defer ix.mu.Unlock()
	ix.sites[s.Name] = &site{
		product: s.Product, contextPath: s.ContextPath, origin: s.Origin, tokenPaths: paths,
		lifetime: s.Lifetime, limits: s.Limits, allowsNamespace: s.AllowsNamespace, trustedHops: s.TrustedHops,
	}
}

// DeleteSite removes a site.
func (ix *Index) DeleteSite(name SiteName) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	delete(ix.sites, name)
}

// PutNamespace adds a namespace, or replaces its labels.
func (ix *Index) PutNamespace(name string, labels map[string]string) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	ix.namespaces[name] = labels
}

// DeleteNamespace removes a namespace.
func (ix *Index) DeleteNamespace(name string) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	delete(ix.namespaces, name)
}

// PutCallerKeys replaces the keys with which each contract of a site may be called.
func (ix *Index) PutCallerKeys(name SiteName, keys map[authurl.Contract][]string) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	ix.callerKeys[name] = keys
}

// DeleteCallerKeys removes all keys of a site: nobody may call for it.
func (ix *Index) DeleteCallerKeys(name SiteName) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	delete(ix.callerKeys, name)
}

// PutUpstreamCredential adds or replaces what a user acts with at a site.
func (ix *Index) PutUpstreamCredential(c UpstreamCredential) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	ix.credentials[credentialKey{c.Site, c.User}] = c
}

// DeleteUpstreamCredential removes what a user acts with at a site.
func (ix *Index) DeleteUpstreamCredential(name SiteName, user string) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	delete(ix.credentials, credentialKey{name, user})
}

// site returns the site of a request, or why there is none. The lock is held.
func (ix *Index) site(r *Request) (*site, Reason) {
	if !ix.ready {
		return nil, ReasonNotReady
	}
	s := ix.sites[r.Site]
	if s == nil {
		return nil, ReasonUnknownSite
	}
	return s, ""
}

// admitted reports whether the caller is the site's own ingress. The lock is held.
func (ix *Index) admitted(r *Request) bool {
	match := 0
	for _, key := range ix.callerKeys[r.Site][r.Contract] {
		match |= equal(key, r.CallerKey)
	}
	return match == 1
}

// maxCallerKey is more than a caller key has; a longer one is none.
const maxCallerKey = 128

// equal compares two short strings in constant time. It returns 1 if they are equal.
func equal(want, got string) int {
	var a, b [maxCallerKey]byte
	if want == "" || len(want) > len(a) || len(got) > len(b) {
		return 0
	}
	return subtle.ConstantTimeCompare(a[:copy(a[:], want)], b[:copy(b[:], got)])
}
