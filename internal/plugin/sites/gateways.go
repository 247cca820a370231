package sites

import (
	"fmt"
	"net/url"
	"slices"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authurl"
)

// gateway is one kind of gateway, with what to paste into the sample for it.
type gateway struct {
	name     string
	contract authurl.Contract
	// writes is the type of `spec.gateways` with which the operator writes all of it.
	writes tokensv1alpha1.GatewayType
	// page is the page below docs/how-to, and sample the file below config/samples that the words stand in.
	page, sample string
	words        []string
}

// The words in capitals that stand in the samples. Each but product and listen is known here.
const (
	wordWebhook  = "WEBHOOK"
	wordPortal   = "PORTAL"
	wordKey      = "CALLER_KEY"
	wordSite     = "SITE"
	wordAuthURL  = "AUTH_URL"
	wordPath     = "PATH"
	wordAuthPath = "AUTH_PATH"
	wordBaseURL  = "BASE_URL"
	wordHost     = "HOST"
)

var gateways = []gateway{
	{
		"nginx", authurl.Nginx, "",
		"nginx.md", "nginx.conf", []string{wordWebhook, wordKey, wordSite, wordPortal, wordBaseURL, wordHost},
	},
	{
		"ingress-nginx", authurl.Nginx, tokensv1alpha1.GatewayIngressNginx,
		"ingress-nginx.md", "gateways/ingress-nginx/jira.yaml", []string{wordAuthURL},
	},
	{
		"haproxy-ingress", authurl.Nginx, tokensv1alpha1.GatewayHAProxyIngress,
		"gateways/haproxy-ingress.md", "gateways/haproxy-ingress/jira.yaml", []string{wordAuthPath},
	},
	{
		"haproxy", authurl.Forward, "",
		"gateways/haproxy.md", "gateways/haproxy/haproxy.cfg", []string{wordWebhook, wordKey, wordSite, wordPortal},
	},
	{
		"caddy", authurl.Forward, "",
		"gateways/caddy.md", "gateways/caddy/Caddyfile", []string{wordWebhook, wordKey, wordSite, wordPortal, wordBaseURL},
	},
	{
		"traefik", authurl.Forward, tokensv1alpha1.GatewayTraefik,
		"gateways/traefik.md", "gateways/traefik/jira.yaml", []string{wordAuthURL},
	},
	{
		"apisix", authurl.Forward, "",
		"gateways/apisix.md", "gateways/apisix/jira.yaml", []string{wordAuthURL},
	},
	{
		"envoy-gateway", authurl.GRPC, tokensv1alpha1.GatewayEnvoyGateway,
		"gateways/envoy-gateway.md", "gateways/envoy-gateway/jira.yaml", nil,
	},
	{
		"contour", authurl.GRPC, "",
		"gateways/contour.md", "gateways/contour/jira.yaml", []string{wordSite, wordKey},
	},
	{
		"kgateway", authurl.GRPC, "",
		"gateways/kgateway.md", "gateways/kgateway/jira.yaml", []string{wordSite, wordKey},
	},
	{
		"agentgateway", authurl.GRPC, "",
		"gateways/agentgateway.md", "gateways/agentgateway/jira.yaml", []string{wordSite, wordKey},
	},
	{
		"istio", authurl.Envoy, tokensv1alpha1.GatewayIstio,
		"gateways/istio.md", "gateways/istio/jira.yaml", []string{wordSite, wordKey},
	},
	{
		"cilium", authurl.Envoy, "",
		"gateways/gateway-api.md", "gateways/gateway-api/jira.yaml", []string{wordPath},
	},
	{
		"nginx-gateway-fabric", authurl.Fabric, "",
		"gateways/gateway-api.md", "gateways/gateway-api/jira.yaml", []string{wordPath},
	},
}

func gatewayNames() []string {
	names := make([]string, len(gateways))
	for i, g := range gateways {
		names[i] = g.name
	}
	return names
}

// hidden stands for a caller key that is not shown.
const hidden = "***"

// value is a word of a sample, with what to write in its place.
type value struct {
	Word  string `json:"word"`
	Value string `json:"value"`
}

// values returns what to paste for a gateway. data is the Secret with the auth URLs.
func (g gateway) values(s *tokensv1alpha1.AtlassianSite, data map[string][]byte, showKeys bool) ([]value, error) {
	site := s.Namespace + "/" + s.Name
	known := map[string]string{wordSite: site, wordBaseURL: s.Spec.BaseURL}
	if base, err := url.Parse(s.Spec.BaseURL); err == nil {
		known[wordHost] = base.Hostname()
	}
	if portal, err := url.Parse(string(data[authurl.PortalDataKey])); err == nil {
		known[wordPortal] = portal.Host
	}
	key := string(data[authurl.GRPCCallerDataKey])
	if g.contract != authurl.GRPC {
		auth, err := url.Parse(string(data[string(g.contract)]))
		address, ok := authurl.Address{}, false
		if err == nil {
			address, ok = authurl.Parse(auth.Path)
		}
		if !ok {
			return nil, fmt.Errorf("the Secret has no auth URL for the contract %s: it is being written, or an older operator wrote it", g.contract)
		}
		if key = address.Key; !showKeys && key != authurl.NoKey {
			address.Key = hidden
		}
		known[wordWebhook], known[wordPath], known[wordAuthPath] = auth.Host, address.String(), address.String()
		known[wordAuthURL] = auth.Scheme + "://" + auth.Host + address.String()
	}
	switch {
	case key == "" || key == authurl.NoKey: // the site recognises gateways by their certificates
		delete(known, wordKey)
	case showKeys:
		known[wordKey] = key
	default:
		known[wordKey] = hidden
	}
	var paste []value
	for _, word := range g.words {
		if v, ok := known[word]; ok {
			paste = append(paste, value{word, v})
		}
	}
	return paste, nil
}

// isWritten reports whether the operator writes what this gateway needs.
func (g gateway) isWritten(s *tokensv1alpha1.AtlassianSite) bool {
	return slices.ContainsFunc(s.Spec.Gateways, func(entry tokensv1alpha1.Gateway) bool { return entry.Type == g.writes })
}
