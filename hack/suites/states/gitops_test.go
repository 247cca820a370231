package states_test

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/ext"
	lua "github.com/yuin/gopher-lua"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/controlplane"
	"apitokens.dev/operator/hack/lib/gatewaytest"
)

// health is what a tool for GitOps shows, in the words of Argo CD.
type health string

const (
	healthy     health = "Healthy"
	progressing health = "Progressing"
	degraded    health = "Degraded"
	suspended   health = "Suspended"
)

// unhealthy has the examples that are not healthy. The others are.
var unhealthy = map[health][]string{
	// Somebody asked for this, and nobody has to do anything.
	suspended: {"suspended", "user-blocked"},
	// It may pass without a change of the object.
	progressing: {
		"cut-off", "issue-pending", "owner-not-confirmed", "epoch-to-come", "site-not-found", "source-missing", // tokens
		"after-a-leak", "blocks-alice", "less-than-before", // sites that were changed, and not looked at since
		"down", "no-context-path", "no-tls", "no-ca", "ca-without-key", "ca-garbled", "ca-of-another-type", "pats-unusable",
		"gateways-missing", "gateway-route-missing", "gateway-not-accepted", "gateway-ca-missing",
	},
	// A person has to change something.
	degraded: {
		"malformed", "site-malformed", "expired", "expired-and-kept", "owner-changed", "owner-renamed", "namespace-not-allowed",
		"policy-lifetime", "policy-expiration", "policy-never-expiring", "policy-quota", "revoked-by-epoch",
		"upstream-credential-missing", "identity-not-representable", "write-refused", "delivery-conflict", "shown-never",
		"record-missing", "record-unreadable", "record-of-another", "record-orphaned", "record-dead",
		"weak-too-short", "weak-line-break", "weak-too-many", "duplicate-credential",
		"declared-unguarded", "admission-not-verified", "admission-policy-missing",
		// sites
		"second", "outside", "auth-urls-taken", "policies-missing", "keys-damaged", "memory-damaged", "webhook-without-tls",
		"epoch-far-ahead", "a-wiki", "certificate-of-nobody", "certificate-of-others", "certificate-host", "certificate-expired", "moved",
		"gateway-rights", "gateway-conflict", "gateway-unsafe", "gateway-unsupported",
	},
}

// statusOf is the same as Flux sees it. It knows no suspended objects: they are as they should be.
var statusOf = map[health]status.Status{
	healthy: status.CurrentStatus, progressing: status.InProgressStatus, degraded: status.FailedStatus, suspended: status.CurrentStatus,
}

// checkHealth compares how Argo CD and Flux see the object of each example with what a person expects.
func (w *world) checkHealth() {
	w.Helper()
	argo, flux := argoChecks(w.T), newFluxCheck(w.T)
	seen := map[health]int{}
	names := map[string]bool{}
	for _, o := range w.objects() {
		want, name := expected(o.GetName()), o.GetKind()+" "+o.GetName()
		seen[want]++
		names[o.GetName()] = true
		if got, message := argo.check(w.T, o); got != want || message == "" {
			w.Errorf("Argo CD shows %s as %s, want %s: %s", name, got, want, message)
		}
		if o.GetKind() == "APIToken" {
			if got := flux.check(w.T, o); got != statusOf[want] {
				w.Errorf("Flux shows %s as %s, want %s", name, got, statusOf[want])
			}
		} else if got, err := status.Compute(o); err != nil || got.Status != statusOf[want] {
			w.Errorf("kstatus of %s is %s, want %s: %v", name, got.Status, statusOf[want], err)
		}
		w.checkTransitions(argo, flux, o)
	}
	for _, list := range unhealthy {
		for _, name := range list {
			if !names[name] {
				w.Errorf("no example is named %s", name)
			}
		}
	}
	if seen[healthy] < 10 || seen[degraded] < 30 || seen[suspended] < 2 {
		w.Errorf("found %v", seen)
	}
}

// checkTransitions checks an object that the operator has not seen yet, not since its last change, and that is being deleted.
func (w *world) checkTransitions(argo argoCheck, flux fluxCheck, o *unstructured.Unstructured) {
	w.Helper()
	fresh, changed, deleted := o.DeepCopy(), o.DeepCopy(), o.DeepCopy()
	fresh.Object["status"] = map[string]any{"observedGeneration": int64(-1)}
	changed.SetGeneration(o.GetGeneration() + 1)
	deleted.SetDeletionTimestamp(&metav1.Time{Time: noon})
	for when, object := range map[string]*unstructured.Unstructured{"new": fresh, "changed": changed, "being deleted": deleted} {
		if got, _ := argo.check(w.T, object); got != progressing {
			w.Errorf("Argo CD shows %s %s as %s", object.GetName(), when, got)
		}
		if got := flux.check(w.T, object); got != status.InProgressStatus && object != deleted {
			w.Errorf("Flux shows %s %s as %s", object.GetName(), when, got)
		}
		if got, err := status.Compute(object); err != nil || got.Status == status.CurrentStatus || got.Status == status.FailedStatus {
			w.Errorf("kstatus of %s %s is %s: %v", object.GetName(), when, got.Status, err)
		}
	}
}

