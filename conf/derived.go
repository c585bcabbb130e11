package conf

import (
	"path/filepath"
	"strconv"
	"time"
)

// Cache policies that kvs_config.cache-policy names; static:SHARE comes in addition.
const (
	CacheAuto         = "auto"
	CachePaper        = "paper"
	CacheAdaptive     = "adaptive"
	CacheValueOnly    = "value-only"
	CacheShortcutOnly = "shortcut-only"
	CacheNone         = "none"
)

// DefaultPoolBytes is the size of a pool whose storage-cap is 0.
const DefaultPoolBytes = 4 * GiB

// poolFileName is the pool's file when dinomo.pool.path is empty.
const poolFileName = "pool.dinomo"

// CachePolicy returns the policy in effect: kvs_config.cache-policy, where auto means what the original's
// switches select: none without policy.caching, its adaptive cache with policy.adaptive-caching, else a
// fixed split with the share of values in policy.weight-or-vratio.
func (c *Config) CachePolicy() string {
	switch {
	case c.KVS.CachePolicy != CacheAuto:
		return c.KVS.CachePolicy
	case !c.Policy.Caching:
		return CacheNone
	case c.Policy.AdaptiveCaching:
		return CacheAdaptive
	}
	return "static:" + strconv.FormatFloat(c.Policy.WeightOrValueRatio, 'g', -1, 64)
}

// The original's SLOs.
const (
	originalMeanSLO = 1200 * time.Microsecond
	originalP99SLO  = 16 * time.Millisecond
)

// SLO returns the latency that users are promised, of the mean with policy.using_avg_latency, else of the 99th percentile.
func (c *Config) SLO() time.Duration {
	switch {
	case c.Policy.LatencyThreshold != 0:
		return c.Policy.LatencyThreshold
	case c.Policy.UsingAverageLatency:
		return originalMeanSLO
	}
	return originalP99SLO
}

// CacheBytesPerThread returns the cache budget of one KN thread.
func (c *Config) CacheBytesPerThread() ByteSize {
	return c.Capacities.CacheBytes / ByteSize(c.Threads.KN)
}

// PoolBytes returns the size of the pool.
func (c *Config) PoolBytes() ByteSize {
	if c.Capacities.PoolBytes == 0 {
		return DefaultPoolBytes
	}
	return c.Capacities.PoolBytes
}

// PoolPath returns the pool's file.
func (c *Config) PoolPath() string {
	if c.Dinomo.Pool.Path != "" {
		return c.Dinomo.Pool.Path
	}
	return filepath.Join(c.Dinomo.DataDirectory, poolFileName)
}

// DPMAddress returns the IP of the pool's node. A Config that Load returned has exactly one.
func (c *Config) DPMAddress() string {
	if list := c.dpmAddresses(); len(list) > 0 {
		return list[0]
	}
	return ""
}

// RDMASetup returns how queue pairs are set up: dinomo.rdma.setup, where auto means the original's exchange when there is a port for
// it, and rdma_cm otherwise.
func (c *Config) RDMASetup() string {
	switch {
	case c.Dinomo.RDMA.Setup != RDMASetupAuto:
		return c.Dinomo.RDMA.Setup
	case c.IB.SocketPort != 0:
		return RDMASetupSocket
	}
	return RDMASetupCM
}

func (c *Config) dpmAddresses() []string {
	if len(c.Dinomo.DPM.Addresses) > 0 {
		return c.Dinomo.DPM.Addresses
	}
	return c.IB.StorageNodeIPs
}

// derivedValue is a figure in effect that follows from several keys.
type derivedValue struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	From  string `json:"from"`
}

func (c *Config) derived() []derivedValue {
	return []derivedValue{
		{"cache policy", c.CachePolicy(), "kvs_config.cache-policy, policy.caching, policy.adaptive-caching"},
		{"SLO", c.SLO().String(), "policy.latencythreshold, policy.using_avg_latency"},
		{"cache bytes per thread", c.CacheBytesPerThread().String(), "capacities.memory-cap / threads.memory"},
		{"pool bytes", c.PoolBytes().String(), "capacities.storage-cap"},
		{"pool path", c.PoolPath(), "dinomo.pool.path, dinomo.data-dir"},
		{"dpm address", c.DPMAddress(), "dinomo.dpm.addresses, ib_config.storage_node_ips"},
		{"rdma setup", c.RDMASetup(), "dinomo.rdma.setup, ib_config.sock_port"},
	}
}
