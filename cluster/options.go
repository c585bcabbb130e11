package cluster

import (
	"fmt"
	"math"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/dinomo-kv/dinomo/actors/client"
	"github.com/dinomo-kv/dinomo/actors/dpmnode"
	"github.com/dinomo-kv/dinomo/actors/kn"
	"github.com/dinomo-kv/dinomo/actors/monitor"
	"github.com/dinomo-kv/dinomo/actors/monitor/coordinator"
	"github.com/dinomo-kv/dinomo/actors/monitor/policy"
	"github.com/dinomo-kv/dinomo/actors/route"
	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/conf"
	"github.com/dinomo-kv/dinomo/dac"
	"github.com/dinomo-kv/dinomo/dpm"
	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/backends"
	"github.com/dinomo-kv/dinomo/dpm/fabric/ibverbs"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/dpm/remote"
	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// Env is a process's surroundings.
type Env struct {
	// Version is printed first by every role.
	Version string
	// Logf receives log lines. Nil: silent.
	Logf func(format string, args ...any)
}

func (e Env) logf() func(string, ...any) {
	if e.Logf == nil {
		return func(string, ...any) {}
	}
	return e.Logf
}

// Plan returns the configured port numbers.
func Plan(c *conf.Config) (messages.Plan, error) { return messages.ParsePlan(c.Dinomo.Ports) }

// backend returns the configured way to the pool, or why this binary has none.
func backend(c *conf.Config) (backends.Backend, error) {
	b, err := backends.Lookup(c.Dinomo.Fabric, FabricOptions(c))
	if err != nil {
		return b, err
	}
	return b, b.Available
}

// FabricOptions returns the configured options of the fabrics that have some.
func FabricOptions(c *conf.Config) backends.Options {
	r := &c.Dinomo.RDMA
	return backends.Options{IBVerbs: ibverbs.Options{
		Setup: ibverbs.Setup(c.RDMASetup()), Device: r.Device, Port: r.Port, GID: max(r.GIDIndex, -1) + 1,
		Retries: r.Retries, AckTimeout: r.AckTimeout, Polls: r.Polls, Persist: ibverbs.Persist(r.Persist),
	}}
}

// MessageLimits returns the limits of the request plane.
func MessageLimits(c *conf.Config) messages.Limits {
	l := &c.Dinomo.Limits
	return messages.Limits{MaxTuples: l.Tuples, MaxKeyBytes: int(l.KeyBytes), MaxPayloadBytes: int(l.ValueBytes) + payloadRoom}
}

// payloadRoom is what a lattice's own fields may take beside the value.
const payloadRoom = 1 << 10

// pullOptions returns the options of request sockets.
func pullOptions(c *conf.Config, queue int) runtime.PullOptions {
	l := &c.Dinomo.Limits
	return runtime.PullOptions{
		MaxFrameBytes: int(l.MessageBytes), MaxConnections: l.Connections, InFlightBytesPerConnection: int(l.InFlightBytes),
		HandshakeTimeout: c.Dinomo.Timeouts.Handshake, QueueBatches: queue,
		LargeFrameBytes: max(256<<20, 2*int64(l.MessageBytes)),
	}
}

func peersOptions(c *conf.Config, ip string) runtime.PeersOptions {
	queue := int(c.Dinomo.Limits.SendQueueBytes)
	return runtime.PeersOptions{Push: runtime.PushOptions{QueueBytes: queue, LocalIP: DialFrom(ip)}, QueueBytes: max(64<<20, 2*queue)}
}

// controlLinger is how long a node that ends waits for its last messages to leave.
const controlLinger = 200 * time.Millisecond

// transportOptions returns the options of the control plane of the node at ip.
func transportOptions(c *conf.Config, ip string) runtime.TCPOptions {
	return runtime.TCPOptions{
		Pull: runtime.PullOptions{
			MaxFrameBytes: messages.MaxMessageBytes, MaxConnections: c.Dinomo.Limits.Connections, HandshakeTimeout: c.Dinomo.Timeouts.Handshake,
		},
		// Messages that nobody takes within it are those for nodes that have ended already.
		Linger: controlLinger,
		Req:    runtime.ReqOptions{LocalIP: DialFrom(ip)},
		Peers:  runtime.PeersOptions{Push: runtime.PushOptions{LocalIP: DialFrom(ip)}},
	}
}

// DialFrom returns the address that a node connects from: its own where all nodes share a loopback, so that a firewall (and
// whoever reads a packet trace) can tell them apart, and elsewhere none, which leaves it to the routes.
func DialFrom(ip string) netip.Addr {
	if a, err := netip.ParseAddr(ip); err == nil && a.IsLoopback() {
		return a
	}
	return netip.Addr{}
}

// DPMOptions makes the options of a DPM node.
func DPMOptions(c *conf.Config, env Env) (dpmnode.Options, error) {
	plan, err := Plan(c)
	if err != nil {
		return dpmnode.Options{}, err
	}
	b, err := backend(c)
	if err != nil {
		return dpmnode.Options{}, err
	}
	durability, err := pmem.ParseDurability(c.Dinomo.Pool.Durability)
	if err != nil {
		return dpmnode.Options{}, err
	}
	return dpmnode.Options{
		IP: c.DPMAddress(), Plan: plan, VerbsPort: c.IB.SocketPort,
		Pool: dpm.Options{
			Path: c.PoolPath(), Bytes: uint64(c.PoolBytes()), Shape: format.Shape{SegmentBytes: uint64(c.KVS.SegmentBytes)},
			Durability: durability, Sparse: true, Workers: c.Threads.Merge,
			// The configured number counts what waits to be merged; a thread also has one segment open and some ready.
			UnmergedSegments: c.Dinomo.Pool.UnmergedSegments + 1 + c.KVS.PreallocSegments,
			LeaseLength:      c.Dinomo.Lease.Length, LeaseMargin: c.Dinomo.Lease.Margin,
		},
		Listen: func(p *dpm.Pool, o fabric.ListenOptions) (fabric.Listener, error) {
			return b.Listen(p.Region(), p.Service(c.Dinomo.Fabric == conf.FabricSHM), o)
		},
		Mailbox: c.Dinomo.Actors.Mailbox, Transport: transportOptions(c, c.DPMAddress()), Logf: env.logf(),
	}, nil
}

// verbsAddress returns "ip:port" of the DPM's verbs.
func verbsAddress(c *conf.Config, plan messages.Plan) (string, error) {
	a, err := plan.Address(c.DPMAddress(), messages.DPMVerbs, 0)
	if c.IB.SocketPort != 0 {
		a.Port = uint16(c.IB.SocketPort)
	}
	return a.HostPort(), err
}

// KNOptions makes the options of a KN.
func KNOptions(c *conf.Config, env Env) (kn.Options, error) {
	plan, err := Plan(c)
	if err != nil {
		return kn.Options{}, err
	}
	b, err := backend(c)
	if err != nil {
		return kn.Options{}, err
	}
	address, err := verbsAddress(c, plan)
	if err != nil {
		return kn.Options{}, err
	}
	lww, err := lattice.ParseMode(c.Dinomo.LWW)
	if err != nil {
		return kn.Options{}, err
	}
	compression, err := remote.ParseCompression(c.Dinomo.Pool.Compression)
	if err != nil {
		return kn.Options{}, err
	}
	entries := c.Policy.BatchingThreshold
	if !c.Policy.Batching {
		entries = 1
	}
	return kn.Options{
		Dialer: b.Dialer, DPM: address, PrivateIP: c.Server.PrivateIP, PublicIP: c.Server.PublicIP,
		Threads: c.Threads.KN, Plan: plan, Monitors: c.Server.Monitoring, Routes: c.Server.Routing,
		Seed: c.Server.SeedIP, Manage: c.Server.ManagementIP,
		Cache: dac.Options{Policy: c.CachePolicy(), BudgetBytes: int(c.CacheBytesPerThread())},
		Appender: remote.AppenderOptions{
			BatchEntries: entries, Prealloc: min(c.KVS.PreallocSegments, 16),
			Compression: compression, CompressAbove: int(c.Dinomo.Pool.CompressionMinBytes),
		},
		LWW: lww, Limits: MessageLimits(c), Pull: pullOptions(c, c.Net.RequestQueue), Peers: peersOptions(c, c.Server.PrivateIP),
		LocalIP:     DialFrom(c.Server.PrivateIP),
		VerbTimeout: c.Dinomo.Timeouts.Verb, RenewPeriod: c.Dinomo.Lease.RenewPeriod,
		ServiceRate:  c.Dinomo.Limits.ServiceRate,
		ReportPeriod: c.Policy.ServerReportPeriod, KeyReportPeriod: c.Policy.KeyReportPeriod,
		// Longer than a coordinator works on a change, so that normally the coordinator decides.
		ResumeTimeout: c.Dinomo.Timeouts.Reconfiguration * 3 / 2,
		Logf:          env.logf(),
	}, nil
}

// RouteOptions makes the options of a routing node.
func RouteOptions(c *conf.Config, env Env) (route.Options, error) {
	plan, err := Plan(c)
	return route.Options{
		IP: c.Routing.IP, Plan: plan, Threads: c.Threads.Routing, DPM: c.DPMAddress(), Monitors: c.Routing.Monitoring,
		Limits: MessageLimits(c), Pull: pullOptions(c, c.Net.RequestQueue), Peers: peersOptions(c, c.Routing.IP),
		Mailbox: c.Dinomo.Actors.Mailbox, Transport: transportOptions(c, c.Routing.IP),
		Logf: env.logf(),
	}, err
}

// MonitorOptions makes the options of an M-node.
func MonitorOptions(c *conf.Config, env Env) (monitor.Options, error) {
	plan, err := Plan(c)
	return monitor.Options{
		IP: c.Monitoring.IP, Plan: plan, DPM: c.DPMAddress(), Management: c.Monitoring.ManagementIP,
		Coordinator: coordinator.Options{
			InitialKNs: c.IB.InitialKNs, VirtualNodes: c.Dinomo.VirtualNodes,
			PrepareTimeout: c.Dinomo.Timeouts.Reconfiguration, Lease: c.Dinomo.Lease.Length, LeaseMargin: c.Dinomo.Lease.Margin,
		},
		Policy: policyOptions(c), MaxReplicatedKeys: c.Dinomo.Policy.MaxReplicatedKeys,
		SummaryPeriod: c.Policy.DecisionPeriod, Mailbox: c.Dinomo.Actors.Mailbox, Transport: transportOptions(c, c.Monitoring.IP), Logf: env.logf(),
	}, err
}

// policyOptions returns the constants of the M-node's policy.
func policyOptions(c *conf.Config) policy.Options {
	p := &c.Dinomo.Policy
	return policy.Options{
		Elasticity: c.Policy.Elasticity, SelectiveReplication: c.Policy.SelectiveReplication,
		OnMean: c.Policy.UsingAverageLatency, SLO: c.SLO(),
		AddOccupancy: given(p.AddAboveOccupancy), RemoveOccupancy: given(p.RemoveBelowOccupancy), MinKNs: p.MinKNs, MaxKNs: min(p.MaxKNs, c.IB.MaxKNs),
		HotDeviations: given(p.HotKeyDeviations), ColdDeviations: given(p.ColdKeyDeviations), MinimumReplication: c.Replication.Minimum,
		MinHotAccesses: p.HotKeyMinAccesses,
		GracePeriod:    max(c.Policy.GracePeriod, 1), // 0 would stand for the default
		AddKNs:         p.AddKNs, ReplicationStep: p.ReplicationStep, MaxKeys: p.ReplicationsPerDecision,
	}
}

// given keeps a configured 0 from standing for the default.
func given(x float64) float64 { return max(x, math.SmallestNonzeroFloat64) }

// ClientOptions makes the options of a client at an IP.
func ClientOptions(c *conf.Config, env Env) (client.Options, error) {
	plan, err := Plan(c)
	if err != nil {
		return client.Options{}, err
	}
	ips := c.User.Routing
	if c.User.RoutingHost != "" {
		if ips, err = resolve(c.User.RoutingHost); err != nil {
			return client.Options{}, err
		}
	}
	routing, err := client.RoutingEndpoints(plan, ips, c.Threads.Routing)
	if err != nil {
		return client.Options{}, err
	}
	return client.Options{
		Routing: routing, IP: c.User.IP, LocalIP: DialFrom(c.User.IP), Plan: plan, AttemptTimeout: c.Policy.Timeout,
		OperationTimeout: max(20*c.Policy.Timeout, c.Policy.Timeout), MaxAnswerBytes: int(c.Dinomo.Limits.MessageBytes), Logf: env.logf(),
	}, nil
}

// LogDirectory is where the processes that a management node starts write their logs.
func LogDirectory(c *conf.Config) string { return filepath.Join(c.Dinomo.DataDirectory, "logs") }

// describe says on a line what a role was configured with, for the first lines of its log.
func describe(l *conf.Loaded) string {
	notes := slices.Clone(l.Notes)
	if len(notes) == 0 {
		return ""
	}
	return fmt.Sprintf("%d configured values have no effect here, --print-config lists them", len(notes))
}
