package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/plugin/bundle"
	"apitokens.dev/operator/internal/plugin/exit"
	"apitokens.dev/operator/internal/plugin/session"
	"apitokens.dev/operator/internal/version"
)

// logSeconds is how much of a log is in a bundle, and maxLog how many bytes of it.
const logSeconds, maxLog = 24 * 60 * 60, 16 << 20

// bundled is a list of objects that a bundle has.
type bundled struct {
	group, version, kind, plural string
	// system means that only those in the namespace of the operator are in it.
	system bool
	// cluster means that they are in no namespace.
	cluster bool
}

// bundledKinds are the objects in a bundle. Secrets are not among them.
var bundledKinds = []bundled{
	{group: tokensv1alpha1.GroupVersion.Group, version: tokensv1alpha1.GroupVersion.Version, kind: "AtlassianSite", plural: "atlassiansites"},
	{group: tokensv1alpha1.GroupVersion.Group, version: tokensv1alpha1.GroupVersion.Version, kind: "APIToken", plural: "apitokens"},
	{version: "v1", kind: "Event", plural: "events"},
	{version: "v1", kind: "Namespace", plural: "namespaces", cluster: true},
	{version: "v1", kind: "Pod", plural: "pods", system: true},
	{group: "apps", version: "v1", kind: "Deployment", plural: "deployments", system: true},
	{group: "admissionregistration.k8s.io", version: "v1", kind: "ValidatingAdmissionPolicy", plural: "validatingadmissionpolicies", cluster: true},
	{group: "admissionregistration.k8s.io", version: "v1", kind: "ValidatingAdmissionPolicyBinding", plural: "validatingadmissionpolicybindings", cluster: true},
	{group: "rbac.authorization.k8s.io", version: "v1", kind: "Role", plural: "roles", system: true},
	{group: "rbac.authorization.k8s.io", version: "v1", kind: "RoleBinding", plural: "rolebindings"},
	{group: "rbac.authorization.k8s.io", version: "v1", kind: "ClusterRole", plural: "clusterroles", cluster: true},
	{group: "rbac.authorization.k8s.io", version: "v1", kind: "ClusterRoleBinding", plural: "clusterrolebindings", cluster: true},
}

// collection is a bundle that is being written.
type collection struct {
	*exam
	*bundle.Writer

	missing []string
}

// result is what the command bundle says, for programs.
type result struct {
	File    string   `json:"file"`
	Has     []string `json:"has"`
	Missing []string `json:"missing"`
}

func newBundle(s *session.Session) *cobra.Command {
	c := &command{Session: s}
	var file string
	cmd := &cobra.Command{
		Use:   "bundle [SITE...]",
		Short: "Write a support bundle without any secret",
		Long: "Write a support bundle: a tar.gz with the sites, APITokens, Events, Namespaces, admission policies and rights of the\n" +
			"operator, its Deployments, Pods, metrics and logs of a day, and what doctor finds, as far as you may read them.\n\n" +
			"It has no Secret: of those of the operator it has the names, types, ages, the names of the keys and the versions of\n" +
			"the forms. Annotations and the values of environment variables are left out, and of a token that somebody pasted\n" +
			"somewhere only the id is kept. It has names of users, addresses and paths: look into it before you pass it on.\n" +
			"'kubectl apitoken explain --bundle FILE' explains refusals from it.",
		Example: `  kubectl apitoken doctor bundle -A
  kubectl apitoken doctor bundle main -n jira --file jira.tar.gz --no-ingress`,
		Args: exit.Args(cobra.ArbitraryArgs),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.format.Check(); err != nil {
				return err
			}
			if file == "" {
				file = "apitoken-bundle-" + s.Now().UTC().Format("20060102-150405") + ".tar.gz"
			}
			return c.bundle(cmd.Context(), args, file)
		},
	}
	c.addShared(cmd)
	cmd.Flags().StringVar(&file, "file", "", "where to write it; without it, apitoken-bundle-TIME.tar.gz in this folder")
	return cmd
}

// bundle writes a bundle into a new file.
func (c *command) bundle(ctx context.Context, args []string, name string) (err error) {
	e, err := c.examine(ctx, args)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("writing the bundle: %w", err)
	}
	defer func() {
		if err = errors.Join(err, file.Close()); err != nil {
			err = errors.Join(err, os.Remove(name)) // half a bundle helps nobody
		}
	}()
	b := &collection{exam: e, Writer: bundle.NewWriter(file, c.Now()), missing: []string{}}
	if err := b.collect(ctx); err != nil {
		return err
	}
	r := result{File: name, Has: b.Files, Missing: b.missing}
	if !c.format.ForPeople() {
		return c.format.Value(c.Out, r, name)
	}
	for _, missing := range r.Missing {
		fmt.Fprintln(c.ErrOut, "Not in it: "+missing)
	}
	fmt.Fprintf(c.Out, "%s: %s, without any Secret. Look into it before you pass it on: tar -tzf %[1]s\n", name, amount(len(r.Has), "file"))
	return nil
}

