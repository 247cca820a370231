// Package record is the stored part of a token: its owner, its site, and the salted hashes of its secrets.
// It defines the stored bytes. Package recordstore keeps them in Secrets.
package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"apitokens.dev/operator/internal/storedjson"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/internal/username"
)

const (
	// SecretType is the type of the Secrets that hold records, one for each APIToken, named by its UID,
	// in the operator's own namespace.
	SecretType = "apitokens.dev/hash"
	// DataKey is the key of such a Secret's only entry.
	DataKey = "record.json"
	// LabelTokenID is the label with the token's id. People, the portal and the controller search by it. The content of the record
	// decides, so a wrong label can only hide a record from a search.
	LabelTokenID = "apitokens.dev/token-id"
	// LabelSiteNamespace is the label with the namespace of the site.
	LabelSiteNamespace = "apitokens.dev/site-namespace"
	// LabelSite is the label with the name of the site.
	LabelSite = "apitokens.dev/site"

	// MaxEntries limits the hashes of one record that authenticate, and so the work of one verification.
	MaxEntries = 4
	// MaxDead limits the hashes of one record that no longer authenticate.
	MaxDead = 8
	// Retention is how long dead entries and dead records are kept. Until then the log can say why a secret is refused.
	Retention = 30 * 24 * time.Hour

	version = 1
)

// Record is the stored part of one APIToken.
type Record struct {
	// TokenID is the public id. It never changes.
	TokenID string
	// User is the owner's product username, folded.
	User string
	// UserKey is the owner's user key in the product. It is empty until it is known, and never changes after that.
	UserKey string
	// Ancestors are the UIDs of the APIToken with which the token was created over REST, of the one with which that was
	// created, and so on. They stay known when one of them is gone.
	Ancestors []string
	// Site and APIToken name the objects that the record belongs to. The record's Secret is named by the UID of the APIToken.
	Site, APIToken Ref
	// DeliverySecret is the Secret beside the APIToken that the token is delivered to.
	DeliverySecret string
	// Imported means that the secret was imported: it is found by user, not by id.
	Imported bool
	// Portal means that the token was shown once to its owner.
	// Exactly one of DeliverySecret, Imported and Portal is set.
	Portal bool
	// Entries are the secrets that authenticate, oldest first.
	Entries []Entry
	// DeadEntries are secrets that do not authenticate any more, oldest first.
	DeadEntries []Entry
	// Dead is when the APIToken was found deleted. It is zero while the APIToken exists. A dead record authenticates nobody.
	Dead time.Time
}

// Ref names an object.
type Ref struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// State says how far the delivery of a secret has come.
type State string

const (
	// Candidate is a secret without a confirmed delivery. It authenticates, because the workload may have it already
	// and nobody else ever had it.
	Candidate State = "Candidate"
	// Delivered is a secret that was read back from the delivered Secret, was imported, or was shown to its owner. The first secret
	// of a token is Delivered from the start: it replaces none.
	Delivered State = "Delivered"
	// Ending is a secret that a rotation replaced. It authenticates until its end.
	Ending State = "Ending"
	// Dead is a secret that was replaced or revoked, and has ended. It is one of the DeadEntries.
	Dead State = "Dead"
)

// Entry is one secret of a token.
type Entry struct {
	Hash   Hash
	State  State
	Issued time.Time
	// Ends is the first moment at which an Ending or Dead secret does not authenticate. It is zero in the other states.
	Ends time.Time
}

// EndingBy returns the entry as one that a rotation replaces. It ends at the given time, or at its own end if that is earlier.
func (e Entry) EndingBy(end time.Time) Entry {
	if e.State != Ending || end.Before(e.Ends) {
		e.Ends = end
	}
	e.State = Ending
	return e
}

