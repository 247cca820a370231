package gateways_test

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/yaml"
)

// traefikRoute is a route of an IngressRoute.
type traefikRoute struct {
	Match       string
	Priority    int
	Middlewares []struct{ Name string }
	Services    []struct{ Name string }
}

// startTraefik starts Traefik with the objects of the sample, read by its file provider: the fields are the same.
func startTraefik(t *testing.T, w *world) string {
	t.Helper()
	listen, dir := free(t), t.TempDir()
	middlewares, routers := map[string]json.RawMessage{}, map[string]any{}
	text := strings.NewReplacer("AUTH_URL", "http://"+w.webhookAt+"/forward/"+callerKey+"/"+site.String(), "jira.example.com", "127.0.0.1").
		Replace(sample(t, "gateways/traefik/jira.yaml"))
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader([]byte(text)), 4096)
	for {
		var o struct {
			Kind     string
			Metadata struct{ Name string }
			Spec     json.RawMessage
		}
		if err := decoder.Decode(&o); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if o.Kind == "Middleware" {
			middlewares[o.Metadata.Name] = o.Spec
			continue
		}
		var spec struct{ Routes []traefikRoute }
		if err := json.Unmarshal(o.Spec, &spec); err != nil {
			t.Fatal(err)
		}
		for _, r := range spec.Routes {
			names := []string{}
			for _, m := range r.Middlewares {
				names = append(names, m.Name)
			}
			routers[r.Services[0].Name+r.Match[len(r.Match)-3:]] = map[string]any{
				"rule": r.Match, "priority": r.Priority, "middlewares": names, "service": r.Services[0].Name, "entryPoints": []string{"web"},
			}
		}
	}
	service := func(at string) any {
		return map[string]any{"loadBalancer": map[string]any{"servers": []any{map[string]any{"url": "http://" + at}}}}
	}
	dynamic, err := json.Marshal(map[string]any{"http": map[string]any{
		"routers": routers, "middlewares": middlewares, "services": map[string]any{"jira": service(w.productAt), "apitoken-portal": service(w.portalAt)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	run(t, listen, "traefik", "--entryPoints.web.address="+listen, "--entryPoints.web.http.aliasHeadersStrategy=delete", "--log.level=ERROR",
		"--global.checkNewVersion=false", "--global.sendAnonymousUsage=false", "--providers.file.filename="+write(t, dir, "dynamic.yaml", string(dynamic)))
	return listen
}
