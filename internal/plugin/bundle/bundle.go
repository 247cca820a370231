// Package bundle writes a support bundle, and reads one as if it were the API server.
//
// A bundle is a tar.gz. Below objects/ it has a file with a list for each kind. It has no Secret: what is known of them is in secrets.json.
package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"apitokens.dev/operator/internal/plugin/session"
	"apitokens.dev/operator/internal/token"
)

const (
	// maxSize is the size of the largest bundle that is read, unpacked, in bytes.
	maxSize = 1 << 30
	// about is the file that says when the bundle was written.
	about = "bundle.json"
	// objects is the folder with the objects of the API server.
	objects = "objects/"
)

// About says what a bundle is.
type About struct {
	Written time.Time `json:"written"`
	// Missing says what could not be read.
	Missing []string `json:"missing"`
}

// Writer writes a bundle. Close writes its end.
type Writer struct {
	zip *gzip.Writer
	tar *tar.Writer
	now time.Time
	// Files are the names of what was written.
	Files []string
}

// NewWriter returns a Writer of a bundle that is written at a time.
func NewWriter(w io.Writer, now time.Time) *Writer {
	zip := gzip.NewWriter(w)
	return &Writer{zip: zip, tar: tar.NewWriter(zip), now: now}
}

// Add adds a file. Of a token that somebody pasted into a label or the like, only the id is kept.
func (w *Writer) Add(name string, content []byte) error {
	content = scrub(content)
	header := &tar.Header{Name: name, Mode: 0o600, Size: int64(len(content)), ModTime: w.now, Format: tar.FormatPAX}
	if err := w.tar.WriteHeader(header); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	if _, err := w.tar.Write(content); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	w.Files = append(w.Files, name)
	return nil
}

// AddValue adds a file with a value as JSON.
func (w *Writer) AddValue(name string, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding %s: %w", name, err)
	}
	return w.Add(name, append(text, '\n'))
}

// AddObjects adds a list of objects, without what may hold a secret or is of no use.
func (w *Writer) AddObjects(plural string, list *unstructured.UnstructuredList) error {
	for i := range list.Items {
		clean(&list.Items[i])
	}
	return w.AddValue(objects+plural+".json", list)
}

// Close writes what the bundle is, and its end.
func (w *Writer) Close(missing []string) error {
	err := w.AddValue(about, About{Written: w.now.UTC(), Missing: missing})
	return errors.Join(err, w.tar.Close(), w.zip.Close())
}

// scrub replaces tokens by their ids.
func scrub(text []byte) []byte {
	var kept bytes.Buffer
	for {
		found, ok := token.Find(string(text))
		if !ok {
			break
		}
		kept.Write(text[:found.Start])
		kept.WriteString(found.ID + "-REMOVED")
		text = text[found.End:]
	}
	kept.Write(text)
	return kept.Bytes()
}

// clean removes annotations, which may repeat anything, and the values of environment variables, which may be anything.
func clean(o *unstructured.Unstructured) {
	o.SetManagedFields(nil)
	o.SetAnnotations(nil)
	for _, at := range [][]string{{"spec"}, {"spec", "template", "spec"}} {
		for _, kind := range []string{"containers", "initContainers"} {
			containers, _, _ := unstructured.NestedSlice(o.Object, append(append([]string{}, at...), kind)...)
			for _, c := range containers {
				hideValues(c)
			}
			if len(containers) > 0 {
				_ = unstructured.SetNestedSlice(o.Object, containers, append(append([]string{}, at...), kind)...) // it was read there
			}
		}
	}
}

func hideValues(container any) {
	c, _ := container.(map[string]any)
	variables, _ := c["env"].([]any)
	for _, v := range variables {
		if variable, ok := v.(map[string]any); ok && variable["value"] != nil {
			variable["value"] = "REMOVED"
		}
	}
}

// Bundle is a bundle that is read as if it were the API server. It implements client.Reader.
type Bundle struct {
	About

	lists map[schema.GroupKind][]unstructured.Unstructured
}

