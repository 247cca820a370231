package plugin_test

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/plugin/exit"
)

// names returns the APITokens of the namespace, each with its state.
func (w *world) names() (names []string) {
	w.Helper()
	var all tokensv1alpha1.APITokenList
	w.must(env.Admin.List(w.Context(), &all, client.InNamespace(w.namespace)))
	for _, t := range all.Items {
		names = append(names, t.Name+" "+string(t.Spec.State))
	}
	return names
}

func (w *world) get(name string) *tokensv1alpha1.APIToken {
	w.Helper()
	var t tokensv1alpha1.APIToken
	w.must(env.Admin.Get(w.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, &t))
	return &t
}

func TestSuspendAndResume(t *testing.T) {
	w := newWorld(t)
	w.token("ci", 1)
	w.token("cd", 2)
	if r := w.admin("suspend", "ci"); r.err != nil || r.out != "apitoken.apitokens.dev/ci suspended (jira, alice "+tokenID(1)+")\n" || r.errOut != "" {
		t.Errorf("%v: %q %q", r.err, r.out, r.errOut)
	}
	if got, want := w.names(), []string{"cd Active", "ci Suspended"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if r := w.admin("resume", w.id(1)); r.err != nil {
		t.Error(r.err)
	}
	if got, want := w.names(), []string{"cd Active", "ci Active"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	// Suspending only takes a right away: it needs no right to issue. Resuming does.
	w.allow("caretaker", "apitoken-issuer")
	if r := w.run("caretaker", "", "suspend", "ci"); r.err != nil {
		t.Error(r.err)
	}
	if r := w.run("caretaker", "", "resume", "ci"); r.code != exit.Failed || !strings.Contains(r.err.Error(), "may not issue tokens for the product user 'alice'") {
		t.Errorf("code %d, %v", r.code, r.err)
	}
}

// A command that changes tokens does what was asked, after the answer that was asked for, and to nothing else.
func TestChangesAreAskedFor(t *testing.T) {
	all := []string{"a Active", "b Active", "c Active"}
	for _, tc := range []struct {
		args, in string
		want     []string
		code     int
	}{
		{"revoke a", "a\n", all[1:], exit.Done},
		{"revoke a", "a", all[1:], exit.Done}, // without the last line end
		{"revoke a", "", all, exit.Usage},
		{"revoke a", "yes\n", all, exit.Usage},
		{"revoke a", "b\n", all, exit.Usage},
		{"revoke a --yes", "", all[1:], exit.Done},
		{"revoke a -y -o json", "", all[1:], exit.Done},
		{"revoke a b", "2\n", all[2:], exit.Done},
		{"revoke a b", "3\n", all, exit.Usage},
		{"revoke --user alice", "2\n", all[1:2], exit.Done},
		{"revoke --user alice", "\n", all, exit.Usage},
		{"revoke --user alice --dry-run=client", "", all, exit.Done},
		{"revoke --user alice --dry-run=server", "", all, exit.Done},
		{"revoke --user nobody-here", "", all, exit.Done},
		{"revoke", "", all, exit.Usage},
		{"revoke -A", "3\n", all, exit.Usage},
		{"revoke a --user alice", "", all, exit.Usage},
		{"revoke a missing", "2\n", all, exit.Failed},
		{"suspend a", "", []string{"a Suspended", "b Active", "c Active"}, exit.Done},
		{"suspend --user bob", "b\n", []string{"a Active", "b Suspended", "c Active"}, exit.Done},
		{"suspend --user bob", "", all, exit.Usage},
		{"suspend --user bob --dry-run=server", "", all, exit.Done},
		{"rotate a --wait=false --dry-run=server", "", all, exit.Done},
		{"rotate --site main --dry-run=client", "", all, exit.Done},
	} {
		t.Run(tc.args+" "+strings.TrimSpace(tc.in), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.token("a", 1)
			w.token("b", 2, func(t *tokensv1alpha1.APIToken) { t.Spec.User = "bob" })
			w.token("c", 3)
			r := w.run("admin", tc.in, strings.Fields(tc.args)...)
			if got := w.names(); r.code != tc.code || !slices.Equal(got, tc.want) {
				t.Errorf("code %d, %v: %q, want %d and %q\n%s", r.code, r.err, got, tc.code, tc.want, r.errOut)
			}
			if dry := strings.Contains(tc.args, "dry-run"); dry && !strings.Contains(r.out, "dry run)") {
				t.Errorf("the output does not say that nothing was done: %s", r.out)
			}
		})
	}
}

// Each token has a result of its own: some may be revoked, and others not.
func TestResultForEachToken(t *testing.T) {
	w := newWorld(t)
	w.token("a", 1)
	w.token("b", 2)
	w.token("c", 3, func(t *tokensv1alpha1.APIToken) {
		t.Spec.Credential, t.Spec.Delivery = tokensv1alpha1.Credential{Type: tokensv1alpha1.CredentialPortal}, tokensv1alpha1.Delivery{}
	})
	r := w.admin("rotate", "--site", "main", "--wait=false", "--yes", "-o", "json")
	var got []map[string]string
	if err := json.Unmarshal([]byte(r.out), &got); err != nil {
		t.Fatalf("%v: %s", err, r.out)
	}
	if r.code != exit.Partial || !strings.Contains(r.err.Error(), "2 of 3 API tokens were rotated, 1 failed") {
		t.Errorf("code %d, %v", r.code, r.err)
	}
	want := []map[string]string{
		{"namespace": "jira", "name": "a", "tokenID": tokenID(1), "user": "alice", "site": "jira/main", "result": "rotated"},
		{"namespace": "jira", "name": "b", "tokenID": tokenID(2), "user": "alice", "site": "jira/main", "result": "rotated"},
		{"namespace": "jira", "name": "c", "tokenID": tokenID(3), "user": "alice", "site": "jira/main", "result": "failed",
			"error": "its type is Portal: rotate a token of the portal there, and replace an imported secret in its Secret"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if r := w.admin("rotate", "c"); r.code != exit.Failed {
		t.Errorf("the only one fails: code %d", r.code)
	}
	if r := w.admin("revoke", "--user", "carol", "--yes", "-o", "json"); r.code != exit.Done || r.out != "[]\n" {
		t.Errorf("no token: code %d, %s", r.code, r.out)
	}
	if r := w.admin("revoke", "a", "--yes", "-o", "name"); r.out != "apitoken.apitokens.dev/a\n" {
		t.Errorf("by name: %s", r.out)
	}
}

// Before people revoke tokens, they learn what this does not reach.
func TestLimitsOfRevoking(t *testing.T) {
	w := newWorld(t)
	w.token("a", 1, func(t *tokensv1alpha1.APIToken) {
		t.Labels = map[string]string{"kustomize.toolkit.fluxcd.io/name": "apps"}
	})
	w.token("b", 2)
	parent := w.get("a")
	w.token("child", 3, func(t *tokensv1alpha1.APIToken) {
		t.Spec.Credential, t.Spec.Delivery = tokensv1alpha1.Credential{Type: tokensv1alpha1.CredentialPortal}, tokensv1alpha1.Delivery{}
		t.Spec.CreatedBy = tokensv1alpha1.CreatedBy{UID: string(parent.UID), TokenID: w.id(1), Namespace: w.namespace}
	})
	one := w.admin("revoke", "a", "--dry-run=client")
	for _, want := range []string{"jira/a is declared by GitOps (Flux, Kustomization apps)", "were made with them and live on: jira/child."} {
		if !strings.Contains(one.errOut, want) {
			t.Errorf("no %q in %s", want, one.errOut)
		}
	}
	if strings.Contains(one.errOut, "blockedUsers") {
		t.Errorf("one token needs no other stop: %s", one.errOut)
	}
	all := w.admin("revoke", "--user", "alice", "--dry-run=client")
	if !strings.Contains(all.errOut, "'blockedUsers' of a site ends all of a person at once") || strings.Contains(all.errOut, "live on: ") {
		t.Errorf("all tokens of a person: %s", all.errOut)
	}
}

// An APIToken that takes the name of another one meanwhile is not the one that was asked about.
func TestOnlyTheOneThatWasShown(t *testing.T) {
	w := newWorld(t)
	w.token("a", 1)
	old := w.get("a")
	answer := &replacing{world: w, old: old}
	r := w.runWith("admin", answer, "revoke", "a")
	if r.code != exit.Failed || len(w.names()) != 1 {
		t.Errorf("code %d, %v: %q", r.code, r.err, w.names())
	}
}

// replacing is a person who answers, while another one deletes the APIToken and creates another of its name.
type replacing struct {
	*world

	old *tokensv1alpha1.APIToken
}

func (r *replacing) Read(p []byte) (int, error) {
	r.must(env.Admin.Delete(r.Context(), r.old))
	fresh := tokenWithoutStatus(r.namespace)
	fresh.Name = r.old.Name
	r.must(env.Admin.Create(r.Context(), fresh))
	return copy(p, r.old.Name+"\n"), nil
}

func TestCreateDeclares(t *testing.T) {
	w := newWorld(t)
	w.site("main")
	const generated = `"credential":{"type":"Generated"},"delivery":{"secretName":"ci-token"}`
	for args, want := range map[string]string{
		"--user bob": `{"siteRef":{"name":"main"},"user":"bob","label":"ci",` + generated + `}`,
		"--user bob --site wiki/docs --label CI": `{"siteRef":{"name":"docs","namespace":"wiki"},"user":"bob","label":"CI",` +
			generated + `}`,
		"--user bob --lifetime 12w --rotate-every 30d --read-only": `{"siteRef":{"name":"main"},"user":"bob","label":"ci",` +
			generated + `,"lifetimeDays":84,"rotation":{"intervalDays":30},"access":"ReadOnly"}`,
		"--user bob --secret s --allow-path /rest/a --allow-path /rest/b --allow-source 10.0.0.0/8": `{"siteRef":{"name":"main"},"user":"bob","label":"ci",` +
			`"credential":{"type":"Generated"},"delivery":{"secretName":"s"},"allowedSources":["10.0.0.0/8"],"allowedPaths":["/rest/a","/rest/b"]}`,
		"--user bob --import-secret vault:token --follow": `{"siteRef":{"name":"main"},"user":"bob","label":"ci",` +
			`"credential":{"type":"Imported","imported":{"secretName":"vault","key":"token","mode":"Follow"}}}`,
	} {
		r := w.admin(append([]string{"create", "ci", "--dry-run=client", "-o", "json"}, strings.Fields(args)...)...)
		var got, wanted struct{ Spec any }
		if r.err != nil {
			t.Fatalf("%s: %v", args, r.err)
		}
		w.must(json.Unmarshal([]byte(r.out), &got))
		w.must(json.Unmarshal([]byte(`{"spec":`+want+`}`), &wanted))
		if diff := cmp.Diff(wanted, got); diff != "" {
			t.Errorf("%s: %s", args, diff)
		}
		// The API server takes the same.
		if r := w.admin(append([]string{"create", "ci", "--dry-run=server"}, strings.Fields(args)...)...); r.err != nil || len(w.names()) != 0 {
			t.Errorf("%s: %v, %q", args, r.err, w.names())
		}
	}
	for args, want := range map[string]string{
		"":                          "--user is missing",
		"--user bob --lifetime 36h": "whole days",
		"--user bob --follow":       "--follow needs --import-secret",
		"--user bob --show -o json": "--show",
		"--user bob --show --dry-run=none -o name": "--show",
		"--user bob --import-secret a --secret b":  "--import-secret does not go with",
		"--user bob --dry-run=nonsense":            "want none, client or server",
	} {
		if r := w.admin(append([]string{"create", "ci"}, strings.Fields(args)...)...); r.code != exit.Usage || !strings.Contains(r.err.Error(), want) {
			t.Errorf("%s: code %d, %v", args, r.code, r.err)
		}
	}
	w.site("second")
	if r := w.admin("create", "ci", "--user", "bob"); r.code != exit.Usage || !strings.Contains(r.err.Error(), "has 2 AtlassianSites: name one with --site") {
		t.Errorf("two sites: code %d, %v", r.code, r.err)
	}
}

// operate plays the operator: when an APIToken of this name is there, it writes this status, one after the other.
func (w *world) operate(name string, statuses ...func(*tokensv1alpha1.APIToken) tokensv1alpha1.APITokenStatus) {
	go func() {
		var t tokensv1alpha1.APIToken
		_ = wait.PollUntilContextTimeout(w.Context(), 10*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
			return env.Admin.Get(ctx, client.ObjectKey{Namespace: w.namespace, Name: name}, &t) == nil, nil
		})
		for _, status := range statuses {
			before := t.DeepCopy()
			t.Status = status(&t)
			t.Status.ObservedGeneration = t.Generation
			_ = w.controller.Status().Patch(w.Context(), &t, client.MergeFrom(before)) // the command says what is missing
		}
	}()
}

func (w *world) ready(*tokensv1alpha1.APIToken) tokensv1alpha1.APITokenStatus {
	return tokensv1alpha1.APITokenStatus{TokenID: w.id(1), Conditions: []metav1.Condition{issued()}}
}

func (w *world) blocked(reason string, stalled bool) func(*tokensv1alpha1.APIToken) tokensv1alpha1.APITokenStatus {
	return func(*tokensv1alpha1.APIToken) tokensv1alpha1.APITokenStatus {
		of := []metav1.Condition{condition(tokensv1alpha1.ConditionReady, metav1.ConditionFalse, reason, "Because of "+reason+".")}
		if stalled {
			of = append(of, condition(tokensv1alpha1.ConditionStalled, metav1.ConditionTrue, reason, "Because of "+reason+"."))
		}
		return tokensv1alpha1.APITokenStatus{Conditions: of}
	}
}

func TestCreateWaits(t *testing.T) {
	w := newWorld(t)
	w.site("main")
	secret := "asp_secretsecret1234_not-a-real-token-but-long-enough"
	w.must(env.Admin.Create(w.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "shown-token"}, StringData: map[string]string{"password": secret},
	}))
	w.operate("ci", w.ready)
	r := w.admin("create", "ci", "--user", "alice")
	if r.err != nil || r.out != "apitoken.apitokens.dev/ci created\n" || !strings.Contains(r.errOut, "in the key password of the Secret ci-token") {
		t.Errorf("%v: %s%s", r.err, r.out, r.errOut)
	}
	w.operate("shown", w.ready)
	if r := w.admin("create", "shown", "--user", "alice", "--show"); r.err != nil || r.out != secret+"\n" {
		t.Errorf("%v: %q", r.err, r.out)
	}
	w.operate("late", w.blocked(tokensv1alpha1.ReasonIssuePending, false))
	r = w.admin("create", "late", "--user", "alice", "--timeout", "2s")
	if r.code != exit.TimedOut || !strings.Contains(r.err.Error(), "not done after 2s: IssuePending: Because of IssuePending.") {
		t.Errorf("code %d, %v", r.code, r.err)
	}
	if n := strings.Count(r.errOut, "Waiting for jira/late: IssuePending"); n != 1 {
		t.Errorf("said %d times what it waits for: %s", n, r.errOut)
	}
	w.operate("never", w.blocked(tokensv1alpha1.ReasonPolicyViolation, true))
	r = w.admin("create", "never", "--user", "alice", "--timeout", "50s")
	if r.code != exit.Failed || !strings.Contains(r.err.Error(), "PolicyViolation: Because of PolicyViolation.") {
		t.Errorf("code %d, %v", r.code, r.err)
	}
	if r := w.admin("create", "ci", "--user", "alice"); r.code != exit.Failed || !strings.Contains(r.err.Error(), "already exists") {
		t.Errorf("code %d, %v", r.code, r.err)
	}
	w.allow("mallory", "apitoken-issuer")
	if r := w.run("mallory", "", "create", "x", "--user", "alice"); r.code != exit.Failed || !strings.Contains(r.err.Error(), "may not issue tokens") {
		t.Errorf("code %d, %v", r.code, r.err)
	}
}

