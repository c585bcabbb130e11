package experiment

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dinomo-kv/dinomo/cluster"
)

// ErrNotShown: the experiment ran, but the cluster did not do what it is about; the report says what it did.
var ErrNotShown = errors.New("the experiment did not show what it is about")

// Options are what all experiments have in common. Directory is required; the zero value of every other field means its default.
type Options struct {
	// Directory gets pools, logs and reports. It is made where there is none; each cluster takes a subdirectory that must not
	// exist.
	Directory string
	// Network is where the nodes are. Default 127.0.10.0/24.
	Network cluster.Network
	// Binary is the program of the nodes. Default: this one.
	Binary string
	// Files and Set are further configuration, as the nodes' --config and --set.
	Files, Set []string
	// Fabric is shm, tcp or ibverbs. Default shm.
	Fabric string

	// Threads is how many each KN has. Default 2.
	Threads int
	// Keys and ValueBytes are the data set's. Defaults 200,000 and 1,006.
	Keys       uint64
	ValueBytes int
	// Zipf is the skew of the keys drawn. Default 0.99; negative: none.
	Zipf float64
	// CacheBytes is the cache of each KN. Default: each experiment's own.
	CacheBytes int64
	// ServiceRate is how many operations a second each KN thread serves at most (dinomo.limits.service-rate): with more threads than the
	// machine has cores, that is the only way to see capacity grow with them. Default: each experiment's own; negative: no limit.
	ServiceRate int
	// Seed of the keys drawn by clients of the experiment's own. Default 1.
	Seed uint64

	// Commit goes into the report.
	Commit string
	// Logf receives a line for what happens. Nil: silent.
	Logf func(format string, args ...any)
	// Progress is told how far the experiment is, 0 to 1. Nil: nobody is.
	Progress func(phase string, fraction float64)
}

// EnsureDefaults fills zero fields.
func (o *Options) EnsureDefaults() {
	if o.Network == (cluster.Network{}) {
		o.Network, _ = cluster.ParseNetwork("127.0.10.0/24")
	}
	if o.Fabric == "" {
		o.Fabric = "shm"
	}
	if o.Threads == 0 {
		o.Threads = 2
	}
	if o.Keys == 0 {
		o.Keys = 200_000
	}
	if o.ValueBytes == 0 {
		o.ValueBytes = 1006
	}
	switch {
	case o.Zipf == 0:
		o.Zipf = 0.99
	case o.Zipf < 0:
		o.Zipf = 0
	}
	if o.Seed == 0 {
		o.Seed = 1
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
	if o.Progress == nil {
		o.Progress = func(string, float64) {}
	}
}

// Validate says what is wrong, after EnsureDefaults.
func (o *Options) Validate() error {
	switch {
	case o.Directory == "":
		return errors.New("experiment: a directory for pools, logs and reports is needed")
	case o.Threads < 1 || o.Keys < 1 || o.ValueBytes < 1 || o.CacheBytes < 0:
		return errors.New("experiment: threads, keys and value bytes must be positive")
	}
	return nil
}

// dataBytes is the size of all values.
func (o *Options) dataBytes() int64 { return int64(o.Keys) * int64(o.ValueBytes) }

// pacedRate is the default of ServiceRate in experiments about capacity: a dozen threads of that rate are well within what two cores
// can do, clients included.
const pacedRate = 2000

// minCacheBytes is the least cache of a KN thread that holds anything worth measuring.
const minCacheBytes = 256 << 10

// up starts a cluster in a new subdirectory. The options' own configuration goes before set.
func (o *Options) up(ctx context.Context, name string, t cluster.Topology, set ...string) (*cluster.Cluster, error) {
	directory := filepath.Join(o.Directory, name)
	if err := os.MkdirAll(o.Directory, 0o755); err != nil {
		return nil, fmt.Errorf("make the directory: %w", err)
	}
	if err := os.Mkdir(directory, 0o755); err != nil {
		return nil, fmt.Errorf("each cluster needs a new directory: %w", err)
	}
	all := []string{
		"dinomo.data-dir=" + directory, "dinomo.fabric=" + o.Fabric,
		fmt.Sprintf("threads.memory=%d", o.Threads),
		fmt.Sprintf("capacities.storage-cap=%dMiB", max(1024, 5*o.dataBytes()>>20)),
	}
	if o.ServiceRate > 0 {
		all = append(all, fmt.Sprintf("dinomo.limits.service-rate=%d", o.ServiceRate))
	}
	if o.CacheBytes > 0 {
		all = append(all, fmt.Sprintf("capacities.memory-cap=%dB", max(o.CacheBytes, minCacheBytes*int64(o.Threads))))
	}
	t.Network = o.Network
	t.Invocation = cluster.Invocation{Files: o.Files, Set: append(append(all, set...), o.Set...)}
	c, err := cluster.Up(ctx, cluster.UpOptions{Topology: t, Binary: o.Binary, Logf: o.Logf})
	if err != nil {
		return nil, fmt.Errorf("%w (logs are in %s)", err, filepath.Join(directory, "logs"))
	}
	return c, nil
}
