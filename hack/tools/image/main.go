// Command image packs binaries of the operator into OCI images, one a platform, without a container engine. Beside them it
// writes what is in them: a software bill of materials, and the texts of the licences.
//
//	image -out FOLDER -name REGISTRY/NAME -version VERSION -revision COMMIT -created TIME BINARY...
//
// For the test node it also packs a folder, with the command to run in it:
//
//	image -out FOLDER -name REGISTRY/NAME -version VERSION -folder FOLDER COMMAND...
//
// The same binaries and flags make the same bytes, on every machine and at every time.
package main

import (
	"debug/buildinfo"
	"debug/elf"
	"flag"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// release is what the images say about themselves.
type release struct {
	// name is that of the image, without a tag. version is its tag.
	name, version string
	// revision is the commit, and created its time.
	revision string
	created  time.Time
}

// binary is the operator for one platform.
type binary struct {
	file     string
	info     *buildinfo.BuildInfo
	platform v1.Platform
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run() error {
	var r release
	out := flag.String("out", "", "folder to write to")
	root := flag.String("root", ".", "root of the repository, with its LICENSE")
	flag.StringVar(&r.name, "name", "", "name of the image, without a tag")
	flag.StringVar(&r.version, "version", "", "version, which is the tag")
	flag.StringVar(&r.revision, "revision", "", "commit")
	created := flag.String("created", "", "time of the commit, as RFC 3339")
	folder := flag.String("folder", "", "pack this folder instead of the operator")
	licenses := flag.String("licenses", "", "only print the licences of the modules in this program")
	flag.Parse()
	var err error
	if *licenses != "" {
		return printLicenses(os.Stdout, *root, *licenses)
	}
	if *folder != "" {
		return packFolder(r, *folder, *out, flag.Args())
	}
	if r.created, err = time.Parse(time.RFC3339, *created); err != nil {
		return fmt.Errorf("reading -created: %w", err)
	}
	r.created = r.created.UTC()
	if *out == "" || r.name == "" || r.version == "" || r.revision == "" || flag.NArg() == 0 {
		return fmt.Errorf("-out, -name, -version, -revision and a binary are needed")
	}
	return pack(r, *root, *out, flag.Args())
}

// pack writes the images of binaries to a folder.
func pack(r release, root, out string, files []string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return fmt.Errorf("making the folder: %w", err)
	}
	images := map[string]v1.Image{}
	var platforms []binary
	for _, file := range files {
		b, err := readBinary(file)
		if err != nil {
			return err
		}
		img, err := packOne(r, b, root, out)
		if err != nil {
			return fmt.Errorf("packing %s: %w", file, err)
		}
		images[file] = img
		platforms = append(platforms, b)
	}
	index, err := newIndex(r, platforms, images)
	if err != nil {
		return err
	}
	return writeIndex(r, index, filepath.Join(out, r.archive("")))
}

// packOne writes the image, the bill of materials and the licences for one platform.
func packOne(r release, b binary, root, out string) (v1.Image, error) {
	licenses, err := collectLicenses(root, modulesOf(b.info))
	if err != nil {
		return nil, err
	}
	own, err := os.ReadFile(filepath.Join(root, "LICENSE"))
	if err != nil {
		return nil, fmt.Errorf("reading the licence: %w", err)
	}
	program, err := os.ReadFile(b.file)
	if err != nil {
		return nil, fmt.Errorf("reading the binary: %w", err)
	}
	img, err := newImage(r, b.platform, []content{
		{"etc/ssl/certs/ca-certificates.crt", 0o444, rootCertificates()},
		{"licenses/LICENSE", 0o444, own},
		{"licenses/THIRD-PARTY", 0o444, licenses},
	}, []content{{Program, 0o555, program}})
	if err != nil {
		return nil, err
	}
	bill, err := newBill(r, b)
	if err != nil {
		return nil, err
	}
	at := platformName(b.platform)
	for name, text := range map[string][]byte{at + ".cdx.json": bill, at + ".licenses.txt": licenses} {
		if err := os.WriteFile(filepath.Join(out, path.Base(r.name)+"-"+r.version+"-"+name), text, 0o644); err != nil {
			return nil, fmt.Errorf("writing %s: %w", name, err)
		}
	}
	return img, writeImage(r, img, filepath.Join(out, r.archive(at)))
}

// archive returns the name of the archive of a platform, or of all.
func (r release) archive(platform string) string {
	name := path.Base(r.name) + "-" + r.version
	if platform != "" {
		name += "-" + platform
	}
	return name + ".oci.tar"
}

func platformName(p v1.Platform) string { return p.OS + "-" + p.Architecture }

// readBinary reads for which platform a binary was built, and from which modules. It refuses one that is not static.
func readBinary(file string) (binary, error) {
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return binary{}, fmt.Errorf("reading what %s was built from: %w", file, err)
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	if settings["CGO_ENABLED"] == "1" {
		return binary{}, fmt.Errorf("%s was built with CGO_ENABLED=1: an image from scratch has no C library", file)
	}
	b := binary{file, info, v1.Platform{OS: settings["GOOS"], Architecture: settings["GOARCH"]}}
	return b, checkMachine(file, b.platform)
}

// machines are the processors of the architectures that Go names.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// checkMachine compares the platform with the machine code of a binary. No node starts one for another processor.
func checkMachine(file string, p v1.Platform) error {
	program, err := elf.Open(file)
	if err != nil {
		return fmt.Errorf("reading the machine of %s: %w", file, err)
	}
	defer func() { _ = program.Close() }()
	if want, known := machines[p.Architecture]; !known || p.OS != "linux" || program.Machine != want {
		return fmt.Errorf("%s says that it is for %s, and its code is for %s", file, platformName(p), program.Machine)
	}
	return nil
}
