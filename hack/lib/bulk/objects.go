package bulk

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/enrolment"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/internal/upstream"
)

const (
	// Namespace has the site of all tokens.
	Namespace = "jira"
	// Site is the name of it.
	Site = "main"
	// Administrator is a user who may search the tokens of all.
	Administrator = "user-00001"

	system, credentials = "apitoken-system", "apitoken-credentials"

	// Team is the beginning of the names of their namespaces.
	Team = "team-"
	// teams is the number of namespaces with APITokens beside that of the site.
	teams = 100
	// OfFirst is the number of tokens of the first user, who made all of them in the portal. The others have perUser.
	OfFirst, perUser = 50, 5
)

// kinds are the kinds of tokens. They take turns.
var kinds = []tokensv1alpha1.CredentialType{
	tokensv1alpha1.CredentialGenerated, tokensv1alpha1.CredentialImported, tokensv1alpha1.CredentialPortal,
}

// Token is one of the tokens in the world. It follows from its number, so that nobody has to remember it.
type Token struct {
	// UID, Namespace and Name are those of the APIToken.
	UID             types.UID
	Namespace, Name string
	Kind            tokensv1alpha1.CredentialType
	User, UserKey   string
	// ID is the public id, and Text the secret.
	ID, Text string

	random *rand.ChaCha8
}

// NewToken returns the token with a number.
func NewToken(number int) (Token, error) {
	user := UserOf(number)
	t := Token{
		Kind: kinds[number%len(kinds)], Name: fmt.Sprintf("token-%06d", number), Namespace: fmt.Sprintf(Team+"%02d", number%teams),
		User: fmt.Sprintf("user-%05d", user), UserKey: fmt.Sprintf("JIRAUSER%05d", user), random: source("token", number),
		UID: uid(1, number),
	}
	if number < OfFirst {
		t.Kind = tokensv1alpha1.CredentialPortal
	}
	if t.Kind == tokensv1alpha1.CredentialPortal {
		t.Namespace = Namespace
	}
	var err error
	if t.ID, err = token.NewID(t.random); err != nil {
		return Token{}, fmt.Errorf("making a token: %w", err)
	}
	if t.Kind == tokensv1alpha1.CredentialImported {
		secret := make([]byte, 32)
		_, _ = t.random.Read(secret) // never fails
		t.Text = base64.RawURLEncoding.EncodeToString(secret)
		return t, nil
	}
	if t.Text, err = token.New(t.ID, t.random); err != nil {
		return Token{}, fmt.Errorf("making a token: %w", err)
	}
	return t, nil
}

// UserOf returns the number of the user of a token.
func UserOf(number int) int {
	if number < OfFirst {
		return 0
	}
	return 1 + (number-OfFirst)/perUser
}

// PersonalAccessToken returns the credential with which a user acts at the product.
func PersonalAccessToken(user string) string { return "pat." + user }

// source returns random bytes that are the same each time.
func source(of string, number int) *rand.ChaCha8 {
	var seed [32]byte
	copy(seed[8:], of)
	binary.LittleEndian.PutUint64(seed[:], uint64(number))
	return rand.NewChaCha8(seed)
}

func uid(kind, number int) types.UID {
	return types.UID(fmt.Sprintf("%08x-0000-4000-8000-%012x", kind, number))
}

// hash returns what the record has of the secret.
func (t Token) hash() (record.Hash, error) {
	if t.Kind == tokensv1alpha1.CredentialImported {
		return record.NewImportedHash(t.Text, t.random)
	}
	return record.NewHash(t.Text, t.random)
}

