package site

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/site/gateway"
	"apitokens.dev/operator/internal/projection"
	"apitokens.dev/operator/internal/siteurl"
	"apitokens.dev/operator/internal/storedjson"
)

const (
	// memoryType is the type of the Secrets with what is remembered about sites. They stay when the sites are deleted.
	memoryType = "apitokens.dev/site-memory"
	// memoryKey is the only key of such a Secret.
	memoryKey = "memory.json"
	// rememberedAhead is how far ahead an epoch is remembered. A later one is a mistake, which a new site ends.
	rememberedAhead = 24 * time.Hour
)

// memory is what the controller remembers about the sites of one name. It outlives them, so that deleting a site and creating it
// again revives no token.
type memory struct {
	Namespace string `json:"namespace"`
	Site      string `json:"site"`
	// UID, Product and BaseURL are those of the site that was served last.
	UID     types.UID              `json:"uid,omitempty"`
	Product tokensv1alpha1.Product `json:"product,omitempty"`
	BaseURL string                 `json:"baseURL,omitempty"`
	// IssuedAfter is the revocation epoch of the name. It never goes back.
	IssuedAfter time.Time `json:"issuedAfter,omitzero"`
	// Limits are the limits that decide when an expired token is removed, and LimitsSince is when they became these.
	Limits      string    `json:"limits,omitempty"`
	LimitsSince time.Time `json:"limitsSince,omitzero"`
	// Gateways are the objects that were written for gateways, from before they are made until they are removed.
	Gateways []gateway.Ref `json:"gateways,omitempty"`
	// Gone is when that site was found deleted. It is zero while it is there.
	Gone time.Time `json:"gone,omitzero"`
}

func memoryName(site types.NamespacedName) string {
	return "memory." + site.Namespace + "." + site.Name
}

// meet returns the memory after a pass over a site: the step *remember* of the model of stopping. The UID of another site is
// taken over once it is served: a mistake in a new site, and its correction, leave no trace.
func (m memory) meet(s *tokensv1alpha1.AtlassianSite, served bool, now time.Time) memory {
	if epoch := s.Spec.IssuedAfter.Time; !farAhead(epoch, now) {
		m.raise(epoch)
	}
	if limits := removalLimits(s.Spec.TokenPolicy); limits != m.Limits {
		m.Limits, m.LimitsSince = limits, now.UTC()
	}
	if !served {
		return m
	}
	if m.UID != "" && m.UID != s.UID && !m.sameProduct(s) {
		// creationTimestamp is cut to whole seconds. A token issued earlier in that second is another product's.
		m.raise(s.CreationTimestamp.Add(time.Second))
	}
	m.UID, m.Product, m.BaseURL, m.Gone = s.UID, s.Spec.Product, s.Spec.BaseURL, time.Time{}
	return m
}

// gone returns the memory of a site that is not there.
func (m memory) gone(now time.Time) memory {
	if m.UID != "" && m.Gone.IsZero() {
		m.Gone = now.UTC()
	}
	return m
}

// keepsKeys reports whether the caller keys of the site that was served last are good for a site.
func (m memory) keepsKeys(s *tokensv1alpha1.AtlassianSite, now time.Time) bool {
	if m.UID == "" || m.UID == s.UID {
		return true
	}
	return m.sameProduct(s) && (m.Gone.IsZero() || now.Before(m.Gone.Add(keysRetention)))
}

// removalLimits returns the limits that decide when an expired token is removed, in a form to compare.
func removalLimits(p tokensv1alpha1.TokenPolicy) string {
	days := func(limit *int32) string {
		if limit == nil {
			return "none"
		}
		return strconv.Itoa(int(*limit))
	}
	return days(p.DefaultLifetimeDays) + " " + days(p.MaxLifetimeDays) + " " + days(p.ExpiredRetentionDays)
}

func (m *memory) raise(epoch time.Time) {
	if epoch.After(m.IssuedAfter) {
		m.IssuedAfter = epoch.UTC()
	}
}

// sameProduct reports whether a site stands for the product that is remembered. A base URL can be spelled in several ways.
func (m memory) sameProduct(s *tokensv1alpha1.AtlassianSite) bool {
	if m.Product != s.Spec.Product {
		return false
	}
	before, errBefore := siteurl.Parse(m.BaseURL)
	now, errNow := siteurl.Parse(s.Spec.BaseURL)
	if errors.Join(errBefore, errNow) != nil {
		return m.BaseURL == s.Spec.BaseURL
	}
	return before == now
}

// farAhead reports whether an epoch lies so far ahead that it is not remembered.
func farAhead(epoch, now time.Time) bool { return epoch.After(now.Add(rememberedAhead)) }

