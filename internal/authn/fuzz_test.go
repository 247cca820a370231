package authn

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash/crc32"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	slashpath "path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
)

// issued is a token of the fuzzed index, in the terms of the documentation.
type issued struct {
	text, owner, record string
	site                SiteName
	// imported is the id of an imported token. It is not part of its text.
	imported string
	limits   fuzzedLimits
	// invalid is the reason why it does not authenticate now, or "".
	invalid Reason
	// grant is the upstream credential of its owner, or grantReason says why there is none.
	grant       string
	grantReason Reason
}

func (i issued) id() string {
	if i.imported != "" {
		return i.imported
	}
	return i.text[:token.IDLength]
}

type fuzzedSite struct {
	context, key string
	paths        []string
	hops         int
	limits       fuzzedLimits
}

// fuzzedLimits are limits as an APIToken or AtlassianSite states them.
type fuzzedLimits struct {
	readOnly        bool
	networks, paths []string
}

func (l fuzzedLimits) limits() Limits {
	of := Limits{ReadOnly: l.readOnly, Paths: l.paths}
	for _, network := range l.networks {
		of.Sources = append(of.Sources, netip.MustParsePrefix(network))
	}
	return of
}

// refuses returns the reason that a verified token gets, or "".
func (l fuzzedLimits) refuses(method, inside string, client net.IP) Reason {
	switch {
	case l.networks != nil && !slices.ContainsFunc(l.networks, func(network string) bool {
		_, n, err := net.ParseCIDR(network)
		return err == nil && client != nil && n.Contains(client)
	}):
		return ReasonSourceNotAllowed
	case l.readOnly && !slices.Contains([]string{"GET", "HEAD", "OPTIONS"}, method):
		return ReasonReadOnly
	case l.paths != nil && !slices.ContainsFunc(l.paths, func(p string) bool {
		return regexp.MustCompile(`^` + regexp.QuoteMeta(strings.TrimSuffix(p, "/")) + `(/|\z)`).MatchString(inside)
	}):
		return ReasonPathNotAllowed
	}
	return ""
}

