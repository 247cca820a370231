// Package archive defines the backup of an installation: its form, its encryption, the log since then, and the plan of a
// restore. It reads and writes no objects of the API server.
package archive

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/username"
)

const (
	kind    = "apitokens.dev/backup"
	version = 1
)

// Archive is what a backup keeps of an installation. It has no token: only salted hashes of them.
type Archive struct {
	Kind    string `json:"kind"`
	Version int    `json:"version"`
	// Created is when the backup began, by the clock of the machine that made it. Writer is the version of the plugin.
	Created time.Time `json:"created"`
	Writer  string    `json:"writer"`
	// Sites are the AtlassianSites, and Tokens the APITokens with their records. Neither has a status.
	Sites  []tokensv1alpha1.AtlassianSite `json:"sites"`
	Tokens []Token                        `json:"tokens"`
	// Secrets are the working copies of personal access tokens, the caller keys, and what is remembered about sites.
	Secrets []Secret `json:"secrets"`
}

// Token is an APIToken with its record.
type Token struct {
	UID      types.UID               `json:"uid"`
	APIToken tokensv1alpha1.APIToken `json:"apiToken"`
	// Record is the stored form of the record. It is empty if the operator had issued nothing yet.
	Record json.RawMessage `json:"record,omitempty"`

	record *record.Record
}

// Name returns namespace and name of the APIToken.
func (t *Token) Name() types.NamespacedName {
	return types.NamespacedName{Namespace: t.APIToken.Namespace, Name: t.APIToken.Name}
}

// ID returns the token id, or nothing if there is no record.
func (t *Token) ID() string {
	if t.record == nil {
		return ""
	}
	return t.record.TokenID
}

// New returns an empty archive.
func New(now time.Time, writer string) *Archive {
	return &Archive{
		Kind: kind, Version: version, Created: now.UTC(), Writer: writer,
		Sites: []tokensv1alpha1.AtlassianSite{}, Tokens: []Token{}, Secrets: []Secret{},
	}
}

// portable returns the metadata that means the same in another cluster.
func portable(m metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, Labels: maps.Clone(m.Labels), Annotations: maps.Clone(m.Annotations)}
}

// AddSite adds a site without what only its cluster knows.
func (a *Archive) AddSite(s *tokensv1alpha1.AtlassianSite) error {
	if s.Malformed != "" {
		return fmt.Errorf("AtlassianSite %s/%s cannot be decoded: %s", s.Namespace, s.Name, s.Malformed)
	}
	kept := tokensv1alpha1.AtlassianSite{ObjectMeta: portable(s.ObjectMeta), Spec: *s.Spec.DeepCopy()}
	a.Sites = append(a.Sites, kept)
	return nil
}

// AddToken adds an APIToken with the stored form of its record, which may be empty. It leaves out a token that is dead or being deleted,
// and one of the portal without a record, which was never shown to anybody.
func (a *Archive) AddToken(t *tokensv1alpha1.APIToken, stored []byte) error {
	portal := t.Spec.Credential.Type == tokensv1alpha1.CredentialPortal
	if t.Malformed != "" {
		return fmt.Errorf("APIToken %s/%s cannot be decoded: %s", t.Namespace, t.Name, t.Malformed)
	}
	if !t.DeletionTimestamp.IsZero() || portal && len(stored) == 0 {
		return nil
	}
	kept := Token{UID: t.UID, APIToken: tokensv1alpha1.APIToken{ObjectMeta: portable(t.ObjectMeta), Spec: *t.Spec.DeepCopy()}}
	delete(kept.APIToken.Annotations, tokensv1alpha1.AnnotationPending)
	if len(stored) > 0 {
		kept.Record = bytes.Clone(stored)
	}
	if err := kept.check(); err != nil {
		return err
	}
	if kept.record == nil || kept.record.Dead.IsZero() {
		a.Tokens = append(a.Tokens, kept)
	}
	return nil
}

