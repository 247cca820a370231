// Package explain has the command explain: why a request with a token is refused, and what to change.
//
// It asks the same function as the webhook, about the objects that its user may read. What they may not read is assumed, and said.
package explain

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/plugin/bundle"
	"apitokens.dev/operator/internal/plugin/exit"
	"apitokens.dev/operator/internal/plugin/logfile"
	"apitokens.dev/operator/internal/plugin/output"
	"apitokens.dev/operator/internal/plugin/selection"
	"apitokens.dev/operator/internal/plugin/session"
	"apitokens.dev/operator/internal/plugin/sites"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
)

// command is the command explain.
type command struct {
	*session.Session

	format                              output.Format
	site, user, method, path, client    string
	reason, requestID, log, operatorsNS string
	// bundle is a support bundle that is read in place of the API server.
	bundle string
}

// New returns the command explain.
func New(s *session.Session) *cobra.Command {
	c := &command{Session: s}
	cmd := &cobra.Command{
		Use:   "explain [TOKEN-ID|TEXT|-]",
		Short: "Say why a request is refused, and what to change",
		Long: "Say why a request with a token is refused, which step of the decision refuses it, with what, and what to change.\n\n" +
			"Give a token id, or a text: a curl line, an Authorization header, a request as it is sent, or a token. Without an\n" +
			"argument, or with -, the text is read from standard input: then it does not get into the history of your shell. A\n" +
			"secret in it is used on this machine only. It is not printed, not sent and not kept: the API server is asked for ids.\n\n" +
			"The request is judged by the same function as in the webhook, by the objects that you may read. The rest is assumed,\n" +
			"and the answer says what. With --request-id and --log it is found in a log of the webhook, which knows.\n" +
			"The exit code is 5 if the request is refused.",
		Example: `  kubectl apitoken explain asp_CEMdV8w5tmJF87Qp --method POST --path /rest/api/2/issue
  pbpaste | kubectl apitoken explain -
  kubectl apitoken explain 'curl -u alice:asp_... https://jira.example.com/rest/api/2/myself'
  kubectl apitoken explain --request-id 4f2c --log webhook.log
  kubectl apitoken explain --reason PathNotAllowed
  kubectl apitoken explain asp_CEMdV8w5tmJF87Qp --bundle apitoken-bundle.tar.gz`,
		Args: exit.Args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.format.Check(); err != nil {
				return err
			}
			a, err := c.answer(cmd.Context(), args)
			if err != nil {
				return err
			}
			return c.print(a)
		},
	}
	c.addTo(cmd)
	return cmd
}

func (c *command) addTo(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.site, "site", "", "the AtlassianSite: NAME or NAMESPACE/NAME; without it, that of the URL or of the token")
	f.StringVar(&c.user, "user", "", "with a token id or a token: the user name that is sent with it; without it, the owner")
	f.StringVar(&c.method, "method", "", "the method of the request; without it, that of the text, or GET")
	f.StringVar(&c.path, "path", "", "the path and query of the request, with the context path; without it, that of the text, or one that is allowed")
	f.StringVar(&c.client, "client", "", "the address of the client; without it, an allowed one")
	f.StringVar(&c.requestID, "request-id", "", "explain this request of --log: the X-Request-ID of the gateway")
	f.StringVar(&c.log, "log", "", "a file with the log of the webhook; - is standard input")
	f.StringVar(&c.bundle, "bundle", "", "a support bundle to read in place of the API server; it is judged by the time at which it was written")
	f.StringVar(&c.reason, "reason", "", "explain a reason, as X-Api-Token-Reason or the log has it")
	f.StringVar(&c.operatorsNS, "operator-namespace", "apitoken-system", "where the operator keeps the records, by which it is known whether a secret is right")
	c.format.AddTo(cmd, output.JSON, output.YAML)
}

// answer finds out what was decided, or would be.
func (c *command) answer(ctx context.Context, args []string) (*answer, error) {
	switch {
	case c.reason != "":
		return c.ofReason()
	case c.requestID != "" || c.log != "":
		return c.ofLog()
	}
	text := "-"
	if len(args) > 0 {
		text = args[0]
	}
	if text == "-" {
		fmt.Fprintln(c.ErrOut, "Reading a curl line, a header or a token from standard input. Its secret is not printed, sent or kept.")
		read, err := io.ReadAll(io.LimitReader(c.In, logfile.MaxLine))
		if err != nil {
			return nil, fmt.Errorf("reading standard input: %w", err)
		}
		text = string(read)
	} else if f, ok := token.Find(text); ok {
		fmt.Fprintf(c.ErrOut, "Warning: the token %s may be in the history of your shell now. Paste it into 'kubectl apitoken explain -' next time.\n", f.ID)
	}
	return c.ofText(ctx, strings.TrimSpace(text))
}

func (c *command) ofReason() (*answer, error) {
	advice, ok := reasons[authn.Reason(c.reason)]
	if !ok {
		return nil, exit.Usagef("--reason: there is no such reason; docs/reference/requests.md lists them")
	}
	return &answer{Reason: c.reason, Step: advice.step, Means: advice.means, Do: advice.do}, nil
}

