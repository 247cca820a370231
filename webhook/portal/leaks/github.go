package leaks

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"apitokens.dev/operator/webhook/portal/selfservice"
)

// keys are the public keys of GitHub, by their identifiers.
type keys map[string]*ecdsa.PublicKey

// maxFile is the largest file that is read, in bytes.
const maxFile = 256 << 10

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// readKeys reads a file with the answer of https://api.github.com/meta/public_keys/secret_scanning.
func readKeys(file string) (keys, error) {
	text, err := readFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading GitHub's public keys: %w", err)
	}
	all, err := parseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("reading GitHub's public keys: %s: %w", file, err)
	}
	return all, nil
}

func parseKeys(text []byte) (keys, error) {
	var file struct {
		PublicKeys []struct {
			KeyIdentifier string `json:"key_identifier"`
			Key           string `json:"key"`
		} `json:"public_keys"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("it is not the JSON of GitHub's API: %w", err)
	}
	all := keys{}
	for _, one := range file.PublicKeys {
		key, err := parseKey(one.Key)
		if err != nil {
			return nil, fmt.Errorf("the key %.64q: %w", one.KeyIdentifier, err)
		}
		all[one.KeyIdentifier] = key
	}
	if len(all) == 0 {
		return nil, errors.New("it has no public_keys")
	}
	return all, nil
}

func parseKey(text string) (*ecdsa.PublicKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("it is not in PEM")
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parsing it: %w", err)
	}
	key, ok := parsed.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("it is not a key of ECDSA with the curve P-256")
	}
	return key, nil
}

// verify reports whether a body was signed with the key of this identifier. The signature is DER in base64, over the body as it came.
func (k keys) verify(identifier, signature string, body []byte) bool {
	key := k[identifier]
	der, err := base64.StdEncoding.DecodeString(signature)
	if key == nil || err != nil {
		return false
	}
	digest := sha256.Sum256(body)
	return ecdsa.VerifyASN1(key, digest[:], der)
}

// takeFromGitHub takes a message of GitHub's partner program for secret scanning.
func (in *intake) takeFromGitHub(w http.ResponseWriter, r *http.Request) error {
	all, err := readKeys(in.options.GitHubKeys)
	if err != nil {
		return in.refuses(gitHub, err)
	}
	identifier, named := only(r, "Github-Public-Key-Identifier")
	signature, signed := only(r, "Github-Public-Key-Signature")
	if !named || !signed || all[identifier] == nil {
		return in.refuses(gitHub, nil)
	}
	body, err := read(w, r)
	if err != nil {
		return err
	}
	if !all.verify(identifier, signature, body) {
		return in.refuses(gitHub, nil)
	}
	matches, err := decode[struct {
		Token string `json:"token"`
		URL   string `json:"url"`
	}](body)
	if err != nil {
		return err
	}
	finds := make([]selfservice.Find, len(matches))
	for i, m := range matches {
		finds[i] = selfservice.Find{Text: m.Token, URL: m.URL}
	}
	if err := in.revoke(r, gitHub, finds); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}
