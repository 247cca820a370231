package v1alpha1_test

import (
	"maps"
	"slices"
	"strings"
)

// atlassianSite is an AtlassianSite with the fewest fields.
const atlassianSite = `{
	"apiVersion": "apitokens.dev/v1alpha1",
	"kind": "AtlassianSite",
	"metadata": {"name": "jira"},
	"spec": {
		"product": "Jira",
		"baseURL": "https://example.com/jira",
		"upstreamURL": "http://jira.atlassian.svc:8080/jira"
	}
}`

var (
	https      = change{"spec.upstreamURL": "https://jira.atlassian.svc:8080/jira"}
	licensed   = change{"spec.licenseSecretRef.name": "jira-license"}
	confluence = change{
		"spec.product":     "Confluence",
		"spec.baseURL":     "https://example.com/wiki",
		"spec.upstreamURL": "http://confluence.atlassian.svc:8090/wiki",
	}
)

// patOf is the list upstreamCredentials with one of user, and patIn with one in the Secret of a name.
func patOf(user string) list { return list{fields{"user": user, "secretName": "pat"}} }

func patIn(secretName string) list { return list{fields{"user": "alice", "secretName": secretName}} }

func numberedCredentials(n int) (credentials list) {
	for _, user := range numbered(1, n, "u%d") {
		credentials = append(credentials, patOf(user.(string))...)
	}
	return credentials
}

func blockedName(name string) fields { return fields{"name": name} }

func blockedKey(key string) fields { return fields{"key": key} }

func numberedBlocked(n int) (blocked list) {
	for _, user := range numbered(1, n, "u%d") {
		blocked = append(blocked, blockedName(user.(string)))
	}
	return blocked
}

// Entries of gateways.
var (
	ingressNginx = fields{"type": "IngressNginx", "ingressNginx": fields{"ingressName": "jira-rest"}}
	haproxy      = fields{"type": "HAProxyIngress", "haproxyIngress": fields{"ingressName": "jira-rest"}}
	traefik      = fields{"type": "Traefik", "traefik": fields{"middlewareName": "main-apitokens"}}
	envoyGateway = fields{"type": "EnvoyGateway", "envoyGateway": fields{"httpRouteName": "jira"}}
	istio        = istioWith("apitokens", fields{"app": "gateway"})
)

func istioWith(provider string, selector fields) fields {
	return fields{"type": "Istio", "istio": fields{"providerName": provider, "selector": selector}}
}

func traefikNamed(name string) fields {
	return fields{"type": "Traefik", "traefik": fields{"middlewareName": name}}
}

// ingressRouteNamed names an IngressRoute beside the Middleware.
func ingressRouteNamed(name string) fields {
	return fields{"type": "Traefik", "traefik": fields{"middlewareName": "main-apitokens", "ingressRouteName": name}}
}

// istioNamed names an HTTPRoute for Istio.
func istioNamed(name string) fields {
	return fields{"type": "Istio", "istio": fields{"providerName": "apitokens", "selector": fields{"app": "gateway"}, "httpRouteName": name}}
}

func envoyNamed(name string) fields {
	return fields{"type": "EnvoyGateway", "envoyGateway": fields{"httpRouteName": name}}
}

func ingressNamed(name string) fields {
	return fields{"type": "IngressNginx", "ingressNginx": fields{"ingressName": name}}
}

func haproxyNamed(name string) fields {
	return fields{"type": "HAProxyIngress", "haproxyIngress": fields{"ingressName": name}}
}

// presented returns the rows about the client certificate that an entry names.
func presented(entry fields, kind string) rows {
	with := func(name string) list {
		gateway := maps.Clone(entry[kind].(fields))
		gateway["clientCertificateSecretName"] = name
		return list{fields{"type": entry["type"], kind: gateway}}
	}
	at := "spec.gateways[0]." + kind + ".clientCertificateSecretName"
	return rows{
		{kind + "-certificate-empty", with("a"), with(""), at + `: Invalid value: "": ` + at + " in body should be at least 1 chars long"},
		{kind + "-certificate-name", with("gateway.tls-2"), with("gateway/tls"), "`clientCertificateSecretName` must be the name of a Secret: lower-case letters, digits, '-' and '.'"},
		{kind + "-certificate-too-long", with(strings.Repeat("a", 253)), with(strings.Repeat("a", 254)), at + ": Too long: may not be more than 253"},
	}
}

func numberedGateways(n int) (gateways list) {
	for _, name := range numbered(1, n, "m%d") {
		gateways = append(gateways, traefikNamed(name.(string)))
	}
	return gateways
}

func numberedLabels(n int) fields {
	labels := fields{}
	for _, key := range numbered(1, n, "k%d") {
		labels[key.(string)] = "x"
	}
	return labels
}

const (
	wantIngressName    = "`ingressName` must be the name of an Ingress: lower-case letters, digits, '-' and '.'"
	wantOneOfBlocked   = "exactly one of the fields in [name key] must be set"
	wantBlockedName    = "`blockedUsers[].name` must not contain ':', control characters, or upper-case letters other than A to Z"
	wantBaseURL        = "`baseURL` must be a URL such as 'https://example.com/jira': no user, query, fragment or trailing slash"
	wantUpstreamURL    = "`upstreamURL` must be a URL such as 'http://jira.atlassian.svc:8080/jira': no user, query, fragment or trailing slash"
	wantAdministrator  = "each of `administrators` must not contain upper-case letters, ':' or control characters"
	wantCredentialUser = "`upstreamCredentials[].user` must not contain upper-case letters, ':' or control characters"
	wantTokenPath      = "each of `tokenPaths` must begin and end with '/', such as '/rest/'"
	wantSelector       = "`allowedNamespaces.selector` must be set if `from` is `Selector`, and must not be set otherwise"
	wantExemptUser     = "each of `exemptUsers` must not contain upper-case letters, ':' or control characters"
	wantHeaderName     = "`handoff.identityHeader.name` must be the name of a header: letters, digits and '-'"
	wantOwnHeader      = "`handoff.identityHeader.name` must be a header of its own, such as 'X-Remote-User' or 'Remote-User': not one with another meaning"
	wantEpochForward   = "`issuedAfter` must not be decreased or removed: revoked tokens stay revoked"
)

// refused is a site that refuses passwords.
var refused = change{"spec.otherCredentials.password.action": "Refuse"}

// headersOfOthers are names of headers that mean something else, and ones that only look alike.
func headersOfOthers() (all rows) {
	for other, own := range map[string]string{
		"Authorization": "X-Authorization-User", "Cookie": "X-Cookie-User", "Host": "X-Host", "Connection": "X-Connection", "Content-Length": "X-Content", "TE": "X-TE",
		"Transfer-Encoding": "X-Transfer", "User-Agent": "X-User-Agent", "X-Api-Token-Id": "X-Api-User", "X-Forwarded-For": "X-Forwarded-Forename",
		"x-forwarded-host": "x-forwarded-user", "X-Original-URL": "X-Original", "X-Envoy-Auth-Headers-To-Remove": "X-Envoys-User", "X-Real-IP": "X-Real-User",
		"X-Request-Id": "X-Request-User", "X-Forwarded-Tls-Client-Cert": "X-Forwarded-Preferred-Username", "Proxy-Authorization": "Proxy-User", "Set-Cookie": "SM-USER",
	} {
		all = append(all, row{"header-of-others-" + other, own, other, wantOwnHeader})
	}
	return all
}

