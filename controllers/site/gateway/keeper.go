package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/internal/apierror"
)

// Manager is the field manager of everything that is written for gateways.
const Manager = "apitoken-gateways"

// Keeper writes what gateways need, mends it, and removes it.
type Keeper struct {
	Client client.Client
	// Live reads from the API server.
	Live client.Reader
	// Watch is told which kinds are in use. It may be nil.
	Watch *Watch
}

// Findings are the result of a pass over the gateways of a site.
type Findings struct {
	// Kept names what was written.
	Kept []string
	// Notes are what a person should know of entries without a problem.
	Notes []string
	// Problems has the first problem of each entry, and of what could not be removed, in words for a condition.
	Problems []Problem
}

// Reconcile writes what the entries of a site need, and removes what earlier ones left behind. made is what was written before.
// remember stores the next value of it: before anything is written, and after something is removed. It is not called without a
// change. An error is one that passes by itself.
func (k Keeper) Reconcile(ctx context.Context, s Site, entries []tokensv1alpha1.Gateway, made []Ref, remember func([]Ref) error) (Findings, error) {
	var (
		f     Findings
		errs  []error
		wants []Ref
	)
	plans, known := plansFor(s, entries)
	for _, p := range plans {
		wants = append(wants, missing(p.refs(), wants)...)
	}
	if added := missing(wants, made); len(added) > 0 {
		made = slices.Concat(made, added)
		if err := remember(made); err != nil {
			return f, err
		}
	}
	led := map[string]bool{}
	for i, p := range plans {
		if led[p.gateway] {
			p.portal = nil
		}
		w, err := k.write(ctx, s, p)
		errs = append(errs, err)
		// An error passes by itself. Until then the way to the portal stays as it is.
		led[p.gateway] = led[p.gateway] || w.leads || err != nil
		if w.problem != nil {
			f.Problems = append(f.Problems, Problem{w.problem.Reason, fmt.Sprintf("`gateways[%d]` (%s): %s", i, p.gateway, w.problem.Message)})
		} else if err == nil {
			f.keep(s, p.refs(), w.note)
		}
	}
	if !known {
		return f, apierror.Redact(errors.Join(errs...))
	}
	failed, err := k.removeAll(ctx, s, missing(made, wants), func(left []Ref) error { return remember(slices.Concat(wants, left)) })
	errs = append(errs, err)
	for _, left := range failed {
		if message, refused := apierror.Refusal(left.err); refused {
			f.Problems = append(f.Problems, Problem{tokensv1alpha1.ReasonWriteRefused, left.ref.in(s.Namespace) + " is no longer asked for. " + message})
		} else {
			errs = append(errs, left.err)
		}
	}
	return f, apierror.Redact(errors.Join(errs...))
}

func (f *Findings) keep(s Site, refs []Ref, note string) {
	if note != "" && !slices.Contains(f.Notes, note) {
		f.Notes = append(f.Notes, note)
	}
	for _, ref := range refs {
		if words := ref.in(s.Namespace); !slices.Contains(f.Kept, words) {
			f.Kept = append(f.Kept, words)
		}
	}
}

// Remove removes everything that was written for a site that is gone. remember stores what is left.
func (k Keeper) Remove(ctx context.Context, s Site, made []Ref, remember func([]Ref) error) error {
	failed, err := k.removeAll(ctx, s, made, remember)
	errs := []error{err}
	for _, f := range failed {
		errs = append(errs, f.err)
	}
	return apierror.Redact(errors.Join(errs...))
}

// failure is an object that could not be removed, and why.
type failure struct {
	ref Ref
	err error
}

// removeAll removes objects. Those that cannot be removed stay remembered.
func (k Keeper) removeAll(ctx context.Context, s Site, old []Ref, remember func([]Ref) error) (failed []failure, err error) {
	var left []Ref
	for _, ref := range old {
		if err := k.remove(ctx, s, ref); err != nil {
			failed, left = append(failed, failure{ref, err}), append(left, ref)
		}
	}
	if len(left) < len(old) {
		err = remember(left)
	}
	return failed, err
}

// result is what came of an entry. A problem is one that a person sees in a condition, and a note what they see without one.
type result struct {
	problem *Problem
	note    string
	// leads says that the way to the portal is that of this entry, so that no other one has to lead there.
	leads bool
}

// write writes what an entry needs.
func (k Keeper) write(ctx context.Context, s Site, p plan) (w result, err error) {
	if w.problem = p.problem; w.problem != nil {
		return w, nil
	}
	var route *unstructured.Unstructured
	if p.route != (Ref{}) {
		found, err := k.read(ctx, p.route)
		if found == nil || err != nil {
			w.problem, err = p.judge(s, p.route, p.field, err)
			return w, err
		}
		route = found
	}
	w.note = p.noteAbout(s, route)
	if w.problem, err = k.writeAll(ctx, s, p, p.own(route), route); w.problem != nil || err != nil {
		return w, err
	}
	if p.portal != nil {
		w.leads = true
		if w.problem, err = k.writeAll(ctx, s, p, p.portal(route), route); w.problem != nil || err != nil {
			return w, err
		}
	}
	missing, err := k.missingCertificate(ctx, s, p)
	w.problem = cmp.Or(p.unsafeIn(route), missing, p.muteAt(s, route), p.lacking)
	return w, err
}

// writeAll writes objects of an entry until one has a problem.
func (k Keeper) writeAll(ctx context.Context, s Site, p plan, objects []*unstructured.Unstructured, route *unstructured.Unstructured) (*Problem, error) {
	for _, want := range objects {
		problem, err := k.writeOne(ctx, s, want, route)
		if err != nil {
			problem, err = p.judge(s, refOf(want), p.field, err)
		}
		if problem != nil || err != nil {
			return problem, err
		}
	}
	return nil, nil
}