// remember makes a pass over what is remembered about a site's name, and returns it as it is stored. A refusal to store it is an
// error, with the memory as it was.
func (r *Reconciler) remember(ctx context.Context, s *tokensv1alpha1.AtlassianSite, served bool) (memory, *problem, error) {
	name := client.ObjectKeyFromObject(s)
	m, err := r.recall(ctx, name)
	if errors.Is(err, errMemoryDamaged) {
		return memory{}, &problem{tokensv1alpha1.ReasonSiteMemoryDamaged, fmt.Sprintf(
			"Secret '%s/%s' cannot be read. It says which tokens of earlier AtlassianSites of this name are dead. Restore it. "+
				"Without a backup delete it, and set `issuedAfter` to a minute from now: all tokens are dead then.",
			r.Namespace, memoryName(name))}, nil
	}
	if err != nil {
		return memory{}, nil, err
	}
	now := r.Clock.Now()
	if served && !m.keepsKeys(s, now) {
		if err := r.removeKeys(ctx, name); err != nil { // before anybody could take them for this site's
			return m, nil, err
		}
	}
	next := m.meet(s, served, now)
	next.raise(r.notedEpoch(name))
	m, err = r.store(ctx, m, next)
	return m, nil, err
}

// noteEpoch notes the revocation epoch of a site as soon as the watch shows it, also in its deletion.
func (r *Reconciler) noteEpoch(_ context.Context, o client.Object) []reconcile.Request {
	s, ok := o.(*tokensv1alpha1.AtlassianSite)
	if !ok || s.Spec.IssuedAfter.IsZero() || farAhead(s.Spec.IssuedAfter.Time, r.Clock.Now()) {
		return nil // For enqueues it
	}
	name := client.ObjectKeyFromObject(s)
	for {
		noted, found := r.epochs.LoadOrStore(name, s.Spec.IssuedAfter.Time)
		if epoch, ok := noted.(time.Time); !found || ok && !s.Spec.IssuedAfter.After(epoch) {
			break
		}
		r.epochs.CompareAndSwap(name, noted, s.Spec.IssuedAfter.Time)
	}
	return []reconcile.Request{{NamespacedName: name}}
}

// notedEpoch returns the highest revocation epoch that was noted for a name, or zero.
func (r *Reconciler) notedEpoch(site types.NamespacedName) time.Time {
	if r.epochs == nil {
		return time.Time{}
	}
	noted, _ := r.epochs.Load(site)
	epoch, _ := noted.(time.Time)
	return epoch
}

// store stores what is remembered now, if it differs. It returns what is stored.
func (r *Reconciler) store(ctx context.Context, before, now memory) (memory, error) {
	if reflect.DeepEqual(now, before) {
		return before, nil
	}
	encoded, err := json.Marshal(now)
	if err != nil {
		return before, fmt.Errorf("encoding the memory of the site: %w", err)
	}
	site := types.NamespacedName{Namespace: now.Namespace, Name: now.Site}
	if err := r.writeKept(ctx, site, memoryName(site), memoryType, memoryKey, encoded); err != nil {
		return before, fmt.Errorf("writing the memory of the site: %w", err)
	}
	return now, nil
}

var errMemoryDamaged = errors.New("the memory of the site is damaged")

// recall reads what is remembered about a site's name. If the memory was deleted, what was projected of it is left.
func (r *Reconciler) recall(ctx context.Context, site types.NamespacedName) (memory, error) {
	var stored corev1.Secret
	err := r.Live.Get(ctx, types.NamespacedName{Namespace: r.Namespace, Name: memoryName(site)}, &stored)
	if apierrors.IsNotFound(err) {
		return r.recallProjected(ctx, site)
	}
	if err != nil {
		return memory{}, fmt.Errorf("reading the memory of the site: %w", err)
	}
	m, err := storedjson.Decode[memory](stored.Data[memoryKey])
	if err != nil || stored.Type != memoryType || m.Namespace != site.Namespace || m.Site != site.Name {
		return memory{}, errMemoryDamaged
	}
	return m, nil
}

func (r *Reconciler) recallProjected(ctx context.Context, site types.NamespacedName) (memory, error) {
	m := memory{Namespace: site.Namespace, Site: site.Name}
	var stored corev1.Secret
	err := r.Live.Get(ctx, types.NamespacedName{Namespace: r.Namespace, Name: projection.SecretName(site.Namespace, site.Name)}, &stored)
	if apierrors.IsNotFound(err) {
		return m, nil
	}
	if err != nil {
		return memory{}, fmt.Errorf("reading the projection of the site: %w", err)
	}
	if p, err := projection.Decode(stored.Data[projection.DataKey]); err == nil && stored.Type == projection.SecretType {
		m.UID, m.IssuedAfter = types.UID(p.UID), p.IssuedAfter
	}
	return m, nil
}