// pathRows are the rows of a list of paths below the context path. right is one of them.
func pathRows(name, of, right string) rows {
	path, want := of+"."+name, "each of `"+name+"` must be a path such as '"+right+"'"
	return rows{
		{"dot-dot", list{"/rest/..v2"}, list{"/rest/.."}, "`" + name + "` must not contain '.' or '..' as a path segment"},
		{"double-slash", list{right}, list{"/rest//api"}, want},
		{"empty", list{"/rest"}, list{}, path + ": Invalid value: 0: " + path + " in body should have at least 1 items"},
		{"element-empty", list{"/a"}, list{""}, path + `[0]: Invalid value: "": ` + path + "[0] in body should be at least 1 chars long"},
		{"escape", list{"/rest~1/a"}, list{"/rest%2fa"}, want},
		{"slash-before", list{"/rest/api"}, list{"rest/api"}, want},
		{"too-long", list{"/" + strings.Repeat("p", 255)}, list{"/" + strings.Repeat("p", 256)}, path + "[0]: Too long: may not be more than 256"},
		{"too-many", numbered(1, 32, "/p%d"), numbered(1, 33, "/p%d"), path + ": Too many: 33: must have at most 32 items"},
		{"twice", list{"/rest/a", "/rest/A"}, list{"/rest/a", "/rest/a"}, path + `[1]: Duplicate value: "/rest/a"`},
	}
}