// missingCertificate returns the problem of an entry that names a Secret which is not there. The gateway answers with errors then.
func (k Keeper) missingCertificate(ctx context.Context, s Site, p plan) (*Problem, error) {
	if p.certificate == "" {
		return nil, nil
	}
	ref := Ref{APIVersion: "v1", Kind: secretKind, Namespace: s.Namespace, Name: p.certificate}
	var found metav1.PartialObjectMetadata // the key in it is none of the operator's business
	found.SetGroupVersionKind(ref.kind())
	switch err := k.Live.Get(ctx, client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, &found); {
	case err == nil:
		return nil, nil
	case apierrors.IsNotFound(err):
		return p.judge(s, ref, "clientCertificateSecretName", nil)
	default:
		return p.judge(s, ref, "clientCertificateSecretName", fmt.Errorf("reading the client certificate: %w", err))
	}
}

// muteAt returns the problem of a gateway that cannot present a certificate to a site that wants one.
func (p plan) muteAt(s Site, route *unstructured.Unstructured) *Problem {
	if !s.ClientCertificates || !s.webhookIsSecure() || p.mute == nil || !p.mute(route) {
		return nil
	}
	return &Problem{tokensv1alpha1.ReasonGatewayUnsupported,
		"the site wants client certificates of its callers, and that of the entry cannot be presented. " + p.note(route)}
}

// noteAbout returns what a person should know of an entry without a problem.
func (p plan) noteAbout(s Site, route *unstructured.Unstructured) string {
	if s.ClientCertificates && p.certificate == "" {
		return p.presents
	}
	if p.note == nil {
		return ""
	}
	return p.note(route)
}

// writeOne writes one object. It leaves alone what is not the operator's.
func (k Keeper) writeOne(ctx context.Context, s Site, want, route *unstructured.Unstructured) (*Problem, error) {
	ref := refOf(want)
	if ref.annotated() {
		return k.annotate(ctx, s, want, route)
	}
	live, err := k.read(ctx, ref)
	if err != nil {
		return nil, err
	}
	if live != nil && isShared(live) {
		want = s.join(live, want)
	} else if live != nil && !s.made(live) {
		return &Problem{tokensv1alpha1.ReasonGatewayConflict, ref.in(s.Namespace) +
			" exists, and the operator did not make it for this site; it is left alone. Rename or delete it, or change the entry."}, nil
	}
	if live == nil {
		live, err = k.create(ctx, want)
		if err != nil {
			return nil, err
		}
	}
	if err := k.mend(ctx, live, want); err != nil {
		return nil, err
	}
	k.Watch.use(ref)
	return notAccepted(s, live), nil
}

// judge turns an error into a problem, if a person has to do something about it. Without an error, the object is missing.
func (p plan) judge(s Site, ref Ref, field string, err error) (*Problem, error) {
	switch {
	case err == nil:
		return &Problem{tokensv1alpha1.ReasonGatewayRouteMissing, fmt.Sprintf(
			"there is no %s in this namespace. Create it, or correct `%s`.", ref.in(s.Namespace), field)}, nil
	case isUnknownKind(err):
		return &Problem{tokensv1alpha1.ReasonGatewayNotInstalled, fmt.Sprintf(
			"the cluster has no kind %s of %s. Install %s with its CRDs: the operator tries again every minute.", ref.Kind, ref.APIVersion, p.gateway)}, nil
	}
	message, refused := apierror.Refusal(err)
	if !refused {
		return nil, err
	}
	if apierrors.IsForbidden(err) {
		message += fmt.Sprintf(" The rights for %s are those of the ClusterRole '%s'.", p.gateway, p.role)
	}
	return &Problem{tokensv1alpha1.ReasonWriteRefused, message}, nil
}

// unsafeIn returns the problem of a route with an annotation that defeats the question.
func (p plan) unsafeIn(route *unstructured.Unstructured) *Problem {
	for _, u := range p.unsafe {
		if value, found := route.GetAnnotations()[u.annotation]; found && (u.value == "" || value == u.value) {
			return &Problem{tokensv1alpha1.ReasonGatewayUnsafe, fmt.Sprintf(
				"%s '%s' has the annotation `%s`: %s. Remove the annotation.", route.GetKind(), route.GetName(), u.annotation, u.why)}
		}
	}
	return nil
}

// notAccepted returns the problem of an object that its gateway refuses, by what the gateway says about the present generation.
func notAccepted(s Site, live *unstructured.Unstructured) *Problem {
	if live.GetKind() != policyKind {
		return nil
	}
	ancestors, _, _ := unstructured.NestedSlice(live.Object, "status", "ancestors")
	for _, ancestor := range ancestors {
		found, _, _ := unstructured.NestedSlice(asMap(ancestor), "conditions")
		for _, c := range found {
			condition := asMap(c)
			if condition["type"] != "Accepted" || condition["status"] != string(metav1.ConditionFalse) || condition["observedGeneration"] != live.GetGeneration() {
				continue
			}
			message, _ := condition["message"].(string)
			return &Problem{tokensv1alpha1.ReasonGatewayNotAccepted, fmt.Sprintf(
				"the gateway does not accept %s: %s. Requests may pass unasked until it does.", refOf(live).in(s.Namespace),
				apierror.Words(errors.New(message)))}
		}
	}
	return nil
}

func asMap(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

// isUnknownKind reports whether the API server does not serve the kind of a request.
func isUnknownKind(err error) bool {
	if apimeta.IsNoMatchError(err) {
		return true
	}
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) || status.Status().Details == nil {
		return false
	}
	return slices.ContainsFunc(status.Status().Details.Causes, func(c metav1.StatusCause) bool { return c.Type == metav1.CauseTypeUnexpectedServerResponse })
}
