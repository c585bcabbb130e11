package bench

import (
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/internal/latency"
)

// Report is what Run measured. Its JSON form is stable.
type Report struct {
	Fabric     string   `json:"fabric"`
	Address    string   `json:"address"`
	OwnPool    bool     `json:"own_pool"`
	PoolBytes  uint64   `json:"pool_bytes"`
	Durability string   `json:"durability"`
	Machine    Machine  `json:"machine"`
	Results    []Result `json:"results"`
}

// Machine is where the dialling end ran.
type Machine struct {
	System     string `json:"system"`
	Processors int    `json:"processors"`
	Go         string `json:"go"`
}

// Result is one measurement.
type Result struct {
	Verb                string          `json:"verb"`
	Bytes               int             `json:"bytes"`
	Batch               int             `json:"batch"`
	QueuePairs          int             `json:"queue_pairs"`
	Posts               uint64          `json:"posts"`
	VerbsPerSecond      float64         `json:"verbs_per_second"`
	MegabytesPerSecond  float64         `json:"megabytes_per_second"` // 10^6 bytes of payload
	LatencyMicroseconds latency.Summary `json:"latency_us"`           // of one Post or Call
	// DoorbellsPerPost is there with ibverbs only: more than 1 where a batch does not fit one chain of work requests.
	DoorbellsPerPost float64 `json:"doorbells_per_post,omitempty"`
}

func newReport(o Options, s fabric.Session, own bool) Report {
	return Report{
		Fabric: o.Backend, Address: o.Address, OwnPool: own, PoolBytes: s.PoolBytes, Durability: s.Durability.String(),
		Machine: Machine{System: runtime.GOOS + "/" + runtime.GOARCH, Processors: runtime.NumCPU(), Go: runtime.Version()},
	}
}

func newResult(c testCase, times *latency.Histogram, elapsed time.Duration) Result {
	rate := float64(times.Count()) * float64(c.batch) / elapsed.Seconds()
	payload := float64(c.bytes)
	if c.kind == fabric.Flush {
		payload = 0 // it moves none
	}
	return Result{
		Verb: c.verb, Bytes: c.bytes, Batch: c.batch, QueuePairs: c.qps, Posts: times.Count(),
		VerbsPerSecond: rate, MegabytesPerSecond: rate * payload / 1e6,
		LatencyMicroseconds: times.Summary(),
	}
}

// String returns the measurement as a line of the text report.
func (r Result) String() string {
	l := r.LatencyMicroseconds
	return fmt.Sprintf("%-9s %8d %6d %4d %12.0f %10.1f %9.2f %9.2f %9.2f %10.2f %10.2f",
		r.Verb, r.Bytes, r.Batch, r.QueuePairs, r.VerbsPerSecond, r.MegabytesPerSecond, l.Mean, l.P50, l.P99, l.P999, l.Max)
}

// Header names the columns of Result.String.
const Header = "verb         bytes  batch  qps      verbs/s       MB/s   mean us    p50 us    p99 us    p999 us     max us"

// String returns the report as text.
func (r Report) String() string {
	var b strings.Builder
	whose := "a pool of its own"
	if !r.OwnPool {
		whose = "the pool at " + r.Address
	}
	fmt.Fprintf(&b, "fabric %s, %s: %d MiB, %s; %s, %d processors, %s\n", r.Fabric, whose, r.PoolBytes>>20, r.Durability,
		r.Machine.System, r.Machine.Processors, r.Machine.Go)
	fmt.Fprintln(&b, Header)
	for _, result := range r.Results {
		fmt.Fprintln(&b, result)
	}
	return b.String()
}
