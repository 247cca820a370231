package plugin_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/config"
	"apitokens.dev/operator/hack/lib/canary"
	"apitokens.dev/operator/hack/lib/ports"
	"apitokens.dev/operator/hack/lib/rig"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/plugin"
	"apitokens.dev/operator/internal/plugin/exit"
	"apitokens.dev/operator/internal/plugin/session"
	"apitokens.dev/operator/internal/token"
)

// examined is what doctor says, for programs.
type examined struct {
	Findings   []struct{ Severity, Check, Object, Reason, Found, Do string }
	Checked    []string
	NotChecked []struct{ Check, Why, Do string }
}

// reasons returns the reasons of the findings about an object.
func (e examined) reasons(object string) (all []string) {
	for _, f := range e.Findings {
		if f.Object == object {
			all = append(all, f.Reason)
		}
	}
	return all
}

// run runs a command as a user, in this process.
func (w *world) run(user string, args ...string) (stdout string, code int) {
	w.Helper()
	var out, errOut bytes.Buffer
	c := plugin.New(genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errOut}, time.Now)
	c.SetArgs(append([]string{"--kubeconfig", w.Kubeconfig(user), "--namespace", rig.Namespace}, args...))
	err := c.ExecuteContext(w.Context())
	if code = exit.CodeOf(err); code != exit.Done && code != exit.No {
		w.Fatalf("%s: %v: %s%s", args, err, &out, &errOut)
	}
	return out.String(), code
}

// anyCode stands for the exit code of a doctor who may not see the fault yet.
const anyCode = -1

// doctor runs doctor as a user, with the metrics of the three processes, and expects an exit code.
func (w *world) doctor(code int, user string, args ...string) (e examined) {
	w.Helper()
	args = append([]string{"doctor", "-o", "json"}, args...)
	for _, url := range []string{w.MetricsURL, w.ControllerMetricsURL, w.PortalMetricsURL} {
		args = append(args, "--metrics-url", url)
	}
	out, got := w.run(user, args...)
	w.must(json.Unmarshal([]byte(out), &e))
	if got != code && code >= 0 {
		w.Errorf("%s: code %d, want %d: %s", args, got, code, out)
	}
	for _, f := range e.Findings {
		if f.Do == "" || f.Found == "" || strings.Contains(f.Do, "NAME") {
			w.Errorf("a finding does not say what mends it: %+v", f)
		}
	}
	return e
}

// wants expects a finding with a reason about an object.
func (w *world) wants(e examined, misconfiguration, object, reason string) {
	w.Helper()
	if !slices.Contains(e.reasons(object), reason) {
		w.Errorf("%s: %s has the findings %v, want %s", misconfiguration, object, e.reasons(object), reason)
	}
}

const forwarding = "location = /.api-token/forward {\n        internal;\n"

// edit returns a change of the sample of nginx, from one text to another.
func edit(oldnew ...string) func(*world, *rig.Gateway) {
	return func(_ *world, g *rig.Gateway) {
		for i := 0; i < len(oldnew); i += 2 {
			g.Edits = append(g.Edits, [2]string{oldnew[i], oldnew[i+1]})
		}
	}
}

// gateways are misconfigurations of an ingress, each with a site of its own, and what doctor says.
var gateways = []struct {
	name   string
	change func(*world, *rig.Gateway)
	want   string
}{
	{"another-caller-key", func(_ *world, g *rig.Gateway) { g.CallerKey = "another" }, tokensv1alpha1.ReasonWebhookNotReached},
	{"webhook-elsewhere", func(_ *world, g *rig.Gateway) { g.Webhooks = []string{"127.0.0.1:1"} }, tokensv1alpha1.ReasonWebhookNotReached},
	{"auth-url-of-another-site", func(w *world, g *rig.Gateway) { w.asks(g, rig.Site, authurl.Nginx) }, tokensv1alpha1.ReasonOtherSite},
	{"auth-url-of-another-contract", func(w *world, g *rig.Gateway) { w.asks(g, "auth-url-of-another-contract", authurl.Forward) },
		tokensv1alpha1.ReasonWrongContract},
	{"path-of-the-question-altered", edit("$api_token_host$request_uri", "$api_token_host/app$request_uri"), tokensv1alpha1.ReasonPathAltered},
	{"does-not-ask", edit("        return 418;\n    }\n\n    location /", "        proxy_pass http://product;\n    }\n\n    location /"),
		tokensv1alpha1.ReasonGatewayDoesNotAsk},
	{"credential-of-its-own", edit(forwarding, forwarding+"        proxy_set_header Host $host;\n        proxy_set_header Authorization \"Bearer "+
		rig.PersonalAccessToken+"\";\n"), tokensv1alpha1.ReasonOpenDoor},
	{"verdicts-cached", edit("upstream product {", "proxy_cache_path CACHE keys_zone=verdicts:1m;\nupstream product {", "proxy_pass_request_body off;",
		"proxy_pass_request_body off;\n proxy_cache verdicts;\n proxy_cache_key $http_authorization;\n proxy_cache_valid 200 202 401 5m;"),
		tokensv1alpha1.ReasonVerdictCached},
	{"403-in-place-of-401", edit("error_page 401 @unknown", "error_page 401 =403 @refused"), tokensv1alpha1.ReasonAnswerAltered},
	{"bodies-limited", edit("client_max_body_size 0;", "client_max_body_size 1m;"), "BodyTooSmall"},
	{"no-keep-alive", edit("client_max_body_size 0;", "client_max_body_size 0;\n    keepalive_timeout 0;"), "NoKeepAlive"},
}

