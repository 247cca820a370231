package importing

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/internal/username"
)

// result says what becomes of a row.
type result string

const (
	// imported means that there are manifests for it.
	imported result = "import"
	// invited means that its owner is asked to create a token: nobody has the secret, or it is not to be imported.
	invited result = "invite"
	// impossible means neither.
	impossible result = "cannot"
)

// line is a row in the report. It never has a secret.
type line struct {
	Line     int    `json:"line"`
	User     string `json:"user"`
	Label    string `json:"label"`
	Result   result `json:"result"`
	APIToken string `json:"apiToken,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Created  string `json:"created,omitempty"`
	LastUsed string `json:"lastUsed,omitempty"`
	Expires  string `json:"expires,omitempty"`
}

// plan is what an import would do.
type plan struct {
	lines   []line
	tokens  []tokensv1alpha1.APIToken
	secrets []corev1.Secret
}

// target is where tokens are imported to.
type target struct {
	namespace string
	site      tokensv1alpha1.SiteReference
	now       time.Time
}

// planner collects a plan, row by row.
type planner struct {
	target
	plan

	names      map[string]bool
	ofUser     map[string]int
	weakOfUser map[string]int
	// seen are the secrets of each user.
	seen map[[2]string]bool
}

// makePlan decides about each row of a table.
func (t target) makePlan(all []entry) plan {
	p := planner{target: t, names: map[string]bool{}, ofUser: map[string]int{}, weakOfUser: map[string]int{}, seen: map[[2]string]bool{}}
	for _, e := range all {
		p.add(e)
	}
	return p.plan
}

func (p *planner) add(e entry) {
	l := line{Line: e.line, User: e.user, Label: e.label, Created: stamp(e.created), LastUsed: stamp(e.lastUsed), Expires: stamp(e.expires)}
	l.Result = imported
	if err := p.check(e); err != nil {
		l.Result, l.Reason = impossible, err.Error()
	} else if err := p.checkSecret(e); err != nil {
		// The owner gets a new token instead, unless this very secret is imported already.
		l.Result, l.Reason = invited, err.Error()
		if errors.Is(err, errSame) {
			l.Result = impossible
		}
	} else {
		l.APIToken = p.declare(e)
	}
	l.User, l.Label = shown(l.User, e.secret), shown(l.Label, e.secret)
	p.lines = append(p.lines, l)
}

// hidden stands for a text that has a secret in it.
const hidden = "***"

func contains(text, secret string) bool {
	secret = strings.TrimSpace(secret)
	return secret != "" && strings.Contains(text, secret)
}

// shown returns a text as the report may show it: what has a token or the secret of the row in it is hidden, and what nobody sees is
// left out.
func shown(text, secret string) string {
	if _, found := token.Find(text); found || contains(text, secret) {
		return hidden
	}
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, text)
	if characters := []rune(text); len(characters) > maxText {
		text = string(characters[:maxText])
	}
	return text
}

// maxText is the longest user and label, in characters.
const maxText = 255

// validUser is what the schema of APIToken accepts.
var validUser = regexp.MustCompile(`^([A-Z]|[^\p{Lu}\p{Lt}\p{C}\p{Zl}\p{Zp}:])+$`)

// badLabel is what it refuses in a label.
var badLabel = regexp.MustCompile(`[\p{Cc}\p{Zl}\p{Zp}\x{202A}-\x{202E}\x{2066}-\x{2069}]`)

// check returns why a row can become no token.
func (p *planner) check(e entry) error {
	switch {
	case e.user == "":
		return errors.New("it has no user")
	case len([]rune(e.user)) > maxText || !validUser.MatchString(e.user) || strings.HasPrefix(username.Fold(e.user), token.Prefix):
		return errors.New("its user is no name that an APIToken may have: no ':', control characters, or upper-case letters other than A to Z")
	case e.fault != nil:
		return e.fault
	case len([]rune(e.label)) > maxText || badLabel.MatchString(e.label):
		return errors.New("its label has more than 255 characters, or characters that nobody sees")
	case !e.expires.IsZero() && !e.expires.After(p.now):
		return fmt.Errorf("it expired at %s", stamp(e.expires))
	}
	return nil
}

var (
	errSame     = errors.New("another line has the same secret of this user")
	errNoSecret = errors.New("nobody has its secret")
)

// checkSecret returns why a secret cannot be imported. It counts the secrets of each user, as the operator does.
func (p *planner) checkSecret(e entry) error {
	slow, err := record.CheckImported(e.secret)
	of := username.Fold(e.user)
	switch {
	case e.secret == "":
		return errNoSecret
	case contains(e.label, e.secret) || contains(e.user, e.secret):
		return errors.New("its label or user has the secret in it")
	case isHash(e.secret):
		return errors.New("it is a hash and not a secret: nobody can send it")
	case isPAT(e.secret):
		return errors.New("it is a personal access token: it goes on working at the product, and cannot be imported")
	case err != nil:
		return fmt.Errorf("its secret %w", err)
	case p.seen[[2]string{of, e.secret}]:
		return errSame
	case p.ofUser[of] == record.MaxImported:
		return fmt.Errorf("its user has %d imported tokens already, and no more are possible", record.MaxImported)
	case slow && p.weakOfUser[of] == record.MaxSlow:
		return fmt.Errorf("its user has %d imported tokens with weak secrets already, and no more are possible", record.MaxSlow)
	}
	p.seen[[2]string{of, e.secret}] = true
	p.ofUser[of]++
	if slow {
		p.weakOfUser[of]++
	}
	return nil
}

// hash matches how products and libraries write salted hashes.
var hash = regexp.MustCompile(`^(\{[A-Za-z0-9-]+\}|\$(2[abxy]?|5|6|argon2(id|i|d)|pbkdf2[a-z0-9-]*|scrypt)\$)`)

func isHash(text string) bool { return hash.MatchString(text) }

// pat matches a decoded personal access token of Data Center: an id of 12 digits and a secret.
var pat = regexp.MustCompile(`^[0-9]{12}:`)

func isPAT(text string) bool {
	decoded, err := base64.StdEncoding.DecodeString(text)
	return err == nil && pat.Match(decoded)
}

// declare adds the manifests for a row, and returns the name of the APIToken.
func (p *planner) declare(e entry) string {
	name := p.newName(e)
	meta := metav1.ObjectMeta{Namespace: p.namespace, Name: name}
	t := tokensv1alpha1.APIToken{ObjectMeta: meta}
	t.Spec = tokensv1alpha1.APITokenSpec{SiteRef: p.site, User: e.user, Label: cmp.Or(e.label, name)}
	t.Spec.Credential = tokensv1alpha1.Credential{
		Type: tokensv1alpha1.CredentialImported, Imported: &tokensv1alpha1.ImportedCredential{SecretName: name, Key: "password"},
	}
	if !e.expires.IsZero() {
		t.Spec.ExpirationTime = metav1.NewTime(e.expires.Truncate(time.Second))
	}
	p.tokens = append(p.tokens, t)
	p.secrets = append(p.secrets, corev1.Secret{ObjectMeta: meta, Type: corev1.SecretTypeOpaque, Data: map[string][]byte{"password": []byte(e.secret)}})
	return name
}

// other is what a name of Kubernetes cannot have.
var other = regexp.MustCompile(`[^a-z0-9]+`)

// maxName is the longest name, so that a number and endings fit behind it.
const maxName = 50

// newName returns a name for an APIToken that no other one of the plan has.
func (p *planner) newName(e entry) string {
	base := strings.Trim(other.ReplaceAllString(strings.ToLower(e.user+"-"+e.label), "-"), "-")
	base = cmp.Or(strings.Trim(base[:min(len(base), maxName)], "-"), "imported")
	name := base
	for n := 2; p.names[name]; n++ {
		name = fmt.Sprintf("%s-%d", base, n)
	}
	p.names[name] = true
	return name
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// count returns how many rows have a result.
func (p *plan) count(r result) (n int) {
	for _, l := range p.lines {
		if l.Result == r {
			n++
		}
	}
	return n
}

// owners returns the lines of the owners to invite, by user. Users are compared as the product does.
func (p *plan) owners() (users []string, of map[string][]line) {
	of = map[string][]line{}
	for _, l := range p.lines {
		if l.Result != invited {
			continue
		}
		user := username.Fold(l.User)
		if of[user] == nil {
			users = append(users, user)
		}
		of[user] = append(of[user], l)
	}
	slices.Sort(users)
	return users, of
}
