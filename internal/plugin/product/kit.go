package product

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"apitokens.dev/operator/internal/atlassian"
)

// timeout bounds one request.
const timeout = 30 * time.Second

// Step is what a person does for a check, as it is put to them. It has the name of the user in place of %s.
type Step string

// The steps. Every second one undoes the one before it.
const (
	Deactivate Step = "Deactivate the user %s."
	Activate   Step = "Activate the user %s again."
	Rename     Step = "Rename the user %s to %[1]s-renamed."
	RenameBack Step = "Rename the user %s-renamed back to %[1]s."
)

// Options say which product is checked, and with what.
type Options struct {
	// URL is the address of the product, with the context path.
	URL string
	// User is the name of the throw-away user.
	User string
	// Password and PAT are theirs. One of them is needed, and some checks need the password.
	Password, PAT string
	// AdminPAT is a personal access token of an administrator, ExpiredPAT one of the user that has expired. Both are optional.
	AdminPAT, ExpiredPAT string
	// Place is the key of a project of Jira or a space of Confluence in which the user may create something; it is deleted again.
	Place string
	// Hand has a person do a step. It reports whether they did. It is optional.
	Hand func(Step) bool
	// Progress is told which check begins. It is optional.
	Progress func(id string, n, of int)
	// Transport sends the requests.
	Transport http.RoundTripper
}

// kit is one run of the checks.
type kit struct {
	Options

	ctx     context.Context //nolint:containedctx // it lives as long as one run
	http    *http.Client
	base    *url.URL
	product atlassian.Product
	version string
	// basic is whether the product takes Basic authentication; empty if its answer does not tell.
	basic string
	key   string
	// pat is the personal access token of this run.
	pat string
	// login is the session of the run, once a check needed one.
	login   *login
	running string
	traffic []exchange
	hide    hidden
	undo    []undo
	// unknownUser and wrong are a user and a token of the right form, whom and which nobody has.
	unknownUser, wrong string
}

// undo takes back what a check made.
type undo struct {
	what string
	do   func() error
}