const (
	fuzzOrigin  = "http://jira.jira.svc:8080"
	secretOf    = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcd"
	oldSecret   = "Zm9vYmFyYmF6cXV4MDEyMzQ1Njc4OUFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFla"
	base62Order = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

var (
	mainSite, otherSite = SiteName{"jira", "main"}, SiteName{"jira", "other"}

	fuzzedSites = map[SiteName]fuzzedSite{
		mainSite: {context: "/jira", key: "KEY-OF-MAIN", paths: []string{"/rest/", "/plugins/servlet/x/"}},
		otherSite: {
			key: "KEY-OF-OTHER", paths: []string{"/"}, hops: 1, limits: fuzzedLimits{networks: []string{"10.0.0.0/8", "2001:db8::/32"}},
		},
	}
	fuzzedTokens = []issued{
		{text: checksummed("asp_aaaaAAAA00001111_" + secretOf), owner: "alice", site: mainSite, grant: "Bearer pat-of-alice", grantReason: ReasonAuthenticated},
		{text: checksummed("asp_bbbbBBBB00001111_" + secretOf), owner: "d\u00f6rte@x", site: otherSite, grant: "Bearer pat-of-doerte", grantReason: ReasonAuthenticated},
		{text: checksummed("asp_ccccCCCC00001111_" + secretOf), owner: "bob", site: mainSite, grantReason: ReasonUpstreamChanged},
		{text: checksummed("asp_ddddDDDD00001111_" + secretOf), owner: "alice", site: otherSite, grantReason: ReasonUpstreamCredentialMissing},
		{
			text: checksummed("asp_eeeeEEEE00001111_" + secretOf), owner: "alice", site: mainSite, grant: "Bearer pat-of-alice", grantReason: ReasonAuthenticated,
			limits: fuzzedLimits{readOnly: true, networks: []string{"10.1.0.0/16", "2001:db8::1/128"}, paths: []string{"/rest/api/2", "/plugins/"}},
		},
		{text: checksummed("asp_ffffFFFF00001111_" + secretOf), owner: "alice", site: mainSite, grantReason: ReasonAuthenticated, invalid: ReasonExpired},
		{
			text: oldSecret, imported: "asp_ggggGGGG00001111", owner: "alice", site: mainSite, grant: "Bearer pat-of-alice", grantReason: ReasonAuthenticated,
			limits: fuzzedLimits{readOnly: true},
		},
		{text: oldSecret, imported: "asp_hhhhHHHH00001111", owner: "bob", site: mainSite, grantReason: ReasonUpstreamChanged, invalid: ReasonSuspended},
	}
)

// checksummed appends the checksum to the body of a token.
func checksummed(body string) string {
	// math/big orders the lower-case digits first.
	swap := func(r rune) rune {
		if unicode.IsUpper(r) {
			return unicode.ToLower(r)
		}
		return unicode.ToUpper(r)
	}
	sum := strings.Map(swap, new(big.Int).SetUint64(uint64(crc32.ChecksumIEEE([]byte(body)))).Text(62))
	return body + strings.Repeat("0", 6-len(sum)) + sum
}

// fuzzedIndex returns an index with two sites and the tokens. It stores their records for the reference.
func fuzzedIndex(f *testing.F) *Index {
	ix := NewIndex(time.Now)
	for name, s := range fuzzedSites {
		ix.PutSite(Site{Name: name, Product: "Jira", ContextPath: s.context, TokenPaths: s.paths, Origin: fuzzOrigin, TrustedHops: s.hops, Limits: s.limits.limits()})
		ix.PutMemory(name, Memory{})
		ix.PutCallerKeys(name, map[authurl.Contract][]string{authurl.Nginx: {"RETIRED", s.key}}, nil)
	}
	for i := range fuzzedTokens {
		tok, uid := &fuzzedTokens[i], fmt.Sprintf("uid-%d", i)
		create := record.NewHash
		if tok.imported != "" {
			create = record.NewImportedHash
		}
		hash, err := create(tok.text, strings.NewReader(strings.Repeat(uid, saltLength)))
		if err != nil {
			f.Fatal(err)
		}
		tok.record = hash.String()
		site := record.Ref{Namespace: tok.site.Namespace, Name: tok.site.Name}
		v := Token{
			UID: uid, Namespace: tok.site.Namespace, Name: uid, User: strings.ToUpper(tok.owner[:1]) + tok.owner[1:], Site: tok.site,
			Imported: tok.imported != "", Limits: tok.limits.limits(), Suspended: tok.invalid == ReasonSuspended,
		}
		if tok.invalid == ReasonExpired {
			v.Lifetime.Days = 1
		}
		ix.PutToken(v)
		ix.PutRecord(uid, &record.Record{
			TokenID: tok.id(), User: tok.owner, Site: site, Imported: v.Imported,
			APIToken: record.Ref{Namespace: tok.site.Namespace, Name: uid},
			Entries:  []record.Entry{{Hash: hash, State: record.Delivered, Issued: time.Unix(1, 0)}},
		})
		if tok.invalid != "" {
			continue
		}
		c := UpstreamCredential{Site: tok.site, User: tok.owner, Authorization: tok.grant, Origin: fuzzOrigin}
		switch tok.grantReason {
		case ReasonUpstreamCredentialMissing:
			continue
		case ReasonUpstreamChanged:
			c.Origin, c.Authorization = "http://elsewhere:8080", "Bearer pat-for-elsewhere"
		}
		ix.PutUpstreamCredential(c)
	}
	ix.SetReady()
	return ix
}

const saltLength = 16

// unlicensed has the sites of licensedIndex without a valid licence, and the reason.
var unlicensed = map[SiteName]Reason{mainSite: ReasonInvalidLicenseExpired}

// licensedIndex is a fuzzedIndex that requires licences. One of its sites has a valid one.
func licensedIndex(f *testing.F) *Index {
	ix := fuzzedIndex(f)
	ix.RequireLicenses()
	ix.PutLicense(mainSite, License{Products: []string{"Jira"}, Expires: time.Unix(1, 0)})
	ix.PutLicense(otherSite, License{Products: []string{"Confluence", "Jira"}, Expires: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)})
	return ix
}