// check decodes the record and compares it with the APIToken.
func (t *Token) check() (err error) {
	if t.UID == "" || t.APIToken.Namespace == "" || t.APIToken.Name == "" || t.APIToken.Spec.SiteRef.Name == "" || t.APIToken.Spec.User == "" {
		return errors.New("an APIToken lacks its UID, namespace, name, site or user")
	}
	if len(t.Record) == 0 {
		return nil
	}
	if t.record, err = record.Decode(t.Record); err != nil {
		return fmt.Errorf("APIToken %s: %w", t.Name(), err)
	}
	if !agree(&t.APIToken, t.record) {
		return fmt.Errorf("APIToken %s: its record was written for another one", t.Name())
	}
	return nil
}

// agree reports whether a record was written for an APIToken, as the webhook demands.
func agree(t *tokensv1alpha1.APIToken, r *record.Record) bool {
	return r.User == username.Fold(t.Spec.User) &&
		r.Site == record.Ref{Namespace: t.SiteNamespace(), Name: t.Spec.SiteRef.Name} &&
		r.APIToken == record.Ref{Namespace: t.Namespace, Name: t.Name} &&
		r.DeliverySecret == t.Spec.Delivery.SecretName &&
		r.Imported == (t.Spec.Credential.Type == tokensv1alpha1.CredentialImported) &&
		r.Portal == (t.Spec.Credential.Type == tokensv1alpha1.CredentialPortal)
}

// encode returns the form that is encrypted.
func (a *Archive) encode() ([]byte, error) {
	text, err := json.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("encoding the archive: %w", err)
	}
	return text, nil
}

// decode reads and checks a whole archive. It refuses members that it does not know: one of them could limit a token.
func decode(text []byte) (*Archive, error) {
	var head struct {
		Kind    string `json:"kind"`
		Version int    `json:"version"`
		Writer  string `json:"writer"`
	}
	if err := json.Unmarshal(text, &head); err != nil || head.Kind != kind {
		return nil, errors.New("reading the archive: what is encrypted is no backup of API tokens")
	}
	if head.Version != version {
		return nil, fmt.Errorf("reading the archive: its version is %d, and this plugin reads %d: use kubectl apitoken %s", head.Version, version, head.Writer)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	a := &Archive{}
	if err := errors.Join(d.Decode(&strict{}), json.Unmarshal(text, a)); err != nil {
		return nil, fmt.Errorf("reading the archive: it was made by kubectl apitoken %s, and this version does not understand it: %w", head.Writer, err)
	}
	if err := a.check(); err != nil {
		return nil, fmt.Errorf("reading the archive: %w", err)
	}
	return a, nil
}

// strict has the form of an Archive. The kinds of the API pass over members that they do not know.
type strict struct {
	Archive // Sites and Tokens below hide those

	Sites  []resource[tokensv1alpha1.AtlassianSiteSpec] `json:"sites"`
	Tokens []struct {
		Token // APIToken below hides that

		APIToken resource[tokensv1alpha1.APITokenSpec] `json:"apiToken"`
	} `json:"tokens"`
}

type resource[S any] struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     S                 `json:"spec"`
}

// check refuses an archive that could not be restored as a whole.
func (a *Archive) check() error {
	if a.Created.IsZero() {
		return errors.New("the time of the backup is missing")
	}
	seen := map[string]bool{}
	once := func(what, name string) error {
		if seen[what+" "+name] {
			return fmt.Errorf("%s %s is in it twice", what, name)
		}
		seen[what+" "+name] = true
		return nil
	}
	for i := range a.Sites {
		s := &a.Sites[i]
		if s.Namespace == "" || s.Name == "" {
			return errors.New("an AtlassianSite lacks its namespace or name")
		}
		if err := once("AtlassianSite", s.Namespace+"/"+s.Name); err != nil {
			return err
		}
	}
	for i := range a.Tokens {
		t := &a.Tokens[i]
		if err := errors.Join(t.check(), once("APIToken", t.Name().String()), once("the UID", string(t.UID))); err != nil {
			return err
		}
		if t.record == nil {
			continue
		}
		if !t.record.Dead.IsZero() {
			return fmt.Errorf("the record of APIToken %s is dead", t.Name())
		}
		if err := once("the token id", t.record.TokenID); err != nil {
			return err
		}
	}
	for i := range a.Secrets {
		if err := errors.Join(a.Secrets[i].check(), once("Secret", a.Secrets[i].Name)); err != nil {
			return err
		}
	}
	return nil
}
