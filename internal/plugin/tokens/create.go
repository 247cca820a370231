package tokens

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/plugin/exit"
	"apitokens.dev/operator/internal/plugin/output"
	"apitokens.dev/operator/internal/plugin/selection"
	"apitokens.dev/operator/internal/plugin/session"
)

// creation is the command create.
type creation struct {
	*session.Session
	waiting

	user, site, label, secret string
	sources, paths            []string
	lifetime, rotateEvery     selection.Age
	readOnly, follow, show    bool
	imported                  string
	format                    output.Format
	dry                       dryRun
}

// NewCreate returns the command create.
func NewCreate(s *session.Session) *cobra.Command {
	c := &creation{Session: s}
	cmd := &cobra.Command{
		Use:   "create NAME --user USER",
		Short: "Create a token, delivered to a Secret",
		Long: "Create an APIToken and wait until it authenticates. The operator makes the token and delivers it to a Secret beside\n" +
			"the APIToken, with the keys `username`, `password` (the token) and `url`. With --import-secret it takes a secret that\n" +
			"is in a Secret already.\n\n" +
			"You need the right to issue tokens for the user. With --show you need the right to read the Secret too: the token is\n" +
			"then the only line on standard output. With --dry-run=client -o yaml it writes a manifest for GitOps.",
		Example: `  kubectl apitoken create ci -n jira --user ci-bot --label "CI of team A" --read-only --lifetime 90d
  kubectl apitoken create ci -n jira --user ci-bot --rotate-every 30d --allow-path /rest/api/2/search
  kubectl apitoken create ci -n team-a --user ci-bot --site jira/main --dry-run=client -o yaml
  kubectl apitoken create laptop -n jira --user alice --show`,
		Args: exit.Args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd.Context(), args[0]) },
	}
	c.addTo(cmd)
	return cmd
}

func (c *creation) addTo(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.user, "user", "", "the product user that the token acts as")
	f.StringVar(&c.site, "site", "", "the AtlassianSite: NAME or NAMESPACE/NAME; without it, the only one of the namespace")
	f.StringVar(&c.label, "label", "", "what the token is for; without it, NAME")
	f.StringVar(&c.secret, "secret", "", "the Secret to deliver to; without it, NAME-token")
	f.Var(&c.lifetime, "lifetime", "how long each secret lives, in whole days, such as 90d; without it, as the site says")
	f.Var(&c.rotateEvery, "rotate-every", "replace the secret at this age, in whole days, such as 30d")
	f.BoolVar(&c.readOnly, "read-only", false, "allow only GET, HEAD and OPTIONS")
	f.StringSliceVar(&c.sources, "allow-source", nil, "a network from which the token may be used, such as 10.0.0.0/8; may be repeated")
	f.StringSliceVar(&c.paths, "allow-path", nil, "a path below the context path at which it may be used, such as /rest/api/2/search; may be repeated")
	f.StringVar(&c.imported, "import-secret", "", "take the secret from this Secret, from its key password, or from SECRET:KEY")
	f.BoolVar(&c.follow, "follow", false, "with --import-secret: take later values of the Secret too")
	f.BoolVar(&c.show, "show", false, "print the delivered token on standard output, and nothing else there")
	c.waiting.addTo(cmd, "the token authenticates")
	c.dry.addTo(cmd)
	c.format.AddTo(cmd, output.JSON, output.YAML, output.Name)
}

func (c *creation) run(ctx context.Context, name string) error {
	if err := c.check(); err != nil {
		return err
	}
	namespace, err := c.Namespace()
	if err != nil {
		return err
	}
	t, err := c.token(namespace, name)
	if err != nil {
		return err
	}
	api, err := c.Client()
	if err != nil {
		return err
	}
	if t.Spec.SiteRef.Name == "" {
		if t.Spec.SiteRef.Name, err = onlySite(ctx, api, namespace); err != nil {
			return err
		}
	}
	if c.dry != dryRunClient {
		err := api.Create(ctx, t, &client.CreateOptions{DryRun: c.dry.option()})
		if err := session.Doing(fmt.Sprintf("creating the APIToken %s/%s", namespace, name), err); err != nil {
			return err
		}
	}
	if c.wait && !c.dry.isDry() {
		err = c.await(ctx, c.Session, api, t, func() bool { return readyOf(t).Status == metav1.ConditionTrue })
	}
	if printErr := c.report(ctx, api, t, err == nil); printErr != nil {
		return printErr
	}
	return err
}

