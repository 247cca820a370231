// Package enrolment defines what the controller publishes about the personal access token of a user at a site: whether there
// is one, and whose it is. It contains no secret. The portal and the controller of APITokens read it.
package enrolment

import (
	"errors"
	"strings"
	"time"

	"apitokens.dev/operator/internal/storedjson"
	"apitokens.dev/operator/internal/upstream"
	"apitokens.dev/operator/internal/username"
)

const (
	// SecretType is the type of the Secrets that hold enrolments. They lie beside the records.
	SecretType = "apitokens.dev/enrolment"
	// DataKey is the only key of such a Secret.
	DataKey = "enrolment.json"
)

// State says whether the operator can act for a user at the product.
type State string

// The states of an enrolment. A missing one is None.
const (
	// None means that there is no personal access token.
	None State = "None"
	// Pending means that the controller is about to decide: it checks a new one, or withdraws one that nobody seems to need.
	Pending State = "Pending"
	// Held means that there is one from the user, and that the product accepted it when it was last asked.
	Held State = "Held"
	// Given means the same of one from the site's `upstreamCredentials`.
	Given State = "Given"
	// Ended means that there is one that cannot be used: the product refused it, or it is for another upstream.
	Ended State = "Ended"
)

// Enrolment is the state of one user at one site.
type Enrolment struct {
	Namespace string `json:"namespace"`
	Site      string `json:"site"`
	// User is the folded product username.
	User  string `json:"user"`
	State State  `json:"state"`
	// UserKey is the product's key of the user, as the product named it for the personal access token.
	UserKey string `json:"userKey,omitempty"`
	// PAT is the product's id of the personal access token. It is 0 for one that the product did not make for the operator.
	PAT int64 `json:"pat,omitempty"`
	// Checked is when the product last said whose it is, in whole seconds. Name is the folded name that it gave the owner then. It differs
	// from User once the owner is renamed. It is empty if the product gave none, or that of another user key.
	Checked time.Time `json:"checked,omitzero"`
	Name    string    `json:"name,omitempty"`
	// Intake is the name of the intake that was decided last.
	Intake string `json:"intake,omitempty"`
}

// Usable reports whether requests with the user's API tokens can be handed over.
func (e Enrolment) Usable() bool { return e.State == Held || e.State == Given }

// SecretName returns the name of the Secret that holds the enrolment.
func (e Enrolment) SecretName() string { return SecretName(e.Namespace, e.Site, e.User) }

// SecretName returns the name of the Secret that holds the enrolment of a user at a site.
func SecretName(namespace, site, user string) string {
	return OfCopy(upstream.SecretName(namespace, site, user))
}

const prefix, copyPrefix = "enrolment.", "upstream."

// OfCopy returns the name of the Secret that holds the enrolment for a working copy.
func OfCopy(name string) string { return prefix + strings.TrimPrefix(name, copyPrefix) }

// CopyOf returns the name of the working copy for the Secret that holds its enrolment. It is empty if no enrolment has such a name.
func CopyOf(name string) string {
	rest, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return ""
	}
	return copyPrefix + rest
}

// Encode returns the stored form.
func (e Enrolment) Encode() ([]byte, error) { return form.Encode(e) }

// Decode parses the stored form. It refuses an unknown state.
func Decode(b []byte) (Enrolment, error) { return form.Decode(b) }

var form = storedjson.Form[Enrolment]{Name: "an enrolment", Check: Enrolment.check}

func (e Enrolment) check() error {
	if e.Namespace == "" || e.Site == "" || e.User == "" || username.Fold(e.User) != e.User {
		return errors.New("site or user is missing")
	}
	if username.Fold(e.Name) != e.Name {
		return errors.New("the name of the owner is not folded")
	}
	switch e.State {
	case None, Pending, Held, Given, Ended:
		return nil
	default:
		return errors.New("its state is unknown")
	}
}
