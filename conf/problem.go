package conf

import (
	"errors"
	"fmt"
	"strings"
)

// Kinds of problems; Load's error wraps those that occurred.
var (
	// ErrRead: a configuration file cannot be read, or is too long.
	ErrRead = errors.New("configuration file cannot be read")
	// ErrSyntax: a file is no YAML, or YAML of a kind that configurations do without.
	ErrSyntax = errors.New("configuration file has a syntax error")
	// ErrUnknownKey: a key that is not in base.yml.
	ErrUnknownKey = errors.New("unknown configuration key")
	// ErrBadValue: a value of another kind or out of its range.
	ErrBadValue = errors.New("bad configuration value")
	// ErrConflict: values that are fine one by one and contradict each other.
	ErrConflict = errors.New("contradictory configuration values")
)

// errExpectation is what a value says to a word that it does not take; the loader then quotes the
// value's expectation.
var errExpectation = errors.New("not what is expected")

// Problem is one mistake in a configuration.
type Problem struct {
	Kind   error // one of the sentinels above
	Origin Origin
	Text   string
}

// Error shows the problem on one line, the place first.
func (p Problem) Error() string { return fmt.Sprintf("%v: %s", p.Origin, p.Text) }

// Unwrap returns the kind, for errors.Is.
func (p Problem) Unwrap() error { return p.Kind }

// Problems is Load's error: all that is wrong, in the order of the sources. Never empty.
type Problems []Problem

// maxProblemsShown bounds an error's text; a file of another program would fill screens.
const maxProblemsShown = 20

// Error shows one problem a line.
func (p Problems) Error() string {
	lines := make([]string, 0, maxProblemsShown+1)
	for i, problem := range p {
		if i == maxProblemsShown {
			lines = append(lines, fmt.Sprintf("and %d more", len(p)-i))
			break
		}
		lines = append(lines, problem.Error())
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the problems one by one, for errors.Is and errors.As.
func (p Problems) Unwrap() []error {
	list := make([]error, len(p))
	for i := range p {
		list[i] = p[i]
	}
	return list
}
