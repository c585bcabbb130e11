package conf

import (
	"fmt"
	"strings"
)

const (
	// maxEntryBytes is the longest log entry that a pointer into the pool can describe.
	maxEntryBytes = 8*MiB - 64
	// entryRoom is what an entry and its segment need beside key and value, generously.
	entryRoom = 4 * KiB
	// envelopeRoom is what a message needs beside the key and value of a tuple, generously.
	envelopeRoom = 64 * KiB
	// annaThreads is the number of ports between two of Anna's sockets.
	annaThreads = 50
	// minPoolSegments lets a few threads have open, waiting and spare segments.
	minPoolSegments = 16
	// maxRingPoints bounds the ring that every node builds.
	maxRingPoints = 1 << 22
)

// A rule holds between several values. The message quotes the keys with their values, and points
// at the one that was set last.
type rule struct {
	keys  []string
	holds func(*Config) bool
	why   string
}

var rules = []rule{
	{[]string{"capacities.memory-cap", "policy.caching", "kvs_config.cache-policy"},
		func(c *Config) bool { return c.CachePolicy() == CacheNone || c.Capacities.CacheBytes > 0 },
		"a cache needs room; to cache nothing, set policy.caching: false"},
	{[]string{"policy.weight-or-vratio", "policy.adaptive-caching"},
		func(c *Config) bool {
			return c.KVS.CachePolicy != CacheAuto || !c.Policy.Caching || c.Policy.AdaptiveCaching || c.Policy.WeightOrValueRatio <= 1
		},
		"without adaptive-caching, weight-or-vratio is the share of the cache that is for values: 0 to 1"},
	{[]string{"kvs_config.log-block-size"},
		func(c *Config) bool { return c.KVS.SegmentBytes&(c.KVS.SegmentBytes-1) == 0 },
		"a segment's size is a power of two"},
	{[]string{"capacities.storage-cap", "kvs_config.log-block-size"},
		func(c *Config) bool { return c.PoolBytes()/c.KVS.SegmentBytes >= minPoolSegments },
		fmt.Sprintf("a pool needs room for %d segments", minPoolSegments)},
	{[]string{"dinomo.limits.value", "dinomo.limits.key", "kvs_config.log-block-size"},
		func(c *Config) bool {
			entry := c.Dinomo.Limits.KeyBytes + c.Dinomo.Limits.ValueBytes + entryRoom
			return entry <= c.KVS.SegmentBytes && entry <= maxEntryBytes
		},
		fmt.Sprintf("the longest key and value, and %v for what goes with them, must fit a segment and 8MiB", entryRoom)},
	{[]string{"dinomo.limits.message", "dinomo.limits.value", "dinomo.limits.key"},
		func(c *Config) bool { return c.Dinomo.Limits.MessageBytes >= c.largestTuple() },
		fmt.Sprintf("a message must have room for the longest key and value and %v more", envelopeRoom)},
	{[]string{"dinomo.limits.send-queue", "dinomo.limits.value", "dinomo.limits.key"},
		func(c *Config) bool { return c.Dinomo.Limits.SendQueueBytes >= c.largestTuple() },
		fmt.Sprintf("a queue must have room for the longest key and value and %v more", envelopeRoom)},
	{[]string{"dinomo.lease.renew-period", "dinomo.lease.length"},
		func(c *Config) bool { return c.Dinomo.Lease.RenewPeriod <= c.Dinomo.Lease.Length/3 },
		"a lease is renewed at least three times in its length"},
	{[]string{"dinomo.lease.margin", "dinomo.lease.length"},
		func(c *Config) bool { return c.Dinomo.Lease.Margin >= c.Dinomo.Lease.Length/100 },
		"the margin must allow for clocks that differ by one percent"},
	{[]string{"policy.policy-decision-period", "policy.server-report-period"},
		func(c *Config) bool { return c.Policy.DecisionPeriod >= c.Policy.ServerReportPeriod },
		"the M-node would decide without news from the servers"},
	{[]string{"policy.grace-period", "policy.policy-decision-period"},
		func(c *Config) bool {
			return !c.Policy.Elasticity && !c.Policy.SelectiveReplication || c.Policy.GracePeriod >= c.Policy.DecisionPeriod
		},
		"the M-node would decide on figures from before its last reconfiguration"},
	{[]string{"dinomo.policy.min-kns", "dinomo.policy.max-kns"},
		func(c *Config) bool { return c.Dinomo.Policy.MinKNs <= c.Dinomo.Policy.MaxKNs },
		"the least number of KNs is above the greatest"},
	{[]string{"dinomo.policy.max-kns", "ib_config.total_available_memory_nodes"},
		func(c *Config) bool { return c.Dinomo.Policy.MaxKNs <= c.IB.MaxKNs },
		"the policy may add more KNs than the pool takes"},
	{[]string{"ib_config.num_initial_memory_nodes", "ib_config.total_available_memory_nodes"},
		func(c *Config) bool { return c.IB.InitialKNs <= c.IB.MaxKNs },
		"more KNs at the start than the pool takes"},
	{[]string{"dinomo.policy.remove-below-occupancy", "dinomo.policy.add-above-occupancy"},
		func(c *Config) bool { return c.Dinomo.Policy.RemoveBelowOccupancy < c.Dinomo.Policy.AddAboveOccupancy },
		"KNs would be added and removed in turns"},
	{[]string{"dinomo.ring.virtual-nodes", "ib_config.total_available_memory_nodes"},
		func(c *Config) bool { return c.Dinomo.VirtualNodes*c.IB.MaxKNs <= maxRingPoints },
		fmt.Sprintf("the ring may have %d points", maxRingPoints)},
	{[]string{"dinomo.rdma.setup", "ib_config.sock_port"},
		func(c *Config) bool { return c.Dinomo.RDMA.Setup != RDMASetupCM || c.IB.SocketPort == 0 },
		"rdma_cm has no exchange over a socket: set one of the two"},
	{[]string{"dinomo.rdma.gid-index", "dinomo.rdma.setup", "ib_config.sock_port"},
		func(c *Config) bool { return c.Dinomo.RDMA.GIDIndex < 0 || c.RDMASetup() == RDMASetupSocket },
		"rdma_cm finds the GID from the DPM's IP: give the DPM the right IP, or set dinomo.rdma.setup: socket"},
	{[]string{"ib_config.storage_node_ips", "dinomo.dpm.addresses"},
		func(c *Config) bool { return len(c.dpmAddresses()) == 1 },
		"there is exactly one pool: name its one IP"},
	annaRule("threads.memory", func(c *Config) int { return c.Threads.KN }),
	annaRule("threads.routing", func(c *Config) int { return c.Threads.Routing }),
	annaRule("threads.benchmark", func(c *Config) int { return c.Threads.Benchmark }),
}

