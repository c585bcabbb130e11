package cluster

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/conf"
	"github.com/dinomo-kv/dinomo/dpm/fabric/ibverbs"
)

// TestFabricOptions: what is configured arrives at the package, and the documented defaults are the package's own.
func TestFabricOptions(t *testing.T) {
	load := func(set ...string) ibverbs.Options {
		t.Helper()
		l, err := conf.Load(conf.Sources{Set: set})
		if err != nil {
			t.Fatal(err)
		}
		return FabricOptions(&l.Config).IBVerbs
	}
	var defaults ibverbs.Options
	defaults.EnsureDefaults()
	if got := load(); got != defaults {
		t.Errorf("nothing configured: %+v, want %+v", got, defaults)
	}
	got := load("ib_config.sock_port=7000", "dinomo.rdma.device=mlx5_1", "dinomo.rdma.port=2", "dinomo.rdma.gid-index=0",
		"dinomo.rdma.retries=3", "dinomo.rdma.ack-timeout=18", "dinomo.rdma.polls=20", "dinomo.rdma.persist=read")
	want := ibverbs.Options{Setup: ibverbs.Socket, Device: "mlx5_1", Port: 2, GID: 1, Retries: 3, AckTimeout: 18, Polls: 20, Persist: ibverbs.ByRead}
	if got != want {
		t.Errorf("everything configured: %+v, want %+v", got, want)
	}
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
}

// TestLargePoolsHaveTime: a cluster has the longer for becoming ready the larger its pool is, as configured or as the file is.
func TestLargePoolsHaveTime(t *testing.T) {
	directory := t.TempDir()
	check := func(want time.Duration) {
		t.Helper()
		l, err := conf.Load(conf.Sources{Set: []string{"capacities.storage-cap=1GiB", "dinomo.data-dir=" + directory}})
		if err != nil {
			t.Fatal(err)
		}
		if got := readyTimeout(&l.Config); got != want {
			t.Errorf("%v, want %v", got, want)
		}
	}
	check(time.Minute + 4*time.Second)
	file, err := os.Create(filepath.Join(directory, "pool.dinomo"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(64 << 30); err != nil { // of which nothing is written
		t.Fatal(err)
	}
	check(time.Minute + 256*time.Second)
}
