package atlassian

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// Product is a product, by the name that an AtlassianSite has for it.
type Product string

// The products that can be asked.
const (
	Jira       Product = "Jira"
	Confluence Product = "Confluence"
)

// Products are all of them.
func Products() []Product { return []Product{Jira, Confluence} }

// OtherProductError means that a product answered, but not the one that was asked for.
type OtherProductError struct{ Product Product }

func (e *OtherProductError) Error() string { return "what answers is " + string(e.Product) }

// whoAmI is the path of the call that says who its caller is: Jira's "Get current user" (REST API 2, myself), Confluence's
// "Get information about the current logged in user" (REST API, user).
func (p Product) whoAmI() (string, error) {
	switch p {
	case Jira:
		return "/rest/api/2/myself", nil
	case Confluence:
		return "/rest/api/user/current", nil
	default:
		return "", fmt.Errorf("asking a product: there is no %q", string(p))
	}
}

// answered reports whether an answer to who-am-I without a credential is the product's. Being refused is an answer.
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

// user is whom an answer to who-am-I names. Whoever brings a credential and is taken for nobody was refused: Confluence
// answers 200 to anonymous callers too.
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

// named is the user in an answer of the product. Answers of another product name nobody.
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