// FuzzDecide compares Decide with an independent reference, written from docs/reference/requests.md and docs/reference/token-format.md with the
// parsers of the standard library. {t} in target and raw stands for a token of the index after mutation. raw has one
// Authorization per line. client has the address of the peer, then one X-Forwarded-For per line.
func FuzzDecide(f *testing.F) {
	free, licensed := fuzzedIndex(f), licensedIndex(f)
	for _, seed := range []struct {
		shape, mutation uint16
		user, target    string
		raw             string
	}{
		{32, 0, "alice", "/jira/rest/api/2/search", ""},
		{32, 0, "alice", "/jira/rest/api/20", ""},
		{40, 0, "alice", "/jira/rest/", ""},
		{48, 0, "ALICE", "/jira/rest/x", ""},
		{48, 0, "bob", "/jira/rest/x", ""},
		{48, 0, "dora", "/jira/rest/x", ""},
		{48, 0, "alice", "/jira/secure/", ""},
		{48, 0, "alice", "/jira/rest/%2f", ""},
		{48, 0, "alice", "/jira/rest/?os_password=asp_", ""},
		{48, 4, "alice", "/jira/rest/", ""},
		{56, 10, "bob", "/jira/rest/", "x"},
		{0, 0, "alice", "/jira/rest/api/2/myself?expand=all", ""},
		{0, 0, "ALICE", "/x/../jira;a=b/%72est/api", ""},
		{0, 0, "alice", "/jira/rest/pat/latest", ""},
		{0, 0, "alice", "/jira/rest/api?os%5Fusername=bob", ""},
		{0, 0, "alice", "/jira/rest/..;/secure", ""},
		{0, 0, "alice", "/jira/rest/%2f", ""},
		{0, 1, "alice", "/jira/rest/", ""},
		{8, 0, "D\u00f6rte@x", "/anything", ""},
		{16, 0, "bob", "/jira/rest/", ""},
		{24 + 1<<8, 0, "alice", "/rest/api", ""},
		{1, 0, "alice", "/jira/rest/", "Basic YWxpY2U6c2VjcmV0"},
		{1, 0, "alice", "/jira/rest/?os_password={t}", ""},
		{1, 0, "alice", "/jira/rest/?os_password=%61sp_", "Bearer x"},
		{1, 0, "", "/", "Bearer {t}"},
		{1, 0, "", "/", "Token token=\"{t}\""},
		{1, 0, "", "/", "Negotiate YIIJvwYGKwYBBQUCoIIJszCC"},
		{1, 0, "", "/", "{t}"},
		{1, 0, "", "/", "Basic YTpi\nBasic YTpi"},
		{1, 0, "", "/", "OAuth oauth_consumer_key=\"x\",oauth_token={t}"},
		{2, 0, "alice", "/jira/rest/", "Basic YTpi"},
		{3, 0, "alice", "/jira/rest/", "b"},
		{4, 0, "alice", "/jira/rest/", "bAsIc  "},
		{4, 0, "alice", "/jira/rest/", " \tBasic "},
		{3, 0, "alice", "/jira/rest/", " Basic "},
		{0, 0, "alice", "/jira/s/..;/rest/api/_/rest/pat/latest/tokens", ""},
		{8, 0, "D\u00f6rte@x", "/s/x/_/rest/pat/latest/tokens", ""},
		{8, 0, "D\u00f6rte@x", "/s/%2e%2e/rest/api/2/search/_/rest/api/2/issue", ""},
		{8, 0, "D\u00f6rte@x", "/secure/attachment/10000/C%23.txt", ""},
		{8, 0, "D\u00f6rte@x", "/plugins/servlet/oauth/authorize", ""},
		{0, 0, "alice", "/jira/rest/api/2/user/password", ""},
		{0, 0, "alice", "//jira///rest//api/2?q=//asp_net", ""},
		{0, 0, "alice", "/jira/rest/api?q=x%7b{t}", ""},
		{1, 0, "", "/jira/rest/api?q=%2561sp_aaaaAAAA00001111_0", ""},
		{4, 0, "alice", "/jira/rest/", "Negotiate "},
		{5, 0, "alice", "/jira/rest/", "="},
		{6, 0, "alice", "/jira/rest/", ", Basic YTpi"},
		{6, 0, "alice", "/jira/rest/", "x\t,Basic asp_x,BAsic "},
		{1 << 13, 0, "alice", "/jira/rest/api/2/search", ""},
		{1 << 13, 0, "alice", "/jira/rest/pat", ""},
		{1 << 13, 0, "alice", "/jira/rest/?os_cookie", ""},
		{1 << 13, 0, "bob", "/jira/rest/", ""},
		{32 + 1<<13, 0, "alice", "/jira/secure/", ""},
		{8 + 1<<13, 0, "D\u00f6rte@x", "/anything", ""},
	} {
		for kind := range uint16(mutations) {
			if kind > 0 && (seed.shape != 0 || seed.target != "/jira/rest/") {
				continue
			}
			f.Add(seed.shape, seed.mutation+kind+23*mutations, seed.user, seed.target, seed.raw, "GET", "10.1.2.3\n10.1.2.4, 10.1.2.3")
		}
		f.Add(seed.shape, seed.mutation, seed.user, seed.target, seed.raw, "GET", "10.1.2.3\n10.1.2.4, 10.1.2.3")
	}
	for client, method := range map[string]string{
		"": "POST", "11.0.0.1": "", "10.1.2.3": "get", "::ffff:10.1.2.3\n11.0.0.1\n10.1.2.3": "HEAD", "2001:db8::1\n2001:db8::1\t,x": "OPTIONS",
		"2001:db8::1%eth0\n,": "GET", "10.1.2.3\n10.1.2.3,11.0.0.1,10.1.2.3": "DELETE", "10.2.0.0\n10.1.2.3": "PUT",
	} {
		for _, tok := range []uint16{0, 8, 32, 48} {
			f.Add(tok, uint16(0), fuzzedTokens[tok>>3].owner, "/jira/rest/api/2/", "", method, client)
		}
	}
	f.Fuzz(func(t *testing.T, shape, mutation uint16, user, target, raw, method, client string) {
		tok := fuzzedTokens[shape>>3&7]
		text := mutated(tok, mutation, raw)
		from := strings.Split(client, "\n")
		r := &Request{
			Contract: authurl.Nginx, Site: mainSite, CallerKey: fuzzedSites[mainSite].key,
			Authorization: authorizations(shape&7, user, text, strings.ReplaceAll(raw, "{t}", text)),
			Target:        strings.ReplaceAll(target, "{t}", text),
			Method:        method, Client: Client{Address: from[0], Forwarded: from[1:]},
		}
		if shape>>8&1 == 1 != (tok.site == otherSite) {
			r.Site, r.CallerKey = otherSite, fuzzedSites[otherSite].key
		}
		switch shape >> 9 & 15 {
		case 1:
			r.CallerKey = fuzzedSites[mainSite].key
		case 2:
			r.CallerKey = raw
		case 3:
			r.Site.Name = raw
		case 4:
			r.Contract = authurl.Contract(raw)
		}
		for _, value := range append(r.Authorization, r.Target) {
			if strings.ContainsFunc(value, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
				return // no HTTP header can hold this
			}
		}
		ix, lacks := free, Reason("")
		if shape>>13&1 == 1 {
			ix, lacks = licensed, unlicensed[r.Site]
		}
		got := ix.Decide(r)
		if again := ix.Decide(r); got != again {
			t.Fatalf("decided %+v, then %+v", got, again)
		}
		if want := reference(r, lacks); !slices.Contains(want, got) {
			t.Errorf("%+v: decided\n%+v, want one of\n%+v", r, got, want)
		}
		checkInvariants(t, r, got)
	})
}