var _ client.Reader = (*Bundle)(nil)

// Open reads a bundle from a file.
func Open(name string) (*Bundle, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("reading the bundle: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	b, err := Read(file)
	if err != nil {
		return nil, fmt.Errorf("reading the bundle %s: %w", name, err)
	}
	return b, nil
}

// Read reads a bundle.
func Read(r io.Reader) (*Bundle, error) {
	zip, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	files, b := tar.NewReader(io.LimitReader(zip, maxSize)), &Bundle{lists: map[schema.GroupKind][]unstructured.Unstructured{}}
	for {
		header, err := files.Next()
		switch {
		case errors.Is(err, io.EOF) && b.Written.IsZero():
			return nil, errors.New("it is no bundle of kubectl apitoken doctor bundle, or it is cut off")
		case errors.Is(err, io.EOF):
			return b, nil
		case err != nil:
			return nil, err
		}
		if err := b.add(header.Name, files); err != nil {
			return nil, fmt.Errorf("%s: %w", header.Name, err)
		}
	}
}

func (b *Bundle) add(name string, content io.Reader) error {
	if name == about {
		return json.NewDecoder(content).Decode(&b.About)
	}
	if !strings.HasPrefix(name, objects) || path.Ext(name) != ".json" {
		return nil
	}
	var list unstructured.UnstructuredList
	text, err := io.ReadAll(content)
	if err == nil {
		err = list.UnmarshalJSON(text)
	}
	if err != nil {
		return err
	}
	for _, item := range list.Items {
		kind := item.GroupVersionKind().GroupKind()
		b.lists[kind] = append(b.lists[kind], item)
	}
	return nil
}

// Get implements client.Reader. Secrets are forbidden: they are in no bundle.
func (b *Bundle) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	kind, err := apiutil.GVKForObject(into, session.Scheme)
	if err != nil {
		return err
	}
	resource := schema.GroupResource{Group: kind.Group, Resource: strings.ToLower(kind.Kind)}
	if kind.Kind == "Secret" {
		return apierrors.NewForbidden(resource, key.Name, errors.New("a bundle has no Secrets"))
	}
	for _, item := range b.lists[kind.GroupKind()] {
		if item.GetNamespace() == key.Namespace && item.GetName() == key.Name {
			return runtime.DefaultUnstructuredConverter.FromUnstructured(item.Object, into)
		}
	}
	return apierrors.NewNotFound(resource, key.Name)
}

// List implements client.Reader. It knows the selection by namespace, and that of APITokens by token id.
func (b *Bundle) List(_ context.Context, into client.ObjectList, options ...client.ListOption) error {
	kind, err := apiutil.GVKForObject(into, session.Scheme)
	if err != nil {
		return err
	}
	kind.Kind = strings.TrimSuffix(kind.Kind, "List")
	var o client.ListOptions
	o.ApplyOptions(options)
	var all []runtime.Object
	for _, item := range b.lists[kind.GroupKind()] {
		if !selects(&o, &item) {
			continue
		}
		typed, err := session.Scheme.New(kind)
		if err == nil {
			err = runtime.DefaultUnstructuredConverter.FromUnstructured(item.Object, typed)
		}
		if err != nil {
			return fmt.Errorf("reading the %s %s/%s of the bundle: %w", kind.Kind, item.GetNamespace(), item.GetName(), err)
		}
		all = append(all, typed)
	}
	return apimeta.SetList(into, all)
}

func selects(o *client.ListOptions, item metav1.Object) bool {
	if o.Namespace != "" && o.Namespace != item.GetNamespace() {
		return false
	}
	u, ok := item.(*unstructured.Unstructured)
	if o.FieldSelector == nil || !ok {
		return true
	}
	id, wanted := o.FieldSelector.RequiresExactMatch("status.tokenID")
	has, _, _ := unstructured.NestedString(u.Object, "status", "tokenID")
	return !wanted || has == id
}
