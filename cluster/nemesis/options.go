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

	// KNs is how many there are at first. Default 3. Threads is how many each has. Default 2.
	KNs, Threads int
	// Monitors and Routes default to 2 each: two M-nodes at once is a fault of its own that is always there.
	Monitors, Routes int
	// Fabric is shm or tcp. Default tcp: cutting a link means nothing to shared memory.
	Fabric string
	// Lease is the length of a KN's lease. Default 800 ms, so that a run sees many of them end.
	Lease time.Duration

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
		{&o.Duration, 30 * time.Second}, {&o.Lease, 800 * time.Millisecond}, {&o.Pause, 1200 * time.Millisecond},
		{&o.Longest, 4 * time.Second}, {&o.ServedWithin, time.Minute}, {&o.CheckTime, time.Minute},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	for _, n := range []struct {
		field *int
		value int
	}{{&o.Clients, 16}, {&o.Rate, 6000}, {&o.Keys, 2000}, {&o.KNs, 3}, {&o.Threads, 2}, {&o.Monitors, 2}, {&o.Routes, 2}} {
		if *n.field == 0 {
			*n.field = n.value
		}
	}
	if o.Fabric == "" {
		o.Fabric = "tcp"
	}
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

// Validate says what is wrong, after EnsureDefaults.
func (o *Options) Validate() error {
	switch {
	case o.Directory == "":
		return fmt.Errorf("nemesis: a directory for the pool, the logs and the history is needed")
	case o.Duration < 0 || o.Pause <= 0 || o.Longest <= 0 || o.ServedWithin <= 0 || o.CheckTime <= 0:
		return fmt.Errorf("nemesis: times must be positive")
	case o.Clients < 1 || o.Rate < 1 || o.Keys < 1 || o.KNs < 1 || o.Operations < 0:
		return fmt.Errorf("nemesis: counts must be positive")
	case o.Lease < 500*time.Millisecond:
		return fmt.Errorf("nemesis: a lease of %v cannot be watched by an M-node that polls each 250ms; want 500ms or more", o.Lease)
	}
	for _, name := range o.Faults {
		if !slices.Contains(Names(), name) {
			return fmt.Errorf("nemesis: no fault %q; there are: %s", name, strings.Join(Names(), ", "))
		}
	}
	return nil
}

// configuration is what the nodes are told: small segments, caches and leases, so that a short run sees all of their ends.
func (o *Options) configuration() []string {
	return append([]string{
		"dinomo.data-dir=" + o.Directory,
		"dinomo.fabric=" + o.Fabric,
		fmt.Sprintf("threads.memory=%d", o.Threads),
		"threads.storage=2",
		"capacities.memory-cap=1MiB", "capacities.storage-cap=1GiB",
		"kvs_config.log-block-size=256KiB", "dinomo.limits.value=64KiB",
		fmt.Sprintf("dinomo.lease.length=%v", o.Lease), fmt.Sprintf("dinomo.lease.renew-period=%v", o.Lease/4),
		"dinomo.lease.margin=200ms", "dinomo.timeouts.verb=600ms", "dinomo.timeouts.reconfiguration=6s",
		"dinomo.timeouts.shutdown=5s",
	}, o.Set...)
}