func (c *command) ofLog() (*answer, error) {
	if c.requestID == "" || c.log == "" {
		return nil, exit.Usagef("--request-id and --log go together: the log of the webhook has the reason")
	}
	log := c.In
	if c.log != "-" {
		file, err := os.Open(c.log)
		if err != nil {
			return nil, fmt.Errorf("reading the log: %w", err)
		}
		defer func() { _ = file.Close() }() // it was only read
		log = file
	}
	l, err := find(log, c.requestID)
	if err != nil {
		return nil, err
	}
	advice, ok := reasons[l.Reason]
	if !ok {
		return nil, fmt.Errorf("the log has the reason %q, which this version of the plugin does not know", hide(string(l.Reason)))
	}
	return &answer{
		Verdict: l.Verdict, Status: statuses[l.Verdict], Reason: string(l.Reason), Step: advice.step, Means: advice.means, Facts: l.facts(),
		Do: strings.ReplaceAll(advice.do, "SITE", l.Site), Site: l.Site,
	}, nil
}

// ofText judges a request.
func (c *command) ofText(ctx context.Context, text string) (*answer, error) {
	a, id := asked{client: c.client}, text
	if !token.ValidID(text) {
		var err error
		if a.pasted, err = read(text); err != nil {
			return nil, exit.With(exit.Usage, err)
		}
		id = ""
		if found := a.tokens(); len(found) > 0 {
			id = found[0].ID
		}
	}
	api, now, err := c.source()
	if err != nil {
		return nil, err
	}
	o, err := c.objects(ctx, api, &a, id)
	if err != nil {
		return nil, err
	}
	if a.alone == "" && token.ValidID(text) { // judged with a secret that would be the token's
		if a.alone, err = token.New(text, rand.Reader); err != nil {
			return nil, err
		}
	}
	c.complete(&a, o)
	j, err := judge(o, a, now)
	if err != nil {
		return nil, err
	}
	return newAnswer(o, a, j, now), nil
}

// source returns what objects are read from, and the time by which they are judged: the API server, or a bundle.
func (c *command) source() (client.Reader, time.Time, error) {
	if c.bundle == "" {
		api, err := c.Client()
		return api, c.Now(), err
	}
	b, err := bundle.Open(c.bundle)
	if err != nil {
		return nil, time.Time{}, err
	}
	return b, b.Written, nil
}

// complete adds what the text does not say.
func (c *command) complete(a *asked, o objects) {
	a.method, a.target = cmp.Or(c.method, a.method, "GET"), cmp.Or(c.path, a.target)
	if a.target == "" {
		base := ""
		if _, after, ok := strings.Cut(o.site.Spec.BaseURL, "://"); ok {
			if slash := strings.IndexByte(after, '/'); slash >= 0 {
				base = after[slash:]
			}
		}
		a.target = base + "/rest/api/2/myself"
		if len(o.site.Spec.TokenPaths) > 0 {
			a.target = base + o.site.Spec.TokenPaths[0] + "api/2/myself"
		}
		if o.token != nil && len(o.token.Spec.AllowedPaths) > 0 {
			a.target = base + o.token.Spec.AllowedPaths[0]
		}
	}
	if a.alone != "" {
		user := c.user
		if user == "" && o.token != nil {
			user = o.token.Spec.User
		}
		a.authorization = []string{basic(user, a.alone)}
	}
}

// objects reads what the decision is about, as far as the user may.
func (c *command) objects(ctx context.Context, api client.Reader, a *asked, id string) (o objects, err error) {
	namespace, err := c.Namespace()
	if err != nil {
		return o, err
	}
	if id != "" {
		found, err := selection.ByID(ctx, api, namespace, id)
		switch {
		case errors.Is(err, selection.ErrNoToken):
			fmt.Fprintln(c.ErrOut, err)
		case err != nil:
			return o, err
		default:
			o.token = &found[0]
		}
	}
	if o.site, err = c.siteOf(ctx, api, a, o.token, namespace); err != nil {
		return o, err
	}
	if o.token == nil {
		return o, nil
	}
	var ns corev1.Namespace
	if api.Get(ctx, client.ObjectKey{Name: o.token.Namespace}, &ns) == nil {
		if o.labels = ns.Labels; o.labels == nil {
			o.labels = map[string]string{}
		}
	}
	if a.secretOf(id) != "" {
		o.record, err = c.recordOf(ctx, api, o.token)
	}
	return o, err
}

// recordOf reads the record of a token. It returns nil if the user may not.
func (c *command) recordOf(ctx context.Context, api client.Reader, t *tokensv1alpha1.APIToken) (*record.Record, error) {
	var secret corev1.Secret
	err := api.Get(ctx, client.ObjectKey{Namespace: c.operatorsNS, Name: string(t.UID)}, &secret)
	switch {
	case apierrors.IsForbidden(err) || apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, session.Doing("reading the record of the token", err)
	}
	r, err := record.Decode(secret.Data[record.DataKey])
	if err != nil || secret.Type != record.SecretType {
		return nil, nil // the condition of the token says that it is damaged
	}
	return r, nil
}

// siteOf returns the site that a request is for.
func (c *command) siteOf(
	ctx context.Context, api client.Reader, a *asked, t *tokensv1alpha1.APIToken, namespace string,
) (*tokensv1alpha1.AtlassianSite, error) {
	if c.site != "" {
		return sites.Get(ctx, c.Session, api, c.site)
	}
	if a.host != "" {
		var all tokensv1alpha1.AtlassianSiteList
		err := api.List(ctx, &all)
		if apierrors.IsForbidden(err) {
			err = api.List(ctx, &all, client.InNamespace(namespace))
		}
		if err != nil {
			return nil, session.Doing("looking for the site", err)
		}
		for i := range all.Items {
			if isAt(&all.Items[i], a.host, a.target) {
				return &all.Items[i], nil
			}
		}
	}
	if t != nil {
		return sites.Get(ctx, c.Session, api, t.SiteNamespace()+"/"+t.Spec.SiteRef.Name)
	}
	return nil, exit.Usagef("which site? None that you may read has this URL, and there is no such token: name it with --site")
}
