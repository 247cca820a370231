package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// rootCertificates returns the authorities that Mozilla trusts, as PEM. It leaves out those that are trusted with limits,
// because PEM cannot say the limits.
func rootCertificates() []byte {
	var text bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // a buffer takes everything
		}
	}
	return text.Bytes()
}

// modulesOf returns the modules that are in a binary beside the main module.
func modulesOf(info *buildinfo.BuildInfo) []debug.Module {
	var modules []debug.Module
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		modules = append(modules, *m)
	}
	return modules
}

// license matches the names of files that have to go with copies of a program.
var license = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents|copyright)([.-].*)?$`)

// collectLicenses returns the licences of Go and of all modules as one text. It fails if a module has none.
func collectLicenses(root string, modules []debug.Module) ([]byte, error) {
	folders, err := moduleFolders(root, modules)
	if err != nil {
		return nil, err
	}
	goRoot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("looking for Go: %w", err)
	}
	var all bytes.Buffer
	if err := appendLicenses(&all, "Go, its runtime and standard library", strings.TrimSpace(string(goRoot)), false); err != nil {
		return nil, err
	}
	for _, m := range modules {
		if err := appendLicenses(&all, m.Path+" "+m.Version, folders[m.Path+"@"+m.Version], true); err != nil {
			return nil, err
		}
	}
	return all.Bytes(), nil
}

// printLicenses writes the licences of Go and of the modules in a program.
func printLicenses(w io.Writer, root, program string) error {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return fmt.Errorf("reading what is in the program: %w", err)
	}
	text, err := collectLicenses(root, modulesOf(info))
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

// moduleFolders returns where the module cache has each module.
func moduleFolders(root string, modules []debug.Module) (map[string]string, error) {
	args := []string{"mod", "download", "-json"}
	for _, m := range modules {
		args = append(args, m.Path+"@"+m.Version)
	}
	download := exec.Command("go", args...)
	download.Dir = root
	out, err := download.Output()
	if err != nil {
		return nil, fmt.Errorf("looking for the modules: %w", err)
	}
	folders := map[string]string{}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var found struct{ Path, Version, Dir string }
		if err := decoder.Decode(&found); errors.Is(err, io.EOF) {
			return folders, nil
		} else if err != nil {
			return nil, fmt.Errorf("reading where the modules are: %w", err)
		}
		folders[found.Path+"@"+found.Version] = found.Dir
	}
}

// appendLicenses appends the licences in a folder, and with deep those of the folders below: some hold code of others.
func appendLicenses(to *bytes.Buffer, of, folder string, deep bool) error {
	count := 0
	err := filepath.WalkDir(folder, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if file != folder && (!deep || slices.Contains([]string{"testdata", "vendor"}, d.Name())) {
				return filepath.SkipDir
			}
			return nil
		}
		if !license.MatchString(d.Name()) || filepath.Ext(d.Name()) == ".go" {
			return nil
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(folder, file)
		count++
		fmt.Fprintf(to, "==== %s: %s ====\n\n%s\n\n", of, filepath.ToSlash(name), strings.TrimRight(string(text), "\n"))
		return err
	})
	if err == nil && count == 0 {
		err = errors.New("it has none")
	}
	if err != nil {
		return fmt.Errorf("reading the licence of %s: %w", of, err)
	}
	return nil
}

// newBill returns the software bill of materials of an image, as CycloneDX.
func newBill(r release, b binary) ([]byte, error) {
	bom := cdx.NewBOM()
	main := component(cdx.ComponentTypeApplication, b.info.Main.Path, r.version)
	main.Licenses = &cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}}
	bom.Metadata = &cdx.Metadata{
		Timestamp: r.created.Format(time.RFC3339), Component: &main,
		Properties: &[]cdx.Property{{Name: "platform", Value: b.platform.String()}, {Name: "commit", Value: r.revision}},
	}
	components := []cdx.Component{component(cdx.ComponentTypeLibrary, "std", strings.TrimPrefix(b.info.GoVersion, "go"))}
	for _, m := range modulesOf(b.info) {
		components = append(components, component(cdx.ComponentTypeLibrary, m.Path, m.Version))
	}
	roots, err := rootsVersion()
	if err != nil {
		return nil, err
	}
	components = append(components, component(cdx.ComponentTypeData, rootsModule, roots))
	bom.Components = &components
	var needs []string
	for _, c := range components {
		needs = append(needs, c.BOMRef)
	}
	bom.Dependencies = &[]cdx.Dependency{{Ref: main.BOMRef, Dependencies: &needs}}
	bom.SerialNumber = serialNumber(r, b, needs)
	var text bytes.Buffer
	if err := cdx.NewBOMEncoder(&text, cdx.BOMFileFormatJSON).SetPretty(true).Encode(bom); err != nil {
		return nil, fmt.Errorf("writing the bill of materials: %w", err)
	}
	return text.Bytes(), nil
}

func component(kind cdx.ComponentType, name, version string) cdx.Component {
	url := "pkg:golang/" + name + "@" + version
	return cdx.Component{Type: kind, BOMRef: url, Name: name, Version: version, PackageURL: url}
}

// rootsModule is where the certificates in the image come from.
const rootsModule = "golang.org/x/crypto/x509roots/fallback"

func rootsVersion() (string, error) {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == rootsModule {
				return m.Version, nil
			}
		}
	}
	return "", fmt.Errorf("this program does not know which version of %s it has", rootsModule)
}

// serialNumber returns a UUID of version 8 that depends on the content, where CycloneDX's own would be random.
func serialNumber(r release, b binary, needs []string) string {
	id := sha256.Sum256([]byte(strings.Join(append(needs, r.name, r.version, r.revision, b.platform.String()), "\n")))
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", id[0:4], id[4:6], id[6:8], id[8:10], id[10:16])
}
