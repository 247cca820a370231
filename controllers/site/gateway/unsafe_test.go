package gateway

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// An Ingress with an annotation that defeats the question is a problem. So is no other Ingress.
func TestUnsafeAnnotations(t *testing.T) {
	for prefix, tc := range map[string]struct {
		entry        tokensv1alpha1.Gateway
		unsafe, safe map[string]string
	}{
		nginxPrefix: {
			nginxEntry,
			map[string]string{
				"auth-cache-key": "$http_authorization", "auth-keepalive": "32", "auth-signin": "https://sso.example.com", "auth-snippet": "return 200;",
				"canary": "true", "rewrite-target": "/", "satisfy": "any",
			},
			map[string]string{"canary": "false", "satisfy": "all", "proxy-body-size": "50m"},
		},
		haproxyPrefix: {
			haproxyEntry,
			map[string]string{"auth-signin": "https://sso.example.com", "request-set-headers": "X-A: b", "rewrite-target": "/"},
			map[string]string{"proxy-body-size": "50m"},
		},
	} {
		p := planFor(siteAt(t, "https://jira.example.com"), tc.entry)
		with := func(name, value string) *Problem {
			route := &unstructured.Unstructured{Object: map[string]any{"kind": ingressKind}}
			route.SetName("jira-rest")
			route.SetAnnotations(map[string]string{prefix + name: value})
			return p.unsafeIn(route)
		}
		for name, value := range tc.unsafe {
			found := with(name, value)
			if found == nil || !strings.Contains(found.Message, "Ingress 'jira-rest' has the annotation `"+prefix+name+"`: ") {
				t.Errorf("%s %s: %s is found to be %v", p.gateway, name, value, found)
			}
		}
		for name, value := range tc.safe {
			if found := with(name, value); found != nil {
				t.Errorf("%s %s: %s is found to be %v", p.gateway, name, value, found)
			}
		}
		var known []string
		for _, u := range p.unsafe {
			known = append(known, strings.TrimPrefix(u.annotation, prefix))
		}
		if want := slices.Sorted(maps.Keys(tc.unsafe)); !slices.Equal(want, slices.Sorted(slices.Values(known))) {
			t.Errorf("%s knows %s, and the test %s", p.gateway, known, want)
		}
	}
}