// Run checks a product. An error means that nothing could be checked.
func Run(ctx context.Context, o Options) (*Report, error) {
	k, err := newKit(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := k.start(); err != nil {
		left := k.takeBack()
		return nil, errors.New(k.hide.from(errors.Join(append([]error{err}, left...)...).Error()))
	}
	r := k.report()
	every := slices.DeleteFunc(checks(), func(c check) bool { return c.of != "" && c.of != k.product })
	for i, c := range every {
		if o.Progress != nil {
			o.Progress(c.id, i+1, len(every))
		}
		r.Results = append(r.Results, k.try(c))
	}
	for _, err := range k.takeBack() {
		r.Left = append(r.Left, err.Error())
	}
	k.hide.report(r)
	return r, nil
}

func newKit(ctx context.Context, o Options) (*kit, error) {
	base, err := url.Parse(strings.TrimSuffix(o.URL, "/"))
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" || base.RawQuery != "" || base.User != nil {
		return nil, errors.New("--url is the address of the product with its context path, such as https://jira.example.com/jira, and nothing else")
	}
	k := &kit{Options: o, ctx: ctx, base: base, unknownUser: "nobody-" + strings.ToLower(rand.Text()[:8])}
	k.wrong = base64.StdEncoding.EncodeToString([]byte("000000000000:" + rand.Text()[:20]))
	k.http = &http.Client{
		Timeout: timeout, Transport: o.Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	k.hide.identity(base, o.User)
	k.running = "start"
	for what, secret := range map[string]string{"PASSWORD": o.Password, "PAT": o.PAT, "ADMIN-PAT": o.AdminPAT, "EXPIRED-PAT": o.ExpiredPAT, "WRONG-PAT": k.wrong} {
		k.hide.secret(secret, what)
	}
	return k, nil
}

// start finds out what the product is, and makes the token of this run.
func (k *kit) start() error {
	with, err := k.first()
	if err != nil {
		return err
	}
	k.version = k.asksVersion()
	a := k.makePAT("apitoken doctor", 1, with)
	var made pat
	if err := all(a.err, a.json(&made)); err != nil || a.status/100 != 2 || made.RawToken == "" {
		return fmt.Errorf("making a personal access token for the run: HTTP %d: may the user have one, and have they fewer than ten?", a.status)
	}
	k.pat = made.RawToken
	switch a := k.get(k.who(), basicAuth(k.unknownUser, "wrong")); a.status {
	case http.StatusForbidden:
		k.basic = off
	case http.StatusUnauthorized:
		k.basic = on
	}
	return nil
}

// first returns a credential of the user that works, and learns by it which product answers.
func (k *kit) first() (option, error) {
	for _, p := range atlassian.Products() {
		k.product = p
		var tried []option
		if k.PAT != "" {
			tried = append(tried, bearer(k.PAT))
		}
		if k.Password != "" {
			tried = append(tried, basicAuth(k.User, k.Password))
		}
		for _, with := range tried {
			if a := k.get(k.who(), with); k.signedIn(a) == nil {
				k.learnKey(a)
				return with, nil
			}
		}
		if k.Password == "" {
			continue
		}
		if l, err := k.signIn(); err == nil {
			k.keep(l)
			k.learnKey(k.get(k.who(), l.cookies))
			return l.cookies, nil
		}
	}
	return nil, fmt.Errorf("%s does not answer as Jira or Confluence do to %s: is the address right, with its context path, and do the credentials work? "+
		"Where Basic authentication is off, give --pat-file", k.base.Redacted(), k.User)
}

func (k *kit) learnKey(a *answer) {
	var me struct{ Key, UserKey string }
	_ = a.json(&me) // without a key there is nothing to compare
	k.key = me.Key + me.UserKey
	k.hide.word(k.key, "USER-KEY")
}

// versionOnPage is how the pages of both products tell scripts their version.
var versionOnPage = regexp.MustCompile(`name="ajs-version-number" content="([0-9][0-9A-Za-z.-]*)"`)

func (k *kit) asksVersion() string {
	var info struct{ Version string }
	if k.product == atlassian.Jira {
		if a := k.get("/rest/api/2/serverInfo"); a.status == http.StatusOK && a.json(&info) == nil && info.Version != "" {
			return info.Version
		}
	}
	if found := versionOnPage.FindSubmatch(k.get(k.page(loginPage)).body); found != nil {
		return string(found[1])
	}
	return ""
}

// who is the path of the who-am-I resource.
func (k *kit) who() string {
	path, _ := k.product.WhoAmIPath() // both products have one
	return path
}

// try runs a check.
func (k *kit) try(c check) Result {
	k.running, k.traffic = c.id, nil
	r := Result{ID: c.id, Assumption: c.says, Outcome: Confirmed}
	var err error
	if k.ctx.Err() != nil {
		err = notTriedError("the run was interrupted")
	} else {
		err = c.run(k)
	}
	none, notTried := errors.AsType[notTriedError](err)
	switch {
	case notTried:
		r.Outcome, r.Detail = NotTried, none.Error()
	case err != nil:
		r.Outcome, r.Detail = Refuted, strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	r.exchanges = k.traffic
	return r
}

// takeBack undoes what the run made, the newest first. It returns what is left behind.
func (k *kit) takeBack() (left []error) {
	k.running, k.traffic = "undo", nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(k.ctx), timeout)
	defer cancel()
	k.ctx = ctx
	for _, u := range slices.Backward(slices.Clone(k.undo)) {
		if err := u.do(); err != nil {
			left = append(left, fmt.Errorf("%s: %w", u.what, err))
		}
	}
	return left
}

// undone takes from the list what a check has undone itself.
func (k *kit) undone(what string) {
	k.undo = slices.DeleteFunc(k.undo, func(u undo) bool { return u.what == what })
}
