//go:build cluster && long

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"apitokens.dev/operator/hack/lib/cluster"
	"apitokens.dev/operator/hack/lib/rig"
	"apitokens.dev/operator/internal/servingcert"
)

// faults returns the fault of each drill.
func (a *alerting) faults() map[string]fault {
	wrong, writing, door := a.token[:len(a.token)-1], []string{"APITokenLastAccessNotWritten"}, []string{"APITokenOpenDoor"}
	return map[string]fault{
		"APITokenPasswordsUsed": {again: func(ctx context.Context) error { return ask(ctx, "no token") }},
		"APITokenGatewayRefused": {again: func(ctx context.Context) error {
			return a.askWebhook(ctx, "/nginx/AAAAAAAAAAAAAAAAAAAAAAAAAA/jira/main")
		}},
		"APITokenManyRefusals": {again: func(ctx context.Context) error { return together(20, func(int) error { return ask(ctx, wrong) }) }},
		// Each guess is a password of its own for the product.
		"APITokenNoVerdict":            {begin: importWeakSecret, again: guess, also: []string{"APITokenPasswordsUsed"}},
		"APITokenDamagedObjects":       {begin: damageRecord},
		"APITokenLastAccessNotWritten": {begin: a.refuseLastAccess},
		"APITokenPoliciesMissing": {begin: func(t *testing.T) {
			t.Cleanup(func() { a.repair(t) })
			admin(t, "delete", "validatingadmissionpolicybinding", "issue.apitokens.dev")
		}},
		"APITokenOpenDoor": {begin: a.openDoor},
		"APITokenDoorUnknown": {begin: func(t *testing.T) {
			t.Cleanup(func() { a.touchSite(t) })
			scaleAway(t, "ingress", "nginx", 1)
			a.touchSite(t)
		}},
		"APITokenPATRefused": {begin: a.refusePAT},
		"APITokenLicenceEnds": {begin: func(t *testing.T) {
			a.licenseFor(t, 13*24*time.Hour)
		}},
		"APITokenLicenceInvalid":        {begin: func(t *testing.T) { a.licenseFor(t, -time.Hour) }},
		"APITokenCertificateEnds":       {begin: func(t *testing.T) { serveAnother(t, shortCertificate(t)) }},
		"APITokenCertificateNotRenewed": {begin: func(t *testing.T) { serveAnother(t, map[string][]byte{"tls.crt": []byte("damaged")}) }},
		"APITokenWebhookNotReady":       {begin: a.askTooEarly},
		// Who does not reach the API server writes no last use.
		"APITokenReplicaStale":   {begin: func(t *testing.T) { cutOff(t, podIPs(t, "webhook")[:1]) }, also: writing},
		"APITokenAPIServerAway":  {begin: func(t *testing.T) { cutOff(t, podIPs(t, "")) }, also: writing},
		"APITokenControllerAway": {begin: func(t *testing.T) { scaleAway(t, cluster.System, "apitoken-controller", 1) }},
		"APITokenClockWrong":     {begin: func(t *testing.T) { scaleAway(t, cluster.System, "apitoken-controller", 1) }, again: renewLate},
		// nginx waits until its log is read, so the webhook is asked without it.
		"APITokenAuditLinesLost": {begin: jamLogs, again: func(ctx context.Context) error {
			return together(5000, func(int) error { return a.askWebhook(ctx, a.auth) })
		}},
		// The controller may look at the ingress at this very time. What it finds then does not count after the drill.
		"APITokenWebhookAbsent": {begin: func(t *testing.T) {
			t.Cleanup(func() { a.touchSite(t) })
			scaleAway(t, cluster.System, "apitoken-webhook", 2)
		}, also: door},
	}
}

// together calls do so often, up to 100 times at once.
func together(times int, do func(int) error) error {
	var (
		group sync.WaitGroup
		mu    sync.Mutex
		all   error
		slots = make(chan struct{}, 100)
	)
	for i := range times {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			if err := do(i); err != nil {
				mu.Lock()
				defer mu.Unlock()
				all = err
			}
		})
	}
	group.Wait()
	return all
}

// importWeakSecret declares a token of alice whose secret has a slow hash.
func importWeakSecret(t *testing.T) {
	t.Cleanup(func() {
		admin(t, "--namespace", rig.Namespace, "delete", "apitoken/weak", "secret/weak-password", "--ignore-not-found", "--timeout=1m")
	})
	adminWith(t, weakSecret, "--namespace", rig.Namespace, "apply", "--server-side", "-f", "-")
	admin(t, "--namespace", rig.Namespace, "wait", "apitoken/weak", "--for=condition=Ready", "--timeout=1m")
}

