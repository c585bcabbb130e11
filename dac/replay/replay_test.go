package replay

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/dac"
	"github.com/dinomo-kv/dinomo/dac/trace"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/internal/random"
	"github.com/dinomo-kv/dinomo/internal/zipf"
)

// The best static split that is known for the original's entries: 200,000 keys, 1,024-byte
// values, 32-byte shortcuts, a miss of three round trips.
func TestOptimumReproducesKnownFigures(t *testing.T) {
	const n = 200_000
	for _, c := range []struct {
		theta float64
		part  int
		want  float64
	}{{0.99, 32, 0.4366}, {0.99, 8, 0.192}, {0.5, 128, 1.999}} {
		keys := make([]Key, n)
		total := zipf.Weight(n, c.theta)
		for i := range keys {
			keys[i] = Key{Share: math.Pow(float64(i+1), -c.theta) / total, ShortcutBytes: 32, ValueBytes: 1024}
		}
		got := Optimum(keys, n*1024/c.part, 3)
		if math.Abs(got.RoundTrips-c.want) > 0.002*c.want {
			t.Errorf("theta=%v 1/%d: %.4f round trips, want %.4f", c.theta, c.part, got.RoundTrips, c.want)
		}
	}
}

// bruteForce tries every assignment of nothing, shortcut or value to a few keys.
func bruteForce(keys []Key, budget int, missCost float64) float64 {
	if len(keys) == 0 {
		return 0
	}
	k, rest := keys[0], keys[1:]
	best := k.Share*missCost + bruteForce(rest, budget, missCost)
	if k.ShortcutBytes <= budget {
		best = min(best, k.Share+bruteForce(rest, budget-k.ShortcutBytes, missCost))
	}
	if k.ValueBytes <= budget {
		best = min(best, bruteForce(rest, budget-k.ValueBytes, missCost))
	}
	return best
}

// Counting a part of the last entry makes the optimum a lower bound, off by that entry at most.
func TestOptimumBoundsBruteForce(t *testing.T) {
	rng := random.New(random.Seed(t))
	for range 300 {
		keys := make([]Key, 1+rng.IntN(7))
		most, total := 0.0, 0.0
		for i := range keys {
			keys[i] = Key{Share: rng.Float64(), ShortcutBytes: 17, ValueBytes: 17 + rng.IntN(200)}
			most = max(most, keys[i].Share)
			total += keys[i].Share
		}
		budget, cost := rng.IntN(600), 1+4*rng.Float64()
		exact := bruteForce(keys, budget, cost) / total
		got := Optimum(keys, budget, cost).RoundTrips
		if got > exact+1e-9 || got < exact-most*cost/total-1e-9 {
			t.Fatalf("optimum %v, brute force %v for %+v, budget %d, miss cost %v", got, exact, keys, budget, cost)
		}
	}
}

// A trace small enough to follow by hand: warm-up of half, then a value hit, a first read, and
// a hit of what that read left.
func TestRunCountsAfterWarmup(t *testing.T) {
	file := filepath.Join(t.TempDir(), "trace")
	lines := "G a 100\nU b 50\nG a 100\nD b\n" + "G a 100\nG c 10\nG c 10\nU a 100\n"
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	rep, err := Run(Config{Trace: file, Policy: dac.PolicyPaper, CacheBytes: 1 << 20, MissCost: 2.5, Clock: clock.NewManual(time.Unix(0, 0))})
	if err != nil {
		t.Fatal(err)
	}
	if rep.Reads != 3 || rep.Operations != 4 || rep.ValueHitRatio != 2.0/3 || rep.MissRatio != 1.0/3 || math.Abs(rep.RoundTripsPerRead-2.5/3) > 1e-12 {
		t.Errorf("report %+v", rep)
	}
	if rep.OptimumRoundTrips != 0 || !rep.OptimumIsFromTrace || rep.OptimumValues != 2 {
		t.Errorf("optimum of a trace that fits is 0 round trips: %+v", rep)
	}
	text, err := json.Marshal(rep)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields("policy cache_bytes miss_cost reads value_hit_ratio shortcut_hit_ratio miss_ratio round_trips_per_read ops_per_second") {
		if !strings.Contains(string(text), `"`+name+`":`) {
			t.Errorf("%s is not in %s", name, text)
		}
	}
}

