package feed

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authn"
)

func specOf(change func(*tokensv1alpha1.AtlassianSiteSpec)) *tokensv1alpha1.AtlassianSite {
	s := &tokensv1alpha1.AtlassianSite{Spec: tokensv1alpha1.AtlassianSiteSpec{BaseURL: "https://example.com/jira", UpstreamURL: "http://jira.jira.svc:8080/jira"}}
	change(&s.Spec)
	return s
}

// Sites of before the fields existed behave as ever, and everything that is not known fails closed.
func TestReadCredentialsOfASite(t *testing.T) {
	password := func(a tokensv1alpha1.CredentialAction) func(*tokensv1alpha1.AtlassianSiteSpec) {
		return func(s *tokensv1alpha1.AtlassianSiteSpec) { s.OtherCredentials.Password.Action = a }
	}
	header := func(name string) func(*tokensv1alpha1.AtlassianSiteSpec) {
		return func(s *tokensv1alpha1.AtlassianSiteSpec) {
			s.Handoff = tokensv1alpha1.Handoff{Type: "IdentityHeader", IdentityHeader: tokensv1alpha1.IdentityHeader{Name: name}}
		}
	}
	for name, tc := range map[string]struct {
		change func(*tokensv1alpha1.AtlassianSiteSpec)
		want   authn.Site
		fails  bool
	}{
		"nothing":           {change: func(*tokensv1alpha1.AtlassianSiteSpec) {}},
		"Basic":             {change: func(s *tokensv1alpha1.AtlassianSiteSpec) { s.Schemes = []tokensv1alpha1.Scheme{"Basic", "Digest"} }},
		"Bearer":            {change: func(s *tokensv1alpha1.AtlassianSiteSpec) { s.Schemes = []tokensv1alpha1.Scheme{"Basic", "Bearer"} }, want: authn.Site{Bearer: true}},
		"Forward":           {change: password("Forward")},
		"Observe":           {change: password("Observe"), want: authn.Site{Others: authn.OtherCredentials{Password: authn.ActionObserve}}},
		"Refuse":            {change: password("Refuse"), want: authn.Site{Others: authn.OtherCredentials{Password: authn.ActionRefuse}}},
		"an unknown action": {change: password("Delay"), want: authn.Site{Others: authn.OtherCredentials{Password: authn.ActionRefuse}}},
		"all classes": {
			change: func(s *tokensv1alpha1.AtlassianSiteSpec) {
				o := &s.OtherCredentials
				o.Password = tokensv1alpha1.PasswordRule{Action: "Refuse", ExemptUsers: []string{"ci-old", "BOB"}, ExemptPaths: []string{"/rest/legacy/"}}
				o.Bearer.Action, o.Session.Action = "Observe", "Refuse"
				o.Anonymous = tokensv1alpha1.AnonymousRule{Action: "Observe", ChallengePaths: []string{"/rest/api/2/"}}
			},
			want: authn.Site{Others: authn.OtherCredentials{
				Password: authn.ActionRefuse, Bearer: authn.ActionObserve, Session: authn.ActionRefuse, Anonymous: authn.ActionObserve,
				ExemptUsers: []string{"ci-old", "bob"}, ExemptPaths: []string{"/rest/legacy/"}, ChallengePaths: []string{"/rest/api/2/"},
			}},
		},
		"a personal access token": {change: func(s *tokensv1alpha1.AtlassianSiteSpec) { s.Handoff.Type = "PersonalAccessToken" }},
		"a header":                {change: header("X-Remote-User"), want: authn.Site{IdentityHeader: "X-Remote-User"}},
		"a header by default":     {change: header(""), want: authn.Site{IdentityHeader: "X-Forwarded-User"}},
		"a header that is none":   {change: header("X-User:"), fails: true},
		"an alias":                {change: header("REMOTE_USER"), fails: true},
		"an unknown hand-over":    {change: func(s *tokensv1alpha1.AtlassianSiteSpec) { s.Handoff.Type = "Cookie" }, fails: true},
	} {
		got, err := ReadSite(specOf(tc.change))
		got = authn.Site{Bearer: got.Bearer, Others: got.Others, IdentityHeader: got.IdentityHeader}
		if diff := cmp.Diff(tc.want, got); diff != "" || (err != nil) != tc.fails {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
}

// A verification of callers that got past the schema, or that only a later version knows, is not read as one by key.
func TestUnknownVerificationOfCallersFails(t *testing.T) {
	names := tokensv1alpha1.ClientCertificateVerification{Names: []string{"traefik.ingress.svc"}}
	for name, tc := range map[string]struct {
		verification tokensv1alpha1.CallerVerification
		ok           bool
		names        int
	}{
		"absent":             {tokensv1alpha1.CallerVerification{}, true, 0},
		"a key":              {tokensv1alpha1.CallerVerification{Type: "SharedKey"}, true, 0},
		"certificates":       {tokensv1alpha1.CallerVerification{Type: "ClientCertificate", ClientCertificate: names}, true, 1},
		"without names":      {tokensv1alpha1.CallerVerification{Type: "ClientCertificate"}, false, 0},
		"of a later version": {tokensv1alpha1.CallerVerification{Type: "SPIFFE", ClientCertificate: names}, false, 0},
	} {
		var s tokensv1alpha1.AtlassianSite
		s.Spec.BaseURL, s.Spec.UpstreamURL, s.Spec.CallerVerification = "https://jira.example.com", "http://jira.jira.svc:8080", tc.verification
		read, err := ReadSite(&s)
		if (err == nil) != tc.ok || len(read.CallerNames) != tc.names {
			t.Errorf("%s: read names %v, %v", name, read.CallerNames, err)
		}
	}
}
