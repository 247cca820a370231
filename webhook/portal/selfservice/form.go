package selfservice

import (
	"context"
	"crypto/rand"
	"crypto/sha3"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
)

// A form creates one token at most, on whichever replica it is sent and whatever became of the token. The APIToken's name and the
// token's id follow from the form's nonce. While the token exists, its name is taken. Afterwards its record remains for 30 days, with
// the id. A nonce tells its time, and is refused long before that.

// FieldNonce is the field of a Problem whose form was sent before or does not come from the page.
const FieldNonce = "nonce"

var errFormUsed error = &Problem{Kind: Conflict, Field: FieldNonce,
	Message: "The API token of this form was already created. It is not shown again: open the page again to create another one."}

// maxFormAge is how long a form can be sent after the page was opened.
const maxFormAge = 24 * time.Hour

var (
	nonceForm     = regexp.MustCompile(`^[a-z2-7]{26}$`)
	nonceEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
)

// NewNonce returns the nonce of one CreateRequest: the time in seconds, and 90 random bits.
func NewNonce(now time.Time) string {
	seconds := binary.BigEndian.AppendUint64(nil, uint64(max(0, now.Unix())))
	return nonceEncoding.EncodeToString(seconds[3:]) + strings.ToLower(rand.Text())[:18]
}

// checkNonce returns an error if a nonce does not come from the page, or is old.
func (s *Service) checkNonce(nonce string) error {
	if !nonceForm.MatchString(nonce) {
		return invalid(FieldNonce, "This form does not come from this page. Open the page again.")
	}
	seconds, err := nonceEncoding.DecodeString(nonce[:8])
	if err != nil {
		return fmt.Errorf("reading the time of a form: %w", err)
	}
	opened := time.Unix(int64(binary.BigEndian.Uint64(append([]byte{0, 0, 0}, seconds...))), 0)
	if s.Clock.Now().Sub(opened).Abs() > maxFormAge {
		return invalid(FieldNonce, "This form is more than a day old. Nothing was created. Open the page again.")
	}
	return nil
}

// newID returns the id of a new token. It is random, or follows from the nonce.
func (s *Service) newID(c *Caller, nonce string) (string, error) {
	random := s.Random
	if nonce != "" {
		random = derived(string(c.UID), c.User, nonce)
	}
	id, err := token.NewID(random)
	if err != nil {
		return "", fmt.Errorf("generating a token id: %w", err)
	}
	return id, nil
}

// derived returns bytes that look random and follow from the parts.
func derived(parts ...string) io.Reader {
	hash := sha3.NewSHAKE256()
	for _, part := range parts {
		_, _ = hash.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part)))) // it never fails
		_, _ = io.WriteString(hash, part)
	}
	return hash
}

// checkUnused returns an error if the form has created a token before. It asks the API server for records with the id, except that of
// the APIToken with the UID own. Of two requests that have both written a record, at least one finds the other's.
func (s *Service) checkUnused(ctx context.Context, nonce, id string, own types.UID) error {
	if nonce == "" {
		return nil
	}
	records := &metav1.PartialObjectMetadataList{}
	records.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	err := s.Client.List(ctx, records, client.InNamespace(s.Namespace), client.MatchingLabels{record.LabelTokenID: id})
	if err != nil {
		return fmt.Errorf("looking for the record of a form: %w", err)
	}
	if slices.ContainsFunc(records.Items, func(o metav1.PartialObjectMetadata) bool { return o.Name != string(own) }) {
		return errFormUsed
	}
	return nil
}
