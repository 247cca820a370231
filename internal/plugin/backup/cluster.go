// Package backup has the commands backup and restore.
package backup

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/plugin/archive"
	"apitokens.dev/operator/internal/plugin/session"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/recordstore"
)

// pageSize is how many objects are asked for at once.
const pageSize = 500

// cluster is where the objects are.
type cluster struct {
	client.Client

	// system and credentials are the namespaces of the records and of the working copies.
	system, credentials string
}

// contents are the objects of a cluster that a backup or a restore is about.
type contents struct {
	tokens  []tokensv1alpha1.APIToken
	sites   []tokensv1alpha1.AtlassianSite
	records []corev1.Secret
	secrets []corev1.Secret
}

// read reads everything: the APITokens first. A record of one that came later is not missed, and not in the archive.
func (c *cluster) read(ctx context.Context) (*contents, error) {
	found := &contents{}
	tokens, err := all(ctx, c, "listing APITokens", &tokensv1alpha1.APITokenList{},
		func(l *tokensv1alpha1.APITokenList) []tokensv1alpha1.APIToken { return l.Items })
	if err != nil {
		return nil, err
	}
	sites, err := all(ctx, c, "listing AtlassianSites", &tokensv1alpha1.AtlassianSiteList{},
		func(l *tokensv1alpha1.AtlassianSiteList) []tokensv1alpha1.AtlassianSite { return l.Items })
	if err != nil {
		return nil, err
	}
	found.tokens, found.sites = tokens, sites
	for _, namespace := range []string{c.system, c.credentials} {
		secrets, err := all(ctx, c, "listing the Secrets in "+namespace, &corev1.SecretList{},
			func(l *corev1.SecretList) []corev1.Secret { return l.Items }, client.InNamespace(namespace))
		if err != nil {
			return nil, err
		}
		for i := range secrets {
			switch s := &secrets[i]; {
			case s.Type == record.SecretType && namespace == c.system:
				found.records = append(found.records, *s)
			case archive.Kept(s.Type):
				found.secrets = append(found.secrets, *s)
			}
		}
	}
	return found, nil
}

// all lists objects page by page.
func all[L client.ObjectList, T any](
	ctx context.Context, c client.Reader, doing string, list L, items func(L) []T, options ...client.ListOption,
) (found []T, err error) {
	for {
		if err := c.List(ctx, list, append(slices.Clone(options), client.Limit(pageSize), client.Continue(list.GetContinue()))...); err != nil {
			return nil, session.Doing(doing, err)
		}
		found = append(found, items(list)...)
		if list.GetContinue() == "" {
			return found, nil
		}
	}
}

// live returns the objects as the plan of a restore wants them. Records that cannot be read bind nothing.
func (c *contents) live() *archive.Live {
	l := &archive.Live{
		Tokens: map[types.NamespacedName]*tokensv1alpha1.APIToken{}, Sites: map[types.NamespacedName]*tokensv1alpha1.AtlassianSite{},
		Records: map[types.UID]*record.Record{}, Secrets: map[string][]byte{}, Marks: map[types.UID]string{},
	}
	for i := range c.tokens {
		l.Tokens[client.ObjectKeyFromObject(&c.tokens[i])] = &c.tokens[i]
	}
	for i := range c.sites {
		l.Sites[client.ObjectKeyFromObject(&c.sites[i])] = &c.sites[i]
	}
	for i := range c.records {
		if r, err := recordstore.Decode(&c.records[i]); err == nil {
			l.Records[types.UID(c.records[i].Name)] = r
			l.Marks[types.UID(c.records[i].Name)] = c.records[i].Annotations[archive.AnnotationSuspended]
		}
	}
	for i := range c.secrets {
		for _, value := range c.secrets[i].Data {
			l.Secrets[c.secrets[i].Name] = value
		}
	}
	return l
}

// addTo adds the objects to an archive. It returns which cannot be read, and why.
func (c *contents) addTo(a *archive.Archive) (leftOut []string) {
	records := map[string][]byte{}
	for i := range c.records {
		records[c.records[i].Name] = c.records[i].Data[record.DataKey]
	}
	for i := range c.sites {
		if err := a.AddSite(&c.sites[i]); err != nil {
			leftOut = append(leftOut, err.Error())
		}
	}
	for i := range c.tokens {
		t := &c.tokens[i]
		if err := a.AddToken(t, records[string(t.UID)]); err != nil {
			leftOut = append(leftOut, err.Error())
		}
	}
	for i := range c.secrets {
		if err := a.AddSecret(&c.secrets[i]); err != nil {
			leftOut = append(leftOut, err.Error())
		}
	}
	return leftOut
}
