// Package prerequisites compares a cluster with what the controller needs there: a version of Kubernetes, CRDs, and admission
// policies. The controller does not start without them.
package prerequisites

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/config"
	"apitokens.dev/operator/internal/scope"
)

// Check is the check of a cluster.
type Check struct {
	// Live reads from the API server.
	Live client.Reader
	// Server tells the version of the API server.
	Server discovery.ServerVersionInterface
	// The operator's namespaces.
	Namespace, CredentialsNamespace, IntakeNamespace string
	// Scope are the namespaces whose APITokens and AtlassianSites the account must be able to list.
	Scope scope.Namespaces
	// WatchSecrets says that the account must be able to list the Secrets there too.
	WatchSecrets bool
	// Attempts is how often the check is made before it counts, and Period the time between two. Installers apply manifests
	// in an order of their own, so the rest may come a moment later.
	Attempts int
	Period   time.Duration
	Log      logr.Logger
}

// Await returns when the cluster has everything, when ctx is done, or with a refusal that says what to do. While the API server
// does not answer, it goes on asking.
func (c *Check) Await(ctx context.Context) error {
	needed, err := Needed(c.Namespace, c.CredentialsNamespace, c.IntakeNamespace)
	if err != nil {
		return err
	}
	var refusals int
	var said string
	err = wait.PollUntilContextCancel(ctx, c.Period, true, func(ctx context.Context) (bool, error) {
		err := c.check(ctx, needed)
		var refused *refusal
		switch {
		case err == nil:
			return true, nil
		case errors.As(err, &refused):
			if refusals++; refused.final || refusals >= c.Attempts {
				return false, err
			}
		}
		if err.Error() != said && ctx.Err() == nil {
			said = err.Error()
			c.Log.Info("Waiting for what this version needs of the cluster", "reason", said)
		}
		return false, nil
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// refusal says what the cluster lacks, and what to do. A final one stays as it is without a new version of the cluster.
type refusal struct {
	text  string
	final bool
}

// Error implements error.
func (r *refusal) Error() string { return "this version does not run in this cluster: " + r.text }

func (c *Check) check(ctx context.Context, needed []client.Object) error {
	server, err := c.Server.ServerVersion()
	if err != nil {
		return fmt.Errorf("asking the API server for its version: %w", err)
	}
	if problem := versionProblem(server.GitVersion); problem != "" {
		return &refusal{problem, true}
	}
	var problems []string
	for _, want := range needed {
		problem, err := c.problem(ctx, want)
		if err != nil {
			return err
		}
		if problem != "" {
			problems = append(problems, fmt.Sprintf("%s %s: %s", want.GetObjectKind().GroupVersionKind().Kind, want.GetName(), problem))
		}
	}
	if len(problems) > 0 {
		return &refusal{text: strings.Join(problems, "; ") +
			". Apply the manifests of this version: kubectl apply --server-side -k config/core, or helm upgrade"}
	}
	if err := c.checkScope(ctx); err != nil || !c.WatchSecrets {
		return err
	}
	return c.checkSecrets(ctx)
}

// checkScope refuses a namespace in which the account has no rights: the process would wait for it and never be ready.
func (c *Check) checkScope(ctx context.Context) error {
	for _, namespace := range c.Scope.Each() {
		var sites tokensv1alpha1.AtlassianSiteList
		err := c.Live.List(ctx, &sites, client.InNamespace(namespace), client.Limit(1))
		switch {
		case apierrors.IsForbidden(err):
			return &refusal{text: fmt.Sprintf("the controller's account has no rights in the namespace %q. "+
				"To give them: kubectl -n %[1]s apply --server-side -k config/access", namespace)}
		case err != nil:
			return fmt.Errorf("listing AtlassianSites: %w", err)
		}
	}
	return nil
}

// checkSecrets refuses to watch Secrets without the right: the process would wait for it and never be ready.
func (c *Check) checkSecrets(ctx context.Context) error {
	for _, namespace := range c.Scope.Each() {
		names := &metav1.PartialObjectMetadataList{}
		names.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
		err := c.Live.List(ctx, names, client.InNamespace(namespace), client.Limit(1))
		switch {
		case apierrors.IsForbidden(err):
			where, give := "in the whole cluster", ""
			if namespace != "" {
				where, give = fmt.Sprintf("in the namespace %q", namespace), fmt.Sprintf(" && kubectl -n %s apply --server-side -k config/access", namespace)
			}
			return &refusal{text: fmt.Sprintf("--watch-secrets takes the right to list and watch Secrets, which the controller's account does not have %s. "+
				"To give it: kubectl apply --server-side -f config/components/watch-secrets/role.yaml%s. Or leave out --watch-secrets", where, give)}
		case err != nil:
			return fmt.Errorf("listing the names of Secrets: %w", err)
		}
	}
	return nil
}

func (c *Check) problem(ctx context.Context, want client.Object) (string, error) {
	got, _ := want.DeepCopyObject().(client.Object)
	switch err := c.Live.Get(ctx, client.ObjectKeyFromObject(want), got); {
	case apierrors.IsNotFound(err), apimeta.IsNoMatchError(err):
		return "it is missing", nil
	case apierrors.IsForbidden(err):
		return "the controller's account may not read it", nil
	case err != nil:
		return "", fmt.Errorf("reading the %s %s: %w", want.GetObjectKind().GroupVersionKind().Kind, want.GetName(), err)
	}
	return Problem(want, got), nil
}

// Needed returns the objects that the cluster must have for an installation in these namespaces: CRDs, policies and bindings.
func Needed(namespace, credentialsNamespace, intakeNamespace string) ([]client.Object, error) {
	documents, err := config.Required(namespace, credentialsNamespace, intakeNamespace)
	if err != nil {
		return nil, err
	}
	needed := make([]client.Object, len(documents))
	for i, document := range documents {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(document), &kind); err != nil {
			return nil, fmt.Errorf("decoding a manifest: %w", err)
		}
		switch kind.Kind {
		case "ValidatingAdmissionPolicy":
			needed[i] = &admissionv1.ValidatingAdmissionPolicy{}
		case "ValidatingAdmissionPolicyBinding":
			needed[i] = &admissionv1.ValidatingAdmissionPolicyBinding{}
		default:
			// The schema of a CRD is not compared: its revision says enough.
			needed[i] = &metav1.PartialObjectMetadata{}
		}
		if err := yaml.Unmarshal([]byte(document), needed[i]); err != nil {
			return nil, fmt.Errorf("decoding a %s: %w", kind.Kind, err)
		}
	}
	return needed, nil
}
