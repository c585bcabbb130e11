package conf

import (
	_ "embed"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/dinomo-kv/dinomo/internal/invariant"
)

//go:embed base.yml
var baseFile []byte

// The parser's time grows with the square of the nesting. These bounds hold a hostile file to well
// under a second; a configuration is far from them. Nesting needs brackets, or markers ("- - -") in
// one line, or indentation, of which there is no room for much.
const (
	maxFileBytes = 64 << 10
	maxLineBytes = 16 << 10 // a list of a thousand addresses fits
	maxBrackets  = 1000
)

// Sources says what a configuration is put together from, besides the built-in defaults.
type Sources struct {
	// Files are read in order; each needs only what differs.
	Files []string
	// Environment looks a variable up, as os.LookupEnv does. nil means no environment.
	Environment func(name string) (string, bool)
	// Set holds assignments "section.key=value" from the command line.
	Set []string
	// Defaults takes the place of built-in defaults, by key; DefaultsFrom says where it comes from.
	Defaults     map[string]string
	DefaultsFrom string
}

// Loaded is a configuration that was found to be sound, with where each value came from.
type Loaded struct {
	Config
	// Notes says which values given have no effect, in the order of the sources.
	Notes []Note

	keys    []key // bound to Config
	origins map[string]Origin
}

// Load puts a configuration together and checks it. Its error is a Problems with everything that is
// wrong.
func Load(s Sources) (*Loaded, error) {
	l := newLoader()
	for _, path := range slices.Sorted(maps.Keys(s.Defaults)) {
		at := Origin{Layer: LayerDefault, Source: s.DefaultsFrom}
		if k, ok := l.byPath[path]; ok {
			l.setText(k, at, s.Defaults[path])
		} else {
			l.unknown(at, path)
		}
	}
	for _, name := range s.Files {
		l.readFile(name)
	}
	if s.Environment != nil {
		l.environment(s.Environment)
	}
	for _, assignment := range s.Set {
		l.assign(assignment)
	}
	l.check()
	if len(l.problems) > 0 {
		return nil, l.problems
	}
	return l.loaded, nil
}

// Default returns the built-in configuration.
func Default() Config { return newLoader().loaded.Config }

// Origin returns where the value of a key came from.
func (l *Loaded) Origin(path string) (Origin, bool) {
	o, ok := l.origins[path]
	return o, ok
}

// loader is a configuration in the making.
type loader struct {
	loaded   *Loaded
	byPath   map[string]key
	sections map[string]bool // "policy", "dinomo", "dinomo.pool"
	problems Problems
}

// newLoader holds the built-in defaults.
func newLoader() *loader {
	l := &loader{
		loaded:   &Loaded{origins: make(map[string]Origin)},
		byPath:   make(map[string]key),
		sections: make(map[string]bool),
	}
	l.loaded.keys = schema(&l.loaded.Config)
	for _, k := range l.loaded.keys {
		_, twice := l.byPath[k.path]
		invariant.Check(!twice, "configuration key %s is declared twice", k.path)
		l.byPath[k.path] = k
		for i, r := range k.path {
			if r == '.' {
				l.sections[k.path[:i]] = true
			}
		}
	}
	l.file(Origin{Layer: LayerDefault, Source: baseName}, baseFile)
	invariant.Check(len(l.problems) == 0, "base.yml: %v", l.problems)
	for path := range l.byPath {
		_, set := l.loaded.origins[path]
		invariant.Check(set, "base.yml does not have the key %s", path)
	}
	return l
}

func (l *loader) problem(kind error, at Origin, format string, args ...any) {
	l.problems = append(l.problems, Problem{kind, at, fmt.Sprintf(format, args...)})
}

func (l *loader) readFile(name string) {
	at := Origin{Layer: LayerFile, Source: name}
	f, err := os.Open(name)
	if err != nil {
		l.problem(ErrRead, at, "%v", err)
		return
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		l.problem(ErrRead, at, "%v", err)
		return
	}
	l.file(at, text)
}

// assign applies "section.key=value" from the command line.
func (l *loader) assign(assignment string) {
	at := Origin{Layer: LayerFlag}
	path, word, ok := strings.Cut(assignment, "=")
	path = strings.TrimSpace(path)
	if !ok {
		l.problem(ErrBadValue, at, "%.100q: want section.key=value", assignment)
		return
	}
	k, ok := l.byPath[path]
	if !ok {
		l.unknown(at, path)
		return
	}
	l.setText(k, at, word)
}

// setText gives a key a value from outside a file, where lists are separated by commas or spaces.
func (l *loader) setText(k key, at Origin, word string) {
	word = strings.TrimSpace(word)
	if k.value.isList() {
		l.set(k, at, input{list: true, words: strings.FieldsFunc(strings.Trim(word, "[]"), func(r rune) bool {
			return r == ',' || r == ' ' || r == '\t'
		})})
		return
	}
	l.set(k, at, input{words: []string{word}})
}

// input is a value as found.
type input struct {
	words []string // exactly one unless list
	list  bool
	shape string // what was found when it was neither: "a mapping"
}

// String describes what was found.
func (in input) String() string {
	switch {
	case in.shape != "":
		return in.shape
	case in.list:
		return fmt.Sprintf("the list %.100q", in.words)
	case in.words[0] == "":
		return "nothing"
	}
	return fmt.Sprintf("%.100q", in.words[0])
}

func (l *loader) set(k key, at Origin, in input) {
	err := errExpectation
	switch {
	case in.shape != "":
	case in.list:
		err = k.value.setList(in.words)
	default:
		err = k.value.set(in.words[0])
	}
	if err != nil {
		l.problem(ErrBadValue, at, "%s: found %v, expected %s", k.path, in, k.value.expected())
		return
	}
	l.loaded.origins[k.path] = at
	if k.note != "" && at.Layer != LayerDefault {
		l.loaded.Notes = append(l.loaded.Notes, Note{k.path, at, k.note})
	}
}