func annaRule(path string, threads func(*Config) int) rule {
	return rule{[]string{path, "dinomo.ports"},
		func(c *Config) bool { return c.Dinomo.Ports != PortsAnna || threads(c) <= annaThreads },
		fmt.Sprintf("Anna's port numbers leave room for %d threads", annaThreads)}
}

// largestTuple is what a message with one tuple of the greatest size may take.
func (c *Config) largestTuple() ByteSize {
	return c.Dinomo.Limits.KeyBytes + c.Dinomo.Limits.ValueBytes + envelopeRoom
}

// check applies the rules. It looks at the values only, so a key that was refused already counts
// with what it had before.
func (l *loader) check() {
	for _, r := range rules {
		if r.holds(&l.loaded.Config) {
			continue
		}
		at := l.loaded.origins[r.keys[0]]
		quoted := make([]string, len(r.keys))
		for i, path := range r.keys {
			if o := l.loaded.origins[path]; o.Layer > at.Layer {
				at = o
			}
			quoted[i] = path + " is " + shown(l.byPath[path].value)
		}
		l.problem(ErrConflict, at, "%s: %s", strings.Join(quoted, " and "), r.why)
	}
}

// shown is a value's text, where an empty one would be overlooked.
func shown(v value) string {
	if s := v.String(); s != "" {
		return s
	}
	return "empty"
}
