package gateways_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"apitokens.dev/operator/hack/lib/controlplane"
	"apitokens.dev/operator/hack/lib/gatewaytest"
	"apitokens.dev/operator/internal/authurl"
)

// startIngressNginx starts nginx with what ingress-nginx 1.15.1 renders for the Ingresses of the sample: the location of the
// question and those of the paths (rootfs/etc/nginx/template/nginx.tmpl, lines 1006 to 1252), reduced to what bears on
// authentication. One path that is an expression makes expressions of all paths of the host.
func startIngressNginx(t *testing.T, w *world, edits ...string) string {
	t.Helper()
	listen, dir := free(t), t.TempDir()
	path, target := portalOfIngressNginx(t)
	scheme, server, toPortal, key := "http", "", "", callerKey
	if w.authority != "" {
		scheme, server, toPortal = "https", w.tlsOfIngressNginx(t, "jira-rest"), w.tlsOfIngressNginx(t, "main-apitokens")
	}
	if w.certified {
		key = authurl.NoKey
	}
	proxied := `
            proxy_set_header Host $http_host;
            proxy_set_header X-Request-ID $request_id;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Scheme $scheme;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header X-Original-Forwarded-For $http_x_forwarded_for;
            proxy_set_header Proxy "";
            proxy_buffer_size 64k;
            proxy_buffers 4 64k;
            proxy_request_buffering off;
            proxy_http_version 1.1;
`
	asked := `
            auth_request /_external-auth-L3Jlc3Q-Prefix;
            auth_request_set $auth_cookie $upstream_http_set_cookie;
            add_header Set-Cookie $auth_cookie;
            auth_request_set $authHeader0 $upstream_http_authorization;
            proxy_set_header 'Authorization' $authHeader0;
            auth_request_set $authHeader1 $upstream_http_x_forwarded_user;
            proxy_set_header 'X-Forwarded-User' $authHeader1;
            auth_request_set $authHeader2 $upstream_http_x_api_token_id;
            proxy_set_header 'X-Api-Token-Id' $authHeader2;
            auth_request_set $authHeader3 $upstream_http_cookie;
            proxy_set_header 'Cookie' $authHeader3;
`
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;\n"
	}
	main := user + "daemon off;\nworker_processes 1;\npid " + dir + `/pid;
error_log stderr warn;
events {}
http {
    access_log off;
    map $http_upgrade $connection_upgrade {
        default upgrade;
        ''      '';
    }
    large_client_header_buffers 4 16k;
    client_max_body_size 0;
    client_body_temp_path ` + dir + `/body;
    proxy_temp_path ` + dir + `/proxy;
    fastcgi_temp_path ` + dir + `/fastcgi;
    uwsgi_temp_path ` + dir + `/uwsgi;
    scgi_temp_path ` + dir + `/scgi;
    server {
        listen LISTEN;
` + server + `
        location = /_external-auth-L3Jlc3Q-Prefix {
            internal;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header X-Forwarded-Proto "";
            proxy_set_header X-Request-ID $request_id;
            proxy_set_header Host webhook;
            proxy_set_header X-Original-URL $scheme://$http_host$request_uri;
            proxy_set_header X-Original-Method $request_method;
            proxy_set_header X-Sent-From "nginx-ingress-controller";
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Auth-Request-Redirect $request_uri;
            proxy_buffering off;
            proxy_buffer_size 64k;
            proxy_buffers 4 64k;
            proxy_pass_request_headers on;
            proxy_ssl_server_name on;
            set $target ` + scheme + `://WEBHOOK/nginx/` + key + "/" + site.String() + `;
            proxy_pass $target;
        }
        location ~* "^` + path + `" {` + proxied + `
            rewrite "(?i)` + path + `" ` + target + ` break;
            ` + toPortal + `
            proxy_pass ` + scheme + `://PORTAL;
        }
        location ~* "^/rest/" {` + asked + proxied + `
            proxy_pass http://PRODUCT;
        }
        location ~* "^/" {` + proxied + `
            proxy_pass http://PRODUCT;
        }
    }
}
`
	run(t, listen, "nginx", "-e", "stderr", "-c", write(t, dir, "nginx.conf", w.fill(edited(t, strings.TrimSpace(main)+"\n", edits), listen)))
	return listen
}

// tlsOfIngressNginx renders the annotations for TLS of an Ingress of the sample, as the template does in lines 950 to 966 for the
// server of the host, and in lines 1431 to 1450 for the paths of the Ingress.
func (w *world) tlsOfIngressNginx(t *testing.T, ingress string) string {
	t.Helper()
	var lines strings.Builder
	for _, o := range gatewaytest.Read(t, filepath.Join(controlplane.RepositoryRoot(), "config/samples/gateways/ingress-nginx/jira.yaml")) {
		for name, value := range o.GetAnnotations() {
			setting, found := strings.CutPrefix(name, "nginx.ingress.kubernetes.io/proxy-ssl-")
			switch {
			case !found || o.GetName() != ingress:
			case setting == "secret":
				lines.WriteString("proxy_ssl_trusted_certificate " + w.authority + ";\nproxy_ssl_ciphers DEFAULT;\nproxy_ssl_verify_depth 1;\n")
			default:
				lines.WriteString("proxy_ssl_" + strings.ReplaceAll(setting, "-", "_") + " " + value + ";\n")
			}
		}
	}
	if w.certificate != nil {
		_, _, both := w.certificateFiles(t)
		lines.WriteString("proxy_ssl_certificate " + both + ";\nproxy_ssl_certificate_key " + both + ";\n")
	}
	return lines.String()
}

// ingressNginxSwitches: every protocol passes, except where the webhook refuses the request.
func ingressNginxSwitches(c credential, target, _ string) bool {
	return !c.refused || !strings.HasPrefix(target, "/rest/")
}

// portalOfIngressNginx returns the path of the sample's Ingress to the portal, and what takes its place.
func portalOfIngressNginx(t *testing.T) (path, target string) {
	t.Helper()
	for _, o := range gatewaytest.Read(t, filepath.Join(controlplane.RepositoryRoot(), "config/samples/gateways/ingress-nginx/jira.yaml")) {
		if target := o.GetAnnotations()["nginx.ingress.kubernetes.io/rewrite-target"]; target != "" {
			var ingress networkingv1.Ingress
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &ingress); err != nil {
				t.Fatal(err)
			}
			return ingress.Spec.Rules[0].HTTP.Paths[0].Path, target
		}
	}
	t.Fatal("no Ingress of the sample rewrites")
	return "", ""
}
