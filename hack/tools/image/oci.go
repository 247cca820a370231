package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	// Program is the path of the operator in the image.
	Program = "apitoken-operator"
	// user is neither root nor an account of a node. Kubernetes needs a number to see that it is not root.
	user = "65532:65532"
)

// content is a file of the image.
type content struct {
	name string
	mode int64
	data []byte
}

// newImage returns an image from scratch with a layer for each list of files.
func newImage(r release, p v1.Platform, layers ...[]content) (v1.Image, error) {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	config := &v1.ConfigFile{
		OS: p.OS, Architecture: p.Architecture, Created: v1.Time{Time: r.created},
		RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{}},
		Config: v1.Config{Entrypoint: []string{"/" + Program}, User: user, WorkingDir: "/", Labels: r.labels()},
	}
	img, err := mutate.ConfigFile(img, config)
	if err != nil {
		return nil, fmt.Errorf("writing the configuration: %w", err)
	}
	for _, files := range layers {
		layer, err := newLayer(files)
		if err != nil {
			return nil, err
		}
		history := v1.History{Created: v1.Time{Time: r.created}, CreatedBy: "image " + files[0].name}
		if img, err = mutate.Append(img, mutate.Addendum{Layer: layer, History: history}); err != nil {
			return nil, fmt.Errorf("adding a layer: %w", err)
		}
	}
	return mutate.Annotations(img, r.labels()).(v1.Image), nil
}

// labels are those of the OCI image specification. They are annotations of the manifests too.
func (r release) labels() map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":       path.Base(r.name),
		"org.opencontainers.image.description": "API tokens for Jira and Confluence, as Kubernetes resources",
		"org.opencontainers.image.version":     r.version,
		"org.opencontainers.image.revision":    r.revision,
		"org.opencontainers.image.created":     r.created.Format(time.RFC3339),
		"org.opencontainers.image.licenses":    "Apache-2.0",
	}
}

// newLayer returns a layer with files of root, which everybody may read and nobody may change.
func newLayer(files []content) (v1.Layer, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	made := map[string]bool{".": true}
	for _, f := range files {
		if err := addFolders(w, made, path.Dir(f.name)); err != nil {
			return nil, err
		}
		if err := addFile(w, f); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("ending a layer: %w", err)
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil }
	layer, err := tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, fmt.Errorf("making a layer: %w", err)
	}
	return layer, nil
}

func addFolders(w *tar.Writer, made map[string]bool, folder string) error {
	if made[folder] {
		return nil
	}
	if err := addFolders(w, made, path.Dir(folder)); err != nil {
		return err
	}
	made[folder] = true
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: folder + "/", Mode: 0o555, ModTime: time.Unix(0, 0)}); err != nil {
		return fmt.Errorf("adding the folder %s: %w", folder, err)
	}
	return nil
}

func addFile(w *tar.Writer, f content) error {
	if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.data)), ModTime: time.Unix(0, 0)}); err != nil {
		return fmt.Errorf("adding %s: %w", f.name, err)
	}
	if _, err := w.Write(f.data); err != nil {
		return fmt.Errorf("adding %s: %w", f.name, err)
	}
	return nil
}

// newIndex returns the index of the images of all platforms.
func newIndex(r release, platforms []binary, images map[string]v1.Image) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, b := range platforms {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: images[b.file], Descriptor: v1.Descriptor{Platform: &b.platform}})
	}
	annotated, ok := mutate.Annotations(index, r.labels()).(v1.ImageIndex)
	if !ok {
		return nil, fmt.Errorf("annotating the index: it is no index any more")
	}
	return annotated, nil
}

// writeIndex writes an OCI archive with the images of all platforms.
func writeIndex(r release, index v1.ImageIndex, file string) error {
	return writeArchive(file, func(l layout.Path) error { return l.AppendIndex(index, r.reference()) })
}

// writeImage writes an archive with the image of one platform: an OCI archive that is one of `docker save` too.
func writeImage(r release, img v1.Image, file string) error {
	return writeArchive(file, func(l layout.Path) error {
		if err := l.AppendImage(img, r.reference()); err != nil {
			return err
		}
		manifest, err := img.Manifest()
		if err != nil {
			return err
		}
		blob := func(d v1.Descriptor) string { return path.Join("blobs", d.Digest.Algorithm, d.Digest.Hex) }
		saved := struct {
			Config   string
			RepoTags []string
			Layers   []string
		}{Config: blob(manifest.Config), RepoTags: []string{r.name + ":" + r.version}}
		for _, layer := range manifest.Layers {
			saved.Layers = append(saved.Layers, blob(layer))
		}
		text, err := json.Marshal([]any{saved})
		if err != nil {
			return err
		}
		return l.WriteFile("manifest.json", text, 0o644)
	})
}

// reference tells container engines the name under which to import.
func (r release) reference() layout.Option {
	return layout.WithAnnotations(map[string]string{
		"io.containerd.image.name":          r.name + ":" + r.version,
		"org.opencontainers.image.ref.name": r.version,
	})
}

// writeArchive writes the archive of an OCI layout that fill fills.
func writeArchive(file string, fill func(layout.Path) error) error {
	folder, err := os.MkdirTemp("", "oci-")
	if err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	l, err := layout.Write(folder, empty.Index)
	if err == nil {
		err = fill(l)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := addTree(w, folder); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	if err := os.WriteFile(file, archive.Bytes(), 0o644); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return nil
}

// addTree adds the files of a folder in the order of their names.
func addTree(w *tar.Writer, folder string) error {
	return filepath.WalkDir(folder, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(folder, file)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		return addFile(w, content{filepath.ToSlash(name), 0o644, data})
	})
}