// stored is the JSON form of a record.
type stored struct {
	Version        int           `json:"version"`
	TokenID        string        `json:"tokenID"`
	User           string        `json:"user"`
	UserKey        string        `json:"userKey,omitempty"`
	Ancestors      []string      `json:"ancestors,omitempty"`
	Site           Ref           `json:"site"`
	APIToken       Ref           `json:"apiToken"`
	DeliverySecret string        `json:"deliverySecret,omitempty"`
	Imported       bool          `json:"imported,omitempty"`
	Portal         bool          `json:"portal,omitempty"`
	Entries        []storedEntry `json:"entries"`
	DeadEntries    []storedEntry `json:"deadEntries,omitempty"`
	Dead           time.Time     `json:"dead,omitzero"`
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
// It tries every entry, so that its duration reveals nothing.
func (r *Record) Verify(text []byte) int { return Verify(r.Entries, text) }

// Verify returns the index of the entry that text verifies against, or -1. It tries every entry.
func Verify(entries []Entry, text []byte) int {
	found := -1
	for i := range entries {
		if entries[i].Hash.Verify(text) {
			found = i
		}
	}
	return found
}

// Encode returns the stored form.
func (r *Record) Encode() ([]byte, error) {
	s := stored{
		Version: version, TokenID: r.TokenID, User: r.User, UserKey: r.UserKey, Ancestors: r.Ancestors, Site: r.Site, APIToken: r.APIToken,
		DeliverySecret: r.DeliverySecret, Imported: r.Imported, Portal: r.Portal,
		Entries: encode(r.Entries), DeadEntries: encode(r.DeadEntries), Dead: r.Dead.UTC(),
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

func encode(entries []Entry) []storedEntry {
	stored := make([]storedEntry, len(entries))
	for i, e := range entries {
		stored[i] = storedEntry{Hash: e.Hash.String(), State: e.State, Issued: e.Issued.UTC(), Ends: e.Ends.UTC()}
	}
	return stored
}

// Decode decodes the stored form. It tolerates members that a later minor version adds. It refuses what it would misread:
// another version, a repeated or missing member, another type, an unknown state, a hash of another scheme.
func Decode(b []byte) (*Record, error) {
	s, err := storedjson.Decode[stored](b)
	if err != nil {
		return nil, fmt.Errorf("decoding a record: %w", err)
	}
	if err := s.validate(); err != nil {
		return nil, fmt.Errorf("decoding a record: %w", err)
	}
	r := &Record{
		TokenID: s.TokenID, User: s.User, UserKey: s.UserKey, Ancestors: s.Ancestors, Site: s.Site, APIToken: s.APIToken,
		DeliverySecret: s.DeliverySecret, Imported: s.Imported, Portal: s.Portal, Dead: s.Dead,
	}
	if r.Entries, err = s.decode("entry", s.Entries); err != nil {
		return nil, err
	}
	if r.DeadEntries, err = s.decode("dead entry", s.DeadEntries); err != nil {
		return nil, err
	}
	return r, nil
}

// decode decodes entries. what names one of them in errors.
func (s *stored) decode(what string, entries []storedEntry) ([]Entry, error) {
	var decoded []Entry
	for i, e := range entries {
		hash, err := ParseHash(e.Hash)
		if err != nil {
			return nil, fmt.Errorf("decoding a record: %s %d: %w", what, i, err)
		}
		if hash.slow && !s.Imported {
			return nil, fmt.Errorf("decoding a record: %s %d: %w", what, i, ErrHash)
		}
		decoded = append(decoded, Entry{Hash: hash, State: e.State, Issued: e.Issued, Ends: e.Ends})
	}
	return decoded, nil
}

// kinds counts the kinds of token that the record claims to be. One is right.
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
		return errors.New("exactly one of deliverySecret, imported and portal must be set")
	case s.Imported && len(s.Entries) > 1:
		return fmt.Errorf("%d entries of an imported secret, want 1", len(s.Entries))
	case len(s.Entries) == 0 || len(s.Entries) > MaxEntries:
		return fmt.Errorf("%d entries, want 1 to %d", len(s.Entries), MaxEntries)
	case len(s.DeadEntries) > MaxDead:
		return fmt.Errorf("%d dead entries, want at most %d", len(s.DeadEntries), MaxDead)
	case s.Dead.Location() != time.UTC:
		return errors.New("the time of `dead` is not in UTC")
	}
	for i, e := range s.Entries {
		if err := e.validate(Candidate, Delivered, Ending); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
	}
	for i, e := range s.DeadEntries {
		if err := e.validate(Dead); err != nil {
			return fmt.Errorf("dead entry %d: %w", i, err)
		}
	}
	return nil
}

// validate checks an entry of a list that may have these states.
func (e *storedEntry) validate(states ...State) error {
	ends := e.State == Ending || e.State == Dead
	switch {
	case !slices.Contains(states, e.State):
		return errors.New("the state is unknown")
	case e.Issued.IsZero() || e.Issued.Location() != time.UTC:
		return errors.New("the issue time is missing or not in UTC")
	case e.Ends.IsZero() == ends || e.Ends.Location() != time.UTC:
		return errors.New("the end is missing, not in UTC, or goes with another state")
	}
	return nil
}
