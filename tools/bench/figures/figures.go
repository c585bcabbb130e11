package figures

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/dinomo-kv/dinomo/cluster/run"
)

// Report is what `make bench` found. Its JSON names are part of the product.
type Report struct {
	Commit  string      `json:"commit"`
	Machine run.Machine `json:"machine"`
	Figures []Figure    `json:"figures"`
	// Run is the whole cluster's report, with its configuration.
	Run *run.Report `json:"run,omitempty"`
}

// Figure is one measured value: the median of its samples, which were taken in one run of the command.
type Figure struct {
	Group         string    `json:"group"`
	Configuration string    `json:"configuration"`
	Name          string    `json:"name"`
	Unit          string    `json:"unit"`
	Value         float64   `json:"value"`
	Samples       []float64 `json:"samples"`
	Goal          string    `json:"goal,omitempty"`
	Reached       bool      `json:"reached,omitempty"`
}

// Samples are values by benchmark and unit.
type Samples map[string]map[string][]float64

// Read adds what `go test -bench` printed: lines "BenchmarkName/part-procs iterations value unit value unit ...". Other lines
// are passed over, except that FAIL is an error.
func (s Samples) Read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) > 0 && fields[0] == "FAIL", len(fields) > 1 && fields[0] == "---" && fields[1] == "FAIL:":
			return fmt.Errorf("a benchmark failed: %s", lines.Text())
		case len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark"):
			continue
		}
		name := withoutProcs(fields[0])
		for i := 2; i+1 < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return fmt.Errorf("%q: %w", lines.Text(), err)
			}
			if s[name] == nil {
				s[name] = map[string][]float64{}
			}
			s[name][fields[i+1]] = append(s[name][fields[i+1]], value)
		}
	}
	return lines.Err()
}

// withoutProcs takes the number of processors off a benchmark's name, which go test leaves out when it is 1.
func withoutProcs(name string) string {
	name = strings.TrimPrefix(name, "Benchmark")
	if i := strings.LastIndexByte(name, '-'); i > 0 {
		if _, err := strconv.Atoi(name[i+1:]); err == nil {
			return name[:i]
		}
	}
	return name
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// Of makes the report's figures. A benchmark of the table that did not run is an error: a table with gaps looks like one without.
func Of(s Samples) ([]Figure, error) {
	var all []Figure
	for _, row := range table {
		values := s[row.benchmark][row.unit]
		if len(values) == 0 {
			if row.optional {
				continue
			}
			return nil, fmt.Errorf("no %s of %s in what the benchmarks printed", row.unit, row.benchmark)
		}
		all = append(all, row.figure(values))
	}
	return append(all, ratios(s)...), nil
}

// ReadRun reads the report of `dinomo run --report`.
func ReadRun(path string) (*run.Report, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r, err := parseRun(text)
	if err != nil {
		return nil, fmt.Errorf("report %s: %w", path, err)
	}
	return r, nil
}

func parseRun(text []byte) (*run.Report, error) {
	var r run.Report
	err := json.Unmarshal(text, &r)
	return &r, err
}

// WriteText prints the figures as tables, a group each, in Markdown.
func (r *Report) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "commit %s; %s, %d CPUs, %s, %s\n", r.Commit, r.Machine.CPU, r.Machine.CPUs, r.Machine.Memory, r.Machine.Go)
	out := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	group := ""
	for _, f := range r.Figures {
		if f.Group != group {
			group = f.Group
			fmt.Fprintf(out, "\n%s\n\n| configuration\t| figure\t| value\t| unit\t| goal\t|\n|---\t|---\t|---\t|---\t|---\t|\n", group)
		}
		goal := f.Goal
		if goal != "" {
			goal += map[bool]string{true: ": reached", false: ": NOT reached"}[f.Reached]
		}
		fmt.Fprintf(out, "| %s\t| %s\t| %s\t| %s\t| %s\t|\n", f.Configuration, f.Name, number(f.Value), f.Unit, goal)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if r.Run == nil {
		return nil
	}
	fmt.Fprint(w, "\nwhole cluster (dinomo run)\n\n")
	return r.Run.WriteText(w)
}

// WriteJSON writes the report to a file.
func (r *Report) WriteJSON(path string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// number shows a value with three digits at least.
func number(v float64) string {
	switch {
	case v == 0 || v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}