const weakSecret = `{kind: List, apiVersion: v1, items: [
  {apiVersion: v1, kind: Secret, metadata: {name: weak-password}, stringData: {password: correct horse battery staple}},
  {apiVersion: apitokens.dev/v1alpha1, kind: APIToken, metadata: {name: weak}, spec: {siteRef: {name: main}, user: alice, label: imported,
    credential: {type: Imported, imported: {secretName: weak-password}}}}]}`

// guess sends so many passwords of alice at once that some do not get their turn.
func guess(ctx context.Context) error {
	return together(100, func(i int) error { return ask(ctx, fmt.Sprintf("guess %d of %d", i, time.Now().UnixNano())) })
}

// damageRecord declares a token, and damages its record.
func damageRecord(t *testing.T) {
	sample, err := on.Sample("apitoken.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		admin(t, "--namespace", rig.Namespace, "delete", "apitoken/alice-damaged", "secret/alice-damaged-token", "--ignore-not-found",
			"--timeout=1m")
	})
	another := strings.ReplaceAll(string(sample), "alice-ci", "alice-damaged")
	if _, err := on.KubectlAs(t.Context(), "alice", []byte(another), "apply", "--server-side", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	admin(t, "--namespace", rig.Namespace, "wait", "apitoken/alice-damaged", "--for=condition=Ready", "--timeout=1m")
	name := admin(t, "--namespace", rig.Namespace, "get", "apitoken", "alice-damaged", "--output", "jsonpath={.metadata.uid}")
	stored, err := on.Secret(t.Context(), cluster.System, name)
	if err != nil {
		t.Fatal(err)
	}
	for key := range stored.Data {
		stored.Data[key] = []byte("damaged")
	}
	patchSecret(t, cluster.System, name, stored.Data)
}

func patchSecret(t *testing.T, namespace, name string, data map[string][]byte) {
	t.Helper()
	text, err := json.Marshal(object{"data": data})
	if err != nil {
		t.Fatal(err)
	}
	admin(t, "--namespace", namespace, "patch", "secret", name, "--type", "merge", "--patch", string(text))
}

// refuseLastAccess takes the webhook's only right to write.
func (a *alerting) refuseLastAccess(t *testing.T) {
	t.Cleanup(func() { a.repair(t) })
	admin(t, "patch", "clusterrole", "apitoken-webhook", "--type", "json", "--patch", `[{"op": "remove", "path": "/rules/1"}]`)
}

// openDoor takes the question out of nginx's configuration.
func (a *alerting) openDoor(t *testing.T) {
	conf, err := on.Secret(t.Context(), "ingress", "nginx")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		startGatewayAgain(t)
		a.touchSite(t)
	})
	site := strings.ReplaceAll(string(conf.Data["site.conf"]), "return 418;", "proxy_pass http://product;")
	patchSecret(t, "ingress", "nginx", map[string][]byte{"site.conf": []byte(site)})
	admin(t, "--namespace", "ingress", "rollout", "restart", "deployment/nginx")
	admin(t, "--namespace", "ingress", "rollout", "status", "deployment/nginx", "--timeout=1m")
	eventually(t, "the gateway before to end", time.Minute, func(context.Context) error {
		if all := admin(t, "--namespace", "ingress", "get", "pods", "--output", "name"); strings.Count(all, "\n") != 1 {
			return errors.New(all)
		}
		return nil
	})
	a.touchSite(t)
}

// startGatewayAgain gives nginx its configuration, also once the test has ended.
func startGatewayAgain(t *testing.T) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	authURL, err := on.AuthURL(ctx)
	if err == nil {
		err = on.StartGateway(ctx, authURL)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// refusePAT gives alice a personal access token that the product does not know.
func (a *alerting) refusePAT(t *testing.T) {
	give := func(token string) {
		t.Helper()
		patchSecret(t, rig.Namespace, "alice-personal-access-token", map[string][]byte{"token": []byte(token)})
		a.touchSite(t)
	}
	t.Cleanup(func() {
		give(rig.PersonalAccessToken)
		admin(t, "--namespace", rig.Namespace, "wait", "atlassiansite/main", "--for=condition=UpstreamCredentialsReady", "--timeout=2m")
	})
	give(strings.Repeat("A", len(rig.PersonalAccessToken)))
}

// licenseFor gives the site a licence with so much left, until the test ends.
func (a *alerting) licenseFor(t *testing.T, left time.Duration) {
	t.Helper()
	t.Cleanup(func() {
		a.license(t, time.Now().AddDate(1, 0, 0))
		a.touchSite(t)
	})
	a.license(t, time.Now().Add(left))
	a.touchSite(t)
}

// shortCertificate returns a certificate of the operator's authority that ends in five days.
func shortCertificate(t *testing.T) map[string][]byte {
	t.Helper()
	stored, err := on.Secret(t.Context(), cluster.Intake, "apitoken-tls-authorities")
	if err != nil {
		t.Fatal(err)
	}
	authorities, err := servingcert.DecodeAuthorities(stored.Data["authorities.json"])
	if err != nil || len(authorities) == 0 {
		t.Fatalf("found no authority: %v", err)
	}
	signer, err := tls.X509KeyPair([]byte(authorities[0].Cert), []byte(authorities[0].Key))
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"apitoken-webhook.apitoken-system.svc", "apitoken-portal.apitoken-system.svc"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 0, 5), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, signer.Leaf, &key.PublicKey, signer.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text}),
	}
}

