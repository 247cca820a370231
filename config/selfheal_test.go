package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// Epochs of a site: in Git before an emergency, of the emergency, and in Git after it.
const (
	noEpoch        = ""
	olderEpoch     = "2026-11-01T00:00:00Z"
	emergencyEpoch = "2026-11-23T12:00:00Z"
	newerEpoch     = "2026-11-23T12:30:00Z"
)

// gitSync applies a site of Git as a tool does.
type gitSync struct {
	*testing.T

	kubeconfig string
}

// ways are the ways in which tools apply: Argo CD as kubectl does, or with ServerSideApply; Flux; Argo CD with Replace.
var ways = map[string]func(gitSync, *unstructured.Unstructured) error{
	"client-side": gitSync.clientSide, "server-side": gitSync.serverSide, "flux": gitSync.flux, "replace": gitSync.replace,
}

// Self-healing takes back no epoch that was set in an emergency, whatever Git has and however it is applied.
func TestSelfHealDoesNotRevertAnEpoch(t *testing.T) {
	kubeconfig := filepath.Join(t.TempDir(), "admin")
	if err := cluster.WriteKubeconfig(kubeconfig, clusterAdmin, "system:masters"); err != nil {
		t.Fatal(err)
	}
	for way, apply := range ways {
		for _, c := range []struct {
			name, before, git string
			refused           []string // the ways
			want              string
		}{
			{"no-value", noEpoch, noEpoch, []string{"flux", "replace"}, emergencyEpoch},
			{"older-value", olderEpoch, olderEpoch, []string{"client-side", "server-side", "flux", "replace"}, emergencyEpoch},
			{"value-taken-out", olderEpoch, noEpoch, []string{"client-side", "flux", "replace"}, emergencyEpoch},
			{"same-value", olderEpoch, emergencyEpoch, nil, emergencyEpoch},
			{"newer-value", noEpoch, newerEpoch, nil, newerEpoch},
		} {
			name := way + "-" + c.name
			t.Run(name, func(t *testing.T) {
				s := gitSync{t, kubeconfig}
				if err := apply(s, siteInGit(name, c.before)); err != nil {
					t.Fatal(err)
				}
				if err := s.kubectl(nil, "patch", "atlassiansite", name, "--type", "merge", "-p", `{"spec":{"issuedAfter":"`+emergencyEpoch+`"}}`); err != nil {
					t.Fatal(err)
				}
				err := apply(s, siteInGit(name, c.git))
				refused := err != nil && strings.Contains(err.Error(), "`issuedAfter` must not be decreased or removed")
				if refused != slices.Contains(c.refused, way) || err != nil && !refused {
					t.Errorf("the sync says %v", err)
				}
				if got, _, _ := unstructured.NestedString(s.stored(name).Object, "spec", "issuedAfter"); got != c.want {
					t.Errorf("issuedAfter is %q, want %q", got, c.want)
				}
			})
		}
	}
}

func siteInGit(name, epoch string) *unstructured.Unstructured {
	spec := map[string]any{"product": "Jira", "baseURL": "https://" + name + ".example.com", "upstreamURL": "http://jira.jira.svc:8080"}
	if epoch != noEpoch {
		spec["issuedAfter"] = epoch
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": tokensv1alpha1.GroupVersion.String(), "kind": "AtlassianSite",
		"metadata": map[string]any{"namespace": teamNamespace, "name": name}, "spec": spec,
	}}
}

func (s gitSync) clientSide(site *unstructured.Unstructured) error {
	return s.kubectl(site, "apply", "-f", "-")
}

func (s gitSync) serverSide(site *unstructured.Unstructured) error {
	return s.kubectl(site, "apply", "-f", "-", "--server-side", "--force-conflicts", "--field-manager", "argocd-controller")
}

// flux makes the fields that kubectl set those of Flux, and applies without them, so that they go.
func (s gitSync) flux(site *unstructured.Unstructured) error {
	const manager = "kustomize-controller"
	if now := s.stored(site.GetName()); now != nil {
		fields := now.GetManagedFields()
		for i := range fields {
			if strings.HasPrefix(fields[i].Manager, "kubectl") && fields[i].Subresource == "" {
				fields[i].Manager, fields[i].Operation = manager, metav1.ManagedFieldsOperationApply
			}
		}
		patch, err := json.Marshal([]map[string]any{{"op": "replace", "path": "/metadata/managedFields", "value": fields}})
		if err != nil {
			s.Fatal(err)
		}
		if err := clients[clusterAdmin].Patch(s.Context(), now, client.RawPatch("application/json-patch+json", patch)); err != nil {
			s.Fatal(err)
		}
	}
	return s.kubectl(site, "apply", "-f", "-", "--server-side", "--force-conflicts", "--field-manager", manager)
}

func (s gitSync) replace(site *unstructured.Unstructured) error {
	if s.stored(site.GetName()) == nil {
		return s.kubectl(site, "create", "-f", "-")
	}
	return s.kubectl(site, "replace", "-f", "-")
}

// stored returns a site as the API server has it, or nil.
func (s gitSync) stored(name string) *unstructured.Unstructured {
	s.Helper()
	site := siteInGit(name, noEpoch)
	err := clients[clusterAdmin].Get(s.Context(), client.ObjectKeyFromObject(site), site)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		s.Fatal(err)
	}
	return site
}

// kubectl runs kubectl with a site on its standard input.
func (s gitSync) kubectl(site *unstructured.Unstructured, args ...string) error {
	s.Helper()
	cmd := exec.CommandContext(s.Context(), cluster.Kubectl(), append([]string{"--kubeconfig", s.kubeconfig, "-n", teamNamespace}, args...)...)
	if site != nil {
		text, err := site.MarshalJSON()
		if err != nil {
			s.Fatal(err)
		}
		cmd.Stdin = bytes.NewReader(text)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kubectl %s: %w: %s", args[0], err, out)
	}
	return nil
}
