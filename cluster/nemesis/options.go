package nemesis

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dinomo-kv/dinomo/cluster"
	"github.com/dinomo-kv/dinomo/internal/random"
)

// Options say what to run. Directory is required; the zero value of every other field means its default.
type Options struct {
	// Seed makes the schedule of faults and the clients' choices; 0 takes a fresh one.
	Seed uint64
	// Duration is how long faults are made. Default 30 s.
	Duration time.Duration
	// Operations goes on past Duration until so many were recorded. Default 0.
	Operations int
	// Clients is how many operations are under way at a time. Default 16.
	Clients int
	// Rate bounds the operations a second of all clients together. Default 6000: the checker and the cluster share a
	// machine, and a history has to fit in memory.
	Rate int
	// Keys is how many keys the clients spread a part of their operations over. Default 2000.
	Keys int

	// The shape of the cluster; what is zero follows from the seed, so that runs differ in it too. KNs is how many there
	// are at first (2 to 4), Threads how many each has (1 to 3), Monitors 1 to 3, Routes 1 or 2.
	KNs, Threads, Monitors, Routes int
	// CachePolicy is kvs_config.cache-policy, CacheKiB the cache of a KN's thread.
	CachePolicy string
	CacheKiB    int
	// Lease is the length of a KN's lease: short, so that a run sees many of them end.
	Lease time.Duration
	// Fabric is shm or tcp. Default tcp: cutting a link means less to shared memory.
	Fabric string

	// Faults lists the kinds of fault to make, by name; see Names. Default: all that can be made here.
	Faults []string
	// Pause is the mean time between two faults. Default 1.2 s. Longest is the longest that one lasts. Default 4 s.
	Pause, Longest time.Duration
	// ServedWithin is how long after the end of all faults every key must be served. Default 60 s.
	ServedWithin time.Duration
	// CheckTime bounds the checking of one key's history. Default 60 s.
	CheckTime time.Duration

	// Directory gets the pool, the logs, the history and, for what is found, pictures. It must be empty or not exist.
	Directory string
	// Network is where the nodes are. Default 127.0.10.0/24.
	Network cluster.Network
	// Binary is the program of the nodes. Default: this one.
	Binary string
	// Set holds further configuration values, section.key=value.
	Set []string
	// Logf receives a line for what happens. Nil: silent.
	Logf func(format string, args ...any)
	// Progress is told how far the run is, 0 to 1. Nil: nobody is.
	Progress func(phase string, fraction float64)
}

// EnsureDefaults fills zero fields.
func (o *Options) EnsureDefaults() {
	if o.Seed == 0 {
		o.Seed = random.FreshSeed()
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&o.Duration, 30 * time.Second}, {&o.Pause, 1200 * time.Millisecond},
		{&o.Longest, 4 * time.Second}, {&o.ServedWithin, time.Minute}, {&o.CheckTime, time.Minute},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	for _, n := range []struct {
		field *int
		value int
	}{{&o.Clients, 16}, {&o.Rate, 6000}, {&o.Keys, 2000}} {
		if *n.field == 0 {
			*n.field = n.value
		}
	}
	if o.Fabric == "" {
		o.Fabric = "tcp"
	}
	o.shape()
	if o.Network == (cluster.Network{}) {
		o.Network, _ = cluster.ParseNetwork("127.0.10.0/24")
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
	if o.Progress == nil {
		o.Progress = func(string, float64) {}
	}
}

// shape draws from the seed what was not given. Each drawing takes place, so that what is given changes nothing else.
func (o *Options) shape() {
	rng := random.New(o.Seed ^ 0x5ba9e)
	for _, n := range []struct {
		field       *int
		least, most int
	}{{&o.KNs, 2, 4}, {&o.Threads, 1, 3}, {&o.Monitors, 1, 3}, {&o.Routes, 1, 2}} {
		drawn := n.least + rng.IntN(n.most-n.least+1)
		if *n.field == 0 {
			*n.field = drawn
		}
	}
	policy := []string{"paper", "adaptive", "paper", "adaptive", "value-only", "shortcut-only"}[rng.IntN(6)]
	size := []int{1024, 2048, 4096}[rng.IntN(3)] // a thread of three wants 256
	lease := []time.Duration{600, 800, 1200}[rng.IntN(3)] * time.Millisecond
	if o.CachePolicy == "" {
		o.CachePolicy = policy
	}
	if o.CacheKiB == 0 {
		o.CacheKiB = size
	}
	if o.Lease == 0 {
		o.Lease = lease
	}
}

// String shows the shape.
func (o *Options) String() string {
	return fmt.Sprintf("%d KNs of %d threads, %d M-nodes, %d routing nodes, fabric %s, lease %v, cache %s of %d KiB a thread, %d clients, %d keys",
		o.KNs, o.Threads, o.Monitors, o.Routes, o.Fabric, o.Lease, o.CachePolicy, o.CacheKiB, o.Clients, o.Keys)
}

// Validate says what is wrong, after EnsureDefaults.
func (o *Options) Validate() error {
	switch {
	case o.Directory == "":
		return fmt.Errorf("nemesis: a directory for the pool, the logs and the history is needed")
	case o.Duration < 0 || o.Pause <= 0 || o.Longest <= 0 || o.ServedWithin <= 0 || o.CheckTime <= 0:
		return fmt.Errorf("nemesis: times must be positive")
	case o.CacheKiB < 256:
		return fmt.Errorf("nemesis: a thread's cache has 256 KiB or more")
	case o.Clients < 1 || o.Rate < 1 || o.Keys < 1 || o.KNs < 1 || o.Operations < 0:
		return fmt.Errorf("nemesis: counts must be positive")
	case o.Lease < 500*time.Millisecond:
		return fmt.Errorf("nemesis: a lease of %v is too short for a busy machine, where renewals come late; want 500ms or more", o.Lease)
	}
	for _, name := range o.Faults {
		if !slices.Contains(Names(), name) {
			return fmt.Errorf("nemesis: no fault %q; there are: %s", name, strings.Join(Names(), ", "))
		}
	}
	return nil
}

// configuration is what the nodes are told: a small pool, small segments, caches and leases, so that a short run sees all of their ends.
func (o *Options) configuration() []string {
	return append([]string{
		"dinomo.data-dir=" + o.Directory,
		"dinomo.fabric=" + o.Fabric,
		fmt.Sprintf("threads.memory=%d", o.Threads),
		"threads.storage=2",
		fmt.Sprintf("capacities.memory-cap=%dKiB", o.CacheKiB*o.Threads), "kvs_config.cache-policy=" + o.CachePolicy,
		// Little room, so that segments are compacted and used again.
		"capacities.storage-cap=128MiB", "kvs_config.log-block-size=256KiB", "dinomo.limits.value=64KiB",
		fmt.Sprintf("dinomo.lease.length=%v", o.Lease), fmt.Sprintf("dinomo.lease.renew-period=%v", o.Lease/4),
		"dinomo.lease.margin=200ms", "dinomo.timeouts.verb=600ms", "dinomo.timeouts.reconfiguration=6s",
		"dinomo.timeouts.shutdown=5s",
	}, o.Set...)
}