// serveAnother puts something else in the place of the certificate until the test ends, as another party does: the controller leaves it
// alone.
func serveAnother(t *testing.T, data map[string][]byte) {
	t.Helper()
	t.Cleanup(func() {
		admin(t, "--namespace", cluster.System, "delete", "secret", "apitoken-tls")
		admin(t, "--namespace", cluster.System, "wait", "secret/apitoken-tls", "--for=create", "--timeout=1m")
		hurryKubelet(t)
	})
	patchSecret(t, cluster.System, "apitoken-tls", data)
	hurryKubelet(t)
}

// hurryKubelet has it write Secrets into the pods now, and not within a minute: it does when a pod changes.
func hurryKubelet(t *testing.T) {
	t.Helper()
	admin(t, "--namespace", cluster.System, "annotate", "pods", "--all", "--overwrite", "drill="+strconv.FormatInt(time.Now().UnixNano(), 10))
}

// askTooEarly has nginx ask a webhook that cannot load its data.
func (a *alerting) askTooEarly(t *testing.T) {
	authURL, err := on.AuthURL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.repair(t)
		startGatewayAgain(t)
	})
	before := podIPs(t, "webhook")
	admin(t, "patch", "clusterrole", "apitoken-webhook", "--type", "json", "--patch", `[{"op": "remove", "path": "/rules/0"}]`)
	for _, pod := range pods(t) {
		if pod.Status.PodIP == before[0] {
			admin(t, "--namespace", cluster.System, "delete", "pod", pod.Name, "--wait=false")
		}
	}
	var fresh string
	eventually(t, "the new pod", time.Minute, func(context.Context) error {
		for _, pod := range pods(t) {
			address := pod.Status.PodIP
			if pod.Labels["app.kubernetes.io/component"] == "webhook" && address != "" && !slices.Contains(before, address) {
				fresh = address
				return nil
			}
		}
		return errors.New("it has no address")
	})
	if err := on.StartNginx(t.Context(), authURL, fresh+":8080"); err != nil {
		t.Fatal(err)
	}
}

// podIPs returns the addresses of a process's pods, or of all.
func podIPs(t *testing.T, component string) (all []string) {
	t.Helper()
	for _, pod := range pods(t) {
		if component == "" || pod.Labels["app.kubernetes.io/component"] == component {
			all = append(all, pod.Status.PodIP)
		}
	}
	return all
}

// cutOff keeps pods from the API server until the test ends.
func cutOff(t *testing.T, addresses []string) {
	t.Helper()
	cut := func(action, address string) {
		execOnNode(t, "iptables", "--wait", action, "INPUT", "--source", address, "--protocol", "tcp", "--dport", "6443",
			"--jump", "REJECT", "--reject-with", "tcp-reset")
	}
	t.Cleanup(func() {
		if err := on.AwaitOperator(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	for _, address := range addresses {
		cut("--insert", address)
		t.Cleanup(func() { cut("--delete", address) })
	}
}

// renewLate renews the lease of the controller, as one does whose clock is five seconds behind.
func renewLate(ctx context.Context) error {
	at := time.Now().Add(-5 * time.Second).UTC().Format("2006-01-02T15:04:05.000000Z")
	_, err := on.Kubectl(ctx, "admin", nil, "--namespace", cluster.System, "patch", "lease", "apitoken-controller", "--type", "merge",
		"--patch", `{"spec": {"renewTime": "`+at+`"}}`)
	return err
}

// jamLogs stops containerd, which reads what pods write, until the test ends.
func jamLogs(t *testing.T) {
	t.Cleanup(func() { execOnNode(t, "pkill", "-CONT", "-x", "containerd") })
	execOnNode(t, "pkill", "-STOP", "-x", "containerd")
}
