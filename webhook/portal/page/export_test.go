package page

import (
	"bytes"
	"net/url"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/webhook/portal/selfservice"
)

// These functions need no portal.
var (
	Soon        = soon
	Quoted      = quoted
	InPageTerms = inPageTerms
)

// Networks reads the input of the field `allowedSources`.
func Networks(text string) []string { return lines(text, network) }

// Lifetimes returns the values and texts of the field `lifetimeDays` under a policy.
func Lifetimes(policy tokensv1alpha1.TokenPolicy) (offered []string) {
	site := &selfservice.Site{AtlassianSite: &tokensv1alpha1.AtlassianSite{Spec: tokensv1alpha1.AtlassianSiteSpec{TokenPolicy: policy}}}
	for _, c := range lifetimes(site) {
		offered = append(offered, c.Value+": "+c.Text)
	}
	return offered
}

// Notices returns the warnings about a site, and whether no token is created.
func Notices(why authn.Reason, issuedAfter, now time.Time) ([]string, bool) {
	site := &tokensv1alpha1.AtlassianSite{Spec: tokensv1alpha1.AtlassianSiteSpec{Product: "Jira", IssuedAfter: metav1.NewTime(issuedAfter)}}
	return notices(&selfservice.Site{AtlassianSite: site, Unlicensed: why}, now)
}

// Pages returns every page that shows input, with this text as every input.
func Pages(t *testing.T, typed string) map[string]string {
	t.Helper()
	token := row{Token: selfservice.Token{
		ID: "asp_0123456789abcdef", Label: typed, UsedFrom: typed, Used: time.Unix(1, 0), AllowedPaths: []string{typed}, AllowedSources: []string{typed},
		Namespace: typed, Name: typed, CreatedWith: typed,
	}}
	declared := token
	declared.Declared = true
	form := url.Values{"label": {typed}, "lifetimeDays": {typed}, "access": {typed}, "allowedSources": {typed}, "allowedPaths": {typed}, "nonce": {typed}, "consent": {typed}}
	errs := formErrors{{"label", typed}, {"", typed}, {"allowedSources", typed}, {"allowedPaths", typed}, {"access", typed}, {"consent", typed}}
	pages := map[string]string{}
	for name, v := range map[string]view{
		"list":     {Tokens: []row{token, declared}, Notices: []string{typed}, Note: typed},
		"create":   {Dialog: &dialog{Name: "create", Form: form, Errors: errs, Consent: true}},
		"rotate":   {Dialog: &dialog{Name: "rotate", Form: form, Errors: errs, Token: token}},
		"declared": {Dialog: &dialog{Name: "rotate", Form: form, Errors: errs, Token: declared}},
		"revoke":   {Dialog: &dialog{Name: "revoke", Token: declared, Errors: errs, Descendants: 2}},
		"paste":    {Dialog: &dialog{Name: "paste", Errors: errs}},
		"created":  {Created: &created{Token: token, Text: typed, Curl: typed}},
		"refusal":  {Refusal: &refusal{Heading: typed, Message: typed}},
	} {
		v.Title, v.Product, v.User, v.DisplayName, v.Quota = typed, tokensv1alpha1.ProductJira, typed, typed+"!", 10
		v.Home, v.Page, v.BaseURL = "/jira/", "/jira"+selfservice.PagePath, "https://example.com/jira"
		var page bytes.Buffer
		if err := v.node().Render(&page); err != nil {
			t.Fatal(err)
		}
		pages[name] = page.String()
	}
	return pages
}
