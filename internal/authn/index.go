package authn

import (
	"crypto/x509"
	"maps"
	"time"

	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/lifetime"
	"apitokens.dev/operator/internal/probe"
	"apitokens.dev/operator/internal/record"
)

// Token is what the index needs of an APIToken. One that is being deleted is not put in.
type Token struct {
	UID, Namespace, Name string
	// User is the product user of the spec. Site is the site that it refers to.
	User string
	Site SiteName
	// Lifetime is the requested lifetime. A Suspended token does not authenticate. Limits narrow what it may do.
	Lifetime  lifetime.Requested
	Suspended bool
	// Imported says that its secret comes from a Secret. Portal says that the portal made it.
	Imported, Portal bool
	// ParentNamespace is the namespace of the token that it was created with, or empty. The site must allow it too.
	ParentNamespace string
	Limits          Limits
}

// Site is what the index needs of an AtlassianSite.
type Site struct {
	Name SiteName
	// UID identifies the site among those that have or had this name.
	UID string
	// Product is the product that its licence must cover.
	Product string
	// ContextPath is the path of the base URL, without a slash at the end.
	ContextPath string
	// TokenPaths are the folders below it where tokens count, each with a slash at both ends.
	TokenPaths []string
	// Origin is the scheme, host and port that upstream credentials are sent to.
	Origin string
	// Lifetime and Limits apply to every token of the site.
	Lifetime lifetime.Policy
	Limits   Limits
	// BlockedNames and BlockedKeys are users whose tokens are refused. Names are folded.
	BlockedNames, BlockedKeys []string
	// AllowsNamespace reports whether tokens of another namespace with these labels count. Nil means no.
	AllowsNamespace func(labels map[string]string) bool
	// TrustedHops is the number of trusted proxies in front of the gateway.
	TrustedHops int
	// Bearer says that a token may also be sent as Bearer. Then it names its owner itself.
	Bearer bool
	// Others says what happens to requests without a token of ours.
	Others OtherCredentials
	// IdentityHeader is the name of the header that hands users over to the product. If it is empty, their upstream credentials do.
	IdentityHeader string
	// CallerNames are the DNS names of which a gateway's client certificate must have one. Without any, gateways send caller keys.
	CallerNames []string
}

// UpstreamCredential is the credential that a user acts with at the product.
type UpstreamCredential struct {
	Site SiteName
	User string
	// UserKey is the user's key in the product, or empty if it is not known.
	UserKey string
	// Authorization is the value of the header.
	Authorization string
	// Origin is the server that it was obtained from. It is released to no other.
	Origin string
}

// actingCredential is an UpstreamCredential without the names that it is found by.
type actingCredential struct{ userKey, authorization, origin string }

// Index links what authenticates: APITokens, their records, sites, caller keys and authorities, upstream credentials and licences. They
// arrive in any order, and nothing authenticates until all its parts are there.
//
// The caller must not change what it has put in.
type Index struct {
	now func() time.Time
	mu  lock
	// ready says that the index has seen the whole initial list.
	ready bool
	// entries are linked from records and APITokens. The generated ones among them are also decoys. living is the number of those that are not dead.
	entries table
	living  int
	// loose are APITokens without a record, and pairs that do not agree, by UID.
	loose map[string]parts
	// imported are the entries of imported tokens, and deadImported are secrets of theirs that no longer authenticate.
	imported     importedTokens
	deadImported importedTokens
	slowHashes   *slowHashes
	sites        map[SiteName]*site
	memories     map[SiteName]Memory
	namespaces   map[string]map[string]string // labels by name
	callerKeys   map[SiteName]callerKeys
	// callerAuthorities are nil if they cannot be read.
	callerAuthorities map[SiteName]*x509.CertPool
	grants            map[SiteName]*grants
	licenses          map[SiteName]License
	probeKeys         map[SiteName]probe.Key
	// licensesRequired says that tokens of a site without a licence are refused.
	licensesRequired bool
}

