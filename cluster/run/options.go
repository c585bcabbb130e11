package run

import (
	"fmt"
	"time"

	"github.com/dinomo-kv/dinomo/messages"
)

// Options says what to run, and against which cluster. The addresses are required; the zero value of every other field
// means its default.
type Options struct {
	// IP is where the runner listens.
	IP   string
	Plan messages.Plan
	// DPM, Benches are the nodes' IPs; BenchThreads is how many threads each benchmark node has.
	DPM          string
	Benches      []string
	BenchThreads int

	// Keys and ValueBytes are the data set's. Defaults 200,000 and 1,006.
	Keys       uint64
	ValueBytes int
	// Zipf is the skew of the keys drawn, 0 for none. Outstanding is how many operations are under way in all, shared
	// among the benchmark threads. Default 64.
	Zipf        float64
	Outstanding int
	// Mixes are the phases after the load, each Seconds long (default 10). Default 95/5, then 50/50.
	Mixes   []Mix
	Seconds float64
	// Warm is how many reads each benchmark thread does before the first mix, so that the caches have something to keep.
	// Default Keys over the number of threads; negative: none.
	Warm int64

	// PhaseTimeout bounds a phase beyond its own time, the load included. Default 10 min.
	PhaseTimeout time.Duration
	// Progress is told how far a phase is, 0 to 1. Nil: nobody is.
	Progress func(phase string, fraction float64)

	// Commit and Configuration go into the report as they are.
	Commit        string
	Configuration map[string]string
}

// Mix is a phase of reads and writes.
type Mix struct {
	Name      string
	ReadRatio float64
	// Inserts has writes make new keys; otherwise they update those that were loaded.
	Inserts bool
}

// DefaultMixes are 95/5 and 50/50.
func DefaultMixes() []Mix {
	return []Mix{{Name: "95/5", ReadRatio: 0.95}, {Name: "50/50", ReadRatio: 0.5}}
}

// EnsureDefaults fills zero fields.
func (o *Options) EnsureDefaults() {
	if o.BenchThreads == 0 {
		o.BenchThreads = 1
	}
	if o.Keys == 0 {
		o.Keys = 200_000
	}
	if o.ValueBytes == 0 {
		o.ValueBytes = 1006
	}
	if o.Outstanding == 0 {
		o.Outstanding = 64
	}
	if o.Mixes == nil {
		o.Mixes = DefaultMixes()
	}
	if o.Seconds == 0 {
		o.Seconds = 10
	}
	if o.Warm == 0 {
		o.Warm = int64(o.Keys) / int64(max(o.threads(), 1))
	}
	if o.PhaseTimeout == 0 {
		o.PhaseTimeout = 10 * time.Minute
	}
	if o.Progress == nil {
		o.Progress = func(string, float64) {}
	}
}

// Validate says what is missing or out of range.
func (o *Options) Validate() error {
	switch {
	case len(o.Benches) == 0:
		return fmt.Errorf("run: no benchmark node")
	case o.Zipf < 0 || o.ValueBytes < 0 || o.Seconds <= 0:
		return fmt.Errorf("run: zipf and value length must not be negative, seconds positive")
	case o.Outstanding < o.threads():
		return fmt.Errorf("run: %d operations outstanding on %d benchmark threads; want at least one each", o.Outstanding, o.threads())
	}
	for _, m := range o.Mixes {
		if m.ReadRatio < 0 || m.ReadRatio > 1 {
			return fmt.Errorf("run: read ratio %v; want 0 to 1", m.ReadRatio)
		}
	}
	return nil
}

// threads is how many benchmark threads there are.
func (o *Options) threads() int { return o.BenchThreads * len(o.Benches) }

// outstanding is each benchmark thread's share.
func (o *Options) outstanding() int { return max(o.Outstanding/o.threads(), 1) }
