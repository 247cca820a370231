// Package session connects a command to the API server, with the rights of its user and no others.
package session

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// Session is what a command works with.
type Session struct {
	genericiooptions.IOStreams

	// Now is the clock of this machine.
	Now func() time.Time

	flags *genericclioptions.ConfigFlags
}

// New returns a session with the streams of a terminal or of a test.
func New(streams genericiooptions.IOStreams, now func() time.Time) *Session {
	flags := genericclioptions.NewConfigFlags(true)
	// --user is a user of the product here, and nobody shall take --token for the place of an API token.
	flags.AuthInfoName, flags.BearerToken = nil, nil
	flags.CacheDir = nil // nothing is cached
	return &Session{IOStreams: streams, Now: now, flags: flags}
}

// AddFlags adds the flags that say which API server is asked, and as whom.
func (s *Session) AddFlags(flags *pflag.FlagSet) { s.flags.AddFlags(flags) }

// Namespace returns the namespace of --namespace, or that of the context.
func (s *Session) Namespace() (string, error) {
	namespace, _, err := s.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return "", fmt.Errorf("reading the kubeconfig: %w", err)
	}
	return namespace, nil
}

// Config returns the configuration of a client.
func (s *Session) Config() (*rest.Config, error) {
	config, err := s.flags.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	config = rest.CopyConfig(config)
	config.UserAgent = "kubectl-apitoken"
	config.QPS = -1 // the API server limits how fast its users may ask
	config.WarningHandlerWithContext = nil
	config.WarningHandler = rest.NewWarningWriter(s.ErrOut, rest.WarningWriterOptions{Deduplicate: true})
	return config, nil
}

// Client returns a client of the kinds that commands read and write. It asks for no list of the API's kinds.
func (s *Session) Client() (client.Client, error) {
	config, err := s.Config()
	if err != nil {
		return nil, err
	}
	c, err := client.New(config, client.Options{Scheme: Scheme, Mapper: mapper(), FieldOwner: "kubectl-apitoken"})
	if err != nil {
		return nil, fmt.Errorf("connecting to the API server: %w", err)
	}
	return c, nil
}

// Scheme has the kinds that commands read and write.
var Scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	if err := errors.Join(
		corev1.AddToScheme(s), appsv1.AddToScheme(s), rbacv1.AddToScheme(s), admissionv1.AddToScheme(s), authorizationv1.AddToScheme(s),
		tokensv1alpha1.AddToScheme(s),
	); err != nil {
		panic(err) // the types of a build either fit together or never do
	}
	return s
}()

// The kinds that commands use, by group. CustomResourceDefinition has no type here.
var (
	namespacedKinds = map[schema.GroupVersion][]string{
		tokensv1alpha1.GroupVersion: {"APIToken", "AtlassianSite"},
		corev1.SchemeGroupVersion:   {"Secret", "Event", "Pod"},
		appsv1.SchemeGroupVersion:   {"Deployment"},
		rbacv1.SchemeGroupVersion:   {"Role", "RoleBinding"},
	}
	clusterKinds = map[schema.GroupVersion][]string{
		corev1.SchemeGroupVersion:                      {"Namespace"},
		rbacv1.SchemeGroupVersion:                      {"ClusterRole", "ClusterRoleBinding"},
		admissionv1.SchemeGroupVersion:                 {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"},
		authorizationv1.SchemeGroupVersion:             {"SubjectAccessReview"},
		{Group: "apiextensions.k8s.io", Version: "v1"}: {"CustomResourceDefinition"},
	}
)

func mapper() apimeta.RESTMapper {
	m := apimeta.NewDefaultRESTMapper(nil)
	for scope, kinds := range map[apimeta.RESTScope]map[schema.GroupVersion][]string{
		apimeta.RESTScopeNamespace: namespacedKinds, apimeta.RESTScopeRoot: clusterKinds,
	} {
		for group, names := range kinds {
			for _, name := range names {
				m.Add(group.WithKind(name), scope)
			}
		}
	}
	return m
}

// Doing wraps an error of the API server with what was being done.
func Doing(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case apierrors.IsNotFound(err) && strings.Contains(err.Error(), "could not find the requested resource"):
		return fmt.Errorf("%s: this cluster has no kinds of apitokens.dev: is it the right context, and is the operator installed? (%w)", what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}