func (b *collection) collect(ctx context.Context) error {
	fmt.Fprintln(b.ErrOut, "Collecting objects, metrics and logs ...")
	for _, k := range bundledKinds {
		list, err := b.list(ctx, k)
		if err != nil {
			b.lacks(k.plural, err)
			continue
		}
		if err := b.AddObjects(k.plural, list); err != nil {
			return err
		}
	}
	if err := b.addSecrets(ctx); err != nil {
		return err
	}
	for _, name := range sorted(b.texts) {
		if err := b.Add("metrics/"+fileName(name)+".txt", []byte(b.texts[name])); err != nil {
			return err
		}
	}
	if err := b.addLogs(ctx); err != nil {
		return err
	}
	if err := b.AddValue("doctor.json", &b.report); err != nil {
		return err
	}
	if err := b.AddValue("version.json", version.Running()); err != nil {
		return err
	}
	return b.Close(b.missing)
}

// lacks notes what is not in the bundle.
func (b *collection) lacks(what string, err error) {
	if apierrors.IsForbidden(err) {
		err = errors.New("you may not read them")
	}
	b.missing = append(b.missing, fmt.Sprintf("%s: %v", what, err))
}

// list reads the objects of a kind: those of the operator, those of the cluster, or those in the namespaces of the sites.
func (b *collection) list(ctx context.Context, k bundled) (*unstructured.UnstructuredList, error) {
	all := &unstructured.UnstructuredList{}
	all.SetGroupVersionKind(schema.GroupVersionKind{Group: k.group, Version: k.version, Kind: k.kind + "List"})
	for _, namespace := range b.namespaces(k) {
		some := &unstructured.UnstructuredList{}
		some.SetGroupVersionKind(all.GroupVersionKind())
		if err := b.api.List(ctx, some, client.InNamespace(namespace)); err != nil {
			return nil, err
		}
		all.Items = append(all.Items, some.Items...)
	}
	return all, nil
}

// namespaces are those in which objects of a kind are read.
func (b *collection) namespaces(k bundled) []string {
	switch {
	case k.cluster:
		return []string{""}
	case k.system:
		return []string{b.system}
	}
	in := map[string]bool{}
	for i := range b.sites {
		in[b.sites[i].Namespace] = true
	}
	if k.group != tokensv1alpha1.GroupVersion.Group {
		in[b.system] = true
	}
	return sorted(in)
}

// secretFacts is what a bundle has of a Secret.
type secretFacts struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Type      string    `json:"type"`
	Created   time.Time `json:"created"`
	Keys      []string  `json:"keys"`
	Version   string    `json:"version,omitempty"`
}

func (b *collection) addSecrets(ctx context.Context) error {
	facts := []secretFacts{}
	for _, namespace := range []string{b.system, b.credentials, b.intake} {
		var all corev1.SecretList
		if err := b.api.List(ctx, &all, client.InNamespace(namespace)); err != nil {
			b.lacks("names of Secrets in "+namespace, err)
			continue
		}
		for i := range all.Items {
			s := &all.Items[i]
			facts = append(facts, secretFacts{
				s.Namespace, s.Name, string(s.Type), s.CreationTimestamp.UTC(), sorted(s.Data), formOf(s),
			})
		}
	}
	return b.AddValue("secrets.json", facts)
}

// addLogs adds the logs of the operator's pods.
func (b *collection) addLogs(ctx context.Context) error {
	var pods corev1.PodList
	if err := b.api.List(ctx, &pods, client.InNamespace(b.system), ours); err != nil {
		b.lacks("logs", err)
		return nil
	}
	through, server, err := b.apiServer()
	if err != nil {
		return err
	}
	for i := range pods.Items {
		p := &pods.Items[i]
		url := fmt.Sprintf("%s/api/v1/namespaces/%s/pods/%s/log?sinceSeconds=%d&limitBytes=%d", server, p.Namespace, p.Name, logSeconds, maxLog)
		text, err := read(ctx, through, url)
		if err != nil {
			b.lacks("log of "+p.Name, err)
			continue
		}
		if err := b.Add("logs/"+p.Name+".log", text); err != nil {
			return err
		}
	}
	return nil
}

// read reads a text from the API server.
func read(ctx context.Context, c *http.Client, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := c.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the API server answers %s", response.Status)
	}
	return io.ReadAll(io.LimitReader(response.Body, maxLog))
}
