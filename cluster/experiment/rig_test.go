package experiment

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dinomo-kv/dinomo/cluster"
)

// builtIn is the directory of the built program, "" while there is none.
var builtIn string

// built returns the path of the binary, built once.
var built = sync.OnceValues(func() (string, error) {
	directory, err := os.MkdirTemp("", "dinomo-test-")
	if err != nil {
		return "", err
	}
	builtIn = directory
	path := filepath.Join(directory, "dinomo")
	out, err := exec.Command("go", "build", "-o", path, "github.com/dinomo-kv/dinomo/tools/dinomo").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the binary: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	status := m.Run()
	if builtIn != "" {
		os.RemoveAll(builtIn)
	}
	os.Exit(status)
}

// networks hands out a network for each cluster. The process number keeps test binaries apart that run at the same time.
var networks atomic.Int32

// options returns those of a small experiment.
func options(t *testing.T) Options {
	t.Helper()
	program, err := built()
	if err != nil {
		t.Fatal(err)
	}
	n, err := cluster.ParseNetwork(fmt.Sprintf("127.%d.%d.0/24", 100+os.Getpid()%100, 100+networks.Add(1)))
	if err != nil {
		t.Fatal(err)
	}
	return Options{
		Directory: t.TempDir(), Network: n, Binary: program, Keys: 2000, ValueBytes: 200, Threads: 1, Logf: t.Logf,
		Set: []string{"capacities.storage-cap=256MiB", "kvs_config.log-block-size=1MiB", "dinomo.limits.value=64KiB"},
	}
}