// stored are the values that etcd has for a token: the APIToken, its record, and the Secret with the plaintext, if there is one.
func (t Token) stored(now time.Time) ([]pair, error) {
	apiToken, err := t.apiToken(now)
	if err != nil {
		return nil, err
	}
	hash, err := t.hash()
	if err != nil {
		return nil, fmt.Errorf("making a record: %w", err)
	}
	r := record.Record{
		TokenID: t.ID, User: t.User, UserKey: t.UserKey, Imported: t.Kind == tokensv1alpha1.CredentialImported,
		Portal: t.Kind == tokensv1alpha1.CredentialPortal, Site: record.Ref{Namespace: Namespace, Name: Site},
		APIToken: record.Ref{Namespace: t.Namespace, Name: t.Name},
		Entries:  []record.Entry{{Hash: hash, State: record.Delivered, Issued: issued(now)}},
	}
	if t.Kind == tokensv1alpha1.CredentialGenerated {
		r.DeliverySecret = t.secretName()
	}
	encoded, err := r.Encode()
	if err != nil {
		return nil, err
	}
	labels := siteLabels()
	labels[record.LabelTokenID] = t.ID
	secret, err := storedSecret(system, string(t.UID), record.SecretType, labels, map[string][]byte{record.DataKey: encoded}, now)
	if err != nil {
		return nil, err
	}
	pairs := []pair{apiToken, secret}
	if t.Kind != tokensv1alpha1.CredentialPortal {
		secret, err = t.plaintext(now)
		pairs = append(pairs, secret)
	}
	return pairs, err
}

func (t Token) secretName() string { return t.Name + "-secret" }

// plaintext is the delivered Secret, or the one to import from.
func (t Token) plaintext(now time.Time) (pair, error) {
	if t.Kind == tokensv1alpha1.CredentialImported {
		return storedSecret(t.Namespace, t.secretName(), string(corev1.SecretTypeOpaque), nil, map[string][]byte{"password": []byte(t.Text)}, now)
	}
	return storedSecret(t.Namespace, t.secretName(), string(corev1.SecretTypeBasicAuth), map[string]string{managedBy: operator},
		map[string][]byte{"username": []byte(t.User), "password": []byte(t.Text), "url": []byte(baseURL)}, now)
}

const (
	managedBy, operator = "app.kubernetes.io/managed-by", "apitoken-operator"
	baseURL             = "https://jira.example.com"
)

func siteLabels() map[string]string {
	return map[string]string{managedBy: operator, record.LabelSiteNamespace: Namespace, record.LabelSite: Site}
}

func issued(now time.Time) time.Time { return now.Add(-24 * time.Hour) }

// apiToken is the APIToken with the status that the controller gives it.
func (t Token) apiToken(now time.Time) (pair, error) {
	created := metav1.NewTime(now)
	object := tokensv1alpha1.APIToken{
		TypeMeta: metav1.TypeMeta{APIVersion: tokensv1alpha1.GroupVersion.String(), Kind: "APIToken"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: t.Namespace, Name: t.Name, UID: t.UID, CreationTimestamp: created, Generation: 1,
			ManagedFields: []metav1.ManagedFieldsEntry{
				managed("kubectl", metav1.ManagedFieldsOperationApply, tokensv1alpha1.GroupVersion.String(), "", specFields, now),
				managed("apitoken-controller", metav1.ManagedFieldsOperationApply, tokensv1alpha1.GroupVersion.String(), "status", statusFields, now),
			},
		},
		Spec: tokensv1alpha1.APITokenSpec{
			SiteRef: tokensv1alpha1.SiteReference{Name: Site, Namespace: Namespace}, User: t.User, Label: "a script of the team",
			Credential: tokensv1alpha1.Credential{Type: t.Kind}, Access: tokensv1alpha1.AccessReadWrite, State: tokensv1alpha1.StateActive,
		},
	}
	reason, message := tokensv1alpha1.ReasonIssued, "The token was shown once to its owner."
	switch t.Kind {
	case tokensv1alpha1.CredentialGenerated:
		object.Spec.Delivery.SecretName = t.secretName()
		message = fmt.Sprintf("The token is delivered to Secret '%s'.", t.secretName())
	case tokensv1alpha1.CredentialImported:
		object.Spec.Credential.Imported = &tokensv1alpha1.ImportedCredential{SecretName: t.secretName(), Key: "password", Mode: tokensv1alpha1.ImportFollow}
		reason, message = tokensv1alpha1.ReasonImported, fmt.Sprintf("The secret under the key 'password' of Secret '%s' is imported.", t.secretName())
	case tokensv1alpha1.CredentialPortal:
	}
	object.Status = tokensv1alpha1.APITokenStatus{
		ObservedGeneration: 1, TokenID: t.ID, IssuedTime: metav1.NewTime(issued(now)),
		Conditions: []metav1.Condition{{
			Type: tokensv1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: reason, Message: message, ObservedGeneration: 1, LastTransitionTime: created,
		}},
	}
	value, err := json.Marshal(object)
	if err != nil {
		return pair{}, fmt.Errorf("encoding an APIToken: %w", err)
	}
	return pair{[]byte(registry + "apitokens.dev/apitokens/" + t.Namespace + "/" + t.Name), value}, nil
}