var atlassianSiteCases = slices.Concat(
	field("spec.administrators", rows{
		{"colon", list{`domain\alice@example.com`}, list{"alice:bob"}, wantAdministrator},
		{"control-character", list{"alice smith"}, list{"alice\x00smith"}, wantAdministrator},
		{"empty", list{"a"}, list{""}, `spec.administrators[0]: Invalid value: "": spec.administrators[0] in body should be at least 1 chars long`},
		{"format-character", list{"alice-2"}, list{"alice\u202e"}, wantAdministrator},
		{"line-separator", list{"alice\u00a0smith"}, list{"alice\u2028smith"}, wantAdministrator},
		// ǆ is lower case. ǅ is title case: neither upper nor lower.
		{"title-case", list{"ǆ"}, list{"ǅ"}, wantAdministrator},
		// The limit counts characters, not bytes.
		{"too-long", list{strings.Repeat("é", 255)}, list{strings.Repeat("a", 256)}, "spec.administrators[0]: Too long: may not be more than 255"},
		{"too-many", numbered(1, 64, "u%d"), numbered(1, 65, "u%d"), "spec.administrators: Too many: 65: must have at most 64 items"},
		{"twice", list{"alice", "bob"}, list{"alice", "alice"}, `spec.administrators[1]: Duplicate value: "alice"`},
		// Unlike in an APIToken: Alice and alice would be one user twice.
		{"upper-case", list{"alice"}, list{"Alice"}, wantAdministrator},
		{"white-space-after", list{"alice in ci"}, list{"alice "}, "each of `administrators` must not begin or end with white space"},
		{"white-space-before", list{"alice in ci"}, list{" alice"}, "each of `administrators` must not begin or end with white space"},
	}),
	field("spec.allowedNamespaces", rows{
		{"from-required", fields{"from": "Same"}, fields{}, "spec.allowedNamespaces.from: Required value"},
	}),
	field("spec.allowedNamespaces.from", rows{
		{"unknown", "All", "Some", `spec.allowedNamespaces.from: Unsupported value: "Some"`},
	}),
	field("spec.allowedSources", allowedSources),
	field("spec.baseURL", rows{
		{"dot-dot", "https://example.com/..jira", "https://example.com/jira/..", "`baseURL` must not contain '.' or '..' as a path segment"},
		// Dots may be part of a name.
		{"dot", "https://example.com/.well-known/v1.2", "https://example.com/./jira", "`baseURL` must not contain '.' or '..' as a path segment"},
		{"double-slash", "https://example.com/a/b/c", "https://example.com//jira", wantBaseURL},
		{"empty", "http://h", "", `spec.baseURL: Invalid value: "": spec.baseURL in body should be at least 1 chars long`},
		{"escape", "https://example.com/jira-2", "https://example.com/jira%2f..", wantBaseURL},
		{"fragment", "https://example.com/jira_1", "https://example.com/jira#rest", wantBaseURL},
		// The host may be an IPv6 address.
		{"host", "http://[2001:db8::1]:8080/jira", "http:///jira", wantBaseURL},
		{"port-zero", "https://example.com:1/jira", "https://example.com:0/jira", "`baseURL` must be a URL"},
		{"port", "https://example.com:8443", "https://example.com:", wantBaseURL},
		{"query", "https://example.com/jira~1", "https://example.com/jira?os_authType=basic", wantBaseURL},
		{"required", keep, nil, "spec.baseURL: Required value"},
		{"scheme", "https://example.com", "ftp://example.com", wantBaseURL},
		{"trailing-slash", "https://example.com/tools/jira", "https://example.com/jira/", wantBaseURL},
		{"too-long", "http://h/" + strings.Repeat("x", 1015), "http://h/" + strings.Repeat("x", 1016), "spec.baseURL: Too long: may not be more than 1024"},
		{"user", keep, "https://alice:secret@example.com/jira", wantBaseURL},
		// In some engines `$` matches before a line break at the end.
		{"white-space", keep, "https://example.com/jira\n", wantBaseURL},
	}),
	field("spec.blockedUsers", rows{
		{"both", list{blockedName("alice"), blockedKey("JIRAUSER10100")}, list{fields{"name": "alice", "key": "JIRAUSER10100"}}, wantOneOfBlocked},
		{"neither", list{}, list{fields{}}, wantOneOfBlocked},
		{"key-control-character", list{blockedKey("8a7f808a6a1f")}, list{blockedKey("JIRA\x00USER")}, "`blockedUsers[].key` must not contain control characters"},
		{"key-empty", list{blockedKey("a")}, list{blockedKey("")}, `spec.blockedUsers[0].key: Invalid value: "": spec.blockedUsers[0].key in body should be at least 1 chars long`},
		{"key-line-separator", list{blockedKey("Ünal:1")}, list{blockedKey("JIRA\u2028USER")}, "`blockedUsers[].key` must not contain control characters"},
		{"key-too-long", list{blockedKey(strings.Repeat("é", 255))}, list{blockedKey(strings.Repeat("a", 256))}, "spec.blockedUsers[0].key: Too long: may not be more than 255"},
		{"key-white-space", list{blockedKey("a b")}, list{blockedKey("a ")}, "`blockedUsers[].key` must not begin or end with white space"},
		{"name-colon", list{blockedName(`domain\alice@example.com`)}, list{blockedName("alice:bob")}, wantBlockedName},
		{"name-control-character", list{blockedName("alice smith")}, list{blockedName("alice\x00smith")}, wantBlockedName},
		{"name-empty", list{blockedName("a")}, list{blockedName("")}, `spec.blockedUsers[0].name: Invalid value: "": spec.blockedUsers[0].name in body should be at least 1 chars long`},
		{"name-format-character", list{blockedName("海豚")}, list{blockedName("ali\u200bce")}, wantBlockedName},
		{"name-too-long", list{blockedName(strings.Repeat("é", 255))}, list{blockedName(strings.Repeat("a", 256))}, "spec.blockedUsers[0].name: Too long: may not be more than 255"},
		// As in an APIToken, A to Z are folded.
		{"name-upper-case", list{blockedName("ALICE-é")}, list{blockedName("alice-É")}, wantBlockedName},
		{"name-white-space", list{blockedName("alice in ci")}, list{blockedName(" alice")}, "`blockedUsers[].name` must not begin or end with white space"},
		{"too-many", numberedBlocked(256), numberedBlocked(257), "spec.blockedUsers: Too many: 257: must have at most 256 items"},
	}),
	fieldOf(change{"spec.callerVerification.type": "SharedKey"}, "spec.callerVerification.rotationRequestedTime", withTimes("rotationRequestedTime", rows{
		{"format", "2026-11-23T10:00:00Z", "now", `spec.callerVerification.rotationRequestedTime: Invalid value: "now": spec.callerVerification.rotationRequestedTime in body must be of type date-time`},
	})),
	field("spec.callerVerification", rows{
		// The whole of callerVerification may be absent.
		{"type-required", keep, fields{}, "spec.callerVerification.type: Required value"},
	}),
	field("spec.callerVerification.type", rows{
		// Verification of the caller cannot be switched off.
		{"unknown", "SharedKey", "None", `spec.callerVerification.type: Unsupported value: "None"`},
	}),
	callerCertificates,
	field("spec.gateways", slices.Concat(presented(ingressNginx, "ingressNginx"), presented(haproxy, "haproxyIngress"), presented(traefik, "traefik"), presented(envoyGateway, "envoyGateway"), rows{
		{"too-many", numberedGateways(8), numberedGateways(9), "spec.gateways: Too many: 9: must have at most 8 items"},
		{"twice", list{ingressNginx, haproxy, traefik, envoyGateway, istio}, list{traefik, istio, traefik}, "`gateways` must not have two equal entries"},
		{"two-of-istio", list{istio}, list{istio, istioWith("other", fields{"app": "other"})}, "`gateways` must not have two entries of type `Istio`"},
		{"type-required", list{traefik}, list{fields{"traefik": traefik["traefik"]}}, "spec.gateways[0].type: Required value"},
		{"type-unknown", list{traefik}, list{fields{"type": "Caddy"}}, `spec.gateways[0].type: Unsupported value: "Caddy"`},
		{"ingress-nginx", list{ingressNginx}, list{fields{"type": "IngressNginx"}}, "`gateways[].ingressNginx` must be set if `type` is `IngressNginx`, and must not be set otherwise"},
		{"haproxy-ingress", list{haproxy}, list{fields{"type": "HAProxyIngress", "ingressNginx": ingressNginx["ingressNginx"]}}, "`gateways[].haproxyIngress` must be set if `type` is `HAProxyIngress`, and must not be set otherwise"},
		{"traefik", list{traefik}, list{fields{"type": "Traefik"}}, "`gateways[].traefik` must be set if `type` is `Traefik`, and must not be set otherwise"},
		{"envoy-gateway", list{envoyGateway}, list{fields{"type": "Traefik", "traefik": traefik["traefik"], "envoyGateway": envoyGateway["envoyGateway"]}}, "`gateways[].envoyGateway` must be set if `type` is `EnvoyGateway`, and must not be set otherwise"},
		{"istio", list{istio}, list{fields{"type": "Istio"}}, "`gateways[].istio` must be set if `type` is `Istio`, and must not be set otherwise"},
		{"ingress-empty", list{ingressNamed("a")}, list{ingressNamed("")}, `spec.gateways[0].ingressNginx.ingressName: Invalid value: "": spec.gateways[0].ingressNginx.ingressName in body should be at least 1 chars long`},
		{"ingress-name", list{ingressNamed("jira.rest-2")}, list{ingressNamed("Jira_rest")}, wantIngressName},
		{"ingress-name-required", list{ingressNginx}, list{fields{"type": "IngressNginx", "ingressNginx": fields{}}}, "spec.gateways[0].ingressNginx.ingressName: Required value"},
		{"ingress-too-long", list{ingressNamed(strings.Repeat("a", 253))}, list{ingressNamed(strings.Repeat("a", 254))}, "spec.gateways[0].ingressNginx.ingressName: Too long: may not be more than 253"},
		{"haproxy-empty", list{haproxyNamed("a")}, list{haproxyNamed("")}, `spec.gateways[0].haproxyIngress.ingressName: Invalid value: "": spec.gateways[0].haproxyIngress.ingressName in body should be at least 1 chars long`},
		{"haproxy-name", list{haproxyNamed("jira.rest-2")}, list{haproxyNamed("Jira_rest")}, wantIngressName},
		{"haproxy-name-required", list{haproxy}, list{fields{"type": "HAProxyIngress", "haproxyIngress": fields{}}}, "spec.gateways[0].haproxyIngress.ingressName: Required value"},
		{"haproxy-too-long", list{haproxyNamed(strings.Repeat("a", 253))}, list{haproxyNamed(strings.Repeat("a", 254))}, "spec.gateways[0].haproxyIngress.ingressName: Too long: may not be more than 253"},
		{"middleware-empty", list{traefikNamed("a")}, list{traefikNamed("")}, `spec.gateways[0].traefik.middlewareName: Invalid value: "": spec.gateways[0].traefik.middlewareName in body should be at least 1 chars long`},
		{"middleware-name", list{traefikNamed("main.apitokens-2")}, list{traefikNamed("main/apitokens")}, "`middlewareName` must be a name for a Middleware: lower-case letters, digits, '-' and '.'"},
		{"middleware-name-required", list{traefik}, list{fields{"type": "Traefik", "traefik": fields{}}}, "spec.gateways[0].traefik.middlewareName: Required value"},
		// Its longest companion ends with -portal.
		{"middleware-too-long", list{traefikNamed(strings.Repeat("a", 246))}, list{traefikNamed(strings.Repeat("a", 247))}, "spec.gateways[0].traefik.middlewareName: Too long: may not be more than 246"},
		{"ingress-route-empty", list{ingressRouteNamed("a")}, list{ingressRouteNamed("")}, `spec.gateways[0].traefik.ingressRouteName: Invalid value: "": spec.gateways[0].traefik.ingressRouteName in body should be at least 1 chars long`},
		{"ingress-route-name", list{ingressRouteNamed("jira.rest-2")}, list{ingressRouteNamed("jira/rest")}, "`ingressRouteName` must be the name of an IngressRoute: lower-case letters, digits, '-' and '.'"},
		{"ingress-route-too-long", list{ingressRouteNamed(strings.Repeat("a", 253))}, list{ingressRouteNamed(strings.Repeat("a", 254))}, "spec.gateways[0].traefik.ingressRouteName: Too long: may not be more than 253"},
		{"istio-route-empty", list{istioNamed("a")}, list{istioNamed("")}, `spec.gateways[0].istio.httpRouteName: Invalid value: "": spec.gateways[0].istio.httpRouteName in body should be at least 1 chars long`},
		{"istio-route-name", list{istioNamed("jira.rest-2")}, list{istioNamed("jira ")}, "`httpRouteName` must be the name of an HTTPRoute: lower-case letters, digits, '-' and '.'"},
		{"istio-route-too-long", list{istioNamed(strings.Repeat("a", 243))}, list{istioNamed(strings.Repeat("a", 244))}, "spec.gateways[0].istio.httpRouteName: Too long: may not be more than 243"},
		{"route-empty", list{envoyNamed("a")}, list{envoyNamed("")}, `spec.gateways[0].envoyGateway.httpRouteName: Invalid value: "": spec.gateways[0].envoyGateway.httpRouteName in body should be at least 1 chars long`},
		{"route-name", list{envoyNamed("jira.rest-2")}, list{envoyNamed("jira ")}, "`httpRouteName` must be the name of an HTTPRoute: lower-case letters, digits, '-' and '.'"},
		{"route-name-required", list{envoyGateway}, list{fields{"type": "EnvoyGateway", "envoyGateway": fields{}}}, "spec.gateways[0].envoyGateway.httpRouteName: Required value"},
		// Its companions end with -apitokens.
		{"route-too-long", list{envoyNamed(strings.Repeat("a", 243))}, list{envoyNamed(strings.Repeat("a", 244))}, "spec.gateways[0].envoyGateway.httpRouteName: Too long: may not be more than 243"},
		{"provider-empty", list{istioWith("a", fields{"a": ""})}, list{istioWith("", fields{"a": ""})}, `spec.gateways[0].istio.providerName: Invalid value: "": spec.gateways[0].istio.providerName in body should be at least 1 chars long`},
		{"provider-name", list{istioWith("apitokens-2", fields{"a": "b"})}, list{istioWith("api.tokens", fields{"a": "b"})}, "`providerName` must be the name of an extension provider: lower-case letters, digits and '-'"},
		{"provider-required", list{istio}, list{fields{"type": "Istio", "istio": fields{"selector": fields{"a": "b"}}}}, "spec.gateways[0].istio.providerName: Required value"},
		{"provider-too-long", list{istioWith(strings.Repeat("a", 63), fields{"a": "b"})}, list{istioWith(strings.Repeat("a", 64), fields{"a": "b"})}, "spec.gateways[0].istio.providerName: Too long: may not be more than 63"},
		// Without a selector, every pod of the namespace would ask.
		{"selector-empty", list{istioWith("a", fields{"a": "b"})}, list{istioWith("a", fields{})}, "spec.gateways[0].istio.selector: Invalid value: 0: spec.gateways[0].istio.selector in body should have at least 1 properties"},
		{"selector-required", list{istio}, list{fields{"type": "Istio", "istio": fields{"providerName": "a"}}}, "spec.gateways[0].istio.selector: Required value"},
		{"selector-key", list{istioWith("a", fields{"app.kubernetes.io/name": "b"})}, list{istioWith("a", fields{"a b": "b"})}, "`selector` must have labels of pods"},
		{"selector-value", list{istioWith("a", fields{"a": "B_1"})}, list{istioWith("a", fields{"a": "*"})}, "`selector` must have labels of pods"},
		{"selector-value-too-long", list{istioWith("a", fields{"a": strings.Repeat("b", 63)})}, list{istioWith("a", fields{"a": strings.Repeat("b", 64)})}, "spec.gateways[0].istio.selector.a: Too long: may not be more than 63"},
		{"selector-too-many", list{istioWith("a", numberedLabels(8))}, list{istioWith("a", numberedLabels(9))}, "spec.gateways[0].istio.selector: Too many: 9: must have at most 8 items"},
	})),
	field("spec.handoff", rows{
		// The whole of handoff may be absent.
		{"type-required", keep, fields{}, "spec.handoff.type: Required value"},
	}),
	fieldOf(change{"spec.handoff.type": "IdentityHeader"}, "spec.handoff.identityHeader.name", slices.Concat(rows{
		{"dot", "X-Remote-User", "X.Remote.User", wantHeaderName},
		{"empty", "user", "", `spec.handoff.identityHeader.name: Invalid value: "": spec.handoff.identityHeader.name in body should be at least 1 chars long`},
		{"line-break", "Remote-User", "X-Remote-User\n", wantHeaderName},
		{"too-long", "X-" + strings.Repeat("u", 62), "X-" + strings.Repeat("u", 63), "spec.handoff.identityHeader.name: Too long: may not be more than 64"},
		{"underscore", "remote-user", "REMOTE_USER", wantHeaderName},
	}, headersOfOthers())),
	field("spec.handoff.type", rows{
		{"unknown", "PersonalAccessToken", "Password", `spec.handoff.type: Unsupported value: "Password"`},
	}),
	field("spec.issuedAfter", withTimes("issuedAfter", rows{
		{"format", "2026-11-23T10:00:00Z", "now", `spec.issuedAfter: Invalid value: "now": spec.issuedAfter in body must be of type date-time`},
	})),
	fieldOf(licensed, "spec.licenseSecretRef.key", rows{
		{"empty", "a", "", `spec.licenseSecretRef.key: Invalid value: "": spec.licenseSecretRef.key in body should be at least 1 chars long`},
		{"format", "Jira_license-2.jws", "licenses/jira", "`licenseSecretRef.key` must be a key of a Secret: letters, digits, '-', '_' and '.'"},
		{"too-long", strings.Repeat("a", 253), strings.Repeat("a", 254), "spec.licenseSecretRef.key: Too long"},
	}),
	field("spec.licenseSecretRef.name", rows{
		{"empty", "a", "", `spec.licenseSecretRef.name: Invalid value: "": spec.licenseSecretRef.name in body should be at least 1 chars long`},
		{"format", "jira-license.2", "jira_license", "`licenseSecretRef.name` must be the name of a Secret: lower-case letters, digits, '-' and '.'"},
		{"too-long", strings.Repeat("a", 253), strings.Repeat("a", 254), "spec.licenseSecretRef.name: Too long"},
	}),
	field("spec.otherCredentials", rows{
		{"empty", fields{"session": fields{"action": "Observe"}}, fields{}, "spec.otherCredentials: Invalid value: 0: spec.otherCredentials in body should have at least 1 properties"},
	}),
	field("spec.otherCredentials.anonymous", rows{
		{"action-required", fields{"action": "Observe", "challengePaths": list{"/"}}, fields{"challengePaths": list{"/"}}, "spec.otherCredentials.anonymous.action: Required value"},
	}),
	fieldOf(change{"spec.otherCredentials.anonymous.action": "Forward"}, "spec.otherCredentials.anonymous.challengePaths", slices.Concat(pathRows("challengePaths", "spec.otherCredentials.anonymous", "/rest/api/2/"), rows{
		{"everywhere", list{"/"}, list{"//"}, "each of `challengePaths` must be a path such as '/rest/api/2/'"},
	})),
	field("spec.otherCredentials.anonymous.action", rows{{"unknown", "Refuse", "Challenge", `spec.otherCredentials.anonymous.action: Unsupported value: "Challenge"`}}),
	field("spec.otherCredentials.bearer", rows{{"action-required", fields{"action": "Observe"}, fields{}, "spec.otherCredentials.bearer.action: Required value"}}),
	field("spec.otherCredentials.bearer.action", rows{{"unknown", "Forward", "Allow", `spec.otherCredentials.bearer.action: Unsupported value: "Allow"`}}),
	field("spec.otherCredentials.session", rows{{"action-required", fields{"action": "Refuse"}, fields{}, "spec.otherCredentials.session.action: Required value"}}),
	field("spec.otherCredentials.session.action", rows{{"unknown", "Observe", "Deny", `spec.otherCredentials.session.action: Unsupported value: "Deny"`}}),
	field("spec.otherCredentials.password", rows{
		{"action-required", fields{"action": "Observe"}, fields{}, "spec.otherCredentials.password.action: Required value"},
		{
			"exempt-users-unused", fields{"action": "Refuse", "exemptUsers": list{"ci-old"}}, fields{"action": "Observe", "exemptUsers": list{"ci-old"}},
			"`otherCredentials.password.exemptUsers` and `exemptPaths` must not be set unless `action` is `Refuse`",
		},
		{
			"exempt-paths-unused", fields{"action": "Refuse", "exemptPaths": list{"/rest/legacy/"}}, fields{"action": "Forward", "exemptPaths": list{"/rest/legacy/"}},
			"`otherCredentials.password.exemptUsers` and `exemptPaths` must not be set unless `action` is `Refuse`",
		},
	}),
	field("spec.otherCredentials.password.action", rows{{"unknown", "Refuse", "refuse", `spec.otherCredentials.password.action: Unsupported value: "refuse"`}}),
	fieldOf(refused, "spec.otherCredentials.password.exemptPaths", slices.Concat(pathRows("exemptPaths", "spec.otherCredentials.password", "/rest/legacy/"), rows{
		{"everywhere", list{"/rest"}, list{"/"}, "each of `exemptPaths` must be a path such as '/rest/legacy/'"},
	})),
	fieldOf(refused, "spec.otherCredentials.password.exemptUsers", rows{
		{"colon", list{`domain\alice@example.com`}, list{"alice:bob"}, wantExemptUser},
		{"control-character", list{"alice smith"}, list{"alice\x00smith"}, wantExemptUser},
		{"empty", list{"a"}, list{}, "spec.otherCredentials.password.exemptUsers: Invalid value: 0: spec.otherCredentials.password.exemptUsers in body should have at least 1 items"},
		{"element-empty", list{"a"}, list{""}, `spec.otherCredentials.password.exemptUsers[0]: Invalid value: "": spec.otherCredentials.password.exemptUsers[0] in body should be at least 1 chars long`},
		{"too-long", list{strings.Repeat("é", 255)}, list{strings.Repeat("a", 256)}, "spec.otherCredentials.password.exemptUsers[0]: Too long: may not be more than 255"},
		{"too-many", numbered(1, 64, "u%d"), numbered(1, 65, "u%d"), "spec.otherCredentials.password.exemptUsers: Too many: 65: must have at most 64 items"},
		{"twice", list{"alice", "bob"}, list{"alice", "alice"}, `spec.otherCredentials.password.exemptUsers[1]: Duplicate value: "alice"`},
		{"upper-case", list{"alice"}, list{"Alice"}, wantExemptUser},
		{"white-space", list{"alice in ci"}, list{"alice "}, "each of `exemptUsers` must not begin or end with white space"},
	}),
	field("spec.schemes", rows{
		{"empty", list{"Basic"}, list{}, "spec.schemes: Invalid value: 0: spec.schemes in body should have at least 1 items"},
		{"too-many", list{"Bearer", "Basic"}, list{"Basic", "Bearer", "Basic"}, "spec.schemes: Too many: 3: must have at most 2 items"},
		{"twice", list{"Basic", "Bearer"}, list{"Basic", "Basic"}, `spec.schemes[1]: Duplicate value: "Basic"`},
		{"unknown", list{"Basic"}, list{"Basic", "Digest"}, `spec.schemes[1]: Unsupported value: "Digest"`},
		{"without-basic", list{"Basic", "Bearer"}, list{"Bearer"}, "`schemes` must contain 'Basic'"},
	}),
	field("metadata.name", rows{
		{"too-long", strings.Repeat("j", 63), strings.Repeat("j", 64), "`metadata.name` of an AtlassianSite must have at most 63 characters"},
	}),
	field("spec.product", rows{
		{"unknown", "Confluence", "Bamboo", `spec.product: Unsupported value: "Bamboo"`},
		{"required", keep, nil, "spec.product: Required value"},
	}),
	field("spec", rows{
		{"required", keep, nil, "spec: Required value"},
	}),
	field("spec.tokenPaths", rows{
		{"dot-dot", list{"/rest/..v2/"}, list{"/rest/../"}, "`tokenPaths` must not contain '.' or '..' as a path segment"},
		{"dot", list{"/rest/.v2/"}, list{"/rest/./"}, "`tokenPaths` must not contain '.' or '..' as a path segment"},
		// A single slash means every path.
		{"double-slash", list{"/"}, list{"//"}, wantTokenPath},
		{"empty", list{"/rest/"}, list{}, "spec.tokenPaths: Invalid value: 0: spec.tokenPaths in body should have at least 1 items"},
		{"element-empty", list{"/"}, list{""}, `spec.tokenPaths[0]: Invalid value: "": spec.tokenPaths[0] in body should be at least 1 chars long`},
		{"escape", list{"/rest~1/"}, list{"/rest%2f/"}, wantTokenPath},
		// Without a slash at the end, /rest would also be a prefix of /restricted.
		{"slash-after", list{"/rest/api/2/"}, list{"/rest"}, wantTokenPath},
		{"slash-before", list{"/rest/"}, list{"rest/"}, wantTokenPath},
		{"too-long", list{"/" + strings.Repeat("p", 254) + "/"}, list{"/" + strings.Repeat("p", 255) + "/"}, "spec.tokenPaths[0]: Too long: may not be more than 256"},
		{"too-many", numbered(1, 16, "/p%d/"), numbered(1, 17, "/p%d/"), "spec.tokenPaths: Too many: 17: must have at most 16 items"},
		// Paths are case-sensitive.
		{"twice", list{"/rest/", "/REST/"}, list{"/rest/", "/rest/"}, `spec.tokenPaths[1]: Duplicate value: "/rest/"`},
	}),
	field("spec.tokenPolicy.access", rows{
		{"unknown", "ReadOnly", "None", `spec.tokenPolicy.access: Unsupported value: "None"`},
	}),
	field("spec.tokenPolicy.creationByTokens", rows{
		{"unknown", "Forbidden", "Never", `spec.tokenPolicy.creationByTokens: Unsupported value: "Never"`},
	}),
	field("spec.tokenPolicy.defaultLifetimeDays", rows{
		{"too-large", 3650, 3651, "spec.tokenPolicy.defaultLifetimeDays: Invalid value: 3651: spec.tokenPolicy.defaultLifetimeDays in body should be less than or equal to 3650"},
		{"too-small", 1, 0, "spec.tokenPolicy.defaultLifetimeDays: Invalid value: 0: spec.tokenPolicy.defaultLifetimeDays in body should be greater than or equal to 1"},
	}),
	field("spec.tokenPolicy.expiredRetentionDays", rows{
		{"too-large", 3650, 3651, "spec.tokenPolicy.expiredRetentionDays: Invalid value: 3651: spec.tokenPolicy.expiredRetentionDays in body should be less than or equal to 3650"},
		{"too-small", 0, -1, "spec.tokenPolicy.expiredRetentionDays: Invalid value: -1: spec.tokenPolicy.expiredRetentionDays in body should be greater than or equal to 0"},
	}),
	field("spec.tokenPolicy.maxLifetimeDays", rows{
		{"too-large", 3650, 3651, "spec.tokenPolicy.maxLifetimeDays: Invalid value: 3651: spec.tokenPolicy.maxLifetimeDays in body should be less than or equal to 3650"},
		{"too-small", 1, 0, "spec.tokenPolicy.maxLifetimeDays: Invalid value: 0: spec.tokenPolicy.maxLifetimeDays in body should be greater than or equal to 1"},
	}),
	field("spec.tokenPolicy.maxTokensPerUser", rows{
		{"too-large", 10000, 10001, "spec.tokenPolicy.maxTokensPerUser: Invalid value: 10001: spec.tokenPolicy.maxTokensPerUser in body should be less than or equal to 10000"},
		{"too-small", 1, 0, "spec.tokenPolicy.maxTokensPerUser: Invalid value: 0: spec.tokenPolicy.maxTokensPerUser in body should be greater than or equal to 1"},
	}),
	field("spec.tokenPolicy.neverExpiring", rows{
		{"unknown", "Forbidden", "Maybe", `spec.tokenPolicy.neverExpiring: Unsupported value: "Maybe"`},
	}),
	field("spec.tokenPolicy.rotationByTokens", rows{
		{"unknown", "Forbidden", "Never", `spec.tokenPolicy.rotationByTokens: Unsupported value: "Never"`},
	}),
	field("spec.trustedHops", rows{
		{"too-large", 16, 17, "spec.trustedHops: Invalid value: 17: spec.trustedHops in body should be less than or equal to 16"},
		{"too-small", 1, 0, "spec.trustedHops: Invalid value: 0: spec.trustedHops in body should be greater than or equal to 1"},
	}),
	fieldOf(https.and(change{"spec.upstreamCARef.name": "jira-ca"}), "spec.upstreamCARef.key", rows{
		{"empty", "a", "", `spec.upstreamCARef.key: Invalid value: "": spec.upstreamCARef.key in body should be at least 1 chars long`},
		{"format", "Root_CA-2.crt", "ca/root.crt", "`upstreamCARef.key` must be a key of a Secret: letters, digits, '-', '_' and '.'"},
		{"too-long", strings.Repeat("a", 253), strings.Repeat("a", 254), "spec.upstreamCARef.key: Too long"},
	}),
	fieldOf(https, "spec.upstreamCARef.name", rows{
		{"empty", "a", "", `spec.upstreamCARef.name: Invalid value: "": spec.upstreamCARef.name in body should be at least 1 chars long`},
		{"format", "jira-ca.2", "jira_ca", "`upstreamCARef.name` must be the name of a Secret: lower-case letters, digits, '-' and '.'"},
		{"too-long", strings.Repeat("a", 253), strings.Repeat("a", 254), "spec.upstreamCARef.name: Too long"},
	}),
	field("spec.upstreamCredentials", rows{
		{"secret-name-empty", patIn("p"), patIn(""), `spec.upstreamCredentials[0].secretName: Invalid value: "": spec.upstreamCredentials[0].secretName in body should be at least 1 chars long`},
		{"secret-name-format", patIn("alice.pat-2"), patIn("alice_pat"), "`upstreamCredentials[].secretName` must be the name of a Secret: lower-case letters, digits, '-' and '.'"},
		{"secret-name-required", patOf("alice"), list{fields{"user": "alice"}}, "spec.upstreamCredentials[0].secretName: Required value"},
		{"secret-name-too-long", patIn(strings.Repeat("p", 253)), patIn(strings.Repeat("p", 254)), "spec.upstreamCredentials[0].secretName: Too long: may not be more than 253"},
		{"too-many", numberedCredentials(256), numberedCredentials(257), "spec.upstreamCredentials: Too many: 257: must have at most 256 items"},
		{
			"twice",
			list{fields{"user": "alice", "secretName": "pat"}, fields{"user": "bob", "secretName": "pat"}},
			list{fields{"user": "alice", "secretName": "pat"}, fields{"user": "alice", "secretName": "other"}},
			"spec.upstreamCredentials[1]: Duplicate value: ",
		},
		{"user-colon", patOf(`domain\alice@example.com`), patOf("alice:bob"), wantCredentialUser},
		{"user-control-character", patOf("alice smith"), patOf("alice\x00smith"), wantCredentialUser},
		{"user-empty", patOf("a"), patOf(""), `spec.upstreamCredentials[0].user: Invalid value: "": spec.upstreamCredentials[0].user in body should be at least 1 chars long`},
		{"user-format-character", patOf("alice-2"), patOf("alice\u202e"), wantCredentialUser},
		{"user-line-separator", patOf("alice\u00a0smith"), patOf("alice\u2028smith"), wantCredentialUser},
		{"user-required", patOf("alice"), list{fields{"secretName": "pat"}}, "spec.upstreamCredentials[0].user: Required value"},
		// ǆ is lower case. ǅ is title case: neither upper nor lower.
		{"user-title-case", patOf("ǆ"), patOf("ǅ"), wantCredentialUser},
		{"user-token-prefix", patOf("aspen_alice"), patOf("asp_alice"), "`upstreamCredentials[].user` must not begin with 'asp_', the prefix of every token"},
		// The limit counts characters, not bytes.
		{"user-too-long", patOf(strings.Repeat("é", 255)), patOf(strings.Repeat("a", 256)), "spec.upstreamCredentials[0].user: Too long: may not be more than 255"},
		// Unlike in an APIToken: Alice and alice would be one user twice.
		{"user-upper-case", patOf("alice"), patOf("Alice"), wantCredentialUser},
		{"user-white-space-after", patOf("alice in ci"), patOf("alice "), "`upstreamCredentials[].user` must not begin or end with white space"},
		{"user-white-space-before", patOf("alice in ci"), patOf(" alice"), "`upstreamCredentials[].user` must not begin or end with white space"},
	}),
	field("spec.upstreamURL", rows{
		{"dot-dot", "http://jira.atlassian.svc:8080/..jira", "http://jira.atlassian.svc:8080/jira/..", "`upstreamURL` must not contain '.' or '..' as a path segment"},
		// Dots may be part of a name.
		{"dot", "http://jira.atlassian.svc:8080/.well-known/v1.2", "http://jira.atlassian.svc:8080/./jira", "`upstreamURL` must not contain '.' or '..' as a path segment"},
		{"double-slash", "http://jira.atlassian.svc:8080/a/b/c", "http://jira.atlassian.svc:8080//jira", wantUpstreamURL},
		{"empty", "http://h", "", `spec.upstreamURL: Invalid value: "": spec.upstreamURL in body should be at least 1 chars long`},
		{"escape", "http://jira.atlassian.svc:8080/jira-2", "http://jira.atlassian.svc:8080/jira%2f..", wantUpstreamURL},
		{"fragment", "http://jira.atlassian.svc:8080/jira_1", "http://jira.atlassian.svc:8080/jira#rest", wantUpstreamURL},
		// The host may be an IPv6 address.
		{"host", "http://[2001:db8::1]:8080/jira", "http:///jira", wantUpstreamURL},
		{"port-zero", "http://jira.atlassian.svc:1/jira", "http://jira.atlassian.svc:0/jira", "`upstreamURL` must be a URL"},
		{"port", "http://jira.atlassian.svc:8443", "http://jira.atlassian.svc:", wantUpstreamURL},
		{"query", "http://jira.atlassian.svc:8080/jira~1", "http://jira.atlassian.svc:8080/jira?os_authType=basic", wantUpstreamURL},
		{"required", keep, nil, "spec.upstreamURL: Required value"},
		{"scheme", "http://jira.atlassian.svc:8080", "ftp://jira.atlassian.svc:8080", wantUpstreamURL},
		{"trailing-slash", "http://jira.atlassian.svc:8080/tools/jira", "http://jira.atlassian.svc:8080/jira/", wantUpstreamURL},
		{"too-long", "http://h/" + strings.Repeat("x", 1015), "http://h/" + strings.Repeat("x", 1016), "spec.upstreamURL: Too long: may not be more than 1024"},
		{"user", keep, "http://alice:secret@jira.atlassian.svc:8080/jira", wantUpstreamURL},
		// In some engines `$` matches before a line break at the end.
		{"white-space", keep, "http://jira.atlassian.svc:8080/jira\n", wantUpstreamURL},
	}),
	statusField("status.authURLSecretName", rows{
		{"empty", "a", "", `status.authURLSecretName: Invalid value: "": authURLSecretName in body should be at least 1 chars long`},
		{"too-long", strings.Repeat("a", 253), strings.Repeat("a", 254), "status.authURLSecretName: Too long: may not be more than 253"},
	}),
	statusField("status.conditions", conditions),
	statusField("status.observedGeneration", rows{
		{"too-small", -1, -2, "status.observedGeneration: Invalid value: -2: observedGeneration in body should be greater than or equal to -1"},
	}),
	field("spec.licenseSecretRef", rows{
		{"name-required", fields{"name": "jira-license", "key": "license"}, fields{"key": "license"}, "spec.licenseSecretRef.name: Required value"},
	}),
	fieldOf(https, "spec.upstreamCARef", rows{
		{"name-required", fields{"name": "jira-ca", "key": "tls.crt"}, fields{"key": "tls.crt"}, "spec.upstreamCARef.name: Required value"},
	}),
	siteRules,
	siteUpdates,
)