// A rotation with an overlap of its own leaves the overlap of the token as it was.
func TestRotateWaits(t *testing.T) {
	for _, overlap := range []*int32{nil, new(int32(7))} {
		t.Run(strconv.FormatBool(overlap != nil), func(t *testing.T) {
			w := newWorld(t)
			w.token("ci", 1, func(t *tokensv1alpha1.APIToken) {
				t.Spec.Rotation = tokensv1alpha1.Rotation{IntervalDays: new(int32(30)), OverlapHours: overlap}
			})
			seen := make(chan *int32, 1)
			go func() {
				var t tokensv1alpha1.APIToken
				_ = wait.PollUntilContextTimeout(w.Context(), 10*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
					err := env.Admin.Get(ctx, client.ObjectKey{Namespace: w.namespace, Name: "ci"}, &t)
					return err == nil && !t.Spec.Rotation.RequestedTime.IsZero(), nil
				})
				seen <- t.Spec.Rotation.OverlapHours
				before := t.DeepCopy()
				t.Status.ObservedGeneration, t.Status.IssuedTime = t.Generation, t.Spec.Rotation.RequestedTime
				_ = w.controller.Status().Patch(w.Context(), &t, client.MergeFrom(before)) // the command says what is missing
			}()
			r := w.admin("rotate", "ci", "--overlap-hours=0")
			if asked := <-seen; asked == nil || *asked != 0 {
				t.Errorf("the rotation was asked for with an overlap of %v hours", asked)
			}
			if after := w.get("ci").Spec.Rotation; r.err != nil || !cmp.Equal(after.OverlapHours, overlap) || *after.IntervalDays != 30 {
				t.Errorf("%v: afterwards %+v", r.err, after)
			}
		})
	}
	w := newWorld(t)
	w.token("ci", 1)
	if r := w.admin("rotate", "ci", "--timeout", "1s", "--overlap-hours=0"); r.code != exit.TimedOut || !strings.Contains(r.err.Error(), "its overlap is 0 hours until you change it") {
		t.Errorf("code %d, %v", r.code, r.err)
	}
	if r := w.admin("rotate", "ci", "--wait=false", "--overlap-hours=0"); r.code != exit.Usage {
		t.Errorf("code %d, %v", r.code, r.err)
	}
}