// asks has a gateway ask with the auth URL of a site and a contract.
func (w *world) asks(g *rig.Gateway, site string, contract authurl.Contract) {
	w.Helper()
	other, err := rig.GatewayOf(w.authURLOf(site, contract))
	w.must(err)
	g.CallerKey, g.Site = other.CallerKey, other.Site
	g.Edits = append(g.Edits, [2]string{"/nginx/-/", "/" + string(contract) + "/-/"})
}

// others are misconfigurations of a site. They need no gateway.
var others = []struct {
	name   string
	change func(main, s *tokensv1alpha1.AtlassianSiteSpec)
	want   string
}{
	{"same-url", func(main, s *tokensv1alpha1.AtlassianSiteSpec) { s.BaseURL = main.BaseURL }, tokensv1alpha1.ReasonBaseURLConflict},
	{"nobody-at-base-url", func(_, s *tokensv1alpha1.AtlassianSiteSpec) { s.BaseURL = "http://127.0.0.1:1" }, tokensv1alpha1.ReasonBaseURLUnreachable},
	{"product-away", func(_, s *tokensv1alpha1.AtlassianSiteSpec) { s.UpstreamURL = "http://127.0.0.1:1" }, tokensv1alpha1.ReasonNoAnswer},
	{"authority-missing", func(_, s *tokensv1alpha1.AtlassianSiteSpec) {
		s.UpstreamURL, s.UpstreamCARef.Name = "https://127.0.0.1:1", "not-there"
	}, tokensv1alpha1.ReasonCAUnusable},
	{"pat-missing", func(_, s *tokensv1alpha1.AtlassianSiteSpec) {
		s.UpstreamCredentials = []tokensv1alpha1.UpstreamCredential{{User: "bob", SecretName: "not-there"}}
	}, tokensv1alpha1.ReasonCredentialUnusable},
	{"epoch-far-ahead", func(_, s *tokensv1alpha1.AtlassianSiteSpec) {
		s.IssuedAfter = metav1.NewTime(time.Now().Add(365 * 24 * time.Hour))
	}, tokensv1alpha1.ReasonEpochFarAhead},
}

// tokens are misconfigurations of an APIToken of the sample site, with what doctor says of them, if anything, and what explain does.
var tokens = []struct {
	name             string
	change           func(*tokensv1alpha1.APIToken)
	doctor, explains string
}{
	{"owner-without-pat", func(t *tokensv1alpha1.APIToken) { t.Spec.User = "bob" }, tokensv1alpha1.ReasonUpstreamCredentialMissing, "UpstreamCredentialMissing"},
	{"suspended", func(*tokensv1alpha1.APIToken) {}, "", "suspended"}, // once it is issued
	{"from-elsewhere", func(t *tokensv1alpha1.APIToken) { t.Spec.AllowedSources = []string{"10.0.0.0/8"} }, "", "SourceNotAllowed"},
	{"secret-taken", func(t *tokensv1alpha1.APIToken) { t.Spec.Delivery.SecretName = "alice-personal-access-token" },
		tokensv1alpha1.ReasonDeliveryConflict, ""},
	{"no-such-site", func(t *tokensv1alpha1.APIToken) { t.Spec.SiteRef.Name = "not-there" }, tokensv1alpha1.ReasonSiteNotFound, ""},
}

