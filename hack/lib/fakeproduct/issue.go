package fakeproduct

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	issuePath = "/rest/api/2/issue"
	// firstIssue is the id of the first issue, as in a new Jira.
	firstIssue = 10000
)

// issues are the issues of all projects in the order of their creation. The zero
// value is ready for use.
type issues struct {
	mu  sync.Mutex
	all []issue
}

type issue struct {
	id, key string
	fields  issueFields
	creator string // a key
	created time.Time
	deleted bool
}

// issueFields are the fields that the fake product keeps.
type issueFields struct {
	Project     struct{ Key string }
	IssueType   issueType
	Summary     string
	Description string
}

// issueType is returned as it was sent, by name or id.
type issueType struct {
	ID   string `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
}

// missing returns an error message for each required field that is missing. The
// second message is recorded, the others are assumed to be like it: https://github.com/coreos/issue-sync/issues/31
func (f issueFields) missing() map[string]string {
	errors := map[string]string{}
	if f.Project.Key == "" {
		errors["project"] = "project is required"
	}
	if f.IssueType == (issueType{}) {
		errors["issuetype"] = "issue type is required"
	}
	if f.Summary == "" {
		errors["summary"] = "You must specify a summary of the issue."
	}
	return errors
}

func (i *issues) add(made issue) issue {
	i.mu.Lock()
	defer i.mu.Unlock()
	number := 1
	for _, one := range i.all {
		if one.fields.Project.Key == made.fields.Project.Key {
			number++
		}
	}
	made.id = strconv.Itoa(firstIssue + len(i.all))
	made.key = fmt.Sprintf("%s-%d", made.fields.Project.Key, number)
	i.all = append(i.all, made)
	return made
}

// find finds an issue by its key or id.
func (i *issues) find(idOrKey string) (issue, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, one := range i.all {
		if !one.deleted && (one.id == idOrKey || one.key == idOrKey) {
			return one, true
		}
	}
	return issue{}, false
}

// createIssue follows https://developer.atlassian.com/server/jira/platform/jira-rest-api-examples/
func (j *Jira) createIssue(w http.ResponseWriter, r *http.Request, in call) {
	var sent struct{ Fields issueFields }
	if err := json.NewDecoder(r.Body).Decode(&sent); err != nil {
		writeErrors(w, http.StatusBadRequest, "The request body is not a JSON object with fields.")
		return
	}
	if missing := sent.Fields.missing(); len(missing) > 0 {
		// https://github.com/pycontribs/jira/issues/934
		writeJSON(w, http.StatusBadRequest, map[string]any{"errorMessages": []string{}, "errors": missing})
		return
	}
	made := j.issues.add(issue{fields: sent.Fields, creator: in.by.Key, created: j.now()})
	writeJSON(w, http.StatusCreated, map[string]string{"id": made.id, "key": made.key, "self": j.issueURL(r, made)})
}

// remove deletes an issue. Its number is not given to another one.
func (i *issues) remove(id string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for n := range i.all {
		if i.all[n].id == id {
			i.all[n].deleted = true
		}
	}
}

// oneIssue returns an issue by its key or id, or deletes it.
func (j *Jira) oneIssue(w http.ResponseWriter, r *http.Request, in call) {
	found, ok := j.issues.find(in.last())
	if !ok {
		// https://github.com/go-jira/jira/issues/490
		writeErrors(w, http.StatusNotFound, "Issue Does Not Exist")
		return
	}
	if r.Method == http.MethodDelete {
		j.issues.remove(found.id)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	creator := j.person(r, j.accounts.known(found.creator))
	writeJSON(w, http.StatusOK, map[string]any{
		"id": found.id, "key": found.key, "self": j.issueURL(r, found),
		"fields": map[string]any{
			"summary":     found.fields.Summary,
			"description": found.fields.Description,
			"project":     map[string]string{"key": found.fields.Project.Key},
			"issuetype":   found.fields.IssueType,
			"creator":     creator,
			"reporter":    creator,
			"created":     found.created.Format(jiraTime),
		},
	})
}

func (j *Jira) issueURL(r *http.Request, i issue) string {
	return origin(r) + j.context + issuePath + "/" + i.id
}
