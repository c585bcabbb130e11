package conf

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// maxKNs is how many KNs a pool can have attached: its rank table less the DPM's own rank.
const maxKNs = 1023

// A key is one leaf of the configuration.
type key struct {
	path  string // section.key
	value value
	// note says why the key has no effect; "" when it has one.
	note string
}

// Times that any duration key stays within: what is shorter is a slip, what is longer means never.
const (
	shortest = time.Millisecond
	longest  = 24 * time.Hour
)

// schema lists every key there is, in the order of base.yml, bound to c. It is the only place that
// knows a key's kind and range.
func schema(c *Config) []key {
	var keys []key
	keys = append(keys, unused("storage", text(), "there is no disk tier; the pool's file is in dinomo.data-dir"))
	keys = append(keys, sizingKeys(c)...)
	keys = append(keys, policyKeys(&c.Policy)...)
	keys = append(keys, networkKeys(c)...)
	keys = append(keys, addressKeys(c)...)
	keys = append(keys, dinomoKeys(&c.Dinomo)...)
	return append(keys, dinomoPolicyKeys(&c.Dinomo)...)
}

func used(path string, v value) key { return key{path: path, value: v} }

// unused is a key of the original without effect. Its value is checked all the same.
func unused(path string, v value, note string) key { return key{path: path, value: v, note: note} }

// text, number, flag and list take the values of keys without effect.
func text() value   { return textValue(new(string), "a text", func(string) bool { return true }) }
func number() value { return intValue(new(int), 0, math.MaxInt32) }
func flag() value   { return boolValue(new(bool)) }
func list() value   { return ipListValue{new([]string)} }

func sizingKeys(c *Config) []key {
	return []key{
		used("threads.memory", intValue(&c.Threads.KN, 1, maxThreads)),
		used("threads.storage", intValue(&c.Threads.Merge, 1, maxThreads)),
		used("threads.routing", intValue(&c.Threads.Routing, 1, maxThreads)),
		used("threads.benchmark", intValue(&c.Threads.Benchmark, 1, maxThreads)),
		used("bench_config.num-benchmark-nodes", intValue(&c.Bench.Nodes, 1, 1024)),
		used("capacities.memory-cap", sizeValue(&c.Capacities.CacheBytes, MiB, 0, TiB)),
		used("capacities.storage-cap", sizeValue(&c.Capacities.PoolBytes, MiB, 0, 512*GiB)),
		unused("kvs_config.value-size", number(), "values have any length up to dinomo.limits.value"),
		unused("kvs_config.shortcut-size", number(), "a shortcut costs what it costs, and the cache counts it"),
		used("kvs_config.log-block-size", sizeValue(&c.KVS.SegmentBytes, MiB, 64*KiB, GiB)),
		unused("kvs_config.log-cache-len", number(), "a KN finds its own unmerged writes through a table, not a copy of the log"),
		used("kvs_config.log-block-prealloc-num", intValue(&c.KVS.PreallocSegments, 1, 64)),
		used("kvs_config.cache-policy", cachePolicyValue(&c.KVS.CachePolicy)),
		used("replication.memory", intValue(&c.Replication.Global, 1, 1)),
		unused("replication.storage", number(), "there is no disk tier"),
		used("replication.minimum", intValue(&c.Replication.Minimum, 1, maxKNs)),
		used("replication.local", intValue(&c.Replication.Local, 1, 1)),
	}
}

// maxThreads is what a port plan leaves room for and a node's ring takes.
const maxThreads = 64

// cachePolicyValue takes a policy's name; static has the share of values with it.
func cachePolicyValue(target *string) value {
	return textValue(target, "one of auto, paper, adaptive, static:SHARE (SHARE from 0 to 1), value-only, shortcut-only, none",
		func(word string) bool {
			if share, ok := strings.CutPrefix(word, "static:"); ok {
				f, err := strconv.ParseFloat(share, 64)
				return err == nil && f >= 0 && f <= 1
			}
			switch word {
			case CacheAuto, CachePaper, CacheAdaptive, CacheValueOnly, CacheShortcutOnly, CacheNone:
				return true
			}
			return false
		})
}

func policyKeys(p *Policy) []key {
	return []key{
		unused("policy.reconfiguration", flag(), "clients here always follow reconfigurations"),
		used("policy.elasticity", boolValue(&p.Elasticity)),
		used("policy.selective-rep", boolValue(&p.SelectiveReplication)),
		unused("policy.tiering", flag(), "there is one tier, the pool"),
		used("policy.batching", boolValue(&p.Batching)),
		used("policy.batchingthreshold", intValue(&p.BatchingThreshold, 1, 1_000_000)),
		used("policy.caching", boolValue(&p.Caching)),
		used("policy.adaptive-caching", boolValue(&p.AdaptiveCaching)),
		used("policy.weight-or-vratio", floatValue(&p.WeightOrValueRatio, 0, 1000)),
		used("policy.latencythreshold", durationValue(&p.LatencyThreshold, time.Microsecond, 0, time.Hour)),
		used("policy.using_avg_latency", boolValue(&p.UsingAverageLatency)),
		used("policy.perf-monitoring", boolValue(&p.PerfMonitoring)),
		used("policy.grace-period", durationValue(&p.GracePeriod, time.Second, 0, longest)),
		used("policy.timeout", durationValue(&p.Timeout, time.Millisecond, shortest, time.Hour)),
		used("policy.server-report-period", durationValue(&p.ServerReportPeriod, time.Second, 10*shortest, longest)),
		used("policy.server-key-monitor-period", durationValue(&p.KeyReportPeriod, time.Second, 10*shortest, longest)),
		used("policy.policy-decision-period", durationValue(&p.DecisionPeriod, time.Second, 10*shortest, longest)),
	}
}