// prepare creates every misconfigured site and token, and starts the gateways. It waits until the controller has looked at them all.
func (w *world) prepare(api client.Client, main *tokensv1alpha1.AtlassianSite) {
	w.Helper()
	create := func(name string, change func(main, s *tokensv1alpha1.AtlassianSiteSpec)) *tokensv1alpha1.AtlassianSite {
		s := &tokensv1alpha1.AtlassianSite{ObjectMeta: metav1.ObjectMeta{Namespace: rig.Namespace, Name: name}, Spec: *main.Spec.DeepCopy()}
		s.Spec.BaseURL, s.Spec.UpstreamCredentials = "http://"+w.free(), nil
		change(&main.Spec, &s.Spec)
		w.must(api.Create(w.Context(), s))
		w.Cleanup(func() { w.must(api.Delete(context.Background(), s)) })
		return s
	}
	var behind []*tokensv1alpha1.AtlassianSite
	for _, g := range gateways {
		behind = append(behind, create(g.name, func(_, _ *tokensv1alpha1.AtlassianSiteSpec) {}))
	}
	for _, o := range others {
		create(o.name, o.change)
	}
	for _, tc := range tokens {
		t := &tokensv1alpha1.APIToken{ObjectMeta: metav1.ObjectMeta{Namespace: rig.Namespace, Name: tc.name}, Spec: tokensv1alpha1.APITokenSpec{
			SiteRef: tokensv1alpha1.SiteReference{Name: rig.Site}, User: "alice", Label: "a test",
			Credential: tokensv1alpha1.Credential{Type: tokensv1alpha1.CredentialGenerated}, Delivery: tokensv1alpha1.Delivery{SecretName: tc.name},
		}}
		tc.change(t)
		w.must(api.Create(w.Context(), t))
		w.Cleanup(func() { w.must(api.Delete(context.Background(), t)) })
	}
	for i, g := range gateways {
		w.gatewayOf(api, behind[i], g.change)
	}
	w.lookedAt(api, behind...)
}

// gatewayOf starts the gateway of a site, and has the controller look at it by a change of the site.
func (w *world) gatewayOf(api client.Client, s *tokensv1alpha1.AtlassianSite, change func(*world, *rig.Gateway)) {
	w.Helper()
	w.eventually(func() error {
		return api.Get(w.Context(), client.ObjectKey{Namespace: s.Namespace, Name: s.Name + "-auth-urls"}, &corev1.Secret{})
	})
	g, err := w.Gateway(w.authURL(s.Name))
	w.must(err)
	g.URL = s.Spec.BaseURL
	change(w, &g)
	for i := range g.Edits {
		g.Edits[i][1] = strings.ReplaceAll(g.Edits[i][1], "CACHE", w.TempDir())
	}
	p, err := w.StartAnother(w.Context(), "nginx-"+s.Name, g)
	w.must(err)
	w.Cleanup(func() { w.must(p.Stop()) })
	w.touch(api, s)
}

// touch changes a site, so that the controller looks at its ingress now.
func (w *world) touch(api client.Client, s *tokensv1alpha1.AtlassianSite) {
	w.Helper()
	before := s.DeepCopy()
	many := int32(1000)
	if before := s.Spec.TokenPolicy.MaxTokensPerUser; before != nil {
		many = *before + 1
	}
	s.Spec.TokenPolicy.MaxTokensPerUser = &many
	w.must(api.Patch(w.Context(), s, client.MergeFrom(before)))
}

// lookedAt waits until the controller has looked at the ingress of sites.
func (w *world) lookedAt(api client.Client, all ...*tokensv1alpha1.AtlassianSite) {
	w.Helper()
	w.eventually(func() error {
		for _, s := range all {
			w.must(api.Get(w.Context(), client.ObjectKeyFromObject(s), s))
			c := apimeta.FindStatusCondition(s.Status.Conditions, tokensv1alpha1.ConditionIngressProtected)
			if c == nil || c.ObservedGeneration < s.Generation || c.Reason == tokensv1alpha1.ReasonBaseURLUnreachable {
				return fmt.Errorf("the controller has not looked at the ingress of %s: %v", s.Name, c)
			}
		}
		return nil
	})
}

func (w *world) free() string {
	w.Helper()
	free, err := ports.Free(1)
	w.must(err)
	return free[0]
}

