package bench

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/dinomo-kv/dinomo/internal/latency"
	"github.com/dinomo-kv/dinomo/messages"
)

// Result is what one phase did, on one thread or on several.
type Result struct {
	// Command is the line that was carried out.
	Command string
	// Threads is how many threads' results are in this one.
	Threads int
	// Operations ended, with an error or not.
	Operations uint64
	// InTime of them ended before the phase's time was over: all, for a phase without a time.
	InTime uint64
	// Errors counts operations that failed, by the error's name on the wire. A get of a missing key is KEY_DNE.
	Errors map[string]uint64
	// FirstError is the text of one of them.
	FirstError string
	// Seconds is the phase's time, without stragglers.
	Seconds float64
	// Reads and Writes are the latencies of operations by what they did to the key; a read-modify-write is a write.
	Reads, Writes *latency.Histogram
	// Refusal says why the command was not carried out, when it was not.
	Refusal string
}

func newResult(command string) *Result {
	return &Result{Command: command, Threads: 1, Errors: make(map[string]uint64), Reads: latency.New(), Writes: latency.New()}
}

// Throughput returns operations a second.
func (r *Result) Throughput() float64 {
	if r.Seconds <= 0 {
		return 0
	}
	return float64(r.InTime) / r.Seconds
}

// All returns the latencies of all operations.
func (r *Result) All() *latency.Histogram {
	all := latency.New()
	all.Merge(r.Reads)
	all.Merge(r.Writes)
	return all
}

// Failed returns how many operations failed; a missing key is not a failure here.
func (r *Result) Failed() uint64 {
	n := uint64(0)
	for name, count := range r.Errors {
		if name != messages.AnnaError_KEY_DNE.String() {
			n += count
		}
	}
	return n
}

// Merge returns the results of threads that worked at the same time as one. Throughput is that of the longest of them: where
// all have the same time, the sum.
func Merge(results ...*Result) *Result {
	out := newResult("")
	out.Threads = 0
	for _, r := range results {
		out.Command = cmp.Or(out.Command, r.Command)
		out.Threads += r.Threads
		out.Operations += r.Operations
		out.InTime += r.InTime
		for name, n := range r.Errors {
			out.Errors[name] += n
		}
		out.FirstError = cmp.Or(out.FirstError, r.FirstError)
		out.Refusal = cmp.Or(out.Refusal, r.Refusal)
		out.Seconds = max(out.Seconds, r.Seconds)
		out.Reads.Merge(r.Reads)
		out.Writes.Merge(r.Writes)
	}
	return out
}

// Summary is a Result as reports write it. Latencies are microseconds.
type Summary struct {
	Command      string            `json:"command"`
	Threads      int               `json:"threads"`
	Operations   uint64            `json:"operations"`
	Reads        uint64            `json:"reads"`
	Writes       uint64            `json:"writes"`
	Seconds      float64           `json:"seconds"`
	Throughput   float64           `json:"throughput_ops_per_second"`
	Latency      latency.Summary   `json:"latency_us"`
	ReadLatency  latency.Summary   `json:"read_latency_us"`
	WriteLatency latency.Summary   `json:"write_latency_us"`
	Errors       map[string]uint64 `json:"errors"`
	FirstError   string            `json:"first_error,omitempty"`
	Refusal      string            `json:"refusal,omitempty"`
}

// Summary returns the figures of r.
func (r *Result) Summary() Summary {
	return Summary{
		Command: r.Command, Threads: r.Threads, Operations: r.Operations, Reads: r.Reads.Count(), Writes: r.Writes.Count(),
		Seconds: r.Seconds, Throughput: r.Throughput(), Latency: r.All().Summary(), ReadLatency: r.Reads.Summary(),
		WriteLatency: r.Writes.Summary(), Errors: maps.Clone(r.Errors), FirstError: r.FirstError, Refusal: r.Refusal,
	}
}

// String returns what WriteText prints, without the last line's end.
func (s Summary) String() string {
	var b strings.Builder
	s.WriteText(&b)
	return strings.TrimSuffix(b.String(), "\n")
}

// WriteText prints the figures for people.
func (s Summary) WriteText(w io.Writer) {
	fmt.Fprintf(w, "%s\n", s.Command)
	if s.Refusal != "" {
		fmt.Fprintf(w, "  refused: %s\n", s.Refusal)
		return
	}
	fmt.Fprintf(w, "  %d operations in %.2f s on %d threads: %.0f a second\n", s.Operations, s.Seconds, s.Threads, s.Throughput)
	row := func(name string, n uint64, l latency.Summary) {
		if n > 0 {
			fmt.Fprintf(w, "  %-6s %10d   mean %.0f  p50 %.0f  p99 %.0f  p99.9 %.0f  max %.0f us\n", name, n, l.Mean, l.P50, l.P99, l.P999, l.Max)
		}
	}
	row("reads", s.Reads, s.ReadLatency)
	row("writes", s.Writes, s.WriteLatency)
	if len(s.Errors) > 0 {
		fmt.Fprintf(w, "  errors: %s\n", formatErrors(s.Errors))
	}
	if s.Errors[messages.AnnaError_KEY_DNE.String()] > 0 {
		fmt.Fprintf(w, "  KEY_DNE: keys that were read do not exist; LOAD as many as this command names first\n")
	}
	if s.FirstError != "" {
		fmt.Fprintf(w, "  one of them: %s\n", s.FirstError)
	}
}

// formatErrors lists counts by name, in the order of the names.
func formatErrors(errs map[string]uint64) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(errs)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, errs[name]))
	}
	return strings.Join(parts, ", ")
}

// Report returns r as the message that benchmark threads send at the end of a phase.
func (r *Result) Report(uid string, warmup bool) (*messages.BenchReport, error) {
	m := &messages.BenchReport{
		Uid: uid, Phase: r.Command, Operations: r.Operations, Errors: r.Errors, Seconds: r.Seconds,
		GetOperations_: r.Reads.Count(), PutOperations: r.Writes.Count(), Finish: true, Warmup: warmup, Refusal: r.Refusal,
	}
	var err error
	for _, h := range []struct {
		from *latency.Histogram
		to   *[]byte
	}{{r.All(), &m.LatencyHistogram}, {r.Reads, &m.GetLatencyHistogram_}, {r.Writes, &m.PutLatencyHistogram}} {
		if *h.to, err = h.from.Encode(); err != nil {
			return nil, fmt.Errorf("report of %s: %w", r.Command, err)
		}
	}
	return m, nil
}

// maxErrorNames bounds the map of errors that a report may bring.
const maxErrorNames = 64

// ResultOf is the inverse of Result.Report. Stragglers are not told apart in a report, so all operations count as in time.
func ResultOf(m *messages.BenchReport) (*Result, error) {
	r := newResult(m.Phase)
	r.Operations, r.InTime, r.Seconds, r.Refusal = m.Operations, m.Operations, m.Seconds, m.Refusal
	if len(m.Errors) > maxErrorNames {
		return nil, fmt.Errorf("report of %s: %d kinds of errors; at most %d", m.Uid, len(m.Errors), maxErrorNames)
	}
	maps.Copy(r.Errors, m.Errors)
	var err error
	if r.Reads, err = latency.Decode(m.GetLatencyHistogram_); err != nil {
		return nil, fmt.Errorf("report of %s: %w", m.Uid, err)
	}
	if r.Writes, err = latency.Decode(m.PutLatencyHistogram); err != nil {
		return nil, fmt.Errorf("report of %s: %w", m.Uid, err)
	}
	return r, nil
}
