package run

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dinomo-kv/dinomo/actors/monitor/figures"
	"github.com/dinomo-kv/dinomo/internal/latency"
)

// Report is what a run found. Its JSON names are part of the product.
type Report struct {
	Configuration map[string]string `json:"configuration"`
	Commit        string            `json:"commit"`
	Machine       Machine           `json:"machine"`
	Phases        []Phase           `json:"phases"`
}

// Machine is where the run took place.
type Machine struct {
	System string `json:"system"`
	CPU    string `json:"cpu"`
	CPUs   int    `json:"cpus"`
	Memory string `json:"memory"`
	Go     string `json:"go"`
}

// Phase is one command's work.
type Phase struct {
	Name    string  `json:"name"`
	Command string  `json:"command"`
	Seconds float64 `json:"seconds"`
	// Total holds what clients saw, and the KNs' figures together. KNs hold what each KN did: its latencies are those of the
	// batches of requests inside the KN, without the network.
	Total Figures `json:"total"`
	KNs   []KN    `json:"kns"`
	// Counters are what all KNs did together, not yet divided.
	Counters figures.Counters `json:"-"`
}

// KN is one KN's part.
type KN struct {
	PrivateIP string `json:"private_ip"`
	Rank      uint32 `json:"rank"`
	Threads   uint64 `json:"threads"`
	Figures
}

// Figures are those of a phase, of one KN or in total.
type Figures struct {
	Operations uint64          `json:"operations"`
	Throughput float64         `json:"throughput_ops_per_second"`
	Latency    latency.Summary `json:"latency_us"`
	figures.Ratios
	Errors           map[string]uint64 `json:"errors"`
	UnmergedSegments uint64            `json:"unmerged_segments"`
	CacheBytesUsed   uint64            `json:"cache_bytes_used"`
	CacheBytesBudget uint64            `json:"cache_bytes_budget"`
}

// figuresOf divides what KNs did in so many seconds.
func figuresOf(c *figures.Counters, seconds float64) Figures {
	f := Figures{
		Operations: c.Operations(), Latency: c.Latency(), Ratios: c.Ratios(), Errors: maps.Clone(c.Errors),
		UnmergedSegments: c.UnmergedSegments, CacheBytesUsed: c.CacheBytesUsed, CacheBytesBudget: c.CacheBytesBudget,
	}
	if f.Errors == nil {
		f.Errors = map[string]uint64{}
	}
	if seconds > 0 {
		f.Throughput = float64(f.Operations) / seconds
	}
	return f
}

// ThisMachine describes where the program runs.
func ThisMachine() Machine {
	return Machine{
		System: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.NumCPU(), Go: runtime.Version(),
		CPU: procField("/proc/cpuinfo", "model name"), Memory: procField("/proc/meminfo", "MemTotal"),
	}
}

// procField returns the first value of a field in a file of "name: value" lines, "" where there is none.
func procField(path, name string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if field, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(field) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// WriteText prints the report for people.
func (r *Report) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "commit %s; %s, %d CPUs, %s, %s\n", cmp.Or(r.Commit, "unknown"), r.Machine.CPU, r.Machine.CPUs, r.Machine.Memory, r.Machine.Go)
	for _, name := range slices.Sorted(maps.Keys(r.Configuration)) {
		fmt.Fprintf(w, "  %s: %s\n", name, r.Configuration[name])
	}
	for i := range r.Phases {
		if err := r.Phases[i].writeText(w); err != nil {
			return err
		}
	}
	return nil
}

// writeText prints a table with a column for each KN and one for the total.
func (p *Phase) writeText(w io.Writer) error {
	fmt.Fprintf(w, "\n%s  (%s, %.2f s)\n", p.Name, p.Command, p.Seconds)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	columns := make([]Figures, 0, len(p.KNs)+1)
	fmt.Fprint(table, "\t")
	for _, k := range p.KNs {
		fmt.Fprintf(table, "KN %s\t", k.PrivateIP)
		columns = append(columns, k.Figures)
	}
	fmt.Fprint(table, "total\t\n")
	columns = append(columns, p.Total)
	for _, row := range rows {
		fmt.Fprintf(table, "%s\t", row.name)
		for i := range columns {
			fmt.Fprintf(table, "%s\t", row.text(&columns[i]))
		}
		fmt.Fprint(table, "\n")
	}
	return table.Flush() // the first error of all writes
}

// rows are the lines of a phase's table.
var rows = []struct {
	name string
	text func(f *Figures) string
}{
	{"operations", func(f *Figures) string { return fmt.Sprint(f.Operations) }},
	{"throughput op/s", func(f *Figures) string { return fmt.Sprintf("%.0f", f.Throughput) }},
	{"latency us, mean", func(f *Figures) string { return fmt.Sprintf("%.1f", f.Latency.Mean) }},
	{"p50", func(f *Figures) string { return fmt.Sprintf("%.1f", f.Latency.P50) }},
	{"p99", func(f *Figures) string { return fmt.Sprintf("%.1f", f.Latency.P99) }},
	{"p99.9", func(f *Figures) string { return fmt.Sprintf("%.1f", f.Latency.P999) }},
	{"max", func(f *Figures) string { return fmt.Sprintf("%.1f", f.Latency.Max) }},
	{"value hits", func(f *Figures) string { return percent(f.ValueHit) }},
	{"shortcut hits", func(f *Figures) string { return percent(f.ShortcutHit) }},
	{"unmerged hits", func(f *Figures) string { return percent(f.UnmergedHit) }},
	{"misses", func(f *Figures) string { return percent(f.Miss) }},
	{"round trips/read", func(f *Figures) string { return fmt.Sprintf("%.3f", f.RoundTripsPerRead) }},
	{"round trips/write", func(f *Figures) string { return fmt.Sprintf("%.3f", f.RoundTripsPerWrite) }},
	{"round trips/miss", func(f *Figures) string { return perMiss(f) }},
	{"bytes read/op", func(f *Figures) string { return fmt.Sprintf("%.0f", f.BytesReadPerOp) }},
	{"bytes written/op", func(f *Figures) string { return fmt.Sprintf("%.0f", f.BytesWrittenPerOp) }},
	{"errors", func(f *Figures) string { return errorText(f.Errors) }},
	{"unmerged segments", func(f *Figures) string { return fmt.Sprint(f.UnmergedSegments) }},
	{"cache used", func(f *Figures) string { return mib(f.CacheBytesUsed) }},
	{"cache budget", func(f *Figures) string { return mib(f.CacheBytesBudget) }},
}

// perMiss leaves the cost of a miss out where there was none: 0 would say that misses are free.
func perMiss(f *Figures) string {
	if f.Miss == 0 {
		return "-"
	}
	return fmt.Sprintf("%.3f", f.RoundTripsPerMiss)
}

func percent(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) }

func mib(bytes uint64) string { return fmt.Sprintf("%.2f MiB", float64(bytes)/(1<<20)) }

func errorText(errors map[string]uint64) string {
	if len(errors) == 0 {
		return "none"
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(errors)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, errors[name]))
	}
	return strings.Join(parts, ", ")
}

// seconds as a duration.
func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