func (w *world) eventually(check func() error) {
	w.Helper()
	var last error
	if err := wait.PollUntilContextTimeout(w.Context(), 100*time.Millisecond, 3*time.Minute, true, func(context.Context) (bool, error) {
		last = check()
		return last == nil, nil
	}); err != nil {
		w.Fatalf("%v: %v", err, last)
	}
}

// Every prepared misconfiguration is named, by doctor or by explain, with what mends it. An installation without one has no finding.
//
// It is in the last file, and so the last test: of so many refusals the webhook logs only some, and other tests look for theirs.
func TestMisconfigurations(t *testing.T) {
	w := newWorld(t)
	api, err := client.New(w.Admin(), client.Options{Scheme: session.Scheme})
	w.must(err)
	main := &tokensv1alpha1.AtlassianSite{}
	w.must(api.Get(w.Context(), client.ObjectKey{Namespace: rig.Namespace, Name: rig.Site}, main))
	w.touch(api, main)
	w.kubectl("delete", "apitokens", "--all") // those that other tests left
	w.lookedAt(api, main)
	e := w.doctor(exit.Done, "admin", "main", "--create-token", "alice")
	for _, f := range e.Findings {
		t.Errorf("nothing is misconfigured, and doctor found %+v", f)
	}
	if len(e.Checked) < 8 {
		t.Errorf("checked only %v, not %+v", e.Checked, e.NotChecked)
	}

	w.refusesToIssue()

	w.prepare(api, main)
	w.objects(api)
	w.bundle(api)
	w.rights()
	w.cluster(api)
}

// refusesToIssue looks as somebody who may not issue for a user: that is said, and no failure, and nothing is left.
func (w *world) refusesToIssue() {
	w.Helper()
	e := w.doctor(exit.Done, "mallory", "main", "--create-token", "alice")
	if !slices.ContainsFunc(e.NotChecked, func(g struct{ Check, Why, Do string }) bool {
		return g.Check == "token" && strings.Contains(g.Why, "You may not create a token for alice")
	}) {
		w.Errorf("mallory may not issue, and doctor says %+v", e.NotChecked)
	}
	left, err := w.KubectlAs(w.Context(), "admin", nil, "get", "apitokens", "-o", "name")
	w.must(err)
	if strings.Contains(left, "doctor-") {
		w.Errorf("doctor left %s", left)
	}
}

// objects looks at the misconfigurations that are there at the same time.
func (w *world) objects(api client.Client) {
	e := w.doctor(exit.No, "admin")
	for _, g := range gateways {
		w.wants(e, g.name, "AtlassianSite jira/"+g.name, g.want)
	}
	for _, o := range others {
		w.wants(e, o.name, "AtlassianSite jira/"+o.name, o.want)
	}
	if found := e.reasons("AtlassianSite jira/main"); len(found) > 0 {
		w.Errorf("the site without a fault has the findings %v", found)
	}
	for _, tc := range tokens {
		if tc.doctor != "" {
			w.wants(e, tc.name, "APIToken jira/"+tc.name, tc.doctor)
		} else if found := e.reasons("APIToken jira/" + tc.name); len(found) > 0 {
			w.Errorf("%s: somebody asked for that, and doctor found %v", tc.name, found)
		}
		if tc.explains == "" {
			continue
		}
		of := w.issued(api, tc.name)
		if tc.explains == "suspended" {
			w.kubectl("patch", "apitoken", tc.name, "--type=merge", "-p", `{"spec":{"state":"Suspended"}}`)
		}
		out, code := w.run("admin", "explain", of.Status.TokenID, "--client", "192.0.2.1", "-o", "json")
		if code != exit.No || !strings.Contains(out, `"reason": "`+tc.explains+`"`) {
			w.Errorf("%s: code %d: explain says %s", tc.name, code, out)
		}
	}
}

// issued waits until an APIToken has a token id.
func (w *world) issued(api client.Client, name string) *tokensv1alpha1.APIToken {
	w.Helper()
	t := &tokensv1alpha1.APIToken{}
	w.eventually(func() error {
		w.must(api.Get(w.Context(), client.ObjectKey{Namespace: rig.Namespace, Name: name}, t))
		if t.Status.TokenID == "" {
			return fmt.Errorf("%s has no token id: %v", name, t.Status.Conditions)
		}
		return nil
	})
	return t
}

