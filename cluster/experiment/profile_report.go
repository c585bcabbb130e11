package experiment

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"text/tabwriter"

	"github.com/dinomo-kv/dinomo/cluster/run"
)

// ProfileReport is the paper's profile table, with what it was measured on.
type ProfileReport struct {
	Commit      string       `json:"commit"`
	Machine     run.Machine  `json:"machine"`
	Keys        uint64       `json:"keys"`
	ValueBytes  int          `json:"value_bytes"`
	Zipf        float64      `json:"zipf"`
	Threads     int          `json:"threads_per_kn"`
	Fabric      string       `json:"fabric"`
	CacheBytes  int64        `json:"cache_bytes"` // of all KNs together
	Seconds     float64      `json:"seconds"`
	Outstanding int          `json:"outstanding"`
	Rows        []ProfileRow `json:"rows"`
}

// ProfileRow is one workload on one system with so many KNs.
type ProfileRow struct {
	System   string `json:"system"`
	Policy   string `json:"policy"`
	KNs      int    `json:"kns"`
	Workload string `json:"workload"`

	// Reads and Writes were served by KNs. Operations ended at clients.
	Reads      uint64 `json:"reads"`
	Writes     uint64 `json:"writes"`
	Operations uint64 `json:"operations"`

	// HitRatio is the share of reads that needed no look into the index: values, shortcuts and own unmerged writes.
	// ValueShare is the share of those hits that were values.
	HitRatio   float64 `json:"hit_ratio"`
	ValueShare float64 `json:"value_share_of_hits"`
	// RoundTrips and Bytes are per operation, reads and writes together; the two others split them.
	RoundTrips         float64 `json:"round_trips_per_operation"`
	RoundTripsPerRead  float64 `json:"round_trips_per_read"`
	RoundTripsPerWrite float64 `json:"round_trips_per_write"`
	Bytes              float64 `json:"bytes_per_operation"`

	Throughput float64           `json:"throughput_ops_per_second"`
	P99Micros  float64           `json:"latency_p99_us"`
	Errors     map[string]uint64 `json:"errors,omitempty"`
}

// add makes rows of what one cluster did. The load has none.
func (r *ProfileReport) add(s System, kns int, from *run.Report) {
	for i := range from.Phases {
		if p := &from.Phases[i]; p.Name != "load" {
			r.Rows = append(r.Rows, profileRow(s, from.Configuration["policy"], kns, p))
		}
	}
}

func profileRow(s System, policy string, kns int, p *run.Phase) ProfileRow {
	c := &p.Counters
	row := ProfileRow{
		System: s.Name, Policy: cmp.Or(policy, s.Policy), KNs: kns, Workload: p.Name,
		Reads: c.Reads, Writes: c.Writes + c.Deletes, Operations: p.Total.Operations,
		RoundTripsPerRead: p.Total.RoundTripsPerRead, RoundTripsPerWrite: p.Total.RoundTripsPerWrite,
		Throughput: p.Total.Throughput, P99Micros: p.Total.Latency.P99, Errors: maps.Clone(p.Total.Errors),
	}
	hits := c.ValueHits + c.ShortcutHits + c.UnmergedHits
	row.HitRatio, row.ValueShare = share(hits, c.Reads), share(c.ValueHits, hits)
	row.RoundTrips = share(c.RoundTripsRead+c.RoundTripsWrite, c.Operations())
	row.Bytes = share(c.BytesRead+c.BytesWritten, c.Operations())
	return row
}

// share divides; of nothing it is 0.
func share(part, of uint64) float64 {
	if of == 0 {
		return 0
	}
	return float64(part) / float64(of)
}

// WriteText prints the table, a block for each workload.
func (r *ProfileReport) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "commit %s; %s, %d CPUs, %s\n%d keys of %d bytes, Zipf %g, cache %.2f MiB in all, %d threads a KN, fabric %s, %d outstanding, %g s each\n",
		cmp.Or(r.Commit, "unknown"), r.Machine.CPU, r.Machine.CPUs, r.Machine.Go, r.Keys, r.ValueBytes, r.Zipf, float64(r.CacheBytes)/(1<<20),
		r.Threads, r.Fabric, r.Outstanding, r.Seconds)
	for _, workload := range r.workloads() {
		fmt.Fprintf(w, "\n%s\n", workload)
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprint(table, "system\tpolicy\tKNs\thits\tof them values\ttrips/op\ttrips/read\ttrips/write\tbytes/op\top/s\tp99 us\terrors\t\n")
		for _, row := range r.Rows {
			if row.Workload != workload {
				continue
			}
			failed := uint64(0)
			for _, n := range row.Errors {
				failed += n
			}
			fmt.Fprintf(table, "%s\t%s\t%d\t%.1f %%\t%.1f %%\t%.3f\t%.3f\t%.3f\t%.0f\t%.0f\t%.0f\t%d\t\n", row.System, row.Policy, row.KNs, 100*row.HitRatio,
				100*row.ValueShare, row.RoundTrips, row.RoundTripsPerRead, row.RoundTripsPerWrite, row.Bytes, row.Throughput, row.P99Micros, failed)
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// workloads lists the names in the order in which they came.
func (r *ProfileReport) workloads() []string {
	var names []string
	for _, row := range r.Rows {
		if !slices.Contains(names, row.Workload) {
			names = append(names, row.Workload)
		}
	}
	return names
}

// systems likewise.
func (r *ProfileReport) systems() []string {
	var names []string
	for _, row := range r.Rows {
		if !slices.Contains(names, row.System) {
			names = append(names, row.System)
		}
	}
	return names
}

// WriteJSON writes the report to a file.
func (r *ProfileReport) WriteJSON(path string) error { return writeJSON(path, r) }

func writeJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