func networkKeys(c *Config) []key {
	const somaxconn = "the operating system's limit (net.core.somaxconn) is used"
	return []key{
		used("net_config.request_puller_hwm", intValue(&c.Net.RequestQueue, 0, 1_000_000)),
		unused("net_config.request_puller_backlog", number(), somaxconn),
		unused("net_config.response_puller_hwm", number(), "a client takes every answer that has arrived before it sends more"),
		unused("net_config.response_puller_backlog", number(), somaxconn),
		used("ib_config.total_available_memory_nodes", intValue(&c.IB.MaxKNs, 1, maxKNs)),
		used("ib_config.num_initial_memory_nodes", intValue(&c.IB.InitialKNs, 1, maxKNs)),
		used("ib_config.num_initial_storage_nodes", intValue(new(int), 1, 1)),
		unused("ib_config.threads_per_memory", number(), "threads.memory counts"),
		unused("ib_config.threads_per_storage", number(), "threads.storage counts"),
		unused("ib_config.num_storage_managers", number(), "the DPM is one process"),
		unused("ib_config.msg_size", number(), "buffers are as large as what they carry"),
		used("ib_config.storage_node_ips", ipListValue{&c.IB.StorageNodeIPs}),
		unused("ib_config.clover_memc_ips", list(), "metadata is in the pool"),
		used("ib_config.sock_port", intValue(&c.IB.SocketPort, 0, 65535)),
		unused("ib_config.rank", rankValue(new(int)), "the pool gives each KN its rank, the same one to the same private IP"),
	}
}

func addressKeys(c *Config) []key {
	return []key{
		used("monitoring.mgmt_ip", optionalIPValue(&c.Monitoring.ManagementIP)),
		used("monitoring.ip", ipValue(&c.Monitoring.IP)),
		used("routing.monitoring", ipListValue{&c.Routing.Monitoring}),
		used("routing.ip", ipValue(&c.Routing.IP)),
		used("user.monitoring", ipListValue{&c.User.Monitoring}),
		used("user.routing", ipListValue{&c.User.Routing}),
		used("user.ip", ipValue(&c.User.IP)),
		used("user.routing-elb", textValue(&c.User.RoutingHost, "a host name or a numeric IP, or nothing for none", validHost)),
		used("server.monitoring", ipListValue{&c.Server.Monitoring}),
		used("server.routing", ipListValue{&c.Server.Routing}),
		used("server.seed_ip", ipValue(&c.Server.SeedIP)),
		used("server.public_ip", ipValue(&c.Server.PublicIP)),
		used("server.private_ip", ipValue(&c.Server.PrivateIP)),
		used("server.mgmt_ip", optionalIPValue(&c.Server.ManagementIP)),
		used("trigger.benchmark", ipListValue{&c.Trigger.Benchmark}),
		used("trigger.management", ipListValue{&c.Trigger.Management}),
	}
}

func validHost(word string) bool {
	const hostCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-"
	_, err := parseIP(word)
	return err == nil || len(word) <= 253 && strings.Trim(word, hostCharacters) == "" && !strings.HasPrefix(word, "-")
}

