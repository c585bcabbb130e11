package soak

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"text/tabwriter"
)

// The constant of SOAK-1, what a KN takes beside its cache at most: the program and its control actors, and for each thread
// the buffers of requests and answers under way, the log's segments ahead, the table of what is not merged yet, and the garbage
// collector's room (gc-percent is 400). docs/benchmarks.md has what was measured.
const (
	NodeBytes   = 48 << 20
	ThreadBytes = 24 << 20
)

// ErrExceeded: SOAK-1 does not hold.
var ErrExceeded = errors.New("more memory than the configured cache and the constant")

// Report is what a watch found.
type Report struct {
	Configuration map[string]string `json:"configuration"`
	Commit        string            `json:"commit"`
	CacheBytes    int64             `json:"cache_bytes"`
	ConstantBytes int64             `json:"constant_bytes"`
	Processes     []Usage           `json:"processes"`
}

// Usage is what one process took.
type Usage struct {
	Process
	MaxBytes int64 `json:"max_own_bytes"`
	// EarlyBytes and LateBytes are the means over the second and the last tenth of the time: whether it grows.
	EarlyBytes int64    `json:"early_own_bytes"`
	LateBytes  int64    `json:"late_own_bytes"`
	Exceeded   bool     `json:"exceeded"`
	Samples    []Sample `json:"samples"`
}

func judge(o *Options, samples [][]Sample) *Report {
	r := &Report{Configuration: o.Configuration, Commit: o.Commit, CacheBytes: o.CacheBytes, ConstantBytes: NodeBytes + int64(o.Threads)*ThreadBytes}
	for i, p := range o.Processes {
		u := Usage{Process: p, Samples: samples[i]}
		n := len(u.Samples)
		for _, s := range u.Samples {
			u.MaxBytes = max(u.MaxBytes, s.Own)
		}
		u.EarlyBytes, u.LateBytes = mean(u.Samples[n/10:max(n/5, min(n, 1))]), mean(u.Samples[n-n/10:])
		u.Exceeded = u.MaxBytes > r.Allowed()
		r.Processes = append(r.Processes, u)
	}
	return r
}

// Allowed is what a process may take.
func (r *Report) Allowed() int64 { return r.CacheBytes + r.ConstantBytes }

func mean(samples []Sample) (bytes int64) {
	for _, s := range samples {
		bytes += s.Own
	}
	return bytes / int64(max(len(samples), 1))
}

// Check returns ErrExceeded when a process took more than it may, and another error when nothing was seen of one.
func (r *Report) Check() error {
	var errs []error
	for _, u := range r.Processes {
		switch {
		case len(u.Samples) == 0:
			errs = append(errs, fmt.Errorf("%s (process %d): no sample", u.Name, u.PID))
		case u.Exceeded:
			errs = append(errs, fmt.Errorf("%s (process %d): %w: %s of %s", u.Name, u.PID, ErrExceeded, mib(u.MaxBytes), mib(r.Allowed())))
		}
	}
	return errors.Join(errs...)
}

// tableRows is how many samples a table shows.
const tableRows = 20

// WriteText prints a table: a column for each process, rows over the time.
func (r *Report) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "commit %s\n", cmp.Or(r.Commit, "unknown"))
	for _, name := range slices.Sorted(maps.Keys(r.Configuration)) {
		fmt.Fprintf(w, "  %s: %s\n", name, r.Configuration[name])
	}
	fmt.Fprintf(w, "\nresident memory but for the pool's pages; allowed %s: cache %s, constant %s\n", mib(r.Allowed()), mib(r.CacheBytes), mib(r.ConstantBytes))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name string, value func(u *Usage) string) {
		fmt.Fprintf(table, "%s\t", name)
		for i := range r.Processes {
			fmt.Fprintf(table, "%s\t", value(&r.Processes[i]))
		}
		fmt.Fprint(table, "\n")
	}
	row("", func(u *Usage) string { return u.Name })
	longest := 0
	for _, u := range r.Processes {
		longest = max(longest, len(u.Samples))
	}
	for i := 0; i < longest; i += max(longest/tableRows, 1) {
		row(fmt.Sprintf("%.0f s", r.secondsAt(i)), func(u *Usage) string {
			if i >= len(u.Samples) {
				return "-"
			}
			return mib(u.Samples[i].Own)
		})
	}
	row("most", func(u *Usage) string { return mib(u.MaxBytes) })
	row("second tenth", func(u *Usage) string { return mib(u.EarlyBytes) })
	row("last tenth", func(u *Usage) string { return mib(u.LateBytes) })
	row("within", func(u *Usage) string { return map[bool]string{true: "no", false: "yes"}[u.Exceeded] })
	return table.Flush() // the first error of all writes
}

func (r *Report) secondsAt(i int) float64 {
	for _, u := range r.Processes {
		if i < len(u.Samples) {
			return u.Samples[i].Seconds
		}
	}
	return 0
}

// WriteJSON writes the report with all samples to a file.
func (r *Report) WriteJSON(path string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

func mib(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }
