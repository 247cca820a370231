package gateways_test

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"apitokens.dev/operator/hack/lib/controlplane"
	"apitokens.dev/operator/hack/lib/gatewaytest"
)

// envoyRoute is a route of a sample for a gateway with Envoy inside.
type envoyRoute struct {
	prefix string
	// credential means that the route is for requests with an Authorization alone.
	credential bool
	// portal means that it leads to the portal, with rewrite in the place of the prefix.
	portal  bool
	rewrite string
	asked   bool
	// remove and set are changes of the request's headers.
	remove []string
	set    map[string]string
}

// objectReader reads the routes of an object of a sample. others are all objects of the sample, by name.
type objectReader func(t *testing.T, object []byte, others map[string][]byte) []envoyRoute

// envoyRoutes returns the routes of a sample. below is the context path.
func envoyRoutes(t *testing.T, folder, below string) (routes []envoyRoute, text string) {
	t.Helper()
	text = sample(t, "gateways/"+folder+"/jira.yaml")
	objects := map[string][]byte{}
	var all [][]byte
	var readers []objectReader
	for _, o := range gatewaytest.Read(t, filepath.Join(controlplane.RepositoryRoot(), "config/samples/gateways", folder, "jira.yaml")) {
		object, err := o.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		objects[o.GetKind()+"/"+o.GetName()] = object
		if reader := map[string]objectReader{"HTTPRoute": httpRoutes, "VirtualService": virtualServiceRoutes, "HTTPProxy": httpProxyRoutes}[o.GetKind()]; reader != nil {
			all, readers = append(all, object), append(readers, reader)
		}
	}
	for i, object := range all {
		routes = append(routes, readers[i](t, object, objects)...)
	}
	for i := range routes {
		if routes[i].prefix != "/" {
			routes[i].prefix = below + routes[i].prefix
		}
	}
	return routes, text
}

func decode(t *testing.T, object []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(object, into); err != nil {
		t.Fatal(err)
	}
}

// httpRoutes reads an HTTPRoute. It is asked about if it has the filter ExternalAuth, or the policy of the sample targets it.
func httpRoutes(t *testing.T, object []byte, others map[string][]byte) (routes []envoyRoute) {
	t.Helper()
	var route struct {
		Metadata struct{ Name string }
		Spec     struct {
			Rules []struct {
				Matches []struct {
					Path    struct{ Value string }
					Headers []struct{ Name string }
				}
				Filters []struct {
					Type       string
					URLRewrite struct {
						Path struct{ ReplacePrefixMatch string }
					}
					RequestHeaderModifier struct{ Remove []string }
				}
				BackendRefs []struct{ Name string }
			}
		}
	}
	decode(t, object, &route)
	target := `{"group":"gateway.networking.k8s.io","kind":"HTTPRoute","name":"` + route.Metadata.Name + `"}`
	policy := strings.Contains(string(others["SecurityPolicy/jira-apitokens"])+string(others["AgentgatewayPolicy/jira-apitokens"]), target)
	for _, rule := range route.Spec.Rules {
		r := envoyRoute{asked: policy, portal: rule.BackendRefs[0].Name == "apitoken-portal"}
		for _, filter := range rule.Filters {
			r.asked = r.asked || filter.Type == "ExternalAuth"
			r.rewrite += filter.URLRewrite.Path.ReplacePrefixMatch
			r.remove = append(r.remove, filter.RequestHeaderModifier.Remove...)
		}
		for _, match := range rule.Matches {
			r.prefix, r.credential = match.Path.Value, len(match.Headers) > 0
			routes = append(routes, r)
		}
	}
	return routes
}

