package rest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/pb33f/libopenapi/datamodel"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/webhook/portal/rest"
)

// description is the OpenAPI document and its compiled schemas.
type description struct {
	document map[string]any

	mu       sync.Mutex
	compiler *jsonschema.Compiler
	schemas  map[string]*jsonschema.Schema
}

const documentURL = "https://example.com/openapi.json"

// described parses the document once.
var described = sync.OnceValue(func() *description {
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(rest.Document))
	if err != nil {
		panic(err)
	}
	d := &description{compiler: jsonschema.NewCompiler(), schemas: map[string]*jsonschema.Schema{}}
	if err := d.compiler.AddResource(documentURL, parsed); err != nil {
		panic(err)
	}
	d.document, _ = parsed.(map[string]any)
	return d
})

// at returns the value at a path of the document, following references, and the JSON pointer to it.
func (d *description) at(path ...string) (any, string) {
	var here any = d.document
	for i, key := range path {
		object, _ := here.(map[string]any)
		if here = object[key]; here == nil {
			return nil, ""
		}
		if object, _ := here.(map[string]any); object["$ref"] != nil && len(object) == 1 {
			target, _ := object["$ref"].(string)
			return d.at(append(strings.Split(strings.TrimPrefix(target, "#/"), "/"), path[i+1:]...)...)
		}
	}
	return here, pointerTo(path...)
}

func pointerTo(path ...string) string {
	escaped := make([]string, len(path))
	for i, key := range path {
		escaped[i] = "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
	}
	return "#" + strings.Join(escaped, "")
}

// validate checks a value against the schema at a JSON pointer.
func (d *description) validate(pointer string, value any) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	schema := d.schemas[pointer]
	if schema == nil {
		var err error
		if schema, err = d.compiler.Compile(documentURL + pointer); err != nil {
			return err
		}
		d.schemas[pointer] = schema
	}
	return schema.Validate(value)
}

func (d *description) paths() map[string]any {
	all, _ := d.at("paths")
	paths, _ := all.(map[string]any)
	return paths
}

// pathOf returns the path of the document that matches a path behind the version, or an empty string.
func (d *description) pathOf(path string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	var found string
	for candidate := range d.paths() {
		pattern := strings.Split(strings.Trim(candidate, "/"), "/")
		matches := len(pattern) == len(parts)
		for i := 0; matches && i < len(parts); i++ {
			matches = pattern[i] == parts[i] || pattern[i] == "{id}" && parts[i] != ""
		}
		if matches && (found == "" || strings.Contains(found, "{")) {
			found = candidate
		}
	}
	return found
}

// answerAt returns where an answer is described: at its operation, or among the common responses.
func (d *description) answerAt(method, target string, status int) []string {
	path, _, _ := strings.Cut(target, "?")
	version, below, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if method == http.MethodHead {
		method = http.MethodGet
	}
	known := d.pathOf(below)
	operation, _ := d.at("paths", known, strings.ToLower(method))
	if method != strings.ToUpper(method) { // methods are case-sensitive
		operation = nil
	}
	switch {
	case status == http.StatusNotFound && (known == "" || version != "latest" && version != "1.0"):
		return []string{"components", "responses", "NotFound"}
	case status == http.StatusMethodNotAllowed && operation == nil:
		return []string{"components", "responses", "MethodNotAllowed"}
	}
	return []string{"paths", known, strings.ToLower(method), "responses", strconv.Itoa(status)}
}

// check returns the first difference between an answer and the document.
func (d *description) check(method, target string, a answer) error {
	where := d.answerAt(method, target, a.status)
	if response, _ := d.at(where...); response == nil {
		return errors.New("an answer of this status is not described")
	}
	for name, value := range map[string]string{
		"Cache-Control": "no-store", "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "X-Frame-Options": "DENY",
		"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin",
	} {
		if got := a.header.Values(name); len(got) != 1 || got[0] != value {
			return fmt.Errorf("%s is %q, want %q", name, got, value)
		}
	}
	if err := d.checkHeaders(where, a.header); err != nil {
		return err
	}
	content, pointer := d.at(append(where, "content", "application/json", "schema")...)
	switch {
	case method == http.MethodHead && a.body == "":
		return nil
	case content == nil && a.body != "":
		return fmt.Errorf("there is a body, which is not described: %s", a.body)
	case content == nil:
		return nil
	case a.header.Get("Content-Type") != "application/json":
		return fmt.Errorf("its media type is %q", a.header.Get("Content-Type"))
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(a.body))
	if err != nil {
		return err
	}
	return d.validate(pointer, value)
}