// operatorRuns creates a Deployment of a process of the operator until the test ends. No pod of it ever runs.
func (w *world) operatorRuns(api client.Client, component string, args ...string) {
	w.Helper()
	labels := map[string]string{"app.kubernetes.io/name": "apitoken-operator", "app.kubernetes.io/component": component}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: config.Namespace, Name: "apitoken-" + component, Labels: labels}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "operator", Image: "x:1", Args: args}}},
		},
	}}
	w.must(api.Create(w.Context(), d))
	w.Cleanup(func() { w.must(api.Delete(context.Background(), d)) })
}

// cluster makes one fault of the cluster after the other, and looks at each.
func (w *world) cluster(api client.Client) {
	for name, tc := range map[string]struct {
		spoil          func(*world)
		object, reason string
	}{
		"a policy without a binding": {func(w *world) {
			w.kubectl("delete", w.restored(api, admissionv1.SchemeGroupVersion.WithKind("ValidatingAdmissionPolicyBinding"), "metadata.apitokens.dev"))
		}, "ValidatingAdmissionPolicyBinding metadata.apitokens.dev", "Missing"},
		"a policy that was changed": {func(w *world) {
			w.kubectl("patch", w.restored(api, admissionv1.SchemeGroupVersion.WithKind("ValidatingAdmissionPolicy"), "installation.apitokens.dev"),
				"--type=merge", "-p", `{"spec":{"failurePolicy":"Ignore"}}`)
		}, "ValidatingAdmissionPolicy installation.apitokens.dev", "Changed"},
		"a right that is missing": {func(w *world) {
			w.kubectl("delete", w.restored(api, rbacv1.SchemeGroupVersion.WithKind("ClusterRoleBinding"), "apitoken-portal"))
		}, "ServiceAccount apitoken-system/apitoken-portal", "RightMissing"},
		"a right for everybody": {func(w *world) {
			w.kubectl("create", "rolebinding", "everybody", "-n", config.CredentialsNamespace, "--clusterrole=cluster-admin", "--group=system:authenticated")
			w.Cleanup(func() { w.kubectl("delete", "rolebinding", "everybody", "-n", config.CredentialsNamespace) })
		}, "Group system:authenticated", "RightTooWide"},
		"a right that nothing uses": {func(w *world) {
			w.operatorRuns(api, "controller")
			w.kubectl("create", "role", "lists", "-n", rig.Namespace, "--verb=list", "--resource=secrets")
			w.kubectl("create", "rolebinding", "lists", "-n", rig.Namespace, "--role=lists", "--serviceaccount="+config.Namespace+":apitoken-controller")
			w.Cleanup(func() { w.kubectl("delete", "role/lists", "rolebinding/lists", "-n", rig.Namespace) })
		}, "ServiceAccount apitoken-system/apitoken-controller", "RightTooWide"},
		"a flag without its right": {func(w *world) { w.operatorRuns(api, "controller", "controller", "--watch-secrets") },
			"ServiceAccount apitoken-system/apitoken-controller", "RightMissing"},
		"a webhook that does not run": {func(w *world) { w.operatorRuns(api, "webhook") }, "Deployment apitoken-system/apitoken-webhook", "Unavailable"},
		"a product with a wrong clock": {func(w *world) { w.SetProductAhead(time.Hour); w.Cleanup(func() { w.SetProductAhead(0) }) },
			"product of AtlassianSite jira/main", "ClockSkew"},
		"a stored form of a later version": {func(w *world) {
			s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: config.Namespace, Name: "later"}, Type: "apitokens.dev/hash",
				Data: map[string][]byte{"record.json": []byte(`{"version":9}`)}}
			w.must(api.Create(w.Context(), s))
			w.Cleanup(func() { w.must(api.Delete(context.Background(), s)) })
		}, "Secret apitoken-system/later", "FormUnknown"},
	} {
		w.Run(name, func(t *testing.T) {
			w := &world{T: t, Rig: w.Rig, plugins: w.plugins}
			tc.spoil(w)
			w.eventually(func() error { // the API server decides about rights a moment later
				if e := w.doctor(anyCode, "admin", "main"); !slices.Contains(e.reasons(tc.object), tc.reason) {
					return fmt.Errorf("%s has the findings %v, want %s", tc.object, e.reasons(tc.object), tc.reason)
				}
				return nil
			})
		})
	}
}

