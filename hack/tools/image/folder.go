package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// packFolder writes an image for this machine with the files and links of a folder, and the command that it runs.
func packFolder(r release, folder, out string, command []string) error {
	if out == "" || r.name == "" || r.version == "" || len(command) == 0 {
		return errors.New("-out, -name, -version and a command are needed beside -folder")
	}
	layer, err := folderLayer(folder)
	if err != nil {
		return fmt.Errorf("packing %s: %w", folder, err)
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	config := &v1.ConfigFile{
		OS: "linux", Architecture: runtime.GOARCH, Created: v1.Time{Time: time.Unix(0, 0).UTC()},
		RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{}},
		Config: v1.Config{Entrypoint: command, User: user, WorkingDir: "/"},
	}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	if img, err = mutate.AppendLayers(img, layer); err != nil {
		return fmt.Errorf("adding the layer: %w", err)
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return fmt.Errorf("making the folder: %w", err)
	}
	return writeImage(r, img, filepath.Join(out, r.archive("")))
}

// folderLayer returns a layer with everything in a folder. All of it belongs to root.
func folderLayer(folder string) (v1.Layer, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	err := filepath.WalkDir(folder, func(file string, d fs.DirEntry, err error) error {
		if err != nil || file == folder {
			return err
		}
		return addEntry(w, folder, file, d)
	})
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer))
}

// addEntry adds a file, a folder or a symbolic link.
func addEntry(w *tar.Writer, folder, file string, d fs.DirEntry) error {
	name, err := filepath.Rel(folder, file)
	if err != nil {
		return err
	}
	h := &tar.Header{Name: filepath.ToSlash(name), ModTime: time.Unix(0, 0)}
	switch {
	case d.IsDir():
		h.Typeflag, h.Name, h.Mode = tar.TypeDir, h.Name+"/", 0o555
		return w.WriteHeader(h)
	case d.Type() == fs.ModeSymlink:
		h.Typeflag, h.Mode = tar.TypeSymlink, 0o777
		if h.Linkname, err = os.Readlink(file); err != nil {
			return err
		}
		return w.WriteHeader(h)
	}
	info, err := d.Info()
	if err != nil {
		return err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return addFile(w, content{h.Name, int64(info.Mode().Perm()) | 0o444, data})
}