func TestRunIsRepeatable(t *testing.T) {
	cfg := Config{Trace: "zipf:0.9,keys=5000,ops=50000,updates=0.1,values=16-4000", CacheBytes: 1 << 20, MissCost: 3}
	a, err := Run(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Run(cfg)
	if err != nil {
		t.Fatal(err)
	}
	a.OperationsPerSec, b.OperationsPerSec = 0, 0
	if a != b {
		t.Errorf("two runs differ:\n%+v\n%+v", a, b)
	}
}

// Curves gives what single replays give, and draws it in both formats.
func TestCurvesAreDrawn(t *testing.T) {
	cfg := CurvesConfig{
		Config:     Config{Trace: "zipf:0.9,keys=5000,ops=40000,values=100-2000", MissCost: 3},
		Policies:   []string{dac.PolicyAdaptive, dac.PolicyPaper, dac.PolicyValueOnly},
		CacheSizes: []int{512 << 10, 1 << 20, 4 << 20},
	}
	calls := 0
	cfg.Progress = func(phase string, fraction float64) {
		if calls++; phase != "replay" || fraction != float64(calls)/9 {
			t.Errorf("progress: %s %v, want replay, %d of 9", phase, fraction, calls)
		}
	}
	reports, err := Curves(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if calls != 9 {
		t.Errorf("%d calls of Progress, want 9", calls)
	}
	var table strings.Builder
	if err := WriteCurves(&table, reports); err != nil || strings.Count(table.String(), "\n") != 12 || !strings.Contains(table.String(), "value-only") {
		t.Errorf("table: %v\n%s", err, &table)
	}
	single := cfg.Config
	single.Progress = nil
	single.Policy, single.CacheBytes = dac.PolicyPaper, 1<<20
	want, err := Run(single)
	if err != nil {
		t.Fatal(err)
	}
	got := reports[4]
	got.OperationsPerSec, want.OperationsPerSec = 0, 0
	if got != want {
		t.Errorf("curve's point %+v, single replay %+v", got, want)
	}
	for _, name := range []string{"curves.png", "curves.svg"} {
		file := filepath.Join(t.TempDir(), name)
		if err := Draw(reports, file); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if magic := map[string]string{"curves.png": "\x89PNG", "curves.svg": "<?xml"}[name]; !strings.HasPrefix(string(data), magic) {
			t.Errorf("%s begins with %q", name, data[:8])
		}
	}
	for _, err := range []error{Draw(nil, "x.png"), Draw(reports, "x.gif"), Draw(reports, "no/such/folder/x.png")} {
		if !errors.Is(err, ErrDrawing) {
			t.Errorf("error %v, want ErrDrawing", err)
		}
	}
}

// Without sizes the curves end at CacheBytes, and none is smaller than a cache can be.
func TestCurvesChooseSizes(t *testing.T) {
	cfg := CurvesConfig{Config: Config{Trace: "uniform:keys=100,ops=100", CacheBytes: 3 * dac.MinBudgetBytes}}
	reports, err := Curves(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	var got []int
	for _, r := range reports {
		got = append(got, r.CacheBytes)
	}
	if want := []int{3 * dac.MinBudgetBytes / 2, 3 * dac.MinBudgetBytes}; !slices.Equal(got, append(want, want...)) {
		t.Errorf("sizes %d, want %d twice", got, want)
	}
	cfg.CacheSizes = []int{5}
	if _, err := Curves(t.Context(), cfg); !errors.Is(err, dac.ErrBudget) {
		t.Errorf("a cache of 5 bytes: %v", err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := Curves(ended, CurvesConfig{Config: cfg.Config}); !errors.Is(err, context.Canceled) {
		t.Errorf("after its context ended: %v", err)
	}
}

func TestReportIsReadable(t *testing.T) {
	rep := Report{
		Trace: "zipf:0.99", Policy: "adaptive", CacheBytes: 6_400_000, CacheBytesUsed: 6_300_000, MissCost: 3, Operations: 2000, Reads: 1900,
		ValueHitRatio: 0.65, ShortcutHitRatio: 0.35, RoundTripsPerRead: 0.35, OperationsPerSec: 12e6, CachedValues: 5, CachedShortcuts: 6,
	}
	rep.setOptimum(Best{0.34, 7, 8}, false)
	want := `trace                  zipf:0.99
policy                 adaptive
cache                  6.104 MiB, of which 6.008 MiB used: 5 values, 6 shortcuts
miss cost              3 round trips
reads                  1900 of 2000 operations
answered by            values 65.00 %, shortcuts 35.00 %, misses 0.00 %
round trips per read   0.3500
best static choice     0.3400, by true popularity: 7 values, 8 shortcuts
distance to it         +2.9 %
value bytes per read   0 over the network
popularity changes     0 noticed
speed                  12.00 million operations a second
`
	if got := rep.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestBadConfigsAreRefused(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want error
		text string
	}{
		{Config{}, ErrConfig, "no trace"},
		{Config{Trace: "uniform", Warmup: 1}, ErrConfig, "warm-up of 1"},
		{Config{Trace: "uniform", Policy: "best"}, ErrConfig, `"best": want`},
		{Config{Trace: "uniform", CacheBytes: 5}, ErrConfig, "5 bytes, want"},
		{Config{Trace: "uniform", MissCost: -1}, ErrConfig, "miss cost -1"},
		{Config{Trace: "uniform", ValueBytes: -1}, ErrConfig, "values of -1 bytes"},
		{Config{Trace: "no/such/file"}, trace.ErrSpec, "is no file"},
	} {
		if _, err := Run(c.cfg); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%+v: error %v, want %q", c.cfg, err, c.text)
		}
	}
}