const mutations = 13

// mutated returns the text of a token after one of the mutations.
func mutated(tok issued, mutation uint16, raw string) string {
	text := tok.text
	i := int(mutation/mutations) % len(text)
	flip := func(body string, i int) string {
		return body[:i] + string(base62Order[(strings.IndexByte(base62Order, body[i])+1+int(mutation)%61)%62]) + body[i+1:]
	}
	body, other := text[:61], fuzzedTokens[int(mutation/mutations)%len(fuzzedTokens)].text
	switch mutation % mutations {
	case 1:
		return text[:i] + raw + text[i:]
	case 2:
		return text[:i]
	case 3:
		return text[i:]
	case 4:
		return text[:i] + text[i+1:]
	case 5:
		return flip(text, i)
	case 6: // another secret, well-formed
		return checksummed(flip(body, 21+i%40))
	case 7: // another id, well-formed
		return checksummed(flip(body, 4+i%16))
	case 8: // the id of one, the rest of another
		return text[:token.IDLength] + other[token.IDLength:]
	case 9:
		return strings.ToUpper(text[:i]) + text[i:]
	case 10:
		return text + raw
	case 11:
		return raw + text
	case 12:
		return raw
	}
	return text
}

// authorizations are the client's headers.
func authorizations(shape uint16, user, text, raw string) []string {
	encode := func(user, password string) string {
		return base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	}
	ours := "Basic " + encode(user, text)
	switch shape {
	case 1:
		if raw == "" {
			return nil
		}
		return strings.Split(raw, "\n")
	case 2:
		return []string{ours, raw}
	case 3:
		return []string{"Basic " + encode(text, raw)}
	case 4:
		return []string{raw + encode(user, text)}
	case 5:
		i := len(raw) * 7 % len(ours)
		return []string{ours[:i] + raw + ours[i:]}
	case 6:
		return []string{ours + raw}
	case 7:
		return []string{raw + text}
	}
	return []string{ours}
}

// The reference below shares no code with the package.

