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
)

// startIngressNginx starts nginx with what ingress-nginx 1.15.1 renders for the Ingresses of the sample: the location of the
// question and those of the paths (rootfs/etc/nginx/template/nginx.tmpl, lines 1006 to 1252), reduced to what bears on
// authentication. One path that is an expression makes expressions of all paths of the host.
func startIngressNginx(t *testing.T, w *world, edits ...string) string {
	t.Helper()
	listen, dir := free(t), t.TempDir()
	path, target := portalOfIngressNginx(t)
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
            set $target http://WEBHOOK/nginx/` + callerKey + "/" + site.String() + `;
            proxy_pass $target;
        }
        location ~* "^` + path + `" {` + proxied + `
            rewrite "(?i)` + path + `" ` + target + ` break;
            proxy_pass http://PORTAL;
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
