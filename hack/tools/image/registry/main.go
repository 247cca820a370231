// Command registry serves the images of an OCI archive, as a registry that the test node pulls from. Once it listens, it prints the
// digest of the archive's image.
//
//	registry ADDRESS REPOSITORY ARCHIVE
package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "registry:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 {
		return errors.New("usage: registry ADDRESS REPOSITORY ARCHIVE")
	}
	folder, err := os.MkdirTemp("", "registry")
	if err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	if err := unpack(args[2], folder); err != nil {
		return fmt.Errorf("unpacking %s: %w", args[2], err)
	}
	// An OCI archive has its blobs where the registry looks for them.
	handler := registry.New(registry.WithBlobHandler(registry.NewDiskBlobHandler(filepath.Join(folder, "blobs"))))
	digest, err := push(handler, args[1], folder, "index.json")
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", args[0])
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	fmt.Println(digest)
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	return server.Serve(listener)
}

// unpack writes the files of an archive to a folder.
func unpack(archive, folder string) error {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	for r := tar.NewReader(file); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg || !filepath.IsLocal(h.Name) {
			continue
		}
		data, err := io.ReadAll(r)
		to := filepath.Join(folder, h.Name)
		if err = errors.Join(err, os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, data, 0o600)); err != nil {
			return err
		}
	}
}

// push gives the registry the manifests that an index names, and those that they name. It returns the digest of the last.
func push(to http.Handler, repository, folder, index string) (v1.Hash, error) {
	text, err := os.ReadFile(filepath.Join(folder, index))
	if err != nil {
		return v1.Hash{}, fmt.Errorf("reading an index: %w", err)
	}
	var named v1.IndexManifest
	if err := json.Unmarshal(text, &named); err != nil {
		return v1.Hash{}, fmt.Errorf("reading %s: %w", index, err)
	}
	var last v1.Hash
	for _, m := range named.Manifests {
		blob := filepath.Join("blobs", m.Digest.Algorithm, m.Digest.Hex)
		if m.MediaType.IsIndex() {
			if _, err := push(to, repository, folder, blob); err != nil {
				return v1.Hash{}, err
			}
		}
		manifest, err := os.ReadFile(filepath.Join(folder, blob))
		if err != nil {
			return v1.Hash{}, fmt.Errorf("reading a manifest: %w", err)
		}
		request := httptest.NewRequest(http.MethodPut, "/v2/"+repository+"/manifests/"+m.Digest.String(), bytes.NewReader(manifest))
		request.Header.Set("Content-Type", string(m.MediaType))
		answer := httptest.NewRecorder()
		if to.ServeHTTP(answer, request); answer.Code != http.StatusCreated {
			return v1.Hash{}, fmt.Errorf("storing the manifest %s: %d %s", m.Digest, answer.Code, strings.TrimSpace(answer.Body.String()))
		}
		last = m.Digest
	}
	return last, nil
}
