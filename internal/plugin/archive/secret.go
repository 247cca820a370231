package archive

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"

	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/upstream"
)

const (
	// memoryType is the type of the Secrets with what the controller remembers about the sites of a name: the revocation epoch first of
	// all. memoryKey is their only key.
	memoryType = "apitokens.dev/site-memory"
	memoryKey  = "memory.json"
)

// Secret is one of the operator's Secrets of a site.
type Secret struct {
	Name   string            `json:"name"`
	Type   corev1.SecretType `json:"type"`
	Labels map[string]string `json:"labels,omitempty"`
	// Data is the value of the only key that a Secret of this type has.
	Data []byte `json:"data"`
}

// secretKind says what Secrets of one type are.
type secretKind struct {
	what, key string
	// credentials means that they lie beside the working copies, and not beside the records.
	credentials bool
	// name returns the name that the content demands.
	name func(data []byte) (string, error)
}

// kinds are the types of Secrets that an archive may have. What else the operator keeps, it makes from these and from the sites.
var kinds = map[corev1.SecretType]secretKind{
	memoryType: {"memory of a site", memoryKey, false, func(data []byte) (string, error) {
		m, err := readMemory(data)
		return "memory." + m.Namespace + "." + m.Site, err
	}},
	authurl.KeysSecretType: {"caller keys", authurl.KeysDataKey, true, func(data []byte) (string, error) {
		k, err := authurl.DecodeKeys(data)
		return k.SecretName(), err
	}},
	upstream.SecretType: {"working copy", upstream.DataKey, true, func(data []byte) (string, error) {
		c, err := upstream.Decode(data)
		return c.SecretName(), err
	}},
}

// memory is the part of a memory that a restore understands.
type memory struct {
	Namespace   string    `json:"namespace"`
	Site        string    `json:"site"`
	IssuedAfter time.Time `json:"issuedAfter,omitzero"`
}

func readMemory(data []byte) (m memory, err error) {
	if err := json.Unmarshal(data, &m); err != nil || m.Namespace == "" || m.Site == "" {
		return memory{}, errors.New("the memory of a site cannot be read")
	}
	return m, nil
}

// raise returns a memory with the revocation epoch of another one, if that is later. It leaves everything else as it is.
func raise(data, by []byte) (raised []byte, changed bool, err error) {
	now, err1 := readMemory(data)
	other, err2 := readMemory(by)
	if err := errors.Join(err1, err2); err != nil || !other.IssuedAfter.After(now.IssuedAfter) {
		return data, false, err
	}
	var form map[string]json.RawMessage
	if err := json.Unmarshal(data, &form); err != nil {
		return nil, false, fmt.Errorf("reading the memory of a site: %w", err)
	}
	if form["issuedAfter"], err = json.Marshal(other.IssuedAfter); err != nil {
		return nil, false, fmt.Errorf("encoding the memory of a site: %w", err)
	}
	raised, err = json.Marshal(form)
	return raised, true, err
}

// Kept reports whether Secrets of a type are in an archive.
func Kept(t corev1.SecretType) bool { _, kept := kinds[t]; return kept }

// AddSecret adds a Secret of one of the kinds. One that cannot be read would make the archive useless.
func (a *Archive) AddSecret(s *corev1.Secret) error {
	kept := Secret{Name: s.Name, Type: s.Type, Labels: maps.Clone(s.Labels), Data: s.Data[kinds[s.Type].key]}
	if err := kept.check(); err != nil {
		return err
	}
	a.Secrets = append(a.Secrets, kept)
	return nil
}

// check refuses a Secret that the operator would not have written.
func (s *Secret) check() error {
	k, known := kinds[s.Type]
	if !known {
		return fmt.Errorf("Secret %s is of the type %s, which no backup has", s.Name, s.Type)
	}
	name, err := k.name(s.Data)
	if err != nil {
		return fmt.Errorf("Secret %s: %w", s.Name, err)
	}
	if name != s.Name {
		return fmt.Errorf("Secret %s holds the content of %s", s.Name, name)
	}
	return nil
}

// sameKeys reports whether the current caller keys of an archive are current. The operator notes more than the keys beside them.
func sameKeys(kept, now []byte) bool {
	a, err1 := authurl.DecodeKeys(kept)
	b, err2 := authurl.DecodeKeys(now)
	if errors.Join(err1, err2) != nil {
		return false
	}
	for contract, keys := range a.Keys {
		if len(keys) > 0 && (len(b.Keys[contract]) == 0 || keys[0] != b.Keys[contract][0]) {
			return false
		}
	}
	return true
}

// IsCallerKeys reports whether it holds the caller keys of a site.
func (s *Secret) IsCallerKeys() bool { return s.Type == authurl.KeysSecretType }

// IsWorkingCopy reports whether it holds a personal access token.
func (s *Secret) IsWorkingCopy() bool { return s.Type == upstream.SecretType }

// What says in words what the Secret is.
func (s *Secret) What() string { return kinds[s.Type].what }

// BesideCredentials reports whether it belongs in the namespace of the working copies, and not in that of the records.
func (s *Secret) BesideCredentials() bool { return kinds[s.Type].credentials }

// Value returns the data of the object.
func (s *Secret) Value(data []byte) map[string][]byte {
	return map[string][]byte{kinds[s.Type].key: data}
}
