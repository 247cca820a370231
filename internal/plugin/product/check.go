package product

import (
	"errors"
	"fmt"
	"slices"

	"apitokens.dev/operator/internal/atlassian"
)

// check is an assumption about the products, with the requests that confirm it.
type check struct {
	id string
	// says is the assumption, in one sentence.
	says string
	// run returns nil if the product does what the assumption says. An error says what it does instead.
	run func(*kit) error
	// of is the product that it is about; empty for both.
	of atlassian.Product
}

// notTriedError says why a check sent nothing that could tell.
type notTriedError string

func (e notTriedError) Error() string { return string(e) }

// all joins what was found. A check that was not tried stays one.
func all(errs ...error) error {
	for _, err := range errs {
		if none, ok := errors.AsType[notTriedError](err); ok {
			return none
		}
	}
	return errors.Join(errs...)
}

// must returns an error if something is not so.
func must(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}

// checks are all of them, in the order in which they run. Those that change the user come last.
func checks() []check {
	return slices.Concat(pathChecks, headerChecks, credentialChecks, basicChecks, patChecks(), searchChecks,
		browserChecks, jiraChecks, confluenceChecks, handChecks)
}

// release is a version of a product that the operator supports, with what is documented to differ from the others.
type release struct {
	product atlassian.Product
	version string
	// basic is whether Basic authentication is on as the product comes; empty if that is not documented.
	basic string
}

// The values of release.basic.
const (
	on  = "on"
	off = "off"
)

// releases are the supported ones. Of other differences between them nothing is documented that the checks could see.
var releases = []release{
	{atlassian.Jira, "9.12", on},
	{atlassian.Jira, "10.3", on},
	{atlassian.Jira, "11", off}, // https://mrrefactoring.github.io/jira.js/guide/data-center
	{atlassian.Confluence, "8.5", on},
	{atlassian.Confluence, "9.2", on},
	{atlassian.Confluence, "10", ""},
}

// releaseOf returns the release that a version belongs to.
func releaseOf(p atlassian.Product, version string) (release, bool) {
	for _, r := range releases {
		if r.product == p && (version == r.version || len(version) > len(r.version) && version[:len(r.version)+1] == r.version+".") {
			return r, true
		}
	}
	return release{}, false
}