var (
	refToken = regexp.MustCompile(`^asp_[0-9A-Za-z]{16}_[0-9A-Za-z]{46}\z`)
	// refPresented matches asp_ behind a character that cannot be part of a credential (token68, RFC 9110 section 11.2).
	refJoined    = regexp.MustCompile(`,[ \t]*[bB][aA][sS][iI][cC][ \t]`)
	refPresented = regexp.MustCompile(`(^|[^-0-9A-Za-z._~+/])asp_`)
	refAmbiguous = regexp.MustCompile(`(?i)%(2f|5c|7f|[01][0-9a-f])|%([^0-9a-f]|.[^0-9a-f]|.?\z)|[\x00-\x20\x7f\\#]|[^\x00-\x7f]`)
	refSpecial   = regexp.MustCompile(`(?i);|%(25|3b|23)`)
	// refIssues matches paths in lower case.
	refIssues = regexp.MustCompile(`/(rest/(pat|auth|tsv|oauth2|access-tokens|authconfig|applinks|applinks-oauth|usermanagement|` +
		`gadget/[^/]*/login|api/[^/]*/(user/|myself/)?password|api/(admin/)?user/[^/]*/password)|` +
		`plugins/(personalaccesstokens|servlet/(oauth[^/]*|applinks))|(change|set)password[^/]*\.jspa|[^/]*changemypassword\.action)(\.[^/.]*)?(/|\z)`)
	// refInQuery matches a token in a raw query. Each character may be encoded, and its percent sign again.
	refInQuery = regexp.MustCompile(spelled("61", "a") + spelled("73", "s") + spelled("70", "p") + spelled("5[fF]", "_") +
		"(" + refDigit + "){16}" + spelled("5[fF]", "_") + refDigit)
	refDigit = spelled("(3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa])", "[0-9A-Za-z]")
	// refPort matches an address with a port or brackets.
	refPort = regexp.MustCompile(`^(\[[0-9A-Fa-f:.]+\]|[0-9.]+)(:[0-9]+)?\z`)
)

// refID returns the decoded id of the first token in the first text that has one, or "".
func refID(texts ...string) string {
	for _, text := range texts {
		if found := refInQuery.FindString(text); found != "" {
			for strings.Contains(found, "%25") {
				found = strings.ReplaceAll(found, "%25", "%")
			}
			return unescaped(found)[:token.IDLength]
		}
	}
	return ""
}

// spelled is an expression for a character as it is or percent-encoded.
func spelled(hex, plain string) string { return "(" + plain + "|%(25)*" + hex + ")" }

// reference returns the right decisions, at a site that may lack a licence.
func reference(r *Request, lacks Reason) []Decision {
	ds := referenceWithoutClient(r, lacks)
	if _, ok := fuzzedSites[r.Site]; ok && ds[0].Reason != ReasonCallerKeyMismatch {
		address, _ := netip.AddrFromSlice(refClient(r))
		for i := range ds {
			ds[i].Client = address.Unmap()
		}
	}
	return ds
}

// refClient returns the client's address: the peer's, or the one that the first trusted proxy added.
func refClient(r *Request) net.IP {
	text := r.Client.Address
	if hops := fuzzedSites[r.Site].hops; hops > 0 {
		all := strings.Split(strings.Join(r.Client.Forwarded, ","), ",")
		if len(all) <= hops {
			return nil
		}
		text = strings.Trim(all[len(all)-1-hops], " \t")
	}
	m := refPort.FindStringSubmatch(text)
	if m == nil {
		return net.ParseIP(text)
	}
	host := strings.Trim(m[1], "[]")
	_, err := strconv.ParseUint(strings.TrimPrefix(m[2], ":"), 10, 16)
	if m[2] != "" && err != nil || strings.Contains(host, ":") != strings.HasPrefix(text, "[") {
		return nil
	}
	return net.ParseIP(host)
}

// refImported returns the imported token whose secret a password is.
func refImported(at SiteName, user, password string) (index int, found bool) {
	index = slices.IndexFunc(fuzzedTokens, func(tok issued) bool {
		return tok.imported != "" && tok.site == at && tok.owner == asciiLower(user) && tok.text == password
	})
	return index, index >= 0
}

