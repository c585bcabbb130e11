package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// stdout of a command that succeeds.
func replayed(t *testing.T, args ...string) string {
	t.Helper()
	c := root()
	var out, log strings.Builder
	c.SetOut(&out)
	c.SetErr(&log)
	c.SetArgs(append([]string{"replay"}, args...))
	if err := c.Execute(); err != nil {
		t.Fatalf("replay %q: %v\n%s", args, err, &log)
	}
	return out.String()
}

// TestReplayPrintsTheAgreedNames replays each kind of trace and looks for every name that tools of others read.
func TestReplayPrintsTheAgreedNames(t *testing.T) {
	const text = "U a 100\nU b 50\nG a\nG b\nG a\nG c 10\nG a\nG b\n"
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range map[string][]byte{
		"trace.txt": []byte(text), "trace.zst": encoder.EncodeAll([]byte(text), nil),
		"twitter.csv": []byte("0,a,1,100,1,set,0\n0,b,1,50,1,set,0\n1,a,1,100,1,get,0\n2,a,1,100,1,get,0\n3,c,1,10,1,get,0\n4,b,1,50,2,gets,0\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, trace := range []string{
		filepath.Join(dir, "trace.txt"), filepath.Join(dir, "trace.zst"), filepath.Join(dir, "twitter.csv"),
		"zipf:0.99,keys=50,ops=500", "uniform:keys=50,ops=500", "shift:0.99,100,keys=50,ops=500", "scan:0.9,0.3,10,keys=50,ops=500",
	} {
		out := replayed(t, "--trace", trace, "--policy", "paper", "--cache-bytes", "1MiB", "--miss-cost", "3", "--value-bytes", "100", "--warmup", "0.5", "--json")
		var report map[string]any
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			t.Fatalf("%s: %v\n%s", trace, err, out)
		}
		for _, name := range strings.Fields("policy cache_bytes miss_cost reads value_hit_ratio shortcut_hit_ratio miss_ratio round_trips_per_read ops_per_second") {
			if _, ok := report[name]; !ok {
				t.Errorf("%s: no %s in %s", trace, name, out)
			}
		}
		if report["policy"] != "paper" || report["cache_bytes"] != float64(1<<20) || report["miss_cost"] != 3.0 || report["reads"].(float64) < 1 {
			t.Errorf("%s: %s", trace, out)
		}
	}
}

// TestReplayDrawsCurves: policies over cache sizes, as a table, as JSON, and as a picture.
func TestReplayDrawsCurves(t *testing.T) {
	args := []string{"--trace", "zipf:0.9,keys=2000,ops=20000", "--policies", "adaptive,static:0.3", "--cache-sizes", "256KiB,1MiB", "--miss-cost", "2"}
	plot := filepath.Join(t.TempDir(), "curves.svg")
	table := replayed(t, append(args, "--plot", plot)...)
	if strings.Count(table, "adaptive") != 2 || strings.Count(table, "static:0.3") != 2 {
		t.Errorf("table:\n%s", table)
	}
	if drawn, err := os.ReadFile(plot); err != nil || !strings.Contains(string(drawn), "static:0.3") {
		t.Errorf("picture: %v", err)
	}
	var reports []map[string]any
	if err := json.Unmarshal([]byte(replayed(t, append(args, "--json")...)), &reports); err != nil || len(reports) != 4 || reports[3]["cache_bytes"] != float64(1<<20) {
		t.Errorf("%v: %v", err, reports)
	}
}

func TestReplayMeasuresGoals(t *testing.T) {
	file := filepath.Join(t.TempDir(), "goals.json")
	table := replayed(t, "goals", "--keys", "40000", "--ops", "20000", "--only", "zipf:0.8", "--json", file)
	if !strings.Contains(table, "of 18 goals reached") {
		t.Errorf("table:\n%s", table)
	}
	var report struct{ Goals []struct{ Verdict string } }
	content, err := os.ReadFile(file)
	if err != nil || json.Unmarshal(content, &report) != nil || len(report.Goals) != 18 || report.Goals[0].Verdict == "" {
		t.Errorf("JSON: %v\n%s", err, content)
	}
}

func TestReplayRefusesWhatCannotBe(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "--trace: name a file or a law"},
		{[]string{"--trace", "nowhere"}, `"nowhere" is no file, and no law`},
		{[]string{"--trace", "uniform", "--policy", "best"}, "want adaptive, paper"},
		{[]string{"--trace", "uniform", "--cache-bytes", "1KiB"}, "1024 bytes, want 262144"},
		{[]string{"--trace", "uniform", "--cache-sizes", "2MiB,1XB"}, "--cache-sizes"},
		{[]string{"--trace", "uniform", "--plot", "x.gif"}, "want a name that ends in .png or .svg"},
		{[]string{"--trace", "uniform", "--warmup", "2"}, "warm-up of 2"},
		{[]string{"goals", "--only", "colour"}, `no goal's trace contains "colour"`},
	} {
		if _, err := execute(append([]string{"replay"}, c.args...)...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want %q", c.args, err, c.want)
		}
	}
}
