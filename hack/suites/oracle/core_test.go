package oracle

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"

	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/lifetime"
	"apitokens.dev/operator/internal/probe"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/webhook/gateway/contract"
)

// core is the real handler on the real index. It is told of objects in the model's words.
type core struct {
	index    *authn.Index
	handler  http.Handler
	observed audit.Exchange
	// connections are those of gateways with certificates.
	connections map[*certificate]context.Context
}

func newCore(now func() time.Time) *core {
	c := &core{index: authn.NewIndex(now), connections: map[*certificate]context.Context{}}
	c.handler = contract.NewHandler(c.index, func(x *audit.Exchange) { c.observed = *x })
	return c
}

// response is the gateway's side of one answer.
type response struct {
	header        http.Header
	status, bytes int
}

func (r *response) Header() http.Header         { return r.header }
func (r *response) Write(b []byte) (int, error) { r.bytes += len(b); return len(b), nil }
func (r *response) WriteHeader(status int) {
	if r.status != 0 {
		status = -1 // there is one answer
	}
	r.status = status
}

// answered are all that an answer can have, in the order of the answer's fields.
var answered = [...]string{
	"X-Forwarded-User", "X-Api-Token-Id", "Authorization", "X-Api-Token-Target", "X-Api-Token-Reason", "Www-Authenticate",
	otherHeader,
}

// ask returns the handler's answer, and what is wrong with it as an answer at all.
func (c *core) ask(q question) (a answer, wrong string) {
	w := response{header: http.Header{}}
	c.handler.ServeHTTP(&w, c.connect(&http.Request{Method: http.MethodGet, RequestURI: q.uri, Header: q.header, RemoteAddr: "10.0.0.1:40000"}, q.certificate))
	if w.status == http.StatusServiceUnavailable {
		delete(c.connections, q.certificate) // a refusal is remembered for a second
	}
	a.status = w.status
	for i, to := range [...]*string{&a.user, &a.tokenID, &a.authorization, &a.target, &a.reason, &a.challenge, &a.identity} {
		switch values, there := w.header[answered[i]]; {
		case !there:
			*to = absent
		case len(values) != 1:
			wrong = fmt.Sprintf("%s is %q", answered[i], values)
		default:
			*to = values[0]
		}
	}
	// With a token the product gets no cookie. Otherwise it gets those of the client.
	var cookies []string
	if a.status == http.StatusOK {
		cookies = []string{strings.Join(q.header["Cookie"], "; ")}
		if a.user != "" {
			cookies = []string{""}
		}
	}
	if got := w.header["Cookie"]; !slices.Equal(got, cookies) {
		wrong = fmt.Sprintf("Cookie is %q, want %q", got, cookies)
	}
	for name, values := range w.header {
		if len(values) > 0 && name != "Cookie" && !slices.Contains(answered[:], name) {
			wrong = fmt.Sprintf("%s is %q", name, values)
		}
	}
	if values, there := w.header["Date"]; !there || values != nil || w.bytes > 0 {
		wrong = fmt.Sprintf("the answer has a body of %d bytes or a Date", w.bytes)
	}
	d := c.observed.Decision
	a.log = logged{reason: string(d.Reason), user: d.User, claimed: d.Claimed, tokenID: d.TokenID}
	if d.Client.IsValid() {
		a.log.client = d.Client.String()
	}
	if d.APIToken != (authn.APITokenName{}) {
		a.log.apiToken = d.APIToken.Namespace + "/" + d.APIToken.Name + "/" + d.APIToken.UID
	}
	return a, wrong
}

func (c *core) putSite(name siteName, s *site) {
	c.index.PutSite(authn.Site{
		Name: nameOf(name), UID: s.uid, Product: s.product, ContextPath: s.contextPath, TokenPaths: s.tokenPaths,
		BlockedNames: s.blockedNames, BlockedKeys: s.blockedKeys, Origin: s.upstream, TrustedHops: s.trustedHops, Limits: limitsOf(s.limits),
		Lifetime: lifetime.Policy{DefaultDays: s.defaultDays, MaxDays: s.maxDays, IssuedAfter: s.IssuedAfter},
		AllowsNamespace: map[string]func(map[string]string) bool{
			"All":      func(map[string]string) bool { return true },
			"Selector": func(labels map[string]string) bool { return labels["team"] == s.team },
		}[s.from],
		CallerNames: s.callers, Bearer: s.bearer, Others: othersOf(s.others), IdentityHeader: s.header,
	})
}

func (c *core) putMemory(name siteName, m memory) {
	c.index.PutMemory(nameOf(name), authn.Memory{UID: m.uid, IssuedAfter: m.IssuedAfter})
}

