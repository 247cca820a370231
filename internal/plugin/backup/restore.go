package backup

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/plugin/archive"
	"apitokens.dev/operator/internal/plugin/exit"
	"apitokens.dev/operator/internal/plugin/output"
	"apitokens.dev/operator/internal/plugin/session"
)

// restore is the command restore.
type restore struct {
	*session.Session
	namespaces
	keys

	logs               []string
	until, sha256      string
	callerKeys, dryRun bool
	yes                bool
	format             output.Format
}

// NewRestore returns the command restore.
func NewRestore(s *session.Session) *cobra.Command {
	r := &restore{Session: s}
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Bring back the tokens and sites of an archive, and none that was revoked",
		Long: "Bring back what is missing of an archive that backup made: sites, APITokens under new UIDs, their records, the working\n" +
			"copies and the caller keys. What is there already is left as it is. The archive is checked as a whole before anything\n" +
			"is written. It can be run again at any time, and goes on where it was cut off.\n\n" +
			"The archive does not know what was revoked since. With --audit the logs since the backup say so: those of controller,\n" +
			"portal and webhook, or the audit log of Kubernetes. They have to begin before the backup. Tokens that were revoked\n" +
			"stay dead, secrets that were replaced end, and tokens whose stop or change is in the log come back suspended. Without\n" +
			"--audit every restored token is suspended: resume those that shall live. Run it again with --audit to have it decide.\n\n" +
			"You need the rights of backup, the ClusterRole apitoken-restore in the operator's two namespaces with the right to\n" +
			"create and update Secrets there, the right to create, patch and delete APITokens and to create AtlassianSites, and the\n" +
			"right to issue tokens for their users. The operator has to be installed, and its controller running.",
		Example: `  kubectl apitoken restore tokens.age --identity key.txt --dry-run
  kubectl apitoken restore tokens.age --identity key.txt --audit controller.log --audit portal.log
  kubectl apitoken restore tokens.age --identity key.txt --audit audit.log --until 2026-11-26T14:03:00Z --yes -o json`,
		Args: exit.Args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return r.run(cmd.Context(), args[0]) },
	}
	f := cmd.Flags()
	r.addIdentitiesTo(cmd)
	f.StringArrayVar(&r.logs, "audit", nil, "a file with logs since the backup, in JSON lines; - is standard input; may be repeated")
	f.StringVar(&r.until, "until", "", "with --audit: look at nothing from this time on, such as the mistake that deleted the tokens (RFC 3339)")
	f.StringVar(&r.sha256, "sha256", "", "refuse an archive with another SHA-256 than backup printed")
	f.BoolVar(&r.callerKeys, "caller-keys", false, "replace caller keys of the cluster with those of the archive, which the gateways have")
	f.BoolVar(&r.dryRun, "dry-run", false, "only say what would be done")
	f.BoolVarP(&r.yes, "yes", "y", false, "do not ask")
	r.addTo(cmd)
	r.format.AddTo(cmd, output.JSON, output.YAML)
	return cmd
}

func (r *restore) run(ctx context.Context, file string) error {
	if err := r.format.Check(); err != nil {
		return err
	}
	a, err := r.open(file)
	if err != nil {
		return err
	}
	log, err := r.readLogs(a)
	if err != nil {
		return err
	}
	c, err := r.connect(r.Session)
	if err != nil {
		return err
	}
	found, err := c.read(ctx)
	if err != nil {
		return err
	}
	p, err := newPlan(a, found.live(), log, r.callerKeys)
	if err != nil {
		return err
	}
	if err := c.namespacesExist(ctx, p); err != nil {
		return err
	}
	if p.writes() > 0 {
		if err := c.ready(ctx); err != nil {
			return err
		}
	}
	r.summary(a, p)
	if !r.dryRun && p.writes() > 0 {
		if err := r.confirm(p); err != nil {
			return err
		}
	}
	return r.carryOut(ctx, c, p)
}

// open decrypts the archive, and compares its SHA-256.
func (r *restore) open(file string) (*archive.Archive, error) {
	with, err := r.with()
	if err != nil {
		return nil, err
	}
	sealed, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the archive: %w", err)
	}
	if want := strings.ToLower(strings.TrimPrefix(r.sha256, "sha256:")); want != "" && want != digest(sealed) {
		return nil, fmt.Errorf("%s has the SHA-256 %s, and not that of --sha256: it is another archive. Nothing was restored", file, digest(sealed))
	}
	return archive.Open(sealed, with...)
}

