package rest

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"k8s.io/utils/ptr"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/webhook/portal/rest/wire"
	"apitokens.dev/operator/webhook/portal/selfservice"
)

// shown is a token in an answer. The plugin's own fields come first, under the plugin's names.
type shown struct {
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
	// User is the owner, where tokens of several are listed.
	User string `json:"user,omitempty"`
	// Token is the plaintext, once.
	Token string `json:"token,omitempty"`
}

func show(t selfservice.Token) shown {
	return shown{
		Label: t.Label, CreatedAt: t.Created.UnixMilli(), LastAccessed: millis(t.Used), ID: t.ID, ExpiresAt: millis(t.Ends),
		Access: t.Access, State: t.State, Credential: t.Credential, LastAccessedFrom: t.UsedFrom,
		AllowedSources: t.AllowedSources, AllowedPaths: t.AllowedPaths,
	}
}

func millis(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	return new(t.UnixMilli())
}

func list(c *call) error {
	tokens, err := c.List(c.r.Context(), c.caller)
	if err != nil {
		return err
	}
	answer := make([]shown, len(tokens))
	for i, t := range tokens {
		answer[i] = show(t)
	}
	return c.answer(http.StatusOK, answer)
}

func get(c *call) error {
	t, err := c.Get(c.r.Context(), c.caller, c.id)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, show(t))
}

// wish is what a new token is to be.
type wish struct {
	Label          *string               `json:"label"`
	ExpiresAt      *int64                `json:"expiresAt"`
	LifetimeDays   *int32                `json:"lifetimeDays"`
	Access         tokensv1alpha1.Access `json:"access"`
	AllowedSources []string              `json:"allowedSources"`
	AllowedPaths   []string              `json:"allowedPaths"`
}

// maxTime is the last moment that can be written down: the end of the year 9999.
const maxTime = 253402300799999

func create(c *call) error {
	var w wish
	if err := c.read(&w); err != nil {
		return err
	}
	wanted := selfservice.Wish{
		Label: ptr.Deref(w.Label, ""), LifetimeDays: w.LifetimeDays, Access: w.Access, AllowedSources: w.AllowedSources, AllowedPaths: w.AllowedPaths,
	}
	switch {
	case w.ExpiresAt == nil:
	case *w.ExpiresAt < 1 || *w.ExpiresAt > maxTime:
		return invalid("expiresAt", "expiresAt must be a time to come, in milliseconds since 1970.")
	default:
		wanted.Expires = time.UnixMilli(*w.ExpiresAt)
	}
	t, text, err := c.Create(c.r.Context(), c.caller, wanted)
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", c.site.Base.Path+selfservice.APIPath+"/"+c.version+"/"+t.ID)
	answer := show(t)
	answer.Token = text
	return c.answer(http.StatusCreated, answer)
}

func rotate(c *call) error {
	asked := struct {
		OverlapHours *int32 `json:"overlapHours"`
	}{}
	if err := c.readIfAny(&asked); err != nil {
		return err
	}
	hours := ptr.Deref(asked.OverlapHours, tokensv1alpha1.DefaultOverlapHours)
	if most := int32(selfservice.MaxOverlap / time.Hour); hours < 0 || hours > most { // before it is multiplied, which could make it anything
		return invalid("overlapHours", "overlapHours must be 0 to %d.", most)
	}
	t, text, err := c.Rotate(c.r.Context(), c.caller, c.id, time.Duration(hours)*time.Hour)
	if err != nil {
		return err
	}
	answer := show(t)
	answer.Token = text
	return c.answer(http.StatusOK, answer)
}

func revoke(c *call) error { return c.done(c.Revoke(c.r.Context(), c.caller, c.id)) }

func revokeAll(c *call) error {
	_, err := c.RevokeAll(c.r.Context(), c.caller)
	return c.done(err)
}

// revokePresented answers alike whatever was presented.
func revokePresented(c *call) error {
	var presented struct {
		Token *string `json:"token"`
	}
	if err := c.read(&presented); err != nil {
		return err
	}
	if presented.Token == nil {
		return invalid("token", "token must be given: the API token to revoke.")
	}
	if err := c.RevokePresented(c.r.Context(), c.Stranger(c.r, c.site, c.target), *presented.Token); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusAccepted)
	return nil
}

// parameters are those of the query, each of which is said once.
func (c *call) parameters() (url.Values, error) {
	q, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return nil, invalid("", "The query of the URL cannot be read.")
	}
	for name, values := range q {
		if len(values) > 1 {
			return nil, invalid(wire.Short(name), "%s must be given once.", wire.Short(name))
		}
	}
	return q, nil
}

func search(c *call) error {
	q, err := c.parameters()
	if err != nil {
		return err
	}
	wanted := selfservice.Query{User: q.Get("user"), Text: q.Get("q"), MaxResults: selfservice.DefaultResults}
	for name, into := range map[string]*int{"startAt": &wanted.StartAt, "maxResults": &wanted.MaxResults} {
		if !q.Has(name) {
			continue
		}
		if *into, err = strconv.Atoi(q.Get(name)); err != nil {
			return invalid(name, "%s must be a whole number.", name)
		}
	}
	page, err := c.Search(c.r.Context(), c.caller, wanted)
	if err != nil {
		return err
	}
	answer := struct {
		StartAt    int     `json:"startAt"`
		MaxResults int     `json:"maxResults"`
		Total      int     `json:"total"`
		Values     []shown `json:"values"`
	}{page.StartAt, page.MaxResults, page.Total, make([]shown, len(page.Tokens))}
	for i, t := range page.Tokens {
		answer.Values[i] = show(t)
		answer.Values[i].User = t.User
	}
	return c.answer(http.StatusOK, answer)
}

func revokeOf(c *call) error { return c.done(c.RevokeOf(c.r.Context(), c.caller, c.id)) }

func revokeAllOf(c *call) error {
	q, err := c.parameters()
	if err == nil {
		_, err = c.RevokeAllOf(c.r.Context(), c.caller, q.Get("user"))
	}
	return c.done(err)
}

// describe answers with the description of this API.
func describe(c *call) error {
	c.w.Header().Set("Content-Type", "application/json")
	_, _ = c.w.Write(document)
	return nil
}
