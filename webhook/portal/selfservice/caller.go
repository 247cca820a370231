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
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/terms"
	"apitokens.dev/operator/internal/username"
)

// productTimeout bounds a request to a product, including the wait for a slot.
const productTimeout = 4 * time.Second

// ErrAPIToken means that the request carries an API token that is not valid. The page accepts none.
var ErrAPIToken error = problem(Unauthenticated, "This API token is not valid.")

// ErrUndecided means that nobody can say yet whether an API token is valid.
var ErrUndecided error = problem(Unavailable, "API tokens cannot be checked yet, because their data is still loading. Try again in a moment.")

// Caller is the sender of a request, and how they were identified.
type Caller struct {
	*Site

	// User is the product username, folded.
	User string
	// DisplayName is the product's display name of the user. It is empty if the product was not asked.
	DisplayName string
	// Token is the APIToken that authenticated the request. It is nil if the product authenticated it.
	Token *tokensv1alpha1.APIToken
	// tokenID is the id of Token. entry is the secret that the caller sent, as the portal knew it then.
	tokenID string
	entry   *record.Entry
	// line are the UIDs of Token and of its ancestors, the nearest first.
	line []string
	// key is the product's user key, or empty if it is not known. credential is what the product accepted.
	key        string
	credential atlassian.Credential
	// claimed is what the request says of its origin, for the audit log.
	claimed audit.Claimed
	// scanner is the service that found leaked tokens and has them revoked. It is empty for every other caller.
	scanner string
	// asker is on whose behalf the product is asked.
	asker asker
}

// Administers reports whether the caller may list and revoke the tokens of all users of the site.
func (c *Caller) Administers() bool { return slices.Contains(c.Spec.Administrators, c.User) }

// Blocked reports whether the site blocks the caller.
func (c *Caller) Blocked() bool { return terms.Blocks(c.AtlassianSite, c.User, c.key) }

// MustBe refuses a request of a page that shows another user than the caller: a page stays open when somebody else signs in.
func (c *Caller) MustBe(shown string) error {
	if username.Fold(shown) == c.User {
		return nil
	}
	return problem(Conflict, "You are signed in as %s now, and this page was made for another user. Nothing was done. Open the page again.", c.User)
}

// Identify authenticates a request to the REST API or the page of a site. The caller is the owner of the API token in it, or
// else the user whose cookie or credential the product accepts. target is the client's, below the context path.
func (s *Service) Identify(r *http.Request, site *Site, target string) (*Caller, error) {
	c, request := received(r, site, target)
	begun := time.Now()
	d := s.Index.Identify(request)
	if now := time.Now(); d.Reason != authn.ReasonNoToken {
		s.Log.Observe(&audit.Exchange{Site: site.Ref(), Decision: d, Claimed: c.claimed, Peer: r.RemoteAddr, At: now, Took: now.Sub(begun)})
	}
	c.setClient(d)
	switch d.Verdict {
	case authn.Allow:
		return s.tokenOwner(c, d)
	case authn.Forward:
		return s.productUser(r, c, d)
	case authn.Unauthorized:
		return nil, ErrAPIToken
	case authn.Forbidden:
		return nil, &Problem{Kind: Forbidden, Reason: string(d.Reason), Message: forbidden(d.Reason)}
	default:
		return nil, ErrUndecided
	}
}

// Anonymous returns the caller of a request that needs no authentication. It determines the client's address for the audit log.
func (s *Service) Anonymous(r *http.Request, site *Site, target string) *Caller {
	c, request := received(r, site, target)
	request.Authorization, request.Target = nil, c.claimed.Path
	c.setClient(s.Index.Identify(request))
	return c
}

// received returns the claims of a request for the audit log, and the request for the index.
func received(r *http.Request, site *Site, target string) (*Caller, *authn.Request) {
	c := &Caller{Site: site, claimed: audit.Claimed{
		Client: httpheader.Only(r.Header, "X-Real-Ip"), Method: r.Method, RequestID: httpheader.Only(r.Header, "X-Request-Id"),
	}}
	c.claimed.Path, _, _ = strings.Cut(site.Base.Path+target, "?")
	return c, &authn.Request{
		Site: site.Ref(), Authorization: r.Header.Values("Authorization"), Target: site.Base.Path + target, Method: r.Method,
		Client: authn.Client{Address: c.claimed.Client, Forwarded: r.Header.Values("X-Forwarded-For")},
	}
}

