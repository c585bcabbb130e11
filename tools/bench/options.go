package bench

import (
	"fmt"
	"time"

	"github.com/dinomo-kv/dinomo/actors/client"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/internal/random"
	"github.com/dinomo-kv/dinomo/messages"
)

// Options configures a benchmark node, or threads without one. Client.Routing is required; the zero value of every other
// field means its default.
type Options struct {
	// IP is the node's own, where it listens. Default 127.0.0.1.
	IP string
	// Threads is how many generate load (default 1). Each has a client and a command socket of its own.
	Threads int
	// NodeIndex is this node's number among Nodes benchmark nodes (default 0 of 1): it decides which keys LOAD takes and which
	// numbers inserts use.
	NodeIndex, Nodes int
	// Plan numbers the sockets.
	Plan messages.Plan
	// AnyPort binds free ports rather than the plan's.
	AnyPort bool

	// Client is the template of the threads' clients: Routing is required. IP, Plan, PortOffset, AnyPort, Clock and Seed
	// are set from these options; thread t adds t to Client.PortOffset.
	Client client.Options
	// LoadOutstanding is how many operations LOAD, WARM and CACHE keep outstanding on each thread, as their commands do not
	// say (default 64).
	LoadOutstanding int

	// Monitors are the IPs of the monitoring nodes; they get feedback and reports.
	Monitors []string
	// ReportTo are control endpoints that get reports too, beside those that subscribe (see Node).
	ReportTo []string
	// ProgressPeriod is how often a phase without a report period of its own says how far it is (default 1 s).
	ProgressPeriod time.Duration
	// QueuedCommands is how many commands wait behind the one that a thread is at (default 16). Further ones are refused.
	QueuedCommands int
	// Progress is called now and then, from the threads' goroutines: it must be quick. Nil: nobody watches.
	Progress func(Progress)

	// Seed of the keys drawn; thread t of node n has one that follows from it. 0 takes a fresh one.
	Seed  uint64
	Clock clock.Clock
	Logf  func(format string, args ...any)
}

// Progress is how far a thread is with a phase.
type Progress struct {
	Thread  int
	Command string
	// Operations that have ended, of Total; 0 where time limits the phase.
	Operations, Total uint64
	// Elapsed time, of Duration; 0 where the operations do.
	Elapsed, Duration time.Duration
	// Finished is set in a phase's last one.
	Finished bool
}

// Fraction returns how much of the phase is done, 0 to 1.
func (p Progress) Fraction() float64 {
	switch {
	case p.Finished:
		return 1
	case p.Total > 0:
		return min(1, float64(p.Operations)/float64(p.Total))
	case p.Duration > 0:
		return min(1, float64(p.Elapsed)/float64(p.Duration))
	}
	return 0
}

// EnsureDefaults fills the fields that are zero.
func (o *Options) EnsureDefaults() {
	if o.IP == "" {
		o.IP = "127.0.0.1"
	}
	o.Threads = orDefault(o.Threads, 1)
	o.Nodes = orDefault(o.Nodes, 1)
	o.LoadOutstanding = orDefault(o.LoadOutstanding, 64)
	o.ProgressPeriod = orDefault(o.ProgressPeriod, time.Second)
	o.QueuedCommands = orDefault(o.QueuedCommands, 16)
	o.Seed = orDefault(o.Seed, random.FreshSeed())
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
}

func orDefault[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}

// Validate says what is wrong with the options, after EnsureDefaults.
func (o *Options) Validate() error {
	switch {
	case o.Threads < 1 || o.Threads > o.Plan.MaxThreads():
		return fmt.Errorf("bench options: %d threads; the %s plan allows 1 to %d", o.Threads, o.Plan, o.Plan.MaxThreads())
	case o.NodeIndex < 0 || o.NodeIndex >= o.Nodes:
		return fmt.Errorf("bench options: node %d of %d; want 0 to %d", o.NodeIndex, o.Nodes, o.Nodes-1)
	case o.LoadOutstanding < 1 || o.QueuedCommands < 1 || o.ProgressPeriod < 0:
		return fmt.Errorf("bench options: LoadOutstanding, QueuedCommands and ProgressPeriod must be positive")
	}
	for _, ip := range o.Monitors {
		if _, err := messages.ParseIP(ip); err != nil {
			return fmt.Errorf("bench options: monitoring node: %w", err)
		}
	}
	for _, address := range o.ReportTo {
		if _, err := messages.ParseAddress(address); err != nil {
			return fmt.Errorf("bench options: report address: %w", err)
		}
	}
	return nil
}

// clientOptions returns the options of a thread's client.
func (o *Options) clientOptions(thread int) client.Options {
	c := o.Client
	c.IP, c.Plan, c.AnyPort, c.Clock = o.IP, o.Plan, o.AnyPort, o.Clock
	c.PortOffset += thread
	c.Seed = o.threadSeed(thread)
	if c.Logf == nil {
		c.Logf = o.Logf
	}
	// Scans multiply what is outstanding; the command's own numbers are the limits that count.
	c.MaxOutstanding = 1 << 16
	c.MaxPayloadBytes = orDefault(c.MaxPayloadBytes, 2<<30)
	// Uniform draws from a large data set should not measure the routing nodes.
	c.CachedAddresses = orDefault(c.CachedAddresses, 8<<20)
	return c
}

// threadSeed returns the seed of a thread of this node.
func (o *Options) threadSeed(thread int) uint64 {
	return o.Seed + uint64(o.NodeIndex)<<32 + uint64(thread)<<16 + 1
}
