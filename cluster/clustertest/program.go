package clustertest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// builtIn is the directory of the built program, "" while there is none.
var builtIn string

// built builds the program once for the test binary.
var built = sync.OnceValues(func() (string, error) {
	directory, err := os.MkdirTemp("", "dinomo-test-")
	if err != nil {
		return "", err
	}
	builtIn = directory
	path := filepath.Join(directory, "dinomo")
	out, err := exec.Command("go", "build", "-o", path, "github.com/dinomo-kv/dinomo/tools/dinomo").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return path, nil
})

// Program returns the path of the built dinomo. REQUIRES: the test binary's TestMain is Main.
func Program(t testing.TB) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Main is the TestMain of packages that use Program: it runs the tests and removes what was built.
func Main(m *testing.M) {
	m.Run()
	if builtIn != "" {
		os.RemoveAll(builtIn)
	}
}
