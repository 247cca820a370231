package node

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"apitokens.dev/operator/hack/lib/authority"
)

// lifetime of all certificates: a node is for one day.
const lifetime = 23 * time.Hour

// Users that kubectl can be run as: an administrator, alice, who may issue for herself, and mallory, who may not.
var users = map[string]string{"admin": "system:masters", "alice": "jira-team", "mallory": "jira-team"}

// programs have a kubeconfig with the address of the API server on the node.
var programs = map[string]pkix.Name{
	"admin":              {CommonName: "admin", Organization: []string{"system:masters"}},
	"controller-manager": {CommonName: "system:kube-controller-manager", Organization: []string{"system:masters"}},
	"scheduler":          {CommonName: "system:kube-scheduler"},
	"kubelet":            {CommonName: "system:node:node1", Organization: []string{"system:nodes"}},
	"kube-proxy":         {CommonName: "system:kube-proxy"},
	"netpol":             {CommonName: "netpol", Organization: []string{"system:masters"}},
}

// writeCredentials writes an authority, the certificates and the kubeconfigs. The API server is at address on the machine.
func writeCredentials(folder, address string) error {
	ca, err := authority.New("authority of the node")
	if err != nil {
		return err
	}
	w := credentials{folder: folder, ca: ca}
	w.write("ca.crt", ca.PEM)
	w.issue("apiserver", &x509.Certificate{
		DNSNames:    []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 89, 0, 1), net.IPv4(10, 96, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	w.issue("accounts", &x509.Certificate{})
	w.client("apiserver-client", pkix.Name{CommonName: "apiserver-client", Organization: []string{"system:masters"}})
	for name, subject := range programs {
		w.kubeconfig(name+".node", "https://10.89.0.1:6443", subject)
	}
	for name, group := range users {
		w.kubeconfig(name+".kubeconfig", "https://"+address, pkix.Name{CommonName: name, Organization: []string{group}})
	}
	return w.err
}

// credentials writes files until one fails.
type credentials struct {
	folder string
	ca     *authority.Authority
	err    error
}

func (c *credentials) write(name string, text []byte) {
	if c.err == nil {
		c.err = os.WriteFile(filepath.Join(c.folder, name), text, 0o600)
	}
}

func (c *credentials) issue(name string, template *x509.Certificate) (certificate, key []byte) {
	template.NotAfter = time.Now().Add(lifetime)
	issued, err := c.ca.Issue(template)
	if err == nil {
		certificate, key, err = authority.EncodePEM(issued)
	}
	if err != nil && c.err == nil {
		c.err = err
	}
	c.write(name+".crt", certificate)
	c.write(name+".key", key)
	return certificate, key
}

func (c *credentials) client(name string, subject pkix.Name) (certificate, key []byte) {
	return c.issue(name, &x509.Certificate{Subject: subject, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
}

func (c *credentials) kubeconfig(name, server string, subject pkix.Name) {
	certificate, key := c.client(name, subject)
	encode := base64.StdEncoding.EncodeToString
	c.write(name, fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: node, cluster: {server: %q, certificate-authority-data: %s}}]
users: [{name: user, user: {client-certificate-data: %s, client-key-data: %s}}]
contexts: [{name: node, context: {cluster: node, user: user}}]
current-context: node
`, server, encode(c.ca.PEM), encode(certificate), encode(key)))
}