// site is a Site in the form that requests need.
type site struct {
	name SiteName
	uid  string
	// remembered says that there is a Memory of this very site. issuedAfter is the site's own epoch.
	remembered          bool
	issuedAfter         time.Time
	product             string
	contextPath, origin string
	// tokenPaths begin with the context path.
	tokenPaths      []string
	lifetime        lifetime.Policy
	limits          Limits
	blockedNames    map[string]bool
	blockedKeys     map[string]bool
	allowsNamespace func(map[string]string) bool
	trustedHops     int
	bearer          bool
	others          others
	identityHeader  string
	// callers is nil if gateways send caller keys. It is replaced as a whole.
	callers *certifiedCallers
	// callerKeys and grants are those of the Index.
	callerKeys callerKeys
	grants     *grants
}

// siteUser identifies a user of a site.
type siteUser struct {
	site SiteName
	user string
}

// NewIndex returns an empty index that is not ready. now is its clock.
func NewIndex(now func() time.Time) *Index {
	return &Index{
		now:               now,
		entries:           newTable(),
		loose:             map[string]parts{},
		imported:          importedTokens{},
		deadImported:      importedTokens{},
		slowHashes:        newSlowHashes(),
		sites:             map[SiteName]*site{},
		memories:          map[SiteName]Memory{},
		namespaces:        map[string]map[string]string{},
		callerKeys:        map[SiteName]callerKeys{},
		callerAuthorities: map[SiteName]*x509.CertPool{},
		grants:            map[SiteName]*grants{},
		licenses:          map[SiteName]License{},
		probeKeys:         map[SiteName]probe.Key{},
	}
}

// SetReady declares that the index has seen the whole initial list. Until then every Decision is CannotDecide.
func (ix *Index) SetReady() {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	ix.ready = true
	// While the initial list comes, many are loose. A map keeps the memory of what it once had.
	loose := make(map[string]parts, len(ix.loose))
	maps.Copy(loose, ix.loose)
	ix.loose = loose
}

// Size returns the number of tokens whose APIToken and record agree.
func (ix *Index) Size() int {
	defer ix.mu.read(0).RUnlock()
	return ix.living
}

// PutToken adds or replaces an APIToken.
func (ix *Index) PutToken(t Token) {
	ix.change(t.UID, func(p *parts) { p.token = &t })
}

// DeleteToken removes an APIToken. From now on it does not authenticate. If its record remains, refusals say why.
func (ix *Index) DeleteToken(uid string) {
	ix.change(uid, func(p *parts) { p.token = nil })
}

// PutRecord adds or replaces the record of the APIToken with this UID.
func (ix *Index) PutRecord(uid string, r *record.Record) {
	ix.change(uid, func(p *parts) { p.record = r })
}

// DeleteRecord removes the record of the APIToken with this UID.
func (ix *Index) DeleteRecord(uid string) {
	ix.change(uid, func(p *parts) { p.record = nil })
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
		name: s.Name, uid: s.UID, issuedAfter: s.Lifetime.IssuedAfter, product: s.Product, contextPath: s.ContextPath, origin: s.Origin, tokenPaths: paths,
		lifetime: s.Lifetime, limits: s.Limits,
		blockedNames: setOf(s.BlockedNames), blockedKeys: setOf(s.BlockedKeys), allowsNamespace: s.AllowsNamespace, trustedHops: s.TrustedHops,
		bearer: s.Bearer, others: newOthers(s.Others), identityHeader: s.IdentityHeader, callerKeys: ix.callerKeys[s.Name], grants: ix.grants[s.Name],
	}
	if len(s.CallerNames) > 0 {
		ix.sites[s.Name].callers = &certifiedCallers{names: s.CallerNames}
	}
	ix.joinCallers(s.Name)
	ix.remember(s.Name)
}

func setOf(names []string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[name] = true
	}
	return set
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

// PutCallerKeys replaces the caller keys of a site. Those in ends are refused from these times on.
func (ix *Index) PutCallerKeys(name SiteName, keys map[authurl.Contract][]string, ends map[string]time.Time) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	ix.callerKeys[name] = callerKeys{keys, ends}
	ix.joinCallerKeys(name)
}

// DeleteCallerKeys removes all caller keys of a site. Then nobody may call for it.
func (ix *Index) DeleteCallerKeys(name SiteName) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	delete(ix.callerKeys, name)
	ix.joinCallerKeys(name)
}

// joinCallerKeys gives a site the caller keys that are known for it. The caller holds the lock.
func (ix *Index) joinCallerKeys(name SiteName) {
	if s := ix.sites[name]; s != nil {
		s.callerKeys = ix.callerKeys[name]
	}
}