func referenceWithoutClient(r *Request, lacks Reason) []Decision {
	refuse := func(reason Reason, id string) []Decision {
		return []Decision{{Verdict: Unauthorized, Reason: reason, TokenID: id}}
	}
	s, ok := fuzzedSites[r.Site]
	switch {
	case !ok:
		return []Decision{{Reason: ReasonUnknownSite}}
	case r.Contract != "nginx" || r.CallerKey != s.key && r.CallerKey != "RETIRED":
		return []Decision{{Reason: ReasonCallerKeyMismatch}}
	case len(r.Authorization) > 1:
		return refuse(ReasonMalformedCredential, refID(r.Authorization...))
	}
	rawPath, query, _ := strings.Cut(r.Target, "?")
	forward := Decision{Verdict: Forward, Reason: ReasonNoToken, Target: r.Target}
	var user, password string
	if len(r.Authorization) == 1 {
		forward.Authorization = r.Authorization[0]
		scheme, rest := strings.TrimLeft(r.Authorization[0], " \t"), ""
		if i := strings.IndexAny(scheme, " \t"); i >= 0 {
			scheme, rest = scheme[:i], strings.TrimLeft(scheme[i:], " \t")
		}
		switch {
		case asciiLower(scheme) == "basic":
			decoded, err := base64.StdEncoding.Strict().DecodeString(rest)
			if user, password, ok = strings.Cut(string(decoded), ":"); err != nil || !ok || len(rest) > 1024 {
				return refuse(ReasonMalformedCredential, refID(r.Authorization...))
			}
			if !strings.HasPrefix(password, "asp_") && (refPresented.MatchString(user) || refPresented.MatchString(password)) {
				return refuse(ReasonSchemeNotAccepted, refID(user, password, r.Authorization[0]))
			}
		case refJoined.MatchString(r.Authorization[0]):
			return refuse(ReasonMalformedCredential, refID(r.Authorization...))
		case refPresented.MatchString(r.Authorization[0]):
			return refuse(ReasonSchemeNotAccepted, refID(r.Authorization[0]))
		}
	}
	if !strings.HasPrefix(password, "asp_") {
		if refInQuery.MatchString(query) {
			return []Decision{{Verdict: Forbidden, Reason: ReasonCredentialParameter, TokenID: refID(query)}}
		}
		if _, found := refImported(r.Site, user, password); !found {
			return []Decision{forward}
		}
	}

	i, imported := refImported(r.Site, user, password)
	id := refID(password)
	if imported {
		id = fuzzedTokens[i].id()
	}
	path, ok := refPath(rawPath)
	if !ok {
		return refuse(ReasonAmbiguousPath, id)
	}
	inside, ok := strings.CutPrefix(path, s.context)
	if !ok || !slices.ContainsFunc(s.paths, func(p string) bool { return strings.HasPrefix(inside, p) }) {
		return refuse(ReasonPathNotAccepted, id)
	}
	if regexp.MustCompile(`^/s/(.*/)?_/|^/s/_/`).MatchString(inside) {
		return refuse(ReasonAmbiguousPath, id)
	}
	if !imported {
		if !refToken.MatchString(password) || checksummed(password[:61]) != password {
			return refuse(ReasonMalformedToken, id)
		}
		i = slices.IndexFunc(fuzzedTokens, func(tok issued) bool {
			return tok.imported == "" && tok.site == r.Site && tok.id() == password[:20]
		})
		if i < 0 {
			return refuse(ReasonUnknownToken, id)
		}
	}
	tok := fuzzedTokens[i]
	d := Decision{Verdict: Unauthorized, TokenID: tok.id()}
	parts := strings.Split(tok.record, "$")
	salt, err := base64.RawStdEncoding.DecodeString(parts[3])
	sum := sha256.Sum256(append(salt, password...))
	if err != nil || base64.RawStdEncoding.EncodeToString(sum[:]) != parts[4] {
		d.Reason = ReasonWrongSecret
		return []Decision{d}
	}
	if asciiLower(user) != tok.owner {
		d.Reason, d.Claimed = ReasonWrongUser, user
		return []Decision{d}
	}
	if tok.invalid != "" {
		d.Reason = tok.invalid
		return []Decision{d}
	}
	d.Verdict, d.User = Forbidden, tok.owner
	d.Reason = tok.grantReason
	client := refClient(r)
	ofSite, ofToken := s.limits.refuses(r.Method, inside, client), tok.limits.refuses(r.Method, inside, client)
	challenge := func(parameter string) bool { return parameter == "os_authType=basic" }
	seraph := refParameter(strings.Join(slices.DeleteFunc(strings.Split(query, "&"), challenge), "&"), func(name, _ string) bool {
		return slices.Contains([]string{"os_username", "os_password", "os_authtype", "os_cookie"}, strings.ToLower(name))
	})
	switch {
	case refSpecial.MatchString(rawPath):
		d.Reason = ReasonPathCharacterNotAllowed
	case refIssues.MatchString(asciiLower(inside)):
		d.Reason = ReasonCredentialPath
	case seraph, refInQuery.MatchString(query):
		d.Reason = ReasonCredentialParameter
	case lacks != "":
		d.Reason = lacks
	case ofSite != "":
		d.Reason = ofSite
	case ofToken != "":
		d.Reason = ofToken
	case tok.grantReason == ReasonAuthenticated:
		d.Verdict, d.Authorization = Allow, tok.grant
		d.Target = regexp.MustCompile(`//+`).ReplaceAllString(rawPath, "/") + r.Target[len(rawPath):]
		uid := fmt.Sprintf("uid-%d", i)
		d.APIToken = APITokenName{tok.site.Namespace, uid, uid}
	}
	return []Decision{d}
}