// clientCertificate is a change to client certificates.
var clientCertificate = change{
	"spec.callerVerification.type":                                  "ClientCertificate",
	"spec.callerVerification.clientCertificate.authoritiesRef.name": "gateway-ca",
	"spec.callerVerification.clientCertificate.names":               list{"traefik.ingress.svc"},
}

const (
	wantCertificate = "`callerVerification.clientCertificate` must be set if `type` is `ClientCertificate`, and must not be set otherwise"
	wantCallerName  = "each of `callerVerification.clientCertificate.names` must be a DNS name in lower case, such as 'traefik.ingress.svc'"
)

// certificatesOf are client certificates of the authorities that ref names.
func certificatesOf(ref fields) fields {
	return fields{"authoritiesRef": ref, "names": list{"a"}}
}

// callerCertificates are cases of the rules about client certificates.
var callerCertificates = slices.Concat(
	fieldOf(clientCertificate, "spec.callerVerification.clientCertificate.authoritiesRef.key", rows{
		{"empty", "a", "", `spec.callerVerification.clientCertificate.authoritiesRef.key: Invalid value: "": spec.callerVerification.clientCertificate.authoritiesRef.key in body should be at least 1 chars long`},
		{"format", "Gateway_ca-2.crt", "ca/crt", "`authoritiesRef.key` must be a key of a Secret: letters, digits, '-', '_' and '.'"},
		{"too-long", strings.Repeat("a", 253), strings.Repeat("a", 254), "spec.callerVerification.clientCertificate.authoritiesRef.key: Too long"},
	}),
	fieldOf(clientCertificate, "spec.callerVerification.clientCertificate.authoritiesRef.name", rows{
		{"empty", "a", "", `spec.callerVerification.clientCertificate.authoritiesRef.name: Invalid value: "": spec.callerVerification.clientCertificate.authoritiesRef.name in body should be at least 1 chars long`},
		{"format", "gateway-ca.2", "gateway_ca", "`authoritiesRef.name` must be the name of a Secret: lower-case letters, digits, '-' and '.'"},
		{"too-long", strings.Repeat("a", 253), strings.Repeat("a", 254), "spec.callerVerification.clientCertificate.authoritiesRef.name: Too long"},
	}),
	fieldOf(change{"spec.callerVerification.type": "ClientCertificate"}, "spec.callerVerification.clientCertificate", rows{
		{"authoritiesRef-required", certificatesOf(fields{"name": "ca"}), fields{"names": list{"a"}}, "spec.callerVerification.clientCertificate.authoritiesRef: Required value"},
		{"name-required", certificatesOf(fields{"name": "ca"}), certificatesOf(fields{"key": "ca.crt"}), "spec.callerVerification.clientCertificate.authoritiesRef.name: Required value"},
	}),
	fieldOf(clientCertificate, "spec.callerVerification.clientCertificate.names", rows{
		{"duplicate", list{"a.svc", "b.svc"}, list{"a.svc", "a.svc"}, `spec.callerVerification.clientCertificate.names[1]: Duplicate value: "a.svc"`},
		{"empty", list{"a"}, list{}, `spec.callerVerification.clientCertificate.names: Invalid value: 0: spec.callerVerification.clientCertificate.names in body should have at least 1 items`},
		{"empty-name", list{"a"}, list{""}, `spec.callerVerification.clientCertificate.names[0]: Invalid value: "": spec.callerVerification.clientCertificate.names[0] in body should be at least 1 chars long`},
		{"format", list{"traefik-2.ingress.svc.cluster.local"}, list{"https://traefik.ingress.svc"}, wantCallerName},
		{"name-too-long", list{strings.Repeat("a.", 126) + "a"}, list{strings.Repeat("a.", 127) + "a"}, "spec.callerVerification.clientCertificate.names[0]: Too long"},
		{"required", keep, nil, "spec.callerVerification.clientCertificate.names: Required value"},
		{"too-many", numbered(1, 16, "%d.svc"), numbered(1, 17, "%d.svc"), "spec.callerVerification.clientCertificate.names: Too many: 17: must have at most 16 items"},
		{"upper-case", list{"traefik.ingress.svc"}, list{"Traefik.ingress.svc"}, wantCallerName},
		// A certificate with a wildcard is accepted nowhere, so that a name with one would accept nothing.
		{"wildcard", list{"traefik.ingress.svc"}, list{"*.ingress.svc"}, wantCallerName},
	}),
	[]schemaCase{
		{
			name:     "callerVerification/certificate-missing",
			accepted: []change{clientCertificate},
			refused:  []change{{"spec.callerVerification.type": "ClientCertificate"}},
			want:     wantCertificate,
		},
		{
			name:     "callerVerification/certificate-unused",
			accepted: []change{clientCertificate, {"spec.callerVerification": fields{"type": "SharedKey"}}},
			refused:  []change{clientCertificate.and(change{"spec.callerVerification.type": "SharedKey"})},
			want:     wantCertificate,
		},
		{
			name: "callerVerification/rotation-of-no-key",
			accepted: []change{
				{"spec.callerVerification": fields{"type": "SharedKey", "rotationRequestedTime": "2026-11-23T10:00:00Z"}},
			},
			refused: []change{clientCertificate.and(change{"spec.callerVerification.rotationRequestedTime": "2026-11-23T10:00:00Z"})},
			want:    "`callerVerification.rotationRequestedTime` must not be set unless `type` is `SharedKey`: a client certificate has no key of the operator to replace",
		},
	},
)

