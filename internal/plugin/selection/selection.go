// Package selection finds the APITokens that a command is about: by name, by token id, or by what they are.
package selection

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/plugin/exit"
	"apitokens.dev/operator/internal/plugin/session"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/internal/username"
)

// pageSize is how many APITokens one answer of the API server has at most.
const pageSize = 500

// Flags select APITokens by what they are.
type Flags struct {
	AllNamespaces bool
	User, Site    string
	Selector      string
	OlderThan     Age
	UnusedFor     Age
}

// AddTo adds the flags to a command.
func (f *Flags) AddTo(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVarP(&f.AllNamespaces, "all-namespaces", "A", false, "in all namespaces")
	flags.StringVar(&f.User, "user", "", "of this product user; upper and lower case of A to Z make no difference")
	flags.StringVar(&f.Site, "site", "", "of this AtlassianSite: NAME, or NAMESPACE/NAME")
	flags.StringVarP(&f.Selector, "selector", "l", "", "with these labels, such as team=a")
	flags.Var(&f.OlderThan, "older-than", "created longer ago than this, such as 90d or 36h")
	flags.Var(&f.UnusedFor, "unused-for", "neither used nor created for this long, such as 90d; uses are written at most once a minute")
}

// Given reports whether a flag selects tokens. --all-namespaces alone does not.
func (f *Flags) Given() bool {
	return f.User != "" || f.Site != "" || f.Selector != "" || f.OlderThan > 0 || f.UnusedFor > 0
}

// List returns the selected APITokens, by namespace and name.
func (f *Flags) List(ctx context.Context, s *session.Session, c client.Reader) ([]tokensv1alpha1.APIToken, error) {
	namespace, err := s.Namespace()
	if err != nil {
		return nil, err
	}
	matches, err := labels.Parse(f.Selector)
	if err != nil {
		return nil, exit.Usagef("--selector: %w", err)
	}
	options := []client.ListOption{client.MatchingLabelsSelector{Selector: matches}}
	if !f.AllNamespaces {
		options = append(options, client.InNamespace(namespace))
	}
	all, err := list(ctx, c, options...)
	if err != nil {
		return nil, err
	}
	now := s.Now()
	return slices.DeleteFunc(all, func(t tokensv1alpha1.APIToken) bool { return !f.selects(&t, namespace, now) }), nil
}

// selects reports whether the flags that the API server does not know select an APIToken. namespace is that of the command.
func (f *Flags) selects(t *tokensv1alpha1.APIToken, namespace string, now time.Time) bool {
	return (f.User == "" || username.Fold(t.Spec.User) == username.Fold(f.User)) &&
		(f.Site == "" || f.isSite(t, namespace)) &&
		(f.OlderThan == 0 || now.Sub(t.CreationTimestamp.Time) > time.Duration(f.OlderThan)) &&
		(f.UnusedFor == 0 || now.Sub(LastSign(t)) > time.Duration(f.UnusedFor))
}

// isSite reports whether an APIToken is for the site. Without a namespace, --site names one in the namespace of the command, or
// with --all-namespaces in any.
func (f *Flags) isSite(t *tokensv1alpha1.APIToken, namespace string) bool {
	if at, name, ok := strings.Cut(f.Site, "/"); ok {
		return t.SiteNamespace() == at && t.Spec.SiteRef.Name == name
	}
	return t.Spec.SiteRef.Name == f.Site && (f.AllNamespaces || t.SiteNamespace() == namespace)
}

// LastSign returns when an APIToken was used last, or created if it was never used.
func LastSign(t *tokensv1alpha1.APIToken) time.Time {
	if t.Status.LastAccessedTime.After(t.CreationTimestamp.Time) {
		return t.Status.LastAccessedTime.Time
	}
	return t.CreationTimestamp.Time
}

// list returns all APITokens that the API server selects, by namespace and name.
func list(ctx context.Context, c client.Reader, options ...client.ListOption) (all []tokensv1alpha1.APIToken, err error) {
	for next := ""; ; {
		var page tokensv1alpha1.APITokenList
		if err := c.List(ctx, &page, append(options, client.Limit(pageSize), client.Continue(next))...); err != nil {
			return nil, session.Doing("listing APITokens", err)
		}
		all = append(all, page.Items...)
		if next = page.Continue; next == "" {
			break
		}
	}
	slices.SortStableFunc(all, func(a, b tokensv1alpha1.APIToken) int {
		return strings.Compare(a.Namespace+"\x00"+a.Name, b.Namespace+"\x00"+b.Name)
	})
	return all, nil
}

// Named returns the APITokens that arguments name, each by its name, or by its token id in any namespace.
func Named(ctx context.Context, s *session.Session, c client.Reader, args []string) ([]tokensv1alpha1.APIToken, error) {
	namespace, err := s.Namespace()
	if err != nil {
		return nil, err
	}
	var all []tokensv1alpha1.APIToken
	for _, arg := range args {
		id, isID := TokenID(s, arg)
		if isID {
			found, err := ByID(ctx, c, namespace, id)
			if err != nil {
				return nil, err
			}
			all = append(all, found...)
			continue
		}
		var t tokensv1alpha1.APIToken
		if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: arg}, &t); err != nil {
			return nil, session.Doing(fmt.Sprintf("reading the APIToken %s/%s", namespace, arg), err)
		}
		all = append(all, t)
	}
	return all, nil
}

// TokenID returns the token id that an argument is. Of a whole token it takes the id alone, and warns.
func TokenID(s *session.Session, arg string) (id string, ok bool) {
	if found, ok := token.Find(arg); ok {
		fmt.Fprintf(s.ErrOut, "Warning: that is a token, not its id. Only the id %s is used. The token may be in the history of your shell now: "+
			"rotate it with 'kubectl apitoken rotate %s --overlap-hours=0'.\n", found.ID, found.ID)
		return found.ID, true
	}
	return arg, token.ValidID(arg)
}

// ErrNoToken means that a token id was searched and not found.
var ErrNoToken = errors.New("no APIToken has the token id")

// ByID returns the APITokens with a token id: in all namespaces, or in one if the user may not search all.
func ByID(ctx context.Context, c client.Reader, namespace, id string) ([]tokensv1alpha1.APIToken, error) {
	where := "in any namespace"
	found, err := list(ctx, c, client.MatchingFields{"status.tokenID": id})
	if apierrors.IsForbidden(err) {
		where = fmt.Sprintf("in the namespace %s; you may not search others", namespace)
		found, err = list(ctx, c, client.MatchingFields{"status.tokenID": id}, client.InNamespace(namespace))
	}
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("%w %s %s", ErrNoToken, id, where)
	}
	return found, err
}

// CompleteNames completes the names of APITokens, for shells.
func CompleteNames(s *session.Session) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		c, err := s.Client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		all, err := (&Flags{}).List(cmd.Context(), s, c)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []cobra.Completion
		for i := range all {
			if !slices.Contains(args, all[i].Name) {
				names = append(names, cobra.CompletionWithDesc(all[i].Name, all[i].Spec.User+": "+all[i].Spec.Label))
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// Ref returns what people and programs call an APIToken: as `kubectl -o name` does, without the namespace.
func Ref(t metav1.Object) string {
	return "apitoken." + tokensv1alpha1.GroupVersion.Group + "/" + t.GetName()
}

// InNamespace returns all APITokens of a namespace.
func InNamespace(ctx context.Context, c client.Reader, namespace string) ([]tokensv1alpha1.APIToken, error) {
	return list(ctx, c, client.InNamespace(namespace))
}