func dinomoKeys(d *Dinomo) []key {
	seconds := func(path string, target *time.Duration) key {
		return used(path, durationValue(target, time.Second, shortest, time.Hour))
	}
	bytes := func(path string, target *ByteSize, low, high ByteSize) key {
		return used(path, sizeValue(target, Byte, low, high))
	}
	return []key{
		used("dinomo.data-dir", textValue(&d.DataDirectory, "a directory", func(s string) bool { return s != "" })),
		used("dinomo.fabric", enumValue(&d.Fabric, FabricSHM, FabricTCP, FabricIBVerbs)),
		used("dinomo.ports", enumValue(&d.Ports, PortsDinomo, PortsAnna)),
		used("dinomo.lww", enumValue(&d.LWW, LWWArrival, LWWTimestamp)),
		used("dinomo.gc-percent", intValue(&d.GCPercent, 20, 2000)),
		used("dinomo.ring.virtual-nodes", intValue(&d.VirtualNodes, 1, 65536)),
		used("dinomo.pool.path", textValue(&d.Pool.Path, "a file", func(string) bool { return true })),
		used("dinomo.pool.durability", enumValue(&d.Pool.Durability, DurabilityVolatile, DurabilityProcess, DurabilityFsync, DurabilityDax)),
		used("dinomo.pool.unmerged-segments", intValue(&d.Pool.UnmergedSegments, 1, 1024)),
		used("dinomo.pool.compression", enumValue(&d.Pool.Compression, CompressionNone, CompressionS2, CompressionZstd)),
		bytes("dinomo.pool.compression-minimum", &d.Pool.CompressionMinBytes, 0, GiB),
		used("dinomo.dpm.addresses", ipListValue{&d.DPM.Addresses}),
		used("dinomo.rdma.setup", enumValue(&d.RDMA.Setup, RDMASetupAuto, RDMASetupCM, RDMASetupSocket)),
		used("dinomo.rdma.device", textValue(&d.RDMA.Device, "a device's name, as in /sys/class/infiniband", func(s string) bool { return !strings.Contains(s, "/") })),
		used("dinomo.rdma.port", intValue(&d.RDMA.Port, 0, 255)),
		used("dinomo.rdma.gid-index", intValue(&d.RDMA.GIDIndex, -1, 255)),
		used("dinomo.rdma.retries", intValue(&d.RDMA.Retries, 1, 6)),
		used("dinomo.rdma.ack-timeout", intValue(&d.RDMA.AckTimeout, 1, 31)),
		used("dinomo.rdma.polls", intValue(&d.RDMA.Polls, 1, 1_000_000_000)),
		used("dinomo.rdma.persist", enumValue(&d.RDMA.Persist, PersistProcessor, PersistRead)),
		bytes("dinomo.limits.key", &d.Limits.KeyBytes, 1, 64*KiB),
		bytes("dinomo.limits.value", &d.Limits.ValueBytes, 0, maxEntryBytes),
		used("dinomo.limits.tuples", intValue(&d.Limits.Tuples, 1, 65536)),
		bytes("dinomo.limits.message", &d.Limits.MessageBytes, 4*KiB, GiB),
		used("dinomo.limits.connections", intValue(&d.Limits.Connections, 1, 1_000_000)),
		bytes("dinomo.limits.in-flight", &d.Limits.InFlightBytes, 4*KiB, GiB),
		bytes("dinomo.limits.send-queue", &d.Limits.SendQueueBytes, 4*KiB, GiB),
		used("dinomo.limits.service-rate", intValue(&d.Limits.ServiceRate, 0, 1_000_000_000)),
		seconds("dinomo.lease.length", &d.Lease.Length),
		seconds("dinomo.lease.renew-period", &d.Lease.RenewPeriod),
		seconds("dinomo.lease.margin", &d.Lease.Margin),
		seconds("dinomo.timeouts.verb", &d.Timeouts.Verb),
		seconds("dinomo.timeouts.handshake", &d.Timeouts.Handshake),
		seconds("dinomo.timeouts.reconfiguration", &d.Timeouts.Reconfiguration),
		seconds("dinomo.timeouts.shutdown", &d.Timeouts.Shutdown),
		used("dinomo.actors.mailbox", intValue(&d.Actors.Mailbox, 16, 1_000_000)),
		used("dinomo.actors.restarts-per-minute", intValue(&d.Actors.RestartsPerMinute, 1, 1000)),
	}
}

func dinomoPolicyKeys(d *Dinomo) []key {
	p := &d.Policy
	return []key{
		used("dinomo.policy.min-kns", intValue(&p.MinKNs, 1, maxKNs)),
		used("dinomo.policy.max-kns", intValue(&p.MaxKNs, 1, maxKNs)),
		used("dinomo.policy.add-above-occupancy", floatValue(&p.AddAboveOccupancy, 0, 1)),
		used("dinomo.policy.remove-below-occupancy", floatValue(&p.RemoveBelowOccupancy, 0, 1)),
		used("dinomo.policy.add-kns", intValue(&p.AddKNs, 1, 64)),
		used("dinomo.policy.hot-key-deviations", floatValue(&p.HotKeyDeviations, 0, 100)),
		used("dinomo.policy.hot-key-min-accesses", intValue(&p.HotKeyMinAccesses, 1, 1_000_000_000)),
		used("dinomo.policy.cold-key-deviations", floatValue(&p.ColdKeyDeviations, 0, 100)),
		used("dinomo.policy.replication-step", intValue(&p.ReplicationStep, 1, maxKNs)),
		used("dinomo.policy.max-replicated-keys", intValue(&p.MaxReplicatedKeys, 1, 16384)),
		used("dinomo.policy.replications-per-decision", intValue(&p.ReplicationsPerDecision, 1, 16384)),
		used("dinomo.manage.provisioner", enumValue(&d.Manage.Provisioner, ProvisionerLocal, ProvisionerKube)),
		used("dinomo.manage.max-nodes", intValue(&d.Manage.MaxNodes, 1, 1024)),
	}
}
