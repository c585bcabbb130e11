package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/dinomo-kv/dinomo"

// A sourceFile is one parsed Go file of the tree.
type sourceFile struct {
	path      string // slash-separated, from the module's root
	pkg       string // its folder; "" for the root
	test      bool
	generated bool
	fset      *token.FileSet
	ast       *ast.File
}

// imports returns the file's imports that lie in this module, as folders.
func (f *sourceFile) imports() []string {
	var own []string
	for _, spec := range f.ast.Imports {
		p := strings.Trim(spec.Path.Value, `"`)
		if rest, ok := strings.CutPrefix(p, module+"/"); ok {
			own = append(own, rest)
		}
	}
	return own
}

// at formats the position of a node for a report.
func (f *sourceFile) at(n ast.Node) string {
	return f.path + ":" + strings.TrimPrefix(f.fset.Position(n.Pos()).String(), f.fset.Position(n.Pos()).Filename+":")
}

// sources parses every Go file of the module.
func sources(t *testing.T) []*sourceFile {
	t.Helper()
	root := moduleRoot(t)
	fset := token.NewFileSet()
	var files []*sourceFile
	err := filepath.WalkDir(root, func(full string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if full != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules" || hasOwnModule(full)) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		tree, err := parser.ParseFile(fset, full, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, full)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		pkg := path.Dir(rel)
		if pkg == "." {
			pkg = ""
		}
		files = append(files, &sourceFile{
			path: rel, pkg: pkg, test: strings.HasSuffix(name, "_test.go"),
			generated: ast.IsGenerated(tree), fset: fset, ast: tree,
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("found only %d Go files below %s", len(files), root)
	}
	return files
}

// hasOwnModule says whether a folder below the root is a module of its own.
func hasOwnModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// moduleRoot returns the folder that holds this module's go.mod.
func moduleRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for !hasOwnModule(dir) {
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = parent
	}
	return dir
}
