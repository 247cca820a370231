// Package exit has the exit codes of the plugin.
package exit

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// The exit codes. Codes has their meanings.
const (
	Done = iota
	Failed
	Usage
	Partial
	TimedOut
	No
)

// Codes has the meaning of each exit code.
var Codes = [...]string{
	Done:     "done; of a question: yes",
	Failed:   "it failed: the API server refused it or was not reached, or there is no such object",
	Usage:    "the command line is wrong, or the question was not answered with yes: nothing was done",
	Partial:  "some of several tokens failed; the others are done",
	TimedOut: "it was not done within --timeout; it may still be done later",
	No:       "of a question: no; the token does not authenticate, the licence is not valid, or doctor found a problem",
}

// coded is an error with the exit code that it leads to.
type coded struct {
	error

	code int
}

func (e coded) Unwrap() error { return e.error }

// With returns an error that leads to an exit code. It returns nil for nil.
func With(code int, err error) error {
	if err == nil {
		return nil
	}
	return coded{err, code}
}

// Usagef returns an error about the command line.
func Usagef(format string, args ...any) error { return With(Usage, fmt.Errorf(format, args...)) }

// CodeOf returns the exit code that an error leads to.
func CodeOf(err error) int {
	var c coded
	switch {
	case err == nil:
		return Done
	case errors.As(err, &c):
		return c.code
	}
	return Failed
}

// Args makes the error of a check of arguments one about the command line.
func Args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return With(Usage, fmt.Errorf("%w, as in: %s; see '%s --help'", err, cmd.UseLine(), cmd.CommandPath()))
		}
		return nil
	}
}