// siteRules are cases of rules about more than one field.
var siteRules = []schemaCase{
	{
		name:     "allowedNamespaces/selector-missing",
		accepted: []change{{"spec.allowedNamespaces.from": "Selector", "spec.allowedNamespaces.selector.matchLabels.team": "ci"}},
		refused:  []change{{"spec.allowedNamespaces.from": "Selector"}},
		want:     wantSelector,
	},
	{
		name:     "allowedNamespaces/selector-unused",
		accepted: []change{{"spec.allowedNamespaces.from": "Selector", "spec.allowedNamespaces.selector": fields{}}},
		refused:  []change{{"spec.allowedNamespaces.from": "All", "spec.allowedNamespaces.selector": fields{}}},
		want:     wantSelector,
	},
	{
		name:     "tokenPolicy/default-above-max",
		accepted: []change{{"spec.tokenPolicy.defaultLifetimeDays": 90, "spec.tokenPolicy.maxLifetimeDays": 90}},
		refused:  []change{{"spec.tokenPolicy.defaultLifetimeDays": 91, "spec.tokenPolicy.maxLifetimeDays": 90}},
		want:     "`tokenPolicy.defaultLifetimeDays` must not be more than `tokenPolicy.maxLifetimeDays`",
	},
	{
		name:     "handoff/identity-header-unused",
		accepted: []change{{"spec.handoff.type": "IdentityHeader", "spec.handoff.identityHeader": fields{}}},
		refused:  []change{{"spec.handoff.type": "PersonalAccessToken", "spec.handoff.identityHeader.name": "X-Remote-User"}},
		want:     "`handoff.identityHeader` must not be set unless `type` is `IdentityHeader`",
	},
	{
		name:     "upstreamCARef/http",
		accepted: []change{https.and(change{"spec.upstreamCARef.name": "jira-ca"})},
		refused:  []change{{"spec.upstreamCARef.name": "jira-ca"}},
		want:     "`upstreamCARef` must not be set unless `upstreamURL` begins with 'https://'",
	},
	{
		name: "unknown-field",
		accepted: []change{{
			"spec.callerVerification.type": "SharedKey",
			"spec.handoff.type":            "PersonalAccessToken",
			"spec.tokenPaths":              list{"/rest/", "/plugins/servlet/"},
			"spec.upstreamCredentials":     patIn("alice-pat"),
		}},
		refused: []change{{"spec.callerVerification.type": "SharedKey", "spec.callerVerification.optional": true}},
		want:    `unknown field "spec.callerVerification.optional"`,
	},
}