// readLogs reads what happened since the backup. Without --audit it returns nil.
func (r *restore) readLogs(a *archive.Archive) (*archive.Log, error) {
	var until time.Time
	if r.until != "" {
		var err error
		if until, err = time.Parse(time.RFC3339, r.until); err != nil {
			return nil, exit.Usagef("--until: want a time such as 2026-01-31T12:00:00Z")
		}
	}
	switch {
	case len(r.logs) == 0 && r.until != "":
		return nil, exit.Usagef("--until goes with --audit")
	case len(r.logs) == 0:
		return nil, nil
	case !until.IsZero() && !until.After(a.Created):
		return nil, exit.Usagef("--until is before the backup of %s", a.Created.Format(time.RFC3339))
	}
	log := archive.NewLog(a.Created, until)
	for _, name := range r.logs {
		if err := r.readLog(log, name); err != nil {
			return nil, err
		}
	}
	return log, log.Complete()
}

func (r *restore) readLog(log *archive.Log, name string) error {
	if name == "-" {
		return log.Read(r.In)
	}
	file, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("reading the log: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	if err := log.Read(file); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// plan is what a restore is about to do, in this order. Working copies come last: the operator withdraws those that no token needs.
type plan struct {
	before []archive.SecretStep
	sites  []archive.SiteStep
	tokens []archive.TokenStep
	after  []archive.SecretStep
	// uids has the UID that APITokens of the archive have in the cluster already.
	uids map[string]types.UID
}

func newPlan(a *archive.Archive, live *archive.Live, log *archive.Log, callerKeys bool) (*plan, error) {
	secrets, err := archive.Secrets(a, live, callerKeys)
	if err != nil {
		return nil, err
	}
	p := &plan{sites: archive.Sites(a, live, log), tokens: archive.Tokens(a, live, log), uids: map[string]types.UID{}}
	for _, s := range secrets {
		if s.Secret.IsWorkingCopy() {
			p.after = append(p.after, s)
		} else {
			p.before = append(p.before, s)
		}
	}
	for i := range p.tokens {
		if s := &p.tokens[i]; s.Live != nil && (s.Action == archive.Restore || s.Action == archive.Unchanged) {
			p.uids[string(s.Token.UID)] = s.Live.UID
		}
	}
	return p, nil
}

// writes counts the objects of the archive that are written.
func (p *plan) writes() (n int) {
	for _, secrets := range [][]archive.SecretStep{p.before, p.after} {
		for i := range secrets {
			n += one(secrets[i].Action)
		}
	}
	for i := range p.sites {
		n += one(p.sites[i].Action)
	}
	for i := range p.tokens {
		n += one(p.tokens[i].Action)
	}
	return n
}

func one(a archive.Action) int {
	if a == archive.Restore || a == archive.Revoke {
		return 1
	}
	return 0
}

// namespacesExist returns an error that names the namespaces that are missing. A namespace has labels that sites select by, and that
// nobody but an administrator knows.
func (c *cluster) namespacesExist(ctx context.Context, p *plan) error {
	asked, missing := map[string]bool{}, []string{}
	ask := func(name string) error {
		if asked[name] {
			return nil
		}
		asked[name] = true
		err := c.Get(ctx, client.ObjectKey{Name: name}, &corev1.Namespace{})
		if apierrors.IsNotFound(err) {
			missing = append(missing, name)
			return nil
		}
		if apierrors.IsForbidden(err) { // then the creation says so
			return nil
		}
		return session.Doing("reading the namespace "+name, err)
	}
	for i := range p.sites {
		if err := ask(p.sites[i].Site.Namespace); err != nil {
			return err
		}
	}
	for i := range p.tokens {
		if err := ask(p.tokens[i].Token.APIToken.Namespace); err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("these namespaces are missing: %s. Create them with their labels, and run this again: nothing was restored", strings.Join(missing, ", "))
	}
	return nil
}

// isActive reports whether a restored token may act.
func isActive(s *archive.TokenStep) bool {
	return s.Action == archive.Restore && s.State == tokensv1alpha1.StateActive
}
