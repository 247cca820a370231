package gateways_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/yaml"

	"apitokens.dev/operator/internal/authurl"
)

// startTraefik starts Traefik with the objects of the sample, which its file provider reads: the fields are the same. The
// static configuration is the one that the sample asks for.
func startTraefik(t *testing.T, w *world, edits ...string) string {
	t.Helper()
	listen := free(t)
	scheme, verify := "http", ""
	if w.authority != "" {
		scheme, verify = "https", "    tls: {ca: "+w.authority+"}\n"
	}
	key := callerKey
	if w.certified {
		key = authurl.NoKey
	}
	if w.certificate != nil {
		certificate, key, _ := w.certificateFiles(t)
		verify = strings.Replace(verify, "}", ", cert: "+certificate+", key: "+key+"}", 1)
	}
	text := strings.NewReplacer("AUTH_URL", scheme+"://"+w.webhookAt+"/forward/"+key+"/"+site.String(), "jira.example.com", "127.0.0.1",
		"    tls: {caSecret: main-auth-urls}\n", verify, "{secret: main-auth-urls}", w.authority).
		Replace(edited(t, sample(t, "gateways/traefik/jira.yaml"), edits))
	config := write(t, t.TempDir(), "dynamic.yaml", traefikFile(t, text, map[string]string{"jira": "http://" + w.productAt, "apitoken-portal": scheme + "://" + w.portalAt}))
	run(t, listen, "traefik", "--entryPoints.web.address="+listen, "--entryPoints.web.http.aliasHeadersStrategy=delete", "--log.level=ERROR",
		"--global.checkNewVersion=false", "--global.sendAnonymousUsage=false", "--providers.file.filename="+config)
	waitForRoutes(t, w, listen)
	return listen
}

// waitForRoutes waits until a gateway that listens before it knows its routes knows them.
func waitForRoutes(t *testing.T, w *world, gateway string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); w.send(t, gateway, "GET", w.contextPath+"/login.jsp").status == http.StatusNotFound; {
		if time.Now().After(deadline) {
			t.Fatal("the gateway does not know its routes")
		}
		<-time.After(50 * time.Millisecond)
	}
}

// traefikFile returns Middlewares and IngressRoutes in the form of Traefik's file provider. services are URLs by name.
func traefikFile(t *testing.T, objects string, services map[string]string) string {
	t.Helper()
	middlewares, transports, routers, backends := map[string]json.RawMessage{}, map[string]json.RawMessage{}, map[string]any{}, map[string]any{}
	for name, at := range services {
		balancer := map[string]any{"servers": []any{map[string]any{"url": at}}}
		if name == "apitoken-portal" && strings.HasPrefix(at, "https://") {
			balancer["serversTransport"] = "main-apitokens-portal"
		}
		backends[name] = map[string]any{"loadBalancer": balancer}
	}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader([]byte(objects)), 4096)
	for {
		var o struct {
			Kind     string
			Metadata struct{ Name string }
			Spec     json.RawMessage
		}
		if err := decoder.Decode(&o); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if o.Kind == "Middleware" {
			middlewares[o.Metadata.Name] = o.Spec
			continue
		}
		if o.Kind == "ServersTransport" {
			transports[o.Metadata.Name] = o.Spec
			continue
		}
		for i, router := range traefikRouters(t, o.Spec) {
			routers[o.Metadata.Name+strconv.Itoa(i)] = router
		}
	}
	dynamic, err := json.Marshal(map[string]any{"http": map[string]any{"routers": routers, "middlewares": middlewares, "services": backends, "serversTransports": transports}})
	if err != nil {
		t.Fatal(err)
	}
	return string(dynamic)
}

// traefikRouters returns the routers of an IngressRoute.
func traefikRouters(t *testing.T, ingressRoute []byte) (routers []any) {
	t.Helper()
	var spec struct {
		Routes []struct {
			Match       string
			Priority    int
			Middlewares []struct{ Name string }
			Services    []struct{ Name string }
		}
	}
	if err := json.Unmarshal(ingressRoute, &spec); err != nil {
		t.Fatal(err)
	}
	for _, r := range spec.Routes {
		names := []string{}
		for _, m := range r.Middlewares {
			names = append(names, m.Name)
		}
		routers = append(routers, map[string]any{
			"rule": r.Match, "priority": r.Priority, "middlewares": names, "service": r.Services[0].Name, "entryPoints": []string{"web"},
		})
	}
	return routers
}

// traefikSwitches: where the webhook is asked, no request becomes anything else. Elsewhere Traefik itself refuses HTTP/2 alone.
func traefikSwitches(c credential, target, protocol string) bool {
	asked := strings.HasPrefix(target, "/rest/") || c.refused || c.name == "a token"
	return !asked && !strings.Contains(protocol, "h2c")
}
