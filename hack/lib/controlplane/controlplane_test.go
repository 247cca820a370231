package controlplane_test

import (
	"testing"

	"k8s.io/client-go/kubernetes"

	"apitokens.dev/operator/hack/lib/controlplane"
)

// The version is stamped at link time. Without it, clients would take the API server for a very old one.
func TestServesTheStampedVersion(t *testing.T) {
	if testing.Short() {
		t.Skip("needs an API server, and -short is set")
	}
	cp, err := controlplane.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cp.Stop(); err != nil {
			t.Error(err)
		}
	})
	client, err := kubernetes.NewForConfig(cp.Admin())
	if err != nil {
		t.Fatal(err)
	}
	version, err := client.Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	if version.GitVersion != "v1.37.2" || version.Major != "1" || version.Minor != "37" {
		t.Errorf("the API server is %s", version)
	}
	if err := cp.Install("config/core"); err != nil {
		t.Error(err)
	}
}