func (c *core) putToken(uid string, t *apiToken) {
	c.index.PutToken(authn.Token{
		UID: uid, Namespace: t.namespace, Name: t.name, User: t.user, Site: nameOf(t.site),
		Lifetime: lifetime.Requested{Days: t.lifetimeDays, Until: t.Expiration}, Suspended: t.suspended,
		Imported: t.credential == "Imported", Portal: t.credential == "Portal", ParentNamespace: t.parent, Limits: limitsOf(t.limits),
	})
}

func (c *core) putRecord(uid string, r *tokenRecord) error {
	of := &record.Record{
		TokenID: r.tokenID, User: r.user, UserKey: r.userKey, Dead: r.Deleted, Site: record.Ref{Namespace: r.site.namespace, Name: r.site.name},
		APIToken: record.Ref{Namespace: r.apiToken.namespace, Name: r.apiToken.name},
		Imported: r.credential == "Imported", Portal: r.credential == "Portal",
	}
	if r.credential == "Generated" {
		of.DeliverySecret = "delivered"
	}
	for i, s := range slices.Concat(r.Secrets, r.Dead) {
		hash, err := record.ParseHash(hashOf(s))
		if err != nil {
			return fmt.Errorf("storing a hash: %w", err)
		}
		into := &of.Entries
		if i >= len(r.Secrets) {
			into = &of.DeadEntries
		}
		*into = append(*into, record.Entry{Hash: hash, State: record.State(s.state), Issued: s.Issued, Ends: s.Ends})
	}
	// Encode and decode, so that the core gets what a Secret would hold.
	stored, err := of.Encode()
	if err != nil {
		return err
	}
	if of, err = record.Decode(stored); err != nil {
		return err
	}
	c.index.PutRecord(uid, of)
	return nil
}

func (c *core) putCallerKeys(name siteName, keys map[string][]string) {
	of := map[authurl.Contract][]string{}
	for contract, values := range keys {
		of[authurl.Contract(contract)] = values
	}
	c.index.PutCallerKeys(nameOf(name), of, nil)
}

func (c *core) putProbeKey(name siteName, key string) {
	c.index.PutProbeKey(nameOf(name), probe.Key{Namespace: name.namespace, Site: name.name, Key: key})
}

func (c *core) putCredential(of owner, pat *credential) {
	c.index.PutUpstreamCredential(authn.UpstreamCredential{
		Site: nameOf(of.site), User: of.user, UserKey: pat.userKey, Authorization: pat.authorization, Origin: pat.upstream,
	})
}

func (c *core) putLicense(name siteName, l *license) {
	c.index.PutLicense(nameOf(name), authn.License{
		Products: l.products, Expires: l.Expires, Invalid: authn.Reason(l.invalid),
	})
}

func (c *core) deleteCredential(of owner) { c.index.DeleteUpstreamCredential(nameOf(of.site), of.user) }

func othersOf(o others) authn.OtherCredentials {
	action := func(class string) authn.Action {
		return map[string]authn.Action{"": authn.ActionForward, "Forward": authn.ActionForward, "Observe": authn.ActionObserve, "Refuse": authn.ActionRefuse}[o.actions[class]]
	}
	return authn.OtherCredentials{
		Password: action("password"), Bearer: action("bearer"), Session: action("session"), Anonymous: action("anonymous"),
		ExemptUsers: o.exemptUsers, ExemptPaths: o.exemptPaths, ChallengePaths: o.challengePaths,
	}
}

func nameOf(s siteName) authn.SiteName { return authn.SiteName{Namespace: s.namespace, Name: s.name} }

func limitsOf(l limits) authn.Limits {
	of := authn.Limits{ReadOnly: l.readOnly, Paths: l.paths}
	for _, network := range l.sources {
		of.Sources = append(of.Sources, netip.MustParsePrefix(network))
	}
	return of
}

// hashOf returns the stored form of a hash, as docs/reference/token-format.md describes it.
func hashOf(s secret) string {
	if s.weak {
		return weakHash(s.text)
	}
	var salt [16]byte
	binary.BigEndian.PutUint64(salt[:], uint64(s.Issued.UnixNano()))
	sum := sha256.Sum256(append(salt[:], s.text...))
	return "$sha256$v=1$" + base64.RawStdEncoding.EncodeToString(salt[:]) + "$" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// weakHashes remembers slow hashes: each takes some tens of milliseconds.
var weakHashes sync.Map

func weakHash(text string) string {
	if known, ok := weakHashes.Load(text); ok {
		return known.(string)
	}
	salt := strings.Repeat("s", 16)
	sum := argon2.IDKey([]byte(text), []byte(salt), 2, 19456, 1, 32)
	hash := "$argon2id$v=19$m=19456,t=2,p=1$" + base64.RawStdEncoding.EncodeToString([]byte(salt)) + "$" + base64.RawStdEncoding.EncodeToString(sum)
	weakHashes.Store(text, hash)
	return hash
}
