// Package record is the stored part of a token: its owner, its site, and the salted hashes of its secrets.
// It defines the stored bytes. Package recordstore keeps them in Secrets.
package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	// LabelTokenID is the label with the token's id. People search by it; no decision rests on it.
	LabelTokenID = "apitokens.dev/token-id"
	// LabelSiteNamespace is the label with the namespace of the site.
	LabelSiteNamespace = "apitokens.dev/site-namespace"
	// LabelSite is the label with the name of the site.
	LabelSite = "apitokens.dev/site"

	// MaxEntries limits the hashes of one record, and so the work of one verification.
	MaxEntries = 4

	version = 1
)

// Record is the stored part of one APIToken.
type Record struct {
	// TokenID is the public id. It never changes.
	TokenID string
	// User is the owner's product username, folded.
	User string
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
	// Delivered is a secret that was read back from the delivered Secret, was imported, or was shown to its owner.
	Delivered State = "Delivered"
	// Ending is a secret that a rotation replaced. It authenticates until its end.
	Ending State = "Ending"
)

// Entry is one secret of a token.
type Entry struct {
	Hash   Hash
	State  State
	Issued time.Time
	// Ends is the first moment at which an Ending secret does not authenticate. It is zero in the other states.
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
// It tries every entry, so that its duration reveals nothing.
func (r *Record) Verify(text []byte) int {
	found := -1
	for i := range r.Entries {
		if r.Entries[i].Hash.Verify(text) {
			found = i
		}
	}
	return found
}

// Encode returns the stored form.
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