func (d *description) checkHeaders(where []string, h http.Header) error {
	all, _ := d.at(append(where, "headers")...)
	headers, _ := all.(map[string]any)
	for name := range headers {
		header, _ := d.at(append(where, "headers", name)...)
		fields, _ := header.(map[string]any)
		value := h.Get(name)
		if value == "" && fields["required"] == true {
			return fmt.Errorf("there is no %s", name)
		}
		if _, pointer := d.at(append(where, "headers", name, "schema")...); value != "" {
			if err := d.validate(pointer, value); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

// The official schema of OpenAPI 3.1 does not check the schemas in a document. Compiling them does.
func TestDocumentIsOpenAPI(t *testing.T) {
	official, err := jsonschema.UnmarshalJSON(strings.NewReader(datamodel.OpenAPI31SchemaData))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("https://example.com/openapi-3.1-schema.json", official); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("https://example.com/openapi-3.1-schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(described().document); err != nil {
		t.Error(err)
	}
	for pointer := range schemasIn(described().document, "#") {
		if _, err := described().compiler.Compile(documentURL + pointer); err != nil {
			t.Errorf("%s: %v", pointer, err)
		}
	}
}

// schemasIn returns the examples beside each schema of a document, by JSON pointer.
func schemasIn(value any, pointer string) map[string][]any {
	found := map[string][]any{}
	object, _ := value.(map[string]any)
	if array, ok := value.([]any); ok {
		object = map[string]any{}
		for i, item := range array {
			object[strconv.Itoa(i)] = item
		}
	}
	for key, inner := range object {
		at := pointer + pointerTo(key)[1:]
		if key == "schema" {
			found[at] = examplesOf(object)
		}
		maps.Copy(found, schemasIn(inner, at))
	}
	return found
}

func examplesOf(object map[string]any) (all []any) {
	if one, ok := object["example"]; ok {
		all = append(all, one)
	}
	named, _ := object["examples"].(map[string]any)
	for _, of := range named {
		fields, _ := of.(map[string]any)
		all = append(all, fields["value"])
	}
	return all
}

func TestExamplesOfTheDocument(t *testing.T) {
	n := 0
	for pointer, examples := range schemasIn(described().document, "#") {
		for _, example := range examples {
			n++
			if err := described().validate(pointer, example); err != nil {
				t.Errorf("%s: %v", pointer, err)
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d examples were found", n)
	}
	// No example may be a well-formed API token, or scanners for leaks would report it.
	for text := range strings.FieldsFuncSeq(string(rest.Document), func(r rune) bool { return r == '"' || r == ' ' }) {
		if _, ok := token.Parse([]byte(text)); ok {
			t.Errorf("%s in the document is an API token", text)
		}
	}
}

func TestEveryRouteIsDescribed(t *testing.T) {
	var want, got []string
	for _, r := range rest.Routes() {
		want = append(want, r[0]+" "+r[1])
	}
	for path, item := range described().paths() {
		operations, _ := item.(map[string]any)
		for method := range operations {
			if method != "parameters" {
				got = append(got, strings.ToUpper(method)+" "+path)
			}
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("described are %q, and there are %q", got, want)
	}
}

func TestDocumentIsServed(t *testing.T) {
	w := env.Jira(t)
	for _, version := range []string{"latest", "1.0"} {
		anonymous := client{World: w, t: t, version: version}
		var served any
		if err := json.Unmarshal([]byte(anonymous.expect(http.StatusOK, "GET", "/openapi.json", "").body), &served); err != nil {
			t.Error(err)
		}
		if head := anonymous.expect(http.StatusOK, "HEAD", "/openapi.json", ""); head.body != "" {
			t.Errorf("HEAD has a body: %s", head.body)
		}
	}
}
