package lint

import (
	"go/ast"
	"slices"
	"strings"
	"testing"
)

// A ban keeps an import or a call inside the folders that are meant to have it.
type ban struct {
	importPath string   // the package
	names      []string // the calls; empty bans the import itself
	homes      []string // folders (and everything below) that may
	tests      bool     // whether the ban holds in test files too
	instead    string
}

var bans = []ban{
	{"time", []string{"Now", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Since", "Until"}, []string{"internal/clock"}, false, "use internal/clock"},
	{"math/rand", nil, nil, true, "use internal/random"},
	{"unsafe", nil, []string{"dpm/format", "dpm/pmem", "dpm/fabric/shm", "dpm/fabric/ibverbs", "dac", "messages"}, true, "keep unsafe in its named leaf folders"},
	{"flag", nil, []string{"tools/dinomo"}, false, "flags belong to tools/dinomo"},
	{"os", []string{"Exit"}, []string{"tools/dinomo"}, false, "return an error"},
	{"log", []string{"Fatal", "Fatalf", "Fatalln", "Panic", "Panicf"}, []string{"tools/dinomo"}, false, "return an error"},
	{"github.com/go-zeromq/zmq4", nil, []string{"actors/runtime"}, true, "use actors/runtime"},
	{"google.golang.org/protobuf/proto", nil, []string{"messages"}, true, "use messages' codec"},
	{"github.com/asynkron/protoactor-go/actor", nil, []string{"actors/runtime"}, true, "use runtime.Host"},
}

func (b ban) mayUse(f *sourceFile) bool {
	return f.generated || f.test && !b.tests || slices.ContainsFunc(b.homes, func(home string) bool {
		return f.pkg == home || strings.HasPrefix(f.pkg, home+"/")
	})
}

// localName returns the name under which f imports importPath.
func localName(f *sourceFile, importPath string) (string, bool) {
	for _, spec := range f.ast.Imports {
		if strings.Trim(spec.Path.Value, `"`) != importPath {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name, true
		}
		return importPath[strings.LastIndex(importPath, "/")+1:], true
	}
	return "", false
}

func TestBannedCalls(t *testing.T) {
	for _, f := range sources(t) {
		for _, b := range bans {
			if b.mayUse(f) {
				continue
			}
			name, ok := localName(f, b.importPath)
			if !ok {
				continue
			}
			if len(b.names) == 0 {
				t.Errorf("%s imports %s: %s", f.path, b.importPath, b.instead)
				continue
			}
			ast.Inspect(f.ast, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == name && x.Obj == nil && slices.Contains(b.names, sel.Sel.Name) {
					t.Errorf("%s: %s.%s: %s", f.at(sel), b.importPath, sel.Sel.Name, b.instead)
				}
				return true
			})
		}
	}
}

// longFunctions may only shrink: it names the functions above the limit that stand today, with
// their lengths in lines. A new one is split instead.
var longFunctions = map[string]int{}

const functionLimit = 70

func TestFunctionLength(t *testing.T) {
	for _, f := range sources(t) {
		if f.generated || f.test {
			continue
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			lines := f.fset.Position(fn.End()).Line - f.fset.Position(fn.Pos()).Line + 1
			limit := max(functionLimit, longFunctions[f.pkg+"."+fn.Name.Name])
			if lines > limit {
				t.Errorf("%s: %s has %d lines, more than %d: split it", f.at(fn), fn.Name.Name, lines, limit)
			}
		}
	}
}

func TestPackagesHaveAContract(t *testing.T) {
	documented := map[string]bool{}
	for _, f := range sources(t) {
		if f.test || f.generated {
			continue
		}
		documented[f.pkg] = documented[f.pkg] || f.ast.Doc != nil && strings.HasSuffix(f.path, "doc.go")
	}
	for pkg, ok := range documented {
		if !ok {
			t.Errorf("package %s has no doc.go with a package comment", pkg)
		}
	}
}
