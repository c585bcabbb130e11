package run

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/dinomo-kv/dinomo/actors/monitor/figures"
	"github.com/dinomo-kv/dinomo/messages"
)

func TestReportHasThePromisedNames(t *testing.T) {
	c := figures.Of(&messages.KnStatistics{Reads: 10, ValueHits: 5, Misses: 5, RoundTripsRead: 10, RoundTripsMiss: 10})
	r := Report{Phases: []Phase{{Total: figuresOf(&c, 2), KNs: []KN{{Figures: figuresOf(&c, 2)}}}}}
	text, err := json.Marshal(&r)
	if err != nil {
		t.Fatal(err)
	}
	var decoded struct {
		Phases []struct {
			Total map[string]any   `json:"total"`
			KNs   []map[string]any `json:"kns"`
		} `json:"phases"`
	}
	var top map[string]any
	if err := json.Unmarshal(text, &decoded); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &top); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"configuration", "commit", "machine"} {
		if _, ok := top[name]; !ok {
			t.Errorf("the report has no %s", name)
		}
	}
	for _, figures := range []map[string]any{decoded.Phases[0].Total, decoded.Phases[0].KNs[0]} {
		for _, name := range []string{
			"operations", "throughput_ops_per_second", "latency_us", "value_hit_ratio", "shortcut_hit_ratio", "unmerged_hit_ratio",
			"miss_ratio", "round_trips_per_read", "round_trips_per_write", "round_trips_per_miss", "bytes_read_per_operation",
			"bytes_written_per_operation", "errors", "unmerged_segments", "cache_bytes_used", "cache_bytes_budget",
		} {
			if _, ok := figures[name]; !ok {
				t.Errorf("no %s in %v", name, figures)
			}
		}
		for _, name := range []string{"mean", "p50", "p99", "p999", "max"} {
			if _, ok := figures["latency_us"].(map[string]any)[name]; !ok {
				t.Errorf("latency_us has no %s", name)
			}
		}
		if figures["round_trips_per_miss"] != 2.0 || figures["throughput_ops_per_second"] != 5.0 || figures["value_hit_ratio"] != 0.5 {
			t.Errorf("wrong figures: %v", figures)
		}
	}
}

func TestPlanIsWhatBenchmarkNodesRead(t *testing.T) {
	o := Options{IP: "127.0.0.1", Benches: []string{"127.0.0.2"}, BenchThreads: 2, Keys: 1000, Zipf: 0.99, Seconds: 1.5}
	o.Mixes = append(DefaultMixes(), Mix{Name: "inserts", ReadRatio: 0.5, Inserts: true})
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, s := range (&runner{o: &o}).plan() {
		lines = append(lines, s.line)
	}
	want := "LOAD:1000:1006:2:1 WARM:1000:1006:500:0.99 RUN:0.95:1000:1006:1:1.5:0.99:32 RUN:0.5:1000:1006:1:1.5:0.99:32 RUN:0.5:1000:1006:1:1.5:0.99:32:0"
	if got := strings.Join(lines, " "); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for name, o := range map[string]Options{
		"no benchmark node": {}, "a read ratio of 2": {Benches: []string{"x"}, Mixes: []Mix{{ReadRatio: 2}}},
		"too little outstanding": {Benches: []string{"x"}, BenchThreads: 8, Outstanding: 4},
	} {
		o.EnsureDefaults()
		if o.Validate() == nil {
			t.Errorf("%s is allowed", name)
		}
	}
}
