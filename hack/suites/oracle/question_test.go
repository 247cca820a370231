package oracle

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// question is one that a gateway could ask: mostly as somebody asks who has a token and means well, and now and then with
// something else in any of its parts.
func (l *life) question() question {
	aim := l.aim()
	at := aim.site
	if rarely(l, 40) {
		at = choose(l, siteNames)
	}
	q := question{uri: l.url(at), header: http.Header{}, certificate: l.presents(at)}
	values, other := l.authorization(aim)
	if len(values) > 0 {
		q.header["Authorization"] = values
	}
	target := l.target(at, aim, other)
	original := choose(l, []string{"https://jira.example.com", "http://jira.example.com:8080", "https://[2001:db8::1]:443", "http://"}) + target
	q.header["X-Original-Url"] = []string{original}
	if rarely(l, 300) {
		l.spoilURL(q.header, original)
	}
	if method := l.method(); method != nil {
		q.header["X-Original-Method"] = method
	}
	l.from(at, q.header)
	if rarely(l, 4) {
		l.noise(q.header)
	}
	if rarely(l, 6) {
		q.header["Cookie"] = choose(l, [][]string{{"JSESSIONID=1"}, {"a=b", "c=d"}, {""}, {" ", "a=b"}, {"\t"}})
	}
	return q
}

// aim is a secret that somebody has.
func (l *life) aim() known {
	if l.weak && rarely(l, 100) {
		text := choose(l, weakSecrets)
		if rarely(l, 10) {
			text = "not any of the secrets"
		}
		return known{text, weakUser, siteNames[0]}
	}
	for range 4 {
		uid := choose(l, uids)
		if r := l.world.records[uid]; r != nil && (l.valid(uid) || rarely(l, 8)) {
			n := len(r.Secrets) - 1
			if rarely(l, 3) {
				n = l.n(n + 1)
			}
			return known{r.Secrets[n].text, r.user, r.site}
		}
	}
	return choose(l, l.known)
}

// url is the auth URL of a site. The key is one that is good, mostly.
func (l *life) url(at siteName) string {
	key := "NOKEY"
	if keys := l.world.callerKeys[at]["nginx"]; len(keys) > 0 {
		key = choose(l, keys)
	}
	contract := "nginx"
	switch l.n(400) {
	case 390:
		key = choose(l, []string{key + "x", key[1:], strings.ToLower(key), "KEYOFANOTHERCONTRACT", "%4bEY", strings.Repeat("K", 200)})
	case 391:
		if keys := l.world.callerKeys[choose(l, siteNames)]["nginx"]; len(keys) > 0 {
			key = keys[0]
		}
	case 392:
		contract = choose(l, []string{"other", "NGINX", "nginx/", "", "apisix"})
	case 393:
		at.name = choose(l, []string{"none", "main/", "", "main/x", "%6dain"})
	case 394:
		at.namespace = choose(l, []string{"none", "", "..", "jira/main"})
	case 395:
		return choose(l, []string{"/", "", "*", "nginx", "/nginx/" + key + "/jira", "http://webhook/nginx/" + key + "/jira/main"})
	case 396:
		return "/" + contract + "/" + key + "/" + at.namespace + "/" + at.name + "?x=/nginx/KEY"
	}
	return "/" + contract + "/" + key + "/" + at.namespace + "/" + at.name
}

// spoilURL makes of the header something that nginx does not send.
func (l *life) spoilURL(header http.Header, original string) {
	switch l.n(6) {
	case 0:
		delete(header, "X-Original-Url")
	case 1:
		header["X-Original-Url"] = []string{original, original}
	case 2:
		header["X-Original-Url"] = []string{strings.Replace(original, "//", "//user@", 1)}
	case 3:
		header["X-Original-Url"] = []string{strings.Replace(original, "://", ":", 1)}
	case 4:
		header["X-Original-Url"] = []string{strings.Replace(original, "//", "//h?://", 1)}
	case 5:
		header["X-Original-Url"] = []string{"https://jira.example.com"}
	}
}

