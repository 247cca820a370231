package atlassian

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// Product is the name of a product in an AtlassianSite.
type Product string

// The supported products.
const (
	Jira       Product = "Jira"
	Confluence Product = "Confluence"
)

// Products returns all supported products.
func Products() []Product { return []Product{Jira, Confluence} }

// OtherProductError means that another product answered.
type OtherProductError struct{ Product Product }

func (e *OtherProductError) Error() string { return "what answers is " + string(e.Product) }

// WhoAmIPath returns the path of the who-am-I resource: Jira's "Get current user" (REST API 2, myself), Confluence's
// "Get information about the current logged in user" (REST API, user).
func (p Product) WhoAmIPath() (string, error) {
	switch p {
	case Jira:
		return "/rest/api/2/myself", nil
	case Confluence:
		return "/rest/api/user/current", nil
	default:
		return "", fmt.Errorf("asking a product: there is no %q", string(p))
	}
}

// answered reports whether the product gave this answer to a who-am-I request without a credential. A refusal counts.
func (p Product) answered(status int, body []byte) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return true
	case http.StatusOK:
		named, anonymous := p.named(body)
		return named.Name != "" || anonymous
	default:
		return false
	}
}

// user returns the user in an answer to a who-am-I request with a credential. An answer to an anonymous caller is a refusal:
// Confluence answers those with 200 too.
func (p Product) user(status int, body []byte) (User, error) {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return User{}, ErrRefused
	case http.StatusOK:
	default:
		return User{}, ErrUnexpected
	}
	switch user, anonymous := p.named(body); {
	case anonymous:
		return User{}, fmt.Errorf("%w: its bearer is anonymous", ErrRefused)
	case user.Name == "":
		return User{}, fmt.Errorf("%w: it names nobody", ErrUnexpected)
	default:
		return user, nil
	}
}

// Named returns the name of the user in an answer with status 200 to a who-am-I request. It is empty for an anonymous caller.
func (p Product) Named(body []byte) string {
	user, _ := p.named(body)
	return user.Name
}

// named returns the user in an answer of this product, and whether the answer is to an anonymous caller.
func (p Product) named(body []byte) (user User, anonymous bool) {
	var me struct {
		Name        string `json:"name"`     // Jira's
		Key         string `json:"key"`      // Jira's
		Type        string `json:"type"`     // Confluence's
		Username    string `json:"username"` // Confluence's, of those who are known
		UserKey     string `json:"userKey"`  // Confluence's
		DisplayName string `json:"displayName"`
	}
	if err := json.Unmarshal(body, &me); err != nil {
		return User{}, false
	}
	switch {
	case p == Jira:
		return User{Name: me.Name, Key: me.Key, DisplayName: me.DisplayName}, false
	case p == Confluence && me.Type == "known":
		return User{Name: me.Username, Key: me.UserKey, DisplayName: me.DisplayName}, false
	case p == Confluence && me.Type == "anonymous":
		return User{}, true
	default:
		return User{}, false
	}
}