func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
	return string(b)
}

// refParameter reports whether a query has a matching parameter.
func refParameter(query string, is func(name, value string) bool) bool {
	for parameter := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(parameter, "=")
		if is(unescaped(name), unescaped(value)) {
			return true
		}
	}
	return false
}

// brokenEscape matches a percent sign that begins no escape.
var brokenEscape = regexp.MustCompile(`%([0-9A-Fa-f]{2})?`)

func unescaped(s string) string {
	s = brokenEscape.ReplaceAllStringFunc(s, func(escape string) string {
		if escape == "%" {
			return "%25"
		}
		return escape
	})
	s, _ = url.QueryUnescape(s)
	return s
}

// refPath returns the decoded path, or false if two servers could read it differently.
func refPath(raw string) (string, bool) {
	if !strings.HasPrefix(raw, "/") || refAmbiguous.MatchString(raw) {
		return "", false
	}
	var kept []string
	for part := range strings.SplitSeq(raw[1:], "/") {
		decoded, err := url.PathUnescape(part)
		if err != nil || regexp.MustCompile(`^\.\.?(;|\z)`).MatchString(decoded) {
			return "", false
		}
		if decoded != "" {
			kept = append(kept, decoded)
		}
	}
	path := "/" + strings.Join(kept, "/")
	if len(kept) > 0 && strings.HasSuffix(raw, "/") {
		path += "/"
	}
	return path, true
}

// runs returns the path that the product runs for a target that the gateway forwards, below the context path. It models
// the products' resource rewriting and Tomcat.
func runs(context, target string) string {
	path, _, _ := strings.Cut(target, "?")
	// The rewriting looks at the raw path as java.net.URI normalizes it: it resolves dot segments in the clear alone.
	below := strings.TrimPrefix(resolved(path), context)
	if m := regexp.MustCompile(`^/s/(.*)/_/(.*)`).FindStringSubmatch(below); m != nil {
		return mapped("/" + m[2])
	}
	return strings.TrimPrefix(mapped(path), context)
}

// mapped returns the path that Tomcat maps: it strips parameters, decodes once and resolves dot segments.
func mapped(raw string) string {
	path := regexp.MustCompile(`;[^/]*`).ReplaceAllString(raw, "")
	return resolved(unescaped(strings.ReplaceAll(path, "+", "%2B")))
}

// resolved resolves dot segments and merges slashes.
func resolved(path string) string {
	clean := slashpath.Clean(path)
	if strings.HasSuffix(path, "/") && clean != "/" {
		clean += "/"
	}
	return clean
}

// checkInvariants checks what must hold for every decision, without the reference.
func checkInvariants(t *testing.T, r *Request, d Decision) {
	t.Helper()
	inQuery := d.Verdict == Forbidden && d.Reason == ReasonCredentialParameter
	if (d.User != "") != (d.Verdict == Allow || d.Verdict == Forbidden) && !inQuery {
		t.Errorf("%v with the identity %q", d.Verdict, d.User)
	}
	if d.Authorization != "" && d.Verdict != Allow && d.Verdict != Forward {
		t.Errorf("%v with a credential", d.Verdict)
	}
	if d.Verdict == Allow && !slices.ContainsFunc(fuzzedTokens, func(tok issued) bool {
		return tok.owner == d.User && tok.id() == d.TokenID && tok.site == r.Site && tok.grant == d.Authorization && tok.grant != ""
	}) {
		t.Errorf("allowed %+v", d)
	}
	if d.Verdict == Allow {
		checkRuns(t, r, d)
	}
	if d.Verdict != Forward {
		return
	}
	if d.TokenID != "" || d.Authorization != strings.Join(r.Authorization, "") {
		t.Errorf("forwarded %+v of %+v", d, r)
	}
	if _, query, _ := strings.Cut(d.Target, "?"); d.Target != r.Target || refInQuery.MatchString(query) {
		t.Errorf("forwarded the target %q of %q", d.Target, r.Target)
	}
	if leaked := leaks(d.Authorization); leaked != "" {
		t.Errorf("forwarded %q, in which the product finds %q", d.Authorization, leaked)
	}
}

