package figures

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// printed is what go test would print for the whole table, with the given value for each unit.
func printed(value func(benchmark, unit string, sample int) float64) string {
	units := map[string][]string{}
	var names []string
	for _, r := range table {
		if units[r.benchmark] == nil {
			names = append(names, r.benchmark)
		}
		units[r.benchmark] = append(units[r.benchmark], r.unit)
	}
	var b strings.Builder
	fmt.Fprintln(&b, "goos: linux\nBenchmarkBroken\nBenchmarkOdd-2 1")
	for sample := range 3 {
		for _, name := range names {
			fmt.Fprintf(&b, "Benchmark%s-16   \t 1000\t", name)
			for _, unit := range units[name] {
				fmt.Fprintf(&b, " %v %s\t", value(name, unit, sample), unit)
			}
			fmt.Fprintln(&b)
		}
	}
	return b.String() + "PASS\nok  \tpackage\t1.2s\n"
}

func figuresOf(t *testing.T, text string) []Figure {
	t.Helper()
	s := Samples{}
	if err := s.Read(strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	all, err := Of(s)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestFigures(t *testing.T) {
	all := figuresOf(t, printed(func(benchmark, unit string, sample int) float64 {
		switch {
		case unit == "ratio" && strings.HasSuffix(benchmark, "tuples=16"):
			return []float64{0.9, 0.59, 0.1}[sample]
		case unit == "ratio":
			return []float64{0.1, 0.6, 0.9}[sample]
		case benchmark == echoOf("ours", 64):
			return 300
		case strings.HasPrefix(benchmark, "Merge"):
			return 500
		}
		return 100
	}))
	found := map[string]Figure{}
	for _, f := range all {
		found[f.Configuration+" "+f.Name] = f
	}
	for name, want := range map[string]struct {
		value   float64
		reached bool
	}{
		"64 outstanding x 1 tuples KN's rate over the echo's":  {0.6, true},
		"64 outstanding x 16 tuples KN's rate over the echo's": {0.59, false},
		"64 outstanding x 1 tuples KN":                         {100, false}, // tuples a second
		"64 outstanding x 1 tuples KN, p99 of a request":       {100, true},
		"inserts/value=64 rate":                                {2e6, false},
		"64 outstanding ours over libzmq":                      {3, false},
		"256 outstanding ours over libzmq":                     {1, false},
	} {
		if f := found[name]; f.Value != want.value || f.Reached != want.reached || len(f.Samples) == 0 {
			t.Errorf("%s: %+v, want %+v", name, f, want)
		}
	}
	r := Report{Commit: "c", Figures: all}
	var text strings.Builder
	if err := r.WriteText(&text); err != nil || !strings.Contains(text.String(), "at least 0.60: NOT reached") || !strings.Contains(text.String(), "below 1000: reached") {
		t.Errorf("%v\n%s", err, &text)
	}
	path := filepath.Join(t.TempDir(), "figures.json")
	if err := r.WriteJSON(path); err != nil {
		t.Fatal(err)
	}
	var again Report
	if written, err := os.ReadFile(path); err != nil || json.Unmarshal(written, &again) != nil || len(again.Figures) != len(all) {
		t.Errorf("%v; %d figures of %d", err, len(again.Figures), len(all))
	}
}

func TestWhatIsMissingOrFailedIsSaid(t *testing.T) {
	complete := printed(func(string, string, int) float64 { return 1 })
	if all := figuresOf(t, strings.ReplaceAll(complete, "server=libzmq", "server=none")); len(all) != len(table)-len(transportOutstanding) {
		t.Errorf("%d figures without libzmq", len(all))
	}
	for name, text := range map[string]string{
		"a benchmark is missing": strings.ReplaceAll(complete, "Merge/", "Merged/"), "FAIL": complete + "FAIL\tpackage\t1.2s\n",
		"a failure": "--- FAIL: BenchmarkX\n" + complete, "no number": strings.Replace(complete, " 1 ns/op", " x ns/op", 1),
	} {
		s := Samples{}
		err := s.Read(strings.NewReader(text))
		if err == nil {
			_, err = Of(s)
		}
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestTableNamesBenchmarks: every row is about a benchmark that is there.
func TestTableNamesBenchmarks(t *testing.T) {
	var source strings.Builder
	for _, pattern := range []string{"actors/kn/*_test.go", "actors/kn/engine/*_test.go", "actors/runtime/runtimetest/*_test.go", "dpm/*_test.go"} {
		files, err := filepath.Glob(filepath.Join("../../..", pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			source.Write(text)
		}
	}
	for _, r := range table {
		name, _, _ := strings.Cut(r.benchmark, "/")
		if !strings.Contains(source.String(), "func Benchmark"+name+"(") {
			t.Errorf("there is no Benchmark%s", name)
		}
	}
}

// FuzzSamples: whatever go test may have printed is read or refused; what is read has as many values as were printed.
func FuzzSamples(f *testing.F) {
	f.Add(printed(func(string, string, int) float64 { return 1.5 }))
	f.Add("---\n--- FAIL: TestA\n")
	f.Add("BenchmarkA-2 1 x ns/op\nBenchmark- 1 2 3 4 5\n")
	f.Fuzz(func(t *testing.T, text string) {
		s := Samples{}
		if s.Read(strings.NewReader(text)) != nil {
			return
		}
		n := 0
		for _, units := range s {
			for _, values := range units {
				n += len(values)
				median(values)
			}
		}
		if most := len(strings.Fields(text)) / 2; n > most {
			t.Errorf("%d values in %q", n, text)
		}
		_, _ = Of(s)
	})
}

// FuzzRun: a run's report that is taken can be written again.
func FuzzRun(f *testing.F) {
	f.Add([]byte(`{"commit":"c","configuration":{"keys":"10"},"machine":{"cpu":"x"},"phases":[{"name":"load","total":{"operations":1,"errors":{"TIMEOUT":2}}}]}`))
	f.Add([]byte(`{"phases":[{"seconds":"x"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parseRun(text)
		if err != nil {
			return
		}
		if _, err := json.Marshal(r); err != nil {
			t.Error(err)
		}
		if err := r.WriteText(io.Discard); err != nil {
			t.Error(err)
		}
	})
}