// authorization returns the values of the client's Authorization header: none, one or two. other is text for the query instead.
func (l *life) authorization(aim known) (values []string, other string) {
	user, text := aim.user, aim.text
	switch l.n(26) {
	case 24, 25:
		if rarely(l, 2) {
			return []string{"Basic " + encode(choose(l, users)+":"+choose(l, []string{"password", ""}))}, "asp_"
		}
		return nil, "asp_"
	case 20:
		user = choose(l, append([]string{"", "nobody", user + " ", "DÖRTE@X"}, users...))
	case 21:
		user = strings.ToUpper(user[:1]) + user[1:]
	case 22:
		text = l.spoil(text)
	case 23:
		return l.otherwise(aim, user, text)
	}
	if user == weakUser && text != aim.text {
		user = "alice" // slow hashes are few
	}
	if s := l.world.sites[aim.site]; s != nil && s.bearer && user != weakUser && rarely(l, 8) {
		return []string{choose(l, []string{"Bearer ", "bearer\t", "BEARER  "}) + text}, text
	}
	scheme := "Basic "
	if rarely(l, 12) {
		scheme = choose(l, []string{"basic ", "BASIC  ", "Basic\t", "bAsIc \t "})
	}
	return []string{scheme + encode(user+":"+text)}, text
}

