package selfservice

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/httpheader"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/internal/username"
)

// askTimeout is how long a product may take to say who somebody is, waiting for others included.
const askTimeout = 5 * time.Second

// ErrAPIToken means that somebody brought an API token, or something like it, which does not count there. On the page none does.
var ErrAPIToken error = problem(Unauthenticated, "This API token is not valid here for this user.")

// Caller is who asks, and how that is known.
type Caller struct {
	*Site

	// User is the product username, folded.
	User string
	// DisplayName is what the product calls him, if it was asked.
	DisplayName string
	// Token is the APIToken whose secret he brought, or nil if the product vouches for him.
	Token *tokensv1alpha1.APIToken
	// tokenID is the id of that token.
	tokenID string
	// key is the product's own key of the user, credential what it accepted.
	key        string
	credential atlassian.Credential
	// from is where the request came from, and by which way: for the log.
	from audit.Claimed
}

// Administers reports whether the caller may list and revoke everybody's tokens.
func (c *Caller) Administers() bool { return slices.Contains(c.Spec.Administrators, c.User) }

// Identify finds out who sends a request to the REST API or the page of a site: the owner of a token in it, or whom the
// product takes its cookie or credential for. The target is that of the client, below the context path.
func (p *Service) Identify(r *http.Request, site *Site, target string) (*Caller, error) {
	c, asked := received(r, site, target)
	begun := time.Now()
	d := p.Index.Identify(asked)
	if d.Verdict != authn.Forward {
		p.Log.Observe(audit.Exchange{Site: site.Ref(), Decision: d, Claimed: c.from, Peer: r.RemoteAddr, Took: time.Since(begun)})
	}
	c.cameFrom(d)
	switch d.Verdict {
	case authn.Allow:
		return p.bearer(r.Context(), c, d)
	case authn.Forward:
		return p.guest(r.Context(), c, atlassian.Credential{
			Authorization: r.Header.Get("Authorization"), Cookie: strings.Join(r.Header.Values("Cookie"), "; "),
		})
	case authn.Unauthorized:
		return nil, ErrAPIToken
	case authn.Forbidden:
		return nil, &Problem{Kind: Forbidden, Reason: string(d.Reason), Message: forbidden(d.Reason)}
	default:
		return nil, problem(Unavailable, "API tokens cannot be told yet. Try again in a moment.")
	}
}

// Stranger is whoever sends a request that nobody has to be known for. Where it came from is logged, as the site would have it.
func (p *Service) Stranger(r *http.Request, site *Site, target string) *Caller {
	c, asked := received(r, site, target)
	asked.Authorization, asked.Target = nil, c.from.Path
	c.cameFrom(p.Index.Identify(asked))
	return c
}

// received is what a request says of itself, for the log and for the index.
func received(r *http.Request, site *Site, target string) (*Caller, *authn.Request) {
	c := &Caller{Site: site, from: audit.Claimed{
		Client: httpheader.Only(r.Header, "X-Real-Ip"), Method: r.Method, RequestID: r.Header.Get("X-Request-Id"),
	}}
	c.from.Path, _, _ = strings.Cut(site.Base.Path+target, "?")
	return c, &authn.Request{
		Site: site.Ref(), Authorization: r.Header.Values("Authorization"), Target: site.Base.Path + withoutIDs(target), Method: r.Method,
		Client: authn.Client{Address: c.from.Client, Forwarded: r.Header.Values("X-Forwarded-For")},
	}
}

// withoutIDs leaves out of a query what is the id of a token: it is public, and whoever searches for one does not present a token.
func withoutIDs(target string) string {
	path, query, ok := strings.Cut(target, "?")
	if !ok {
		return target
	}
	parameters := slices.DeleteFunc(strings.Split(query, "&"), func(parameter string) bool {
		_, value, _ := strings.Cut(parameter, "=")
		return token.ValidID(value)
	})
	return path + "?" + strings.Join(parameters, "&")
}

func (c *Caller) cameFrom(d authn.Decision) {
	if d.Client.IsValid() {
		c.from.Client = d.Client.String()
	}
}

// bearer is the owner of a token that authenticates.
func (p *Service) bearer(ctx context.Context, c *Caller, d authn.Decision) (*Caller, error) {
	t, err := p.get(ctx, d.APIToken)
	if err != nil {
		return nil, err
	}
	c.User, c.Token, c.tokenID = d.User, t, d.TokenID
	return c, nil
}

// guest is whom the product takes somebody for. It is asked each time: nothing it says is believed of anybody else, or later.
func (p *Service) guest(ctx context.Context, c *Caller, credential atlassian.Credential) (*Caller, error) {
	if credential == (atlassian.Credential{}) {
		return nil, problem(Unauthenticated, "Sign in to %s, or bring an API token.", c.Spec.Product)
	}
	user, err := p.whoIs(ctx, c.Site, credential)
	switch {
	case errors.Is(err, atlassian.ErrRefused):
		return nil, problem(Unauthenticated, "%s does not know you. Sign in to it, or bring an API token.", c.Spec.Product)
	case err != nil:
		return nil, err
	}
	c.User, c.DisplayName, c.key, c.credential = username.Fold(user.Name), user.DisplayName, user.Key, credential
	return c, nil
}

// whoIs asks the product. What it does not answer in time is no answer.
func (p *Service) whoIs(ctx context.Context, s *Site, as atlassian.Credential) (user atlassian.User, err error) {
	err = p.ask(ctx, s, func(ctx context.Context) error {
		user, err = p.Product.WhoAmI(ctx, s.upstream, as)
		return err
	})
	return user, err
}

// ask asks the product something, if it is not being asked too much already.
func (p *Service) ask(client context.Context, s *Site, question func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(client, askTimeout)
	defer cancel()
	silent := problem(Unavailable, "%s does not answer in time. Try again in a moment.", s.Spec.Product)
	done, ok := p.turns.take(ctx, s.Ref())
	if !ok {
		return silent
	}
	defer done()
	err := question(ctx)
	switch {
	case err == nil, errors.Is(err, atlassian.ErrRefused), errors.Is(err, atlassian.ErrPATRefused):
		return err
	case client.Err() == nil && p.turns.complains(p.Clock.Now()):
		p.Logger.Error(err, "Asking the product on behalf of a user; the like is not logged again at once", "site", s.Ref().String())
	}
	return silent
}

// forbidden says in words why a token may not do something.
func forbidden(r authn.Reason) string {
	switch r {
	case authn.ReasonSourceNotAllowed:
		return "This API token may not be used from this address."
	case authn.ReasonReadOnly:
		return "This API token may only read."
	case authn.ReasonPathNotAllowed:
		return "This API token may not be used to manage API tokens: its `allowedPaths` do not contain " + APIPath + "."
	case authn.ReasonCredentialParameter:
		return "An API token may not be combined with os_username, os_password, os_authType or os_cookie."
	default:
		return "This API token may not do this (" + string(r) + ")."
	}
}