func expected(example string) health {
	for h, names := range unhealthy {
		if slices.Contains(names, example) {
			return h
		}
	}
	return healthy
}

// objects returns the APITokens and sites of all examples, as the API server stores them.
func (w *world) objects() (all []*unstructured.Unstructured) {
	w.Helper()
	for _, namespace := range []string{w.jira, w.team} {
		for _, kind := range []string{"APITokenList", "AtlassianSiteList"} {
			list := &unstructured.UnstructuredList{}
			list.SetGroupVersionKind(tokensv1alpha1.GroupVersion.WithKind(kind))
			w.must(env.Admin.List(w.Context(), list, client.InNamespace(namespace)))
			for i := range list.Items {
				all = append(all, &list.Items[i])
			}
		}
	}
	return all
}

func gitopsSample(t *testing.T, name string) []*unstructured.Unstructured {
	t.Helper()
	return gatewaytest.Read(t, filepath.Join(controlplane.RepositoryRoot(), "config/samples/gitops", name))
}

// argoCheck has the script of each kind in the sample of Argo CD's settings.
type argoCheck map[string]string

func argoChecks(t *testing.T) argoCheck {
	t.Helper()
	scripts, _, err := unstructured.NestedStringMap(gitopsSample(t, "argocd/argocd-cm.yaml")[0].Object, "data")
	if err != nil {
		t.Fatal(err)
	}
	return scripts
}

// check runs the script with what Argo CD gives to it: no libraries but table and package, and one second.
func (a argoCheck) check(t *testing.T, o *unstructured.Unstructured) (health, string) {
	t.Helper()
	vm := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer vm.Close()
	for name, open := range map[string]lua.LGFunction{lua.LoadLibName: lua.OpenPackage, lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		if err := vm.CallByParam(lua.P{Fn: vm.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	vm.SetContext(ctx)
	vm.SetGlobal("obj", luaValue(vm, o.Object))
	if err := vm.DoString(a["resource.customizations.health.apitokens.dev_"+o.GetKind()]); err != nil {
		t.Fatal(err)
	}
	result, ok := vm.Get(-1).(*lua.LTable)
	if !ok {
		t.Fatalf("the script of %s returns %s", o.GetKind(), vm.Get(-1))
	}
	return health(result.RawGetString("status").String()), result.RawGetString("message").String()
}

func luaValue(vm *lua.LState, value any) lua.LValue {
	switch v := value.(type) {
	case bool:
		return lua.LBool(v)
	case string:
		return lua.LString(v)
	case int64:
		return lua.LNumber(v)
	case []any:
		list := vm.NewTable()
		for _, item := range v {
			list.Append(luaValue(vm, item))
		}
		return list
	case map[string]any:
		table := vm.NewTable()
		for key, item := range v {
			table.RawSetString(key, luaValue(vm, item))
		}
		return table
	}
	return lua.LNil
}

// fluxCheck has the expressions of the sample of Flux.
type fluxCheck struct{ failed, current cel.Program }

func newFluxCheck(t *testing.T) fluxCheck {
	t.Helper()
	samples := gitopsSample(t, "flux/kustomizations.yaml")
	checks, found, err := unstructured.NestedSlice(samples[len(samples)-1].Object, "spec", "healthCheckExprs")
	if err != nil || !found || len(checks) != 1 {
		t.Fatalf("the sample has %d expressions: %v", len(checks), err)
	}
	check := checks[0].(map[string]any)
	if check["apiVersion"] != tokensv1alpha1.GroupVersion.String() || check["kind"] != "APIToken" || len(check) != 4 {
		t.Fatalf("the expressions are of %v", check)
	}
	return fluxCheck{failed: celProgram(t, check["failed"].(string)), current: celProgram(t, check["current"].(string))}
}

// celProgram parses an expression with the options of Flux.
func celProgram(t *testing.T, expression string) cel.Program {
	t.Helper()
	env, err := cel.NewEnv(cel.HomogeneousAggregateLiterals(), cel.EagerlyValidateDeclarations(true), cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true), cel.OptionalTypes(), ext.Strings(), ext.Sets(), ext.Encoders())
	if err != nil {
		t.Fatal(err)
	}
	parsed, issues := env.Parse(expression)
	if issues != nil {
		t.Fatal(issues.Err())
	}
	program, err := env.Program(parsed)
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// check decides in Flux's order: seen since the last change, failed, current.
func (f fluxCheck) check(t *testing.T, o *unstructured.Unstructured) status.Status {
	t.Helper()
	observed, _, err := unstructured.NestedInt64(o.Object, "status", "observedGeneration")
	if err != nil || observed != o.GetGeneration() {
		return status.InProgressStatus
	}
	for _, step := range []struct {
		program cel.Program
		status  status.Status
	}{{f.failed, status.FailedStatus}, {f.current, status.CurrentStatus}} {
		value, _, err := step.program.ContextEval(t.Context(), o.Object)
		if err != nil {
			t.Fatalf("%s: %v", o.GetName(), err)
		}
		if value.Value() == true {
			return step.status
		}
	}
	return status.InProgressStatus
}