// checkRuns checks that the product runs the path that was judged: with a token, not more than the site and the token allow.
func checkRuns(t *testing.T, r *Request, d Decision) {
	t.Helper()
	s := fuzzedSites[r.Site]
	path := runs(s.context, d.Target)
	if judged, ok := refPath(r.path()); !ok || judged != s.context+path {
		t.Errorf("allowed %q as %q, and the product runs %q", r.Target, judged, path)
	}
	if refIssues.MatchString(asciiLower(path)) || !slices.ContainsFunc(s.paths, func(p string) bool { return strings.HasPrefix(path, p) }) {
		t.Errorf("allowed %q, and the product runs %q", r.Target, path)
	}
}

// leaks finds a credential of ours in a header. It reads as tolerantly as any product may: any white space separates, and any
// variant of base64 counts.
func leaks(authorization string) string {
	for _, part := range strings.FieldsFunc(authorization, func(c rune) bool { return strings.ContainsRune(" \t\"',;=:", c) }) {
		if strings.HasPrefix(part, "asp_") {
			return part
		}
	}
	fields := strings.Fields(authorization)
	if len(fields) < 2 || asciiLower(fields[0]) != "basic" {
		return ""
	}
	encoded := strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(strings.Join(fields[1:], "")), "=")
	decoded, err := base64.RawStdEncoding.DecodeString(encoded)
	if err != nil {
		return ""
	}
	for part := range strings.SplitSeq(string(decoded), ":") {
		if strings.HasPrefix(part, "asp_") {
			return part
		}
	}
	return ""
}

// FuzzCanonicalPath compares canonicalPath with the reference, and with the fake product, which maps paths as Tomcat does and
// shares no code with it.
func FuzzCanonicalPath(f *testing.F) {
	for _, raw := range []string{
		"/rest/..;/%2e/a//b;c=d/", "/rest/%2e%2e;x=y/secure", "/rest/.", "/rest/..", "/rest/;x", "/a/..;/b/.;/", "/%C3%A4%3F%20/{}|^`\"<>",
		"/rest/%c0%ae%c0%ae/", "/rest/%ff", "/rest/..%20/", "/rest/%e2%80%ae/", "//h/rest/", "/rest/;/../x", "/;a/;b/..", "/rest/%2E.;%61/pat",
		"/s/..;/rest/api/_/rest/pat/latest/tokens", "/s/%2e%2e/rest/api/2/search/_/rest/api/2/issue", "/s/x/_/rest/pat", "/rest/C%23", "/rest/50%25",
	} {
		f.Add(raw)
	}
	// No path lies in this context: the fake product maps every request, and serves none.
	tomcat := fakeproduct.NewJira(fakeproduct.Options{ContextPath: "/\x00"})
	f.Fuzz(func(t *testing.T, raw string) {
		raw, _, _ = strings.Cut(raw, "?")
		path, fault := canonicalPath(nil, raw)
		if ref, ok := refPath(raw); ref != string(path) || ok != (fault != ambiguous) || ok && refSpecial.MatchString(raw) != (fault == specialCharacter) {
			t.Fatalf("%q became %q, %v; the reference says %q, %v", raw, path, fault, ref, ok)
		}
		if fault != faultless {
			return
		}
		if strings.ContainsFunc(string(path), func(c rune) bool { return c < ' ' || c == 0x7f || strings.ContainsRune(`\;%#`, c) }) ||
			path[0] != '/' || regexp.MustCompile(`/\.{0,2}/|/\.{1,2}\z`).Match(path) {
			t.Fatalf("%q became %q", raw, path)
		}
		if again, fault := canonicalPath(nil, (&url.URL{Path: string(path)}).EscapedPath()); fault != faultless || string(again) != string(path) {
			t.Errorf("%q became %q, and that %q", raw, path, again)
		}
		if !isRedispatched(path) && runs("", mergeSlashes(raw)) != string(path) {
			t.Errorf("%q became %q, but the product runs %q", raw, path, runs("", mergeSlashes(raw)))
		}
		tomcat.Reset()
		w := httptest.NewRecorder()
		tomcat.ServeHTTP(w, &http.Request{Method: http.MethodGet, RequestURI: raw, URL: &url.URL{Path: "/"}, Body: http.NoBody})
		if w.Code == http.StatusBadRequest {
			return
		}
		if got := tomcat.Requests()[0].Path; got != string(path) {
			t.Errorf("%q became %q, but Tomcat maps it to %q", raw, path, got)
		}
	})
}