// virtualServiceRoutes reads a VirtualService of Istio. An AuthorizationPolicy says what is asked about.
func virtualServiceRoutes(t *testing.T, object []byte, _ map[string][]byte) (routes []envoyRoute) {
	t.Helper()
	type match struct {
		URI     struct{ Prefix string }
		Headers map[string]any
	}
	var service struct {
		Spec struct {
			HTTP []struct {
				Match   []match
				Rewrite struct{ URI string }
				Headers struct {
					Request struct{ Remove []string }
				}
				Route []struct{ Destination struct{ Host string } }
			}
		}
	}
	decode(t, object, &service)
	for _, route := range service.Spec.HTTP {
		if len(route.Match) == 0 {
			route.Match = []match{{}}
		}
		r := envoyRoute{rewrite: route.Rewrite.URI, remove: route.Headers.Request.Remove, portal: strings.HasPrefix(route.Route[0].Destination.Host, "apitoken-portal.")}
		for _, m := range route.Match {
			r.prefix, r.credential = m.URI.Prefix, m.Headers != nil
			if r.prefix == "" {
				r.prefix = "/"
			}
			routes = append(routes, r)
		}
	}
	return routes
}

// httpProxyRoutes reads an HTTPProxy of Contour. One that is included has its prefix from the one that includes it. The root has the
// authorization, which counts for every route that does not disable it.
func httpProxyRoutes(t *testing.T, object []byte, others map[string][]byte) (routes []envoyRoute) {
	t.Helper()
	type prefix struct{ Prefix string }
	type proxy struct {
		Metadata struct{ Name string }
		Spec     struct {
			Routes []struct {
				Conditions           []prefix
				AuthPolicy           struct{ Disabled bool }
				RequestHeadersPolicy struct {
					Set    []struct{ Name, Value string }
					Remove []string
				}
				PathRewritePolicy struct {
					ReplacePrefix []struct{ Replacement string }
				}
				Services []struct{ Name string }
			}
			Includes []struct {
				Name       string
				Conditions []prefix
			}
		}
	}
	var own, root proxy
	decode(t, object, &own)
	decode(t, others["HTTPProxy/jira"], &root)
	for _, route := range own.Spec.Routes {
		r := envoyRoute{asked: !route.AuthPolicy.Disabled, portal: route.Services[0].Name == "apitoken-portal", remove: route.RequestHeadersPolicy.Remove, set: map[string]string{}}
		for _, header := range route.RequestHeadersPolicy.Set {
			r.set[header.Name] = strings.ReplaceAll(header.Value, "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "127.0.0.1")
		}
		for _, replaced := range route.PathRewritePolicy.ReplacePrefix {
			r.rewrite = replaced.Replacement
		}
		conditions := route.Conditions
		for _, include := range root.Spec.Includes {
			if include.Name == own.Metadata.Name {
				conditions = include.Conditions
			}
		}
		r.prefix = conditions[0].Prefix
		routes = append(routes, r)
	}
	return routes
}

// routeOf returns the route of a request: the one with the longest prefix, and of these one that is for credentials.
func routeOf(routes []envoyRoute, target string, headers http.Header) (found envoyRoute) {
	path, _, _ := strings.Cut(target, "?")
	for _, r := range routes {
		matches := strings.HasPrefix(path, r.prefix) || path == strings.TrimSuffix(r.prefix, "/")
		if !matches || r.credential && !anyText(headers.Get("Authorization")) {
			continue
		}
		if len(r.prefix) > len(found.prefix) || len(r.prefix) == len(found.prefix) && r.credential {
			found = r
		}
	}
	return found
}

// anyText reports whether the expression `.+` matches all of a text in RE2, which Envoy uses. RE2 does not match bytes that are no UTF-8.
func anyText(text string) bool { return text != "" && utf8.ValidString(text) }

// byPolicy reports whether the AuthorizationPolicy of Istio's sample has a request asked about, whatever its route is.
func (r envoyRoute) byPolicy(below, target string, headers http.Header) bool {
	return !r.portal && (strings.HasPrefix(target, below+"/rest/") || headers.Get("Authorization") != "")
}

// change changes the headers of a request as a route says. Envoy does that when it sends the request on: after the question.
func (r envoyRoute) change(headers http.Header) {
	for _, name := range r.remove {
		headers.Del(name)
	}
	for name, value := range r.set {
		headers.Set(name, value)
	}
}
