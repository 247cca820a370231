package rest

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"k8s.io/utils/ptr"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/webhook/portal/rest/wire"
	"apitokens.dev/operator/webhook/portal/selfservice"
)

// tokenBody is a token in an answer. The fields of the plugin come first, under the plugin's names.
type tokenBody struct {
	Label            string                        `json:"label"`
	CreatedAt        int64                         `json:"createdAt"`
	LastAccessed     *int64                        `json:"lastAccessed"`
	ID               string                        `json:"id"`
	ExpiresAt        *int64                        `json:"expiresAt"`
	Access           tokensv1alpha1.Access         `json:"access"`
	State            selfservice.State             `json:"state"`
	Credential       tokensv1alpha1.CredentialType `json:"credential"`
	LastAccessedFrom string                        `json:"lastAccessedFrom,omitempty"`
	AllowedSources   []string                      `json:"allowedSources,omitempty"`
	AllowedPaths     []string                      `json:"allowedPaths,omitempty"`
	OlderSecrets     *olderSecrets                 `json:"olderSecrets,omitempty"`
	CreatedBy        string                        `json:"createdBy,omitempty"`
	// User is the owner, in the answers to administrators.
	User string `json:"user,omitempty"`
	// Token is the plaintext of a new secret.
	Token string `json:"token,omitempty"`
}

// olderSecrets are the replaced secrets of a token that are valid.
type olderSecrets struct {
	Count int   `json:"count"`
	Until int64 `json:"until"`
}

func newTokenBody(t selfservice.Token) tokenBody {
	body := tokenBody{
		Label: t.Label, CreatedAt: t.Created.UnixMilli(), LastAccessed: millis(t.Used), ID: t.ID, ExpiresAt: millis(t.Ends),
		Access: t.Access, State: t.State, Credential: t.Credential, LastAccessedFrom: t.UsedFrom,
		AllowedSources: t.AllowedSources, AllowedPaths: t.AllowedPaths, CreatedBy: t.CreatedWith,
	}
	if t.Older > 0 {
		body.OlderSecrets = &olderSecrets{Count: t.Older, Until: t.OlderUntil.UnixMilli()}
	}
	return body
}

func millis(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	return new(t.UnixMilli())
}

func list(c *call) error {
	tokens := c.List(c.caller)
	answer := make([]tokenBody, len(tokens))
	for i, t := range tokens {
		answer[i] = newTokenBody(t)
	}
	if c.site.Unlicensed != "" { // an empty list has no state that would tell
		c.w.Header().Set(reasonHeader, string(c.site.Unlicensed))
	}
	return c.answer(http.StatusOK, answer)
}

func get(c *call) error {
	t, err := c.Get(c.caller, c.id)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, newTokenBody(t))
}

// createBody is the body of a request to create a token.
type createBody struct {
	Label          *string               `json:"label" expect:"a string"`
	ExpiresAt      *int64                `json:"expiresAt" expect:"a time in milliseconds since 1970"`
	LifetimeDays   *int32                `json:"lifetimeDays" expect:"a number from 1 to 3650"`
	Access         tokensv1alpha1.Access `json:"access" expect:"ReadWrite or ReadOnly"`
	AllowedSources []string              `json:"allowedSources" expect:"a list of networks"`
	AllowedPaths   []string              `json:"allowedPaths" expect:"a list of paths"`
}

// maxTime is the end of the year 9999, the last time that RFC 3339 can express, in milliseconds since 1970.
const maxTime = 253402300799999

func create(c *call) error {
	var body createBody
	if err := c.read(&body); err != nil {
		return err
	}
	request := selfservice.CreateRequest{
		Label: ptr.Deref(body.Label, ""), LifetimeDays: body.LifetimeDays, Access: body.Access,
		AllowedSources: body.AllowedSources, AllowedPaths: body.AllowedPaths,
	}
	switch {
	case body.ExpiresAt == nil:
	case *body.ExpiresAt < 1 || *body.ExpiresAt > maxTime:
		return invalid("expiresAt", "expiresAt must be a time in the future, in milliseconds since 1970.")
	default:
		request.Expires = time.UnixMilli(*body.ExpiresAt)
	}
	t, text, err := c.Create(c.r.Context(), c.caller, request)
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", c.site.Base.Path+selfservice.APIPath+"/"+c.version+"/"+t.ID)
	answer := newTokenBody(t)
	answer.Token = text
	return c.answer(http.StatusCreated, answer)
}

