// Package record is what the operator stores of a token: whose it is, for which site, and its salted hashes.
// It knows the stored bytes, not where they are kept.
package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"apitokens.dev/operator/internal/strictjson"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/internal/username"
)

const (
	// SecretType is the type of the Secrets that hold records, one for each APIToken, named by its UID,
	// in the operator's own namespace.
	SecretType = "apitokens.dev/hash"
	// DataKey is the key of such a Secret's only entry.
	DataKey = "record.json"
	// LabelTokenID is the label with the token's id, for people: nothing is decided by it.
	LabelTokenID = "apitokens.dev/token-id"
	// LabelSiteNamespace is the label with the namespace of the site.
	LabelSiteNamespace = "apitokens.dev/site-namespace"
	// LabelSite is the label with the name of the site.
	LabelSite = "apitokens.dev/site"

	// MaxEntries bounds the hashes of one record, and so the work of one verification.
	MaxEntries = 4

	version = 1
)

// Record is the stored part of one APIToken.
type Record struct {
	// TokenID is the public id, the same for as long as the record lives.
	TokenID string
	// User is the owner's product username, folded.
	User string
	// Site and APIToken say what the record belongs to. Its APIToken's UID is the name it is stored under.
	Site, APIToken Ref
	// DeliverySecret is the Secret beside the APIToken that the token is delivered to.
	DeliverySecret string
	// Imported says instead that the secrets are not of our making: they are found by user, not by id.
	Imported bool
	// Portal says instead that the token was shown once to its owner.
	Portal bool
	// Entries are the secrets that authenticate, oldest first.
	Entries []Entry
}

// Ref names an object.
type Ref struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// State says how far a secret has come on its way to the workload.
type State string

const (
	// Candidate is a secret whose delivery has not been confirmed. It authenticates: it may already be in the
	// hands of the workload, and nobody else ever had it.
	Candidate State = "Candidate"
	// Delivered is the secret that was read back from the delivered Secret, or that its owner brought or was shown.
	Delivered State = "Delivered"
	// Ending is a secret that was replaced by a rotation, and authenticates until its end.
	Ending State = "Ending"
)

// Entry is one secret of a token.
type Entry struct {
	Hash   Hash
	State  State
	Issued time.Time
	// Ends is the first moment at which an Ending secret authenticates no longer; others have none.
	Ends time.Time
}

// stored is the form in which a record lies in its Secret.
type stored struct {
	Version        int           `json:"version"`
	TokenID        string        `json:"tokenID"`
	User           string        `json:"user"`
	Site           Ref           `json:"site"`
	APIToken       Ref           `json:"apiToken"`
	DeliverySecret string        `json:"deliverySecret,omitempty"`
	Imported       bool          `json:"imported,omitempty"`
	Portal         bool          `json:"portal,omitempty"`
	Entries        []storedEntry `json:"entries"`
}

type storedEntry struct {
	Hash   string    `json:"hash"`
	State  State     `json:"state"`
	Issued time.Time `json:"issued"`
	Ends   time.Time `json:"ends,omitzero"`
}

// Mint returns a new secret of the token with this id, and its entry in the record.
func Mint(id string, state State, now time.Time, random io.Reader) (text string, e Entry, err error) {
	text, err = token.New(id, random)
	if err != nil {
		return "", Entry{}, fmt.Errorf("making a token: %w", err)
	}
	hash, err := NewHash(text, random)
	if err != nil {
		return "", Entry{}, err
	}
	return text, Entry{Hash: hash, State: state, Issued: now.UTC()}, nil
}

// Verify returns the index of the entry that text verifies against, or -1.
// Every entry is tried, so that the time taken tells nothing.
func (r *Record) Verify(text []byte) int {
	found := -1
	for i := range r.Entries {
		if r.Entries[i].Hash.Verify(text) {
			found = i
		}
	}
	return found
}

// Encode returns the stored form. It is the only spelling of a record that Decode accepts.
func (r *Record) Encode() ([]byte, error) {
	s := stored{
		Version: version, TokenID: r.TokenID, User: r.User, Site: r.Site, APIToken: r.APIToken,
		DeliverySecret: r.DeliverySecret, Imported: r.Imported, Portal: r.Portal, Entries: make([]storedEntry, len(r.Entries)),
	}
	for i, e := range r.Entries {
		s.Entries[i] = storedEntry{Hash: e.Hash.String(), State: e.State, Issued: e.Issued.UTC(), Ends: e.Ends.UTC()}
	}
	if err := s.validate(); err != nil {
		return nil, fmt.Errorf("encoding a record: %w", err)
	}
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encoding a record: %w", err)
	}
	return b, nil
}

// Decode reads the stored form. Whatever Encode would not have written, down to a space, is refused:
// an unknown version or field, a repeated key, a hash of another scheme.
func Decode(b []byte) (*Record, error) {
	s, err := strictjson.Decode[stored](b)
	if err != nil {
		return nil, fmt.Errorf("decoding a record: %w", err)
	}
	if err := s.validate(); err != nil {
		return nil, fmt.Errorf("decoding a record: %w", err)
	}
	r := &Record{
		TokenID: s.TokenID, User: s.User, Site: s.Site, APIToken: s.APIToken,
		DeliverySecret: s.DeliverySecret, Imported: s.Imported, Portal: s.Portal, Entries: make([]Entry, len(s.Entries)),
	}
	for i, e := range s.Entries {
		hash, err := ParseHash(e.Hash)
		if err != nil {
			return nil, fmt.Errorf("decoding a record: entry %d: %w", i, err)
		}
		if hash.slow && !s.Imported {
			return nil, fmt.Errorf("decoding a record: entry %d: %w", i, ErrHash)
		}
		r.Entries[i] = Entry{Hash: hash, State: e.State, Issued: e.Issued, Ends: e.Ends}
	}
	return r, nil
}

// kinds is how many ways to its owner the token has: exactly one.
func (s *stored) kinds() (n int) {
	for _, is := range [...]bool{s.DeliverySecret != "", s.Imported, s.Portal} {
		if is {
			n++
		}
	}
	return n
}

func (s *stored) validate() error {
	switch {
	case s.Version != version:
		return fmt.Errorf("version %d is unknown, want %d", s.Version, version)
	case !token.ValidID(s.TokenID):
		return token.ErrInvalidID
	case s.User == "" || username.Fold(s.User) != s.User:
		return errors.New("the user is missing or not folded")
	case s.Site.Namespace == "" || s.Site.Name == "" || s.APIToken.Namespace == "" || s.APIToken.Name == "":
		return errors.New("the site or the APIToken is not named")
	case s.kinds() != 1:
		return errors.New("the delivered Secret is not named, or there can be none")
	case s.Imported && len(s.Entries) > 1:
		return fmt.Errorf("%d entries of an imported secret, want 1", len(s.Entries))
	case len(s.Entries) == 0 || len(s.Entries) > MaxEntries:
		return fmt.Errorf("%d entries, want 1 to %d", len(s.Entries), MaxEntries)
	}
	for i, e := range s.Entries {
		switch {
		case e.State != Candidate && e.State != Delivered && e.State != Ending:
			return fmt.Errorf("the state of entry %d is unknown", i)
		case e.Issued.IsZero() || e.Issued.Location() != time.UTC:
			return fmt.Errorf("the issue time of entry %d is missing or not in UTC", i)
		case e.Ends.IsZero() == (e.State == Ending) || e.Ends.Location() != time.UTC:
			return fmt.Errorf("the end of entry %d is missing, not in UTC, or goes with another state", i)
		}
	}
	return nil
}
