package experiment

import (
	"testing"

	"github.com/dinomo-kv/dinomo/cluster/clustertest"
)

func TestMain(m *testing.M) { clustertest.Main(m) }

// options returns those of a small experiment.
func options(t *testing.T) Options {
	t.Helper()
	return Options{
		Directory: t.TempDir(), Network: clustertest.Network(t), Binary: clustertest.Program(t), Keys: 2000, ValueBytes: 200, Threads: 1, Logf: t.Logf,
		Set: []string{"capacities.storage-cap=256MiB", "kvs_config.log-block-size=1MiB", "dinomo.limits.value=64KiB"},
	}
}