// setClient takes over the client's address that the index determined by the site's settings.
func (c *Caller) setClient(d authn.Decision) {
	if d.Client.IsValid() {
		c.claimed.Client = d.Client.String()
	}
}

// tokenOwner returns the owner of the token that authenticated the request.
func (s *Service) tokenOwner(c *Caller, d authn.Decision) (*Caller, error) {
	t, err := s.get(d.APIToken)
	if err != nil {
		return nil, err
	}
	r := s.Index.Record(d.APIToken.UID)
	if r == nil {
		return nil, errJustChanged
	}
	c.User, c.key, c.Token, c.tokenID, c.entry = d.User, d.UserKey, t, d.TokenID, d.Secret
	c.line = append([]string{d.APIToken.UID}, r.Ancestors...)
	return c, nil
}

// productUser asks the product for the user of a cookie or credential. It asks for each request and keeps no answer.
func (s *Service) productUser(r *http.Request, c *Caller, d authn.Decision) (*Caller, error) {
	credential, identity := productCredential(r)
	if credential == (atlassian.Credential{}) {
		return nil, problem(Unauthenticated, "Sign in to %s, or send an API token.", c.Spec.Product)
	}
	session := asker{known: true, flow: s.sessions.hash(c.Ref(), identity)}
	c.asker = session
	if !s.sessions.known(session.flow, s.Clock.Now()) {
		c.asker = unknownAt(d.Client)
	}
	user, err := s.whoIs(r.Context(), c, credential)
	switch {
	case errors.Is(err, atlassian.ErrRefused):
		s.sessions.answered(session.flow, false, s.Clock.Now())
		return nil, problem(Unauthenticated, "%s does not know you. Sign in to it, or send an API token.", c.Spec.Product)
	case err != nil:
		return nil, err
	}
	s.sessions.answered(session.flow, true, s.Clock.Now())
	c.asker = session
	c.User, c.DisplayName, c.key, c.credential = username.Fold(user.Name), user.DisplayName, user.Key, credential
	return c, nil
}

// whoIs asks the product for the user of a credential, on behalf of the caller.
func (s *Service) whoIs(ctx context.Context, c *Caller, as atlassian.Credential) (user atlassian.User, err error) {
	err = s.callProduct(ctx, c, func(ctx context.Context) error {
		user, err = s.Product.WhoAmI(ctx, c.upstream, as)
		return err
	})
	return user, err
}

// callProduct runs a request to the product on behalf of the caller, within the limits of productLimiter and productTimeout. It
// returns a refusal by the product as it is, and every other error as Unavailable.
func (s *Service) callProduct(client context.Context, c *Caller, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(client, productTimeout)
	defer cancel()
	unavailable := problem(Unavailable, "%s does not answer in time. Try again in a moment.", c.Spec.Product)
	release, ok := s.limiter.acquire(ctx, c.Ref(), c.asker)
	if !ok {
		return unavailable
	}
	defer release()
	err := call(ctx)
	switch {
	case err == nil, errors.Is(err, atlassian.ErrRefused), errors.Is(err, atlassian.ErrPATRefused):
		return err
	case client.Err() == nil && s.limiter.logLimited(s.Clock.Now()):
		s.Logger.Error(err, "Calling the product failed; further failures are logged every 10 seconds at most", "site", c.Ref().String())
	}
	return unavailable
}

// forbidden returns the message for the reason why a credential may not do something.
func forbidden(r authn.Reason) string {
	switch r {
	case authn.ReasonSourceNotAllowed:
		return "This API token may not be used from this address."
	case authn.ReasonReadOnly:
		return "This API token is read-only."
	case authn.ReasonPathNotAllowed:
		return "This API token may not be used to manage API tokens: its `allowedPaths` do not contain " + APIPath + "."
	case authn.ReasonCredentialParameter:
		return "A query may not contain an API token. Beside an API token it may not contain os_username, os_password, os_authType or os_cookie."
	case authn.ReasonPathCharacterNotAllowed:
		return "The path of a request with an API token may not contain ';', '%' or '#', in any spelling."
	case authn.ReasonPasswordRefused:
		return "This site does not accept passwords. Sign in to it, or send an API token."
	case authn.ReasonBearerRefused:
		return "This site accepts no other credential in `Authorization` than an API token. Sign in to it, or send an API token."
	default:
		return "This API token may not do this (" + string(r) + ")."
	}
}
