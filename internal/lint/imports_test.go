package lint

import (
	"strings"
	"testing"
)

// layers is the import table: a package may import packages of lower layers only. The longest
// prefix that matches a folder decides. Packages of one layer do not import each other unless one
// lies inside the other or a pair in sameLayer allows it.
var layers = []struct {
	layer  int
	prefix string
}{
	{9, "tools"},
	{8, "cluster"},
	{7, "conf"},
	{6, "actors/client"}, {6, "actors/kn"}, {6, "actors/route"}, {6, "actors/monitor"}, {6, "actors/dpmnode"},
	{5, "actors/runtime"}, {5, "actors/ownership"}, {5, "actors/kn/engine"}, {5, "dpm"},
	{4, "dac"}, {4, "dpm/remote"}, {4, "hashring"}, {4, "messages"},
	{3, "dpm/index"}, {3, "messages/lattice"},
	{2, "dpm/format"}, {2, "dpm/fabric"}, {2, "dpm/pmem"}, {2, "dpm/call"},
	{1, "internal"},
}

// sameLayer lists imports within one layer, each with its reason.
var sameLayer = map[[2]string]string{
	{"dpm/fabric", "dpm/pmem"}: "verbs act on a Region",
}

// rule returns the table's row for a folder.
func rule(pkg string) (prefix string, layer int, ok bool) {
	for _, l := range layers {
		if (pkg == l.prefix || strings.HasPrefix(pkg, l.prefix+"/")) && len(l.prefix) > len(prefix) {
			prefix, layer, ok = l.prefix, l.layer, true
		}
	}
	return prefix, layer, ok
}

// allowed says whether a package of folder from may import folder to.
func allowed(from, to string) bool {
	fromRule, fromLayer, _ := rule(from)
	toRule, toLayer, _ := rule(to)
	if fromRule == toRule || toLayer < fromLayer {
		return true
	}
	_, ok := sameLayer[[2]string{fromRule, toRule}]
	return ok
}

func TestImportTable(t *testing.T) {
	for _, f := range sources(t) {
		if f.pkg == "" {
			continue
		}
		if _, _, ok := rule(f.pkg); !ok {
			t.Errorf("%s: folder %q is not in the layout; see docs/architecture.md", f.path, f.pkg)
			continue
		}
		for _, to := range f.imports() {
			if allowed(f.pkg, to) || f.test && testMayImport(f, to) {
				continue
			}
			t.Errorf("%s imports %s, against the import table", f.path, to)
		}
	}
}

// testMayImport gives test files more room: external tests (package x_test) form no cycle wherever they reach, and the
// others may stand on packages of their own layer, such as an engine on a whole pool.
func testMayImport(f *sourceFile, to string) bool {
	_, fromLayer, _ := rule(f.pkg)
	_, toLayer, _ := rule(to)
	return strings.HasSuffix(f.ast.Name.Name, "_test") || toLayer <= fromLayer
}

func TestImportTableBites(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"actors/kn", "actors/route", false},
		{"actors/kn", "actors/kn/engine", true},
		{"actors/kn/engine", "actors/kn", false},
		{"dac", "dpm/remote", false},
		{"dpm/fabric/shm", "dpm/fabric", true},
		{"dpm/fabric/shm", "dpm/pmem", true},
		{"dpm/pmem", "dpm/fabric", false},
		{"dpm", "dpm/index", true},
		{"dpm/index", "dpm", false},
		{"hashring", "messages", false},
		{"cluster", "tools/bench", false},
		{"internal/clock", "dac", false},
	} {
		if got := allowed(c.from, c.to); got != c.want {
			t.Errorf("allowed(%s, %s) = %v, want %v", c.from, c.to, got, c.want)
		}
	}
}
