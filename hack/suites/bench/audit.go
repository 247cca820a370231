package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"apitokens.dev/operator/hack/lib/bulk"
)

// auditPolicy has the API server log each answered request of the operator's processes, and of nobody else.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- {level: Metadata, userGroups: ["system:serviceaccounts:apitoken-system"]}
- {level: None}
`

// auditLog is a log of requests that an API server writes.
type auditLog struct {
	folder string
	// at is how far it was read.
	at int64
}

func newAuditLog() (*auditLog, error) {
	folder, err := os.MkdirTemp("", "audit-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the audit log: %w", err)
	}
	l := &auditLog{folder: folder}
	if err := os.WriteFile(l.policy(), []byte(auditPolicy), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("writing the audit policy: %w", err), l.remove())
	}
	return l, nil
}

func (l *auditLog) policy() string { return filepath.Join(l.folder, "policy.yaml") }
func (l *auditLog) file() string   { return filepath.Join(l.folder, "log") }
func (l *auditLog) remove() error  { return os.RemoveAll(l.folder) }

// flags are those of the API server that writes the log.
func (l *auditLog) flags() map[string]string {
	return map[string]string{"audit-policy-file": l.policy(), "audit-log-path": l.file()}
}

// skip forgets the requests so far.
func (l *auditLog) skip() error {
	_, err := l.requests()
	return err
}

// requests counts the requests since the last call, by who asked for what.
func (l *auditLog) requests() (map[string]float64, error) {
	file, err := os.Open(l.file())
	if err != nil {
		return nil, fmt.Errorf("reading the audit log: %w", err)
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.NewSectionReader(file, l.at, 1<<40))
	if err != nil {
		return nil, fmt.Errorf("reading the audit log: %w", err)
	}
	text = text[:strings.LastIndexByte(string(text), '\n')+1] // the last line may not be whole
	l.at += int64(len(text))
	counts := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		var r request
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			return nil, fmt.Errorf("reading a line of the audit log: %w", err)
		}
		counts[r.String()]++
	}
	return counts, nil
}

// request is what a line of the audit log says of a request.
type request struct {
	User      struct{ Username string }
	UserAgent string
	Verb      string
	ObjectRef struct{ Resource, Subresource, Namespace string }
}

// String says who asked for what: process, verb, resource and namespace, and the user agent if it is not that of the process. The
// namespaces of teams are one.
func (r request) String() string {
	process := r.User.Username[strings.LastIndexByte(r.User.Username, ':')+1:]
	resource := r.ObjectRef.Resource
	if r.ObjectRef.Subresource != "" {
		resource += "/" + r.ObjectRef.Subresource
	}
	words := []string{process, r.Verb, resource}
	switch namespace := r.ObjectRef.Namespace; {
	case strings.HasPrefix(namespace, bulk.Team):
		words = append(words, "in teams")
	case namespace != "":
		words = append(words, "in "+namespace)
	}
	if !strings.HasPrefix(r.UserAgent, "apitoken-operator/") {
		words = append(words, "by "+r.UserAgent)
	}
	return strings.Join(words, " ")
}
