package authn_test

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/probe"
	"apitokens.dev/operator/internal/record"
)

// A probe is answered on every path and whatever the site forbids, and authenticates nobody, even where an APIToken has the same secret.
func TestProbeIsNoTokenOfAnybody(t *testing.T) {
	f := newFixture(t)
	key := probe.NewKey(jira.Namespace, jira.Name)
	f.PutProbeKey(jira, key)
	due := time.Now().Add(-time.Second)
	made := key.Credential(due, "")
	salt := strings.Repeat("s", 16)
	sum := sha256.Sum256([]byte(salt + made))
	encode := base64.RawStdEncoding.EncodeToString
	hash, err := record.ParseHash("$sha256$v=1$" + encode([]byte(salt)) + "$" + encode(sum[:]))
	if err != nil {
		t.Fatal(err)
	}
	copied, imported := *f.record, *f.record
	copied.APIToken.Name, copied.TokenID, copied.Entries = "copied", "asp_0123456789abcdef", []record.Entry{{Hash: hash, State: record.Delivered}}
	f.PutToken(alice("uid-2", "copied"))
	f.PutRecord("uid-2", &copied)
	imported.APIToken.Name, imported.TokenID, imported.Entries = "imported", "asp_0123456789abcdeg", copied.Entries
	imported.DeliverySecret, imported.Imported = "", true
	f.PutToken(authn.Token{UID: "uid-3", Namespace: jira.Namespace, Name: "imported", User: "alice", Site: jira, Imported: true})
	f.PutRecord("uid-3", &imported)

	stopped := site(jira)
	stopped.BlockedNames, stopped.Limits.ReadOnly, stopped.Lifetime.IssuedAfter = []string{"alice", probe.User}, true, time.Now().Add(time.Hour)
	for name, change := range map[string]func(){
		"the fixture":            func() {},
		"every stop of the site": func() { f.PutSite(stopped) },
		"no licence":             f.RequireLicenses,
	} {
		change()
		for _, user := range []string{probe.User, "alice", ""} {
			for _, path := range []string{myself, "/", "/jira/secure/x", "/jira/rest/../x", "/jira/rest/pat/latest/tokens", myself + "?os_username=x"} {
				f.expect(t, name+", "+path, request(path, basic(user, made)), authn.Forbidden, authn.ReasonProbe)
			}
		}
		if d := f.Decide(request(myself, basic("alice", made))); d.User != "" || d.TokenID != "" || d.Authorization != "" {
			t.Errorf("%s: it has an identity: %+v", name, d)
		}
		if d := f.Identify(request(myself, basic("alice", made))); d.Verdict == authn.Allow {
			t.Errorf("%s: it is a caller of the REST API: %+v", name, d)
		}
	}

	other := probe.NewKey(jira.Namespace, jira.Name)
	for name, text := range map[string]string{
		"not due":              key.Credential(time.Now().Add(time.Hour), ""),
		"for another path":     key.Credential(due, "/jira/rest/x"),
		"of another site":      other.Credential(due, ""),
		"nothing but a prefix": probe.Prefix,
	} {
		f.expect(t, name, request(myself, basic(probe.User, text)), authn.Unauthorized, authn.ReasonProbeRefused)
	}
	f.expect(t, "for this path", request(myself+"?a=b", basic(probe.User, key.Credential(due, myself))), authn.Forbidden, authn.ReasonProbe)
	f.expect(t, "as a user name", request(myself, basic(made, "")), authn.Unauthorized, authn.ReasonSchemeNotAccepted)
	f.expect(t, "as Bearer", request(myself, "Bearer "+made), authn.Unauthorized, authn.ReasonSchemeNotAccepted)
	f.DeleteProbeKey(jira)
	for name, text := range map[string]string{"without a key": made, "with the key zero": (probe.Key{}).Credential(due, "")} {
		if d := f.Decide(request(myself, basic(probe.User, text))); d != (authn.Decision{Verdict: authn.Unauthorized, Reason: authn.ReasonProbeRefused}) {
			t.Errorf("%s: %+v", name, d)
		}
	}
}