// restored restores an object of the cluster after the test. It returns the name of the object for kubectl.
func (w *world) restored(api client.Client, kind schema.GroupVersionKind, name string) string {
	w.Helper()
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(kind)
	w.must(api.Get(w.Context(), client.ObjectKey{Name: name}, o))
	w.Cleanup(func() {
		w.must(client.IgnoreNotFound(api.Delete(context.Background(), o.DeepCopy())))
		o.SetResourceVersion("")
		o.SetUID("")
		w.must(api.Create(context.Background(), o))
	})
	return kind.Kind + "/" + name
}

func (w *world) kubectl(args ...string) {
	w.Helper()
	_, err := w.KubectlAs(context.Background(), "admin", nil, args...)
	w.must(err)
}

// rights looks as somebody who may do little: each check that they may not make is named, and is no failure.
func (w *world) rights() {
	e := w.doctor(exit.Done, "alice", "main")
	missed := map[string]bool{}
	for _, g := range e.NotChecked {
		missed[g.Check] = g.Why != "" && g.Do != ""
	}
	for _, check := range []string{"policies", "rights", "deployments", "forms", "token"} {
		if !missed[check] {
			w.Errorf("%s: not said to be missing: %+v", check, e.NotChecked)
		}
	}
}

// secretsIn adds each text in a value that is long enough to be a secret, and neither a URL nor a name.
func secretsIn(all *canary.Secrets, what string, value any) {
	switch v := value.(type) {
	case map[string]any:
		for key, member := range v {
			if slices.Contains([]string{"uid", "kind", "site", "name", "namespace", "ancestors", "user", "deliverySecret"}, key) {
				continue
			}
			secretsIn(all, what+" "+key, member)
		}
	case []any:
		for _, member := range v {
			secretsIn(all, what, member)
		}
	case string:
		if len(v) >= 26 && !strings.ContainsAny(v, ":.") {
			all.Add(what, v)
		}
	}
}

// bundle looks for every secret of the installation in a support bundle, and explains refusals from it as from the API server.
func (w *world) bundle(api client.Client) {
	w.Helper()
	var all corev1.SecretList
	w.must(api.List(w.Context(), &all))
	var secrets canary.Secrets
	for _, s := range all.Items {
		for key, text := range s.Data {
			if key == "grpc-site" { // a name
				continue
			}
			var value any = string(text)
			_ = json.Unmarshal(text, &value) // what is no JSON is a secret itself
			secretsIn(&secrets, s.Namespace+"/"+s.Name+" "+key, value)
		}
	}
	if secrets.Len() < 50 {
		w.Fatalf("found only %d secrets to look for", secrets.Len())
	}
	pasted, err := token.New("asp_CEMdV8w5tmJF8712", rand.Reader)
	w.must(err)
	secrets.Add("a token that somebody pasted into a label", pasted[token.IDLength+1:])
	w.kubectl("patch", "apitoken", "suspended", "--type=merge", "-p", `{"metadata":{"annotations":{"note":"`+pasted+`"}},"spec":{"label":"my `+pasted+`"}}`)

	file := filepath.Join(w.TempDir(), "bundle.tar.gz")
	out, _ := w.run("admin", "doctor", "bundle", "--file", file, "--no-ingress", "--metrics-url", w.MetricsURL)
	zipped, err := os.Open(file)
	w.must(err)
	defer func() { w.must(zipped.Close()) }()
	plain, err := gzip.NewReader(zipped)
	w.must(err)
	text, err := io.ReadAll(plain)
	w.must(err)
	if found := secrets.Find(append(text, out...)); len(found) > 0 {
		w.Errorf("the bundle has secrets: %q", found)
	}
	for _, want := range []string{"objects/apitokens.json", "asp_CEMdV8w5tmJF8712-REMOVED", "caller-keys.jira.main", "apitoken_index_tokens", "doctor.json"} {
		if !bytes.Contains(text, []byte(want)) {
			w.Errorf("the bundle has no %s", want)
		}
	}
	for _, tc := range tokens {
		if tc.explains == "" {
			continue
		}
		args := []string{"explain", w.issued(api, tc.name).Status.TokenID, "--client", "192.0.2.1"}
		live, _ := w.run("alice", args...)
		bundled, _ := w.run("alice", append(args, "--bundle", file)...)
		if live != bundled || bundled == "" {
			w.Errorf("%s: from the bundle\n%slive\n%s", tc.name, bundled, live)
		}
	}
}
