package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

var made = release{
	name: "example.com/team/apitoken-operator", version: "v1.2.3", revision: "0123abc", created: time.Date(2026, 11, 26, 9, 0, 0, 0, time.UTC),
}

// packed packs this test program in place of the operator.
func packed(t *testing.T) (folder string, program []byte) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if program, err = os.ReadFile(self); err != nil {
		t.Fatal(err)
	}
	folder = t.TempDir()
	if err := pack(made, "../../..", folder, []string{self}); err != nil {
		t.Fatal(err)
	}
	return folder, program
}

func here() string { return runtime.GOOS + "-" + runtime.GOARCH }

func TestPackingTwiceMakesTheSameBytes(t *testing.T) {
	one, _ := packed(t)
	two, _ := packed(t)
	names, err := filepath.Glob(one + "/*")
	if err != nil || len(names) != 4 {
		t.Fatalf("wrote %q, %v", names, err)
	}
	for _, name := range names {
		if a, b := sum(t, name), sum(t, filepath.Join(two, filepath.Base(name))); a != b {
			t.Errorf("%s differs", filepath.Base(name))
		}
	}
}

func sum(t *testing.T, file string) [32]byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(data)
}

// The archive of one platform is one of Docker too.
func TestImage(t *testing.T) {
	folder, program := packed(t)
	img, err := tarball.ImageFromPath(filepath.Join(folder, "apitoken-operator-v1.2.3-"+here()+".oci.tar"), nil)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c := config.Config; c.User != "65532:65532" || !slices.Equal(c.Entrypoint, []string{"/apitoken-operator"}) {
		t.Errorf("it runs %v as %s", c.Entrypoint, c.User)
	}
	if config.OS != runtime.GOOS || config.Architecture != runtime.GOARCH || !config.Created.Equal(made.created) {
		t.Errorf("it is for %s/%s, created %s", config.OS, config.Architecture, config.Created)
	}
	for label, want := range map[string]string{"version": "v1.2.3", "revision": "0123abc", "created": "2026-11-26T09:00:00Z", "licenses": "Apache-2.0"} {
		if got := config.Config.Labels["org.opencontainers.image."+label]; got != want {
			t.Errorf("the label %s is %q", label, got)
		}
	}
	found := extracted(t, img)
	if !bytes.Equal(found[Program], program) {
		t.Error("the image holds another program")
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(found["etc/ssl/certs/ca-certificates.crt"]) || bytes.Count(found["etc/ssl/certs/ca-certificates.crt"], []byte("BEGIN CERT")) < 100 {
		t.Error("the image holds no list of authorities")
	}
	if !strings.Contains(string(found["licenses/LICENSE"]), "Apache License") {
		t.Error("the image does not hold the operator's licence")
	}
	for _, of := range []string{"Go, its runtime and standard library: LICENSE", "github.com/google/go-containerregistry v"} {
		if !strings.Contains(string(found["licenses/THIRD-PARTY"]), "==== "+of) {
			t.Errorf("the licence of %s is missing", of)
		}
	}
}

// extracted returns the files of an image. It fails if one can be changed, or does not belong to root.
func extracted(t *testing.T, img v1.Image) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	all := mutate.Extract(img)
	defer func() { _ = all.Close() }()
	for r := tar.NewReader(all); ; {
		h, err := r.Next()
		if err == io.EOF {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Mode&0o222 != 0 || h.Uid != 0 || h.Gid != 0 {
			t.Errorf("%s has the mode %o and belongs to %d:%d", h.Name, h.Mode, h.Uid, h.Gid)
		}
		if found[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

// Engines find the image of their platform in the archive of all.
func TestIndex(t *testing.T) {
	folder, _ := packed(t)
	unpacked := t.TempDir()
	archive, err := os.Open(filepath.Join(folder, "apitoken-operator-v1.2.3.oci.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = archive.Close() }()
	for r := tar.NewReader(archive); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		data, readErr := io.ReadAll(r)
		file := filepath.Join(unpacked, h.Name)
		if err != nil || readErr != nil || os.MkdirAll(filepath.Dir(file), 0o700) != nil || os.WriteFile(file, data, 0o600) != nil {
			t.Fatal(err, readErr)
		}
	}
	top, err := layout.ImageIndexFromPath(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := top.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 {
		t.Fatal(manifest, err)
	}
	if got := manifest.Manifests[0].Annotations["io.containerd.image.name"]; got != "example.com/team/apitoken-operator:v1.2.3" {
		t.Errorf("it is imported as %q", got)
	}
	index, err := top.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if manifest, err = index.IndexManifest(); err != nil || len(manifest.Manifests) != 1 || manifest.MediaType != types.OCIImageIndex {
		t.Fatal(manifest, err)
	}
	if p := manifest.Manifests[0].Platform; p.OS != runtime.GOOS || p.Architecture != runtime.GOARCH {
		t.Errorf("the image is for %s", p)
	}
	if img, err := index.Image(manifest.Manifests[0].Digest); err != nil || len(extracted(t, img)[Program]) == 0 {
		t.Errorf("the image cannot be read: %v", err)
	}
}

func TestBillOfMaterials(t *testing.T) {
	folder, _ := packed(t)
	text, err := os.ReadFile(filepath.Join(folder, "apitoken-operator-v1.2.3-"+here()+".cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	var bom cdx.BOM
	if err := json.Unmarshal(text, &bom); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := readBinary(self)
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, c := range *bom.Components {
		listed[c.PackageURL] = true
	}
	for _, m := range modulesOf(b.info) {
		if url := "pkg:golang/" + m.Path + "@" + m.Version; !listed[url] {
			t.Errorf("%s is missing", url)
		}
	}
	if want := "pkg:golang/std@" + strings.TrimPrefix(runtime.Version(), "go"); !listed[want] {
		t.Errorf("%s is missing", want)
	}
	if c := bom.Metadata.Component; c.Version != "v1.2.3" || bom.Metadata.Timestamp != "2026-11-26T09:00:00Z" {
		t.Errorf("it is of %+v, %s", c, bom.Metadata.Timestamp)
	}
}

// Every machine builds both platforms of a release. An image that names another platform than that of its code is refused.
func TestPlatforms(t *testing.T) {
	source := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, built := range []string{"amd64", "arm64"} {
		program := filepath.Join(t.TempDir(), built)
		build := exec.CommandContext(t.Context(), "go", "build", "-o", program, source)
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+built)
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("building for %s: %v: %s", built, err, out)
		}
		if b, err := readBinary(program); err != nil || platformName(b.platform) != "linux-"+built {
			t.Errorf("for %s: %v, %v", built, b.platform, err)
		}
		for _, said := range []v1.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}, {OS: "linux", Architecture: "riscv64"}, {OS: "darwin", Architecture: built}} {
			if err := checkMachine(program, said); (err == nil) != (platformName(said) == "linux-"+built) {
				t.Errorf("code for %s that says %s: %v", built, platformName(said), err)
			}
		}
	}
}

// The text of licences has one for each module in the binary.
func TestEachModuleHasItsLicence(t *testing.T) {
	folder, _ := packed(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := readBinary(self)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(folder, "*licen*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the licences are %v, %v", files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	modules := modulesOf(b.info)
	for _, m := range modules {
		if !bytes.Contains(text, []byte("==== "+m.Path+" "+m.Version+": ")) {
			t.Errorf("no licence of %s %s", m.Path, m.Version)
		}
	}
	if len(modules) < 5 || !bytes.Contains(text, []byte("==== Go, its runtime and standard library: LICENSE ====")) {
		t.Errorf("%d modules, and a text of %d bytes", len(modules), len(text))
	}
}

// A module without a licence may not be given to others.
func TestAModuleWithoutALicenceIsRefused(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "main.go"), []byte("package main\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := appendLicenses(&text, "example.com/x v1.0.0", folder, true); err == nil || err.Error() != "reading the licence of example.com/x v1.0.0: it has none" {
		t.Errorf("%v", err)
	}
}

// The test node's images are folders: Debian's programs have links in them, and their command is in the image.
func TestFolder(t *testing.T) {
	folder, out := t.TempDir(), t.TempDir()
	if err := os.MkdirAll(filepath.Join(folder, "usr", "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "usr", "bin", "program"), []byte("text"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("usr/bin", filepath.Join(folder, "bin")); err != nil {
		t.Fatal(err)
	}
	r := release{name: "localhost/program", version: "test"}
	if err := packFolder(r, folder, out, []string{"/bin/program", "argument"}); err != nil {
		t.Fatal(err)
	}
	img, err := tarball.ImageFromPath(filepath.Join(out, "program-test.oci.tar"), nil)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil || !slices.Equal(config.Config.Entrypoint, []string{"/bin/program", "argument"}) || config.Config.User != "65532:65532" {
		t.Errorf("it runs %v as %s, %v", config.Config.Entrypoint, config.Config.User, err)
	}
	got := map[string]string{}
	for all := tar.NewReader(mutate.Extract(img)); ; {
		h, err := all.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got[h.Name] = fmt.Sprintf("%o %s", h.Mode, h.Linkname)
	}
	if want := map[string]string{"usr": "555 ", "usr/bin": "555 ", "usr/bin/program": "744 ", "bin": "777 usr/bin"}; !maps.Equal(got, want) {
		t.Errorf("it has %q", got)
	}
	if err := packFolder(r, folder, out, nil); err == nil {
		t.Error("an image that runs nothing was written")
	}
}
