package leaks

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"apitokens.dev/operator/webhook/portal/selfservice"
)

// TokenType is the name that GitLab gives to tokens that the rule of config/scanners finds.
const TokenType = "gitleaks_rule_id_apitokens-dev"

// minSecret is the shortest token of GitLab that is accepted, in bytes. Anyone may try to guess it.
const minSecret = 32

// readSecret reads the token that GitLab sends.
func readSecret(file string) ([]byte, error) {
	text, err := readFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading GitLab's token: %w", err)
	}
	secret := bytes.TrimSpace(text)
	if len(secret) < minSecret {
		return nil, fmt.Errorf("reading GitLab's token: %s: %w", file, errShort)
	}
	return secret, nil
}

var errShort = errors.New("it must have at least 32 characters")

// authenticateGitLab checks the token in the header Authorization, which has no scheme.
func (in *intake) authenticateGitLab(r *http.Request) error {
	secret, err := readSecret(in.options.GitLabToken)
	if err != nil {
		return in.refuses(gitLab, err)
	}
	sent, _ := only(r, "Authorization")
	got, want := sha256.Sum256([]byte(sent)), sha256.Sum256(secret)
	if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
		return in.refuses(gitLab, nil)
	}
	return nil
}

// listTypes answers which tokens can be revoked here.
func (in *intake) listTypes(w http.ResponseWriter, r *http.Request) error {
	if err := in.authenticateGitLab(r); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string][]string{"types": {TokenType}}) // the client may have disconnected
	return nil
}

// takeFromGitLab takes a message of GitLab's token revocation.
func (in *intake) takeFromGitLab(w http.ResponseWriter, r *http.Request) error {
	if err := in.authenticateGitLab(r); err != nil {
		return err
	}
	body, err := read(w, r)
	if err != nil {
		return err
	}
	keys, err := decode[struct {
		Type     string `json:"type"`
		Token    string `json:"token"`
		Location string `json:"location"`
	}](body)
	if err != nil {
		return err
	}
	finds := make([]selfservice.Find, len(keys))
	for i, k := range keys {
		if k.Type != TokenType {
			return errType
		}
		finds[i] = selfservice.Find{Text: k.Token, URL: k.Location}
	}
	if err := in.revoke(r, gitLab, finds); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

var errType = &refusal{http.StatusBadRequest, "Every type must be " + TokenType + "."}