// siteUpdates are cases of rules about a field before and after.
var siteUpdates = []schemaCase{
	{
		name:     "update/issued-after-away",
		accepted: []change{unchanged, {"spec.issuedAfter": "2026-11-23T10:00:00Z"}},
		refused:  []change{{"spec.issuedAfter": "2026-11-23T10:00:00Z"}, unchanged},
		want:     wantEpochForward,
	},
	{
		name:     "update/issued-after-back",
		accepted: []change{{"spec.issuedAfter": "2026-11-23T10:00:00Z"}, {"spec.issuedAfter": "2026-11-23T10:00:01Z"}},
		refused:  []change{{"spec.issuedAfter": "2026-11-23T10:00:00Z"}, {"spec.issuedAfter": "2026-11-23T09:59:59Z"}},
		want:     wantEpochForward,
	},
	{
		name:     "update/product",
		accepted: []change{confluence, confluence.and(change{"spec.upstreamURL": "http://confluence-2.atlassian.svc:8090/wiki"})},
		refused:  []change{confluence, confluence.and(change{"spec.product": "Jira"})},
		want:     "`product` must not change: delete this AtlassianSite and create another",
	},
	{
		name:     "status/empty",
		accepted: []change{unchanged, {"status.authURLSecretName": "jira-auth-urls"}},
		refused:  []change{unchanged, {"status": fields{}}},
		want:     "status: Invalid value: 0:  in body should have at least 1 properties",
	},
}