func encode(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// spoil is what somebody has who has not quite the secret.
func (l *life) spoil(text string) string {
	i := l.n(len(text))
	body := text
	if len(text) > 61 {
		body = text[:61]
	}
	replaced := func(body string, i int) string { return body[:i] + string(base62[l.n(62)]) + body[i+1:] }
	switch l.n(12) {
	case 0: // another secret of its form
		body = replaced(body, min(len(body)-1, 21+l.n(40)))
		return body + checksum(body)
	case 1: // another id of its form
		body = replaced(body, 4+l.n(12))
		return body + checksum(body)
	case 2: // the id of one, the secret of another
		other := choose(l, l.known).text
		if len(other) != 67 || len(text) != 67 {
			return other
		}
		body = text[:20] + other[20:61]
		return body + checksum(body)
	case 3:
		return replaced(text, i)
	case 4:
		return text[:i]
	case 5:
		return text[:i] + text[i+1:]
	case 6:
		return text + choose(l, []string{" ", "0", "\n", ":x", "="})
	case 7:
		return choose(l, []string{" ", "x", ":"}) + text
	case 8:
		return strings.ToLower(text)
	case 9:
		return choose(l, strongSecrets)
	case 10:
		return choose(l, l.known).text
	}
	return choose(l, []string{"asp_", "", "secret", "asp_x", "asp_" + strings.Repeat("0", 63)})
}

// otherwise presents a secret in another place, or none.
func (l *life) otherwise(aim known, user, text string) (values []string, other string) {
	if text == "" || user == weakUser {
		return nil, "asp_"
	}
	basic := "Basic " + encode(user+":"+text)
	switch l.n(14) {
	case 12, 13:
		return []string{"Basic " + encode(user+":"+l.probe(aim.site))}, text
	case 0, 1:
		return nil, text
	case 2:
		return []string{basic, choose(l, []string{basic, "", "Bearer x"})}, text
	case 3:
		return []string{choose(l, []string{"Bearer ", "bearer  ", "Token ", "", "OAuth oauth_token=", `Token token="`, "Basic:", "Baſic ", "Digest username=", "x"}) + text}, text
	case 4:
		return []string{"Basic " + encode(text+":"+choose(l, []string{"", "x", "x-oauth-basic", "asp"}))}, text
	case 5:
		return []string{choose(l, []string{
			"Bearer NjcyMzQ1Njc4OTAxMjM0", "Negotiate YIIJvwYGKwYBBQUCoIIJszCC", "", "Basic", "OAuth oauth_consumer_key=\"x\",oauth_token=\"y\"", "Bearer xasp_y", "Bearer x.asp_y",
		})}, text
	case 6:
		return []string{"Basic " + encode(user+":"+choose(l, []string{"password", "", "a:b", "xasp_y", "x asp_y", "ASP_x"}))}, text
	case 7:
		return []string{l.spoilBase64(basic)}, text
	case 8:
		longest := user + ":" + strings.Repeat("p", 768-1-len(user))
		return []string{"Basic " + encode(choose(l, []string{user, user + text, ":" + text, "", ":", longest, longest + "p", user + ":" + text + strings.Repeat("0", 900)}))}, text
	case 9:
		return []string{choose(l, []string{"Bearer", "Bearer ", "Basic "}) + text[:len(text)/2]}, text
	case 10:
		return []string{"Basic " + encode(user+":"+choose(l, strongSecrets))}, text
	default:
		return []string{"Basic " + base64.RawStdEncoding.EncodeToString([]byte(user+":"+text+choose(l, []string{"", "0", "00"})))}, text
	}
}

// probe is what the controller asks with, or what somebody makes of it.
func (l *life) probe(at siteName) string {
	path := choose(l, []string{"", "", "", "/rest/api/2/myself"})
	due := l.world.now.Add(time.Duration(l.n(5)-3) * time.Millisecond)
	text := probeOf(l.world.probeKeys[at], due, choose(l, []string{"NONCE", ""}), path)
	if rarely(l, 4) {
		return l.spoil(text)
	}
	return text
}

func (l *life) spoilBase64(basic string) string {
	i := 6 + l.n(len(basic)-6)
	switch l.n(7) {
	case 0:
		return basic[:i] + choose(l, []string{" ", "-", "_", ",", "=", "\t", "é"}) + basic[i:]
	case 1:
		return basic[:i]
	case 2:
		return basic + choose(l, []string{"=", "==", " x", ", Basic YTpi", "YQ=="})
	case 3:
		return basic[:len(basic)-1]
	case 4: // bits that are left over
		if body := strings.TrimRight(basic, "="); body != basic {
			n := strings.IndexByte(base64Digits, body[len(body)-1])
			return body[:len(body)-1] + string(base64Digits[n+1]) + strings.Repeat("=", len(basic)-len(body))
		}
		return basic + "="
	case 5:
		return strings.NewReplacer("+", "-", "/", "_").Replace(basic)
	default:
		return basic[:6] + strings.ToLower(basic[6:])
	}
}

var methods = []string{"GET", "POST", "HEAD", "PUT", "OPTIONS", "DELETE", "PATCH", "GET"}

// method is the header with the client's method.
func (l *life) method() []string {
	if !rarely(l, 20) {
		return []string{choose(l, methods)}
	}
	return choose(l, [][]string{nil, {"get"}, {"PROPFIND"}, {""}, {"GET", "GET"}, {"POST", "GET"}, {"GET "}, {"HEADER"}, {"OPTION"}})
}

var addresses = []string{
	"10.1.2.3", "10.200.0.1", "192.0.2.7", "2001:db8::1", "198.51.100.9", "::ffff:10.1.2.3", "fe80::1", "10.1.2.3:443", "[2001:db8::1]:443", "[2001:db8::1]",
	"fe80::1%eth0", "unknown", "", "10.1.2", "010.1.2.3", "10.1.2.3:", "10.1.2.3:port", "[10.1.2.3]:1", "2001:db8::1:99999", "10.1.2.3 ", "2001:DB8:0:0::1", "10.1.2.300",
	"[10.1.2.3]", "[::ffff:10.1.2.3]:8080", "[fe80::1%eth0]:1", "10.1.2.3:0", "10.1.2.3:65536", "[]", ":1", "[2001:db8::1]x", "2001:db8::1]", "x2001:db8::1]", "[[2001:db8::1]]:1", "10.1.2.3:1:2",
}

// address is mostly a plain one.
func (l *life) address() string {
	if rarely(l, 8) {
		return choose(l, addresses)
	}
	return choose(l, addresses[:5])
}

// from are the headers with the client's address.
func (l *life) from(at siteName, header http.Header) {
	peer := l.address()
	header["X-Real-Ip"] = []string{peer}
	if rarely(l, 60) {
		header["X-Real-Ip"] = choose(l, [][]string{nil, {peer, peer}, {peer, "10.1.2.3"}})
	}
	chain := 1
	if s := l.world.sites[at]; s != nil {
		chain += s.trustedHops
	}
	if rarely(l, 6) {
		chain += l.n(4) - 2
	}
	var values []string
	for n := range max(chain, 0) {
		address := l.address()
		if n == chain-1 {
			address = peer
		}
		if n > 0 && !rarely(l, 4) {
			values[len(values)-1] += choose(l, []string{", ", ",", "\t, ", " ,"}) + address
		} else {
			values = append(values, address)
		}
	}
	if len(values) > 0 {
		header["X-Forwarded-For"] = values
	}
}

// noise is what else a client can send, which counts for nothing.
func (l *life) noise(header http.Header) {
	for range 1 + l.n(3) {
		name := choose(l, []string{
			"X-Forwarded-User", "X-Api-Token-Id", "X-Original-Uri", "Cookie", "X-Http-Method-Override", "X-Forwarded-Method", "X-Forwarded-Uri", "X-Request-Id",
			"Proxy-Authorization", "X-Api-Token-Target", "Forwarded", "X-Envoy-Original-Path", "X-Client-Ip", "Www-Authenticate",
		})
		header[name] = []string{choose(l, []string{"admin", "/rest/api/2/search", "10.1.2.3", "GET", fmt.Sprintf("asp_%016d", 1), "for=10.1.2.3", encode("admin:admin")})}
	}
}