// The fields of an APIToken and of a Secret that the API server says have a manager.
const (
	specFields = `{"f:spec":{"f:access":{},"f:credential":{"f:type":{}},"f:delivery":{"f:secretName":{}},"f:label":{},` +
		`"f:siteRef":{"f:name":{},"f:namespace":{}},"f:state":{},"f:user":{}}}`
	statusFields = `{"f:status":{"f:conditions":{"k:{\"type\":\"Ready\"}":{".":{},"f:lastTransitionTime":{},"f:message":{},"f:observedGeneration":{},` +
		`"f:reason":{},"f:status":{},"f:type":{}}},"f:issuedTime":{},"f:observedGeneration":{},"f:tokenID":{}}}`
	secretFields = `{"f:data":{".":{},"f:record.json":{}},"f:metadata":{"f:labels":{".":{},"f:apitokens.dev/site":{},"f:apitokens.dev/site-namespace":{},` +
		`"f:apitokens.dev/token-id":{},"f:app.kubernetes.io/managed-by":{}}},"f:type":{}}`
)

func managed(by string, operation metav1.ManagedFieldsOperationType, version, subresource, fields string, now time.Time) metav1.ManagedFieldsEntry {
	at := metav1.NewTime(now)
	return metav1.ManagedFieldsEntry{
		Manager: by, Operation: operation, APIVersion: version, Time: &at, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields), Subresource: subresource,
	}
}

// encoder writes objects as the API server stores those of the core.
var encoder = protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)

func storedSecret(namespace, name, secretType string, labels map[string]string, data map[string][]byte, now time.Time) (pair, error) {
	s := &corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, UID: types.UID("secret-of-" + name), CreationTimestamp: metav1.NewTime(now), Labels: labels,
			ManagedFields: []metav1.ManagedFieldsEntry{managed("apitoken-controller", metav1.ManagedFieldsOperationUpdate, "v1", "", secretFields, now)},
		},
		Type: corev1.SecretType(secretType), Data: data,
	}
	value, err := runtime.Encode(encoder, s)
	if err != nil {
		return pair{}, fmt.Errorf("encoding a Secret: %w", err)
	}
	return pair{[]byte(registry + "secrets/" + namespace + "/" + name), value}, nil
}

// storedUser are the values that etcd has for a user: the working copy of the personal access token, and the enrolment.
func storedUser(number int, now time.Time) ([]pair, error) {
	c := upstream.Credential{
		Namespace: Namespace, Site: Site, User: fmt.Sprintf("user-%05d", number), Origin: upstreamURL, Token: PersonalAccessToken(fmt.Sprintf("user-%05d", number)),
		Source: upstream.Enrolled, UserKey: fmt.Sprintf("JIRAUSER%05d", number), Stored: issued(now), ID: int64(number + 1), Expires: issued(now).AddDate(0, 0, 90),
	}
	e := enrolment.Enrolment{
		Namespace: Namespace, Site: Site, User: c.User, State: enrolment.Held, UserKey: c.UserKey, PAT: c.ID, Checked: now.UTC().Truncate(time.Second), Name: c.User,
	}
	encoded, err := c.Encode()
	if err != nil {
		return nil, err
	}
	held, err := storedSecret(credentials, c.SecretName(), upstream.SecretType, siteLabels(), map[string][]byte{upstream.DataKey: encoded}, now)
	if err != nil {
		return nil, err
	}
	if encoded, err = e.Encode(); err != nil {
		return nil, err
	}
	enrolled, err := storedSecret(system, e.SecretName(), enrolment.SecretType, siteLabels(), map[string][]byte{enrolment.DataKey: encoded}, now)
	return []pair{held, enrolled}, err
}