func rotate(c *call) error {
	body := struct {
		OverlapHours *int32 `json:"overlapHours" expect:"a number from 0 to 8760"`
	}{}
	if err := c.readOptional(&body); err != nil {
		return err
	}
	hours := ptr.Deref(body.OverlapHours, tokensv1alpha1.DefaultOverlapHours)
	if limit := int32(selfservice.MaxOverlap / time.Hour); hours < 0 || hours > limit { // checked here, because the multiplication below could overflow
		return invalid("overlapHours", "overlapHours must be a number from 0 to %d.", limit)
	}
	t, text, err := c.Rotate(c.r.Context(), c.caller, c.id, time.Duration(hours)*time.Hour)
	if err != nil {
		return err
	}
	answer := newTokenBody(t)
	answer.Token = text
	return c.answer(http.StatusOK, answer)
}

func revoke(c *call) error {
	descendants := c.query.Get("descendants")
	if c.query.Has("descendants") && descendants != "true" && descendants != "false" {
		return invalid("descendants", "descendants must be true or false.")
	}
	return c.noContent(c.Revoke(c.r.Context(), c.caller, c.id, descendants == "true"))
}

func revokeAll(c *call) error {
	_, err := c.RevokeAll(c.r.Context(), c.caller)
	return c.noContent(err)
}

// revokePresented gives the same answer for every token.
func revokePresented(c *call) error {
	var body struct {
		Token *string `json:"token" expect:"a string"`
	}
	if err := c.read(&body); err != nil {
		return err
	}
	if body.Token == nil {
		return invalid("token", "token is required: the API token to revoke.")
	}
	if err := c.RevokePresented(c.r.Context(), c.Anonymous(c.r, c.site, c.target), *body.Token); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusAccepted)
	return nil
}

// verifyBody is the body of a question about a token: ours, or the one that TruffleHog sends about a finding of the detector in
// config/scanners. TruffleHog lists the text of the finding first, then the groups of the regular expression.
type verifyBody struct {
	Token      *string `json:"token" expect:"a string"`
	TruffleHog *struct {
		Token []string `json:"token" expect:"a list of strings"`
	} `json:"apitokens.dev" expect:"an object with a list token"`
}

func (b verifyBody) presented() (text string, ok bool) {
	switch {
	case b.Token != nil && b.TruffleHog == nil:
		return *b.Token, true
	case b.Token == nil && b.TruffleHog != nil && len(b.TruffleHog.Token) > 0:
		return b.TruffleHog.Token[0], true
	}
	return "", false
}

// verifyPresented answers 200 if a token works, and else what it answers to a request with such a token. The question is no use of
// the token: nothing is recorded or logged.
func verifyPresented(c *call) error {
	var body verifyBody
	if err := c.read(&body); err != nil {
		return err
	}
	text, ok := body.presented()
	if !ok {
		return invalid("token", "token is required: the API token to verify.")
	}
	switch live, known := c.Index.Live(c.site.Ref(), []byte(text)); {
	case !known:
		return selfservice.ErrUndecided
	case !live:
		return selfservice.ErrAPIToken
	}
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// parameters returns the parameters of the query. Each must be one of known, and may be given once.
func (c *call) parameters(known []string) (url.Values, error) {
	q, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return nil, invalid("", "The query of the URL is malformed.")
	}
	for name, values := range q {
		if !slices.Contains(known, name) {
			return nil, invalid(wire.Short(name), "The request contains the unknown parameter %s.", strconv.Quote(wire.Short(name)))
		}
		if len(values) > 1 {
			return nil, invalid(wire.Short(name), "%s may be given only once.", wire.Short(name))
		}
	}
	return q, nil
}

func search(c *call) (err error) {
	q := c.query
	query := selfservice.Query{User: q.Get("user"), Text: q.Get("q"), MaxResults: selfservice.DefaultResults}
	for name, into := range map[string]*int{"startAt": &query.StartAt, "maxResults": &query.MaxResults} {
		if !q.Has(name) {
			continue
		}
		if *into, err = strconv.Atoi(q.Get(name)); err != nil {
			return invalid(name, "%s must be a whole number.", name)
		}
	}
	page, err := c.Search(c.caller, query)
	if err != nil {
		return err
	}
	answer := struct {
		StartAt    int         `json:"startAt"`
		MaxResults int         `json:"maxResults"`
		Total      int         `json:"total"`
		Values     []tokenBody `json:"values"`
	}{page.StartAt, page.MaxResults, page.Total, make([]tokenBody, len(page.Tokens))}
	for i, t := range page.Tokens {
		answer.Values[i] = newTokenBody(t)
		answer.Values[i].User = t.User
	}
	return c.answer(http.StatusOK, answer)
}

func revokeOf(c *call) error { return c.noContent(c.RevokeOf(c.r.Context(), c.caller, c.id)) }

func revokeAllOf(c *call) error {
	_, err := c.RevokeAllOf(c.r.Context(), c.caller, c.query.Get("user"))
	return c.noContent(err)
}

// describe returns the OpenAPI document.
func describe(c *call) error {
	c.w.Header().Set("Content-Type", "application/json")
	_, _ = c.w.Write(document)
	return nil
}
