package conf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestLoad runs testdata/load/*. Commands:
//
//	file NAME      the input becomes a configuration file (they load in the order given)
//	sample NAME    testdata/NAME is one
//	env            lines NAME=value of the environment
//	set            lines section.key=value of the command line
//	load           loads it all, forgets it, and prints what differs from the defaults, what follows
//	               from that, and the notes; or the error
func TestLoad(t *testing.T) {
	datadriven.Walk(t, "testdata/load", func(t *testing.T, path string) {
		here := must(os.Getwd())
		t.Chdir(t.TempDir()) // errors then name files as given
		s, environment := Sources{}, map[string]string{}
		datadriven.RunTest(t, filepath.Join(here, path), func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "file":
				name := d.CmdArgs[0].Key
				if err := os.WriteFile(name, []byte(d.Input), 0o600); err != nil {
					t.Fatal(err)
				}
				s.Files = append(s.Files, name)
			case "sample":
				s.Files = append(s.Files, d.CmdArgs[0].Key)
				if err := os.WriteFile(d.CmdArgs[0].Key, must(os.ReadFile(filepath.Join(here, "testdata", d.CmdArgs[0].Key))), 0o600); err != nil {
					t.Fatal(err)
				}
			case "env":
				for line := range strings.Lines(d.Input) {
					name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
					environment[name] = value
				}
			case "set":
				for line := range strings.Lines(d.Input) {
					s.Set = append(s.Set, strings.TrimSuffix(line, "\n"))
				}
			case "load":
				known := environment
				s.Environment = func(name string) (string, bool) { v, ok := known[name]; return v, ok }
				l, err := Load(s)
				s, environment = Sources{}, map[string]string{}
				if err != nil {
					return err.Error() + "\n"
				}
				return differences(l)
			default:
				d.Fatalf(t, "unknown command %q", d.Cmd)
			}
			return ""
		})
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// differences shows what a configuration has that the default has not.
func differences(l *Loaded) string {
	var b strings.Builder
	for _, k := range l.keys {
		if o := l.origins[k.path]; o.Layer != LayerDefault {
			fmt.Fprintf(&b, "%s = %s (%v)\n", k.path, shown(k.value), o)
		}
	}
	standard := newLoader().loaded.derived()
	for i, d := range l.derived() {
		if d != standard[i] {
			fmt.Fprintf(&b, "=> %s = %s\n", d.Name, d.Value)
		}
	}
	for _, n := range l.Notes {
		fmt.Fprintf(&b, "note: %v\n", n)
	}
	return b.String()
}

func TestErrorsHaveKinds(t *testing.T) {
	directory := t.TempDir()
	write := func(name, text string) []string {
		path := filepath.Join(directory, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return []string{path}
	}
	for name, c := range map[string]struct {
		sources Sources
		kind    error
	}{
		"missing":  {Sources{Files: []string{filepath.Join(directory, "missing.yml")}}, ErrRead},
		"folder":   {Sources{Files: []string{directory}}, ErrRead},
		"long":     {Sources{Files: write("long", strings.Repeat("# line\n", maxFileBytes/7+1))}, ErrRead},
		"brackets": {Sources{Files: write("brackets", strings.Repeat("[", maxBrackets+1))}, ErrSyntax},
		"deep":     {Sources{Files: write("deep", strings.Repeat("- ", maxLineBytes/2))}, ErrSyntax},
		"line":     {Sources{Files: write("line", strings.Repeat("x", maxLineBytes+1))}, ErrSyntax},
		"syntax":   {Sources{Files: write("syntax", "policy: [1")}, ErrSyntax},
		"unknown":  {Sources{Files: write("unknown", "policy:\n  x: 1")}, ErrUnknownKey},
		"value":    {Sources{Files: write("value", "policy:\n  timeout: never")}, ErrBadValue},
		"conflict": {Sources{Set: []string{"dinomo.policy.min-kns=7"}}, ErrConflict},
	} {
		l, err := Load(c.sources)
		if !errors.Is(err, c.kind) || l != nil {
			t.Errorf("%s: error %v, want %v", name, err, c.kind)
		}
		for _, kind := range []error{ErrRead, ErrSyntax, ErrUnknownKey, ErrBadValue, ErrConflict} {
			if kind != c.kind && errors.Is(err, kind) {
				t.Errorf("%s: error %v is also %v", name, err, kind)
			}
		}
	}
}

func TestManyProblemsAreCutShort(t *testing.T) {
	_, err := Load(Sources{Set: make([]string, 100)})
	if lines := strings.Split(err.Error(), "\n"); len(lines) != maxProblemsShown+1 || lines[maxProblemsShown] != "and 80 more" {
		t.Fatalf("error %v", err)
	}
}

func TestOrigin(t *testing.T) {
	l, err := Load(Sources{Set: []string{"threads.memory=3"}})
	if err != nil {
		t.Fatal(err)
	}
	if o, ok := l.Origin("threads.memory"); !ok || o.Layer != LayerFlag || l.Threads.KN != 3 {
		t.Errorf("threads.memory = %d from %v, %v", l.Threads.KN, o, ok)
	}
	if o, ok := l.Origin("threads.routing"); !ok || o.Layer != LayerDefault || o.Line == 0 {
		t.Errorf("threads.routing from %v, %v", o, ok)
	}
	if _, ok := l.Origin("threads.none"); ok {
		t.Error("an origin of a key that is not there")
	}
}

// TestPrint holds the two forms of --print-config, which are also an overview of all defaults.
func TestPrint(t *testing.T) {
	datadriven.RunTest(t, "testdata/print", func(t *testing.T, d *datadriven.TestData) string {
		l, err := Load(Sources{Set: strings.Fields(d.Input)})
		if err != nil {
			return err.Error() + "\n"
		}
		var b strings.Builder
		switch d.Cmd {
		case "text":
			err = l.Print(&b)
		case "json":
			err = l.PrintJSON(&b)
		default:
			d.Fatalf(t, "unknown command %q", d.Cmd)
		}
		if err != nil {
			t.Fatal(err)
		}
		return b.String()
	})
}

type brokenWriter struct{}

var errBroken = errors.New("broken")

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestPrintReportsWriteErrors(t *testing.T) {
	l, err := Load(Sources{})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Print(brokenWriter{}); !errors.Is(err, errBroken) {
		t.Errorf("Print: %v", err)
	}
	if err := l.PrintJSON(brokenWriter{}); !errors.Is(err, errBroken) {
		t.Errorf("PrintJSON: %v", err)
	}
}

// FuzzFile loads any bytes as a configuration file. Whatever loads can be printed, and the values
// shown, given with --set, load to the same configuration.
func FuzzFile(f *testing.F) {
	samples, err := filepath.Glob("testdata/*.yml")
	if err != nil || len(samples) == 0 {
		f.Fatalf("samples %v: %v", samples, err)
	}
	for _, name := range samples {
		f.Add(must(os.ReadFile(name)))
	}
	for _, text := range []string{"", "# nothing", "a", "- a", "policy:", "policy: 1", "policy: {timeout: 1s}", "threads: &a {memory: 1}",
		"x: *a", "<<: 1", "server: {routing: [1.2.3.4, '::1']}", "capacities: {memory-cap: 1.5GiB}", "a: |\n  b", "---\n---\n", "1: 2",
		"policy: {weight-or-vratio: .nan}", "\x00", "{{}}", "policy:\n\ttimeout: 1", "dinomo: {pool: {path: \"\\u0007\"}}"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		l := newLoader()
		l.file(Origin{Layer: LayerFile, Source: "fuzz.yml"}, text)
		l.check()
		if len(l.problems) > 0 {
			if l.problems.Error() == "" {
				t.Fatal("an error without a text")
			}
			return
		}
		var b strings.Builder
		if err := l.loaded.Print(&b); err != nil {
			t.Fatal(err)
		}
		var assignments []string
		for _, k := range l.loaded.keys {
			assignments = append(assignments, k.path+"="+k.value.String())
		}
		again, err := Load(Sources{Set: assignments})
		if err != nil {
			t.Fatalf("what is printed does not load: %v", err)
		}
		for i, k := range again.keys {
			if k.value.String() != l.loaded.keys[i].value.String() {
				t.Fatalf("%s is %s, printed %s", k.path, k.value, l.loaded.keys[i].value)
			}
		}
	})
}

// FuzzSet gives any text as --set and as a variable of the environment. What loads is shown so that it loads to the same.
func FuzzSet(f *testing.F) {
	for _, text := range []string{"threads.memory=3", "server.routing=1.2.3.4,::1", "capacities.memory-cap=1.5GiB", "policy.timeout=1m30s", "kvs_config.cache-policy=static:0.5",
		"policy.weight-or-vratio=nan", "=", "a=b", "threads.memory", "dinomo.pool.path=a=b", "policy.timeout=1e400s", "capacities.storage-cap=-1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := Load(Sources{Set: []string{text}, Environment: func(string) (string, bool) { return text, text != "" }})
		if err != nil {
			if l, err = Load(Sources{Set: []string{text}}); err != nil {
				return
			}
		}
		var assignments []string
		for _, k := range l.keys {
			assignments = append(assignments, k.path+"="+k.value.String())
		}
		again, err := Load(Sources{Set: assignments})
		if err != nil {
			t.Fatalf("what %q comes to does not load: %v", text, err)
		}
		for i, k := range again.keys {
			if k.value.String() != l.keys[i].value.String() {
				t.Fatalf("%s is %s, and then %s", k.path, l.keys[i].value, k.value)
			}
		}
	})
}