// check refuses flags that do not go together.
func (c *creation) check() error {
	switch {
	case c.user == "":
		return exit.Usagef("--user is missing: the product user that the token acts as")
	case c.show && (!c.format.ForPeople() || c.dry.isDry() || !c.wait || c.imported != ""):
		return exit.Usagef("--show prints a token that is delivered: it does not go with -o, --dry-run, --wait=false or --import-secret")
	case c.imported == "" && c.follow:
		return exit.Usagef("--follow needs --import-secret")
	case c.imported != "" && (c.secret != "" || c.rotateEvery > 0):
		return exit.Usagef("--import-secret does not go with --secret and --rotate-every: an imported secret is replaced at its source")
	}
	return c.format.Check()
}

// token returns the APIToken that the flags describe.
func (c *creation) token(namespace, name string) (*tokensv1alpha1.APIToken, error) {
	t := &tokensv1alpha1.APIToken{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	t.Spec = tokensv1alpha1.APITokenSpec{
		User: c.user, Label: orElse(c.label, name), AllowedSources: c.sources, AllowedPaths: c.paths,
		Credential: tokensv1alpha1.Credential{Type: tokensv1alpha1.CredentialGenerated},
		Delivery:   tokensv1alpha1.Delivery{SecretName: orElse(c.secret, name+"-token")},
	}
	if at, site, ok := strings.Cut(c.site, "/"); ok {
		t.Spec.SiteRef = tokensv1alpha1.SiteReference{Namespace: at, Name: site}
	} else {
		t.Spec.SiteRef.Name = c.site
	}
	if c.readOnly {
		t.Spec.Access = tokensv1alpha1.AccessReadOnly
	}
	if c.imported != "" {
		secret, key, _ := strings.Cut(c.imported, ":")
		from := &tokensv1alpha1.ImportedCredential{SecretName: secret, Key: key}
		if c.follow {
			from.Mode = tokensv1alpha1.ImportFollow
		}
		t.Spec.Credential = tokensv1alpha1.Credential{Type: tokensv1alpha1.CredentialImported, Imported: from}
		t.Spec.Delivery = tokensv1alpha1.Delivery{}
	}
	var err error
	if t.Spec.LifetimeDays, err = wholeDays("--lifetime", c.lifetime); err != nil {
		return nil, err
	}
	t.Spec.Rotation.IntervalDays, err = wholeDays("--rotate-every", c.rotateEvery)
	return t, err
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// wholeDays returns an age as a number of days, or nil for none.
func wholeDays(flag string, age selection.Age) (*int32, error) {
	const day = 24 * time.Hour
	if time.Duration(age)%day != 0 {
		return nil, exit.Usagef("%s %s: want whole days, such as 90d", flag, age.String())
	}
	if age == 0 {
		return nil, nil
	}
	return new(int32(time.Duration(age) / day)), nil
}

// onlySite returns the name of the site of a namespace that has one.
func onlySite(ctx context.Context, api client.Client, namespace string) (string, error) {
	var all tokensv1alpha1.AtlassianSiteList
	if err := api.List(ctx, &all, client.InNamespace(namespace)); err != nil {
		return "", session.Doing("looking for the site; name it with --site", err)
	}
	if len(all.Items) != 1 {
		return "", exit.Usagef("the namespace %s has %d AtlassianSites: name one with --site", namespace, len(all.Items))
	}
	return all.Items[0].Name, nil
}

// report says what was created, and where its secret is.
func (c *creation) report(ctx context.Context, api client.Client, t *tokensv1alpha1.APIToken, done bool) error {
	if !c.format.ForPeople() {
		return c.format.Objects(c.Out, t)
	}
	created := selection.Ref(t) + " created" + c.dry.suffix()
	if c.show {
		fmt.Fprintln(c.ErrOut, created)
		if !done {
			return nil
		}
		return c.showToken(ctx, api, t)
	}
	fmt.Fprintln(c.Out, created)
	if !done || c.dry.isDry() || t.Spec.Delivery.SecretName == "" {
		return nil
	}
	fmt.Fprintf(c.ErrOut, "The token %s of %s is in the key password of the Secret %s. Mount it, or read it once:\n"+
		"  kubectl -n %s get secret %s -o go-template='{{.data.password | base64decode}}'\n",
		t.Status.TokenID, t.Spec.User, t.Spec.Delivery.SecretName, t.Namespace, t.Spec.Delivery.SecretName)
	return nil
}

// showToken prints the delivered token.
func (c *creation) showToken(ctx context.Context, api client.Client, t *tokensv1alpha1.APIToken) error {
	var secret corev1.Secret
	if err := api.Get(ctx, client.ObjectKey{Namespace: t.Namespace, Name: t.Spec.Delivery.SecretName}, &secret); err != nil {
		return session.Doing("reading the delivered Secret", err)
	}
	fmt.Fprintf(c.ErrOut, "The token of %s follows. It stays in the Secret %s. Anyone who has it acts as %s.\n", t.Spec.User, secret.Name, t.Spec.User)
	fmt.Fprintf(c.Out, "%s\n", secret.Data[corev1.BasicAuthPasswordKey])
	return nil
}
