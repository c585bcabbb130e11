package replay

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
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
			keys[i] = Key{math.Pow(float64(i+1), -c.theta) / total, 32, 1024}
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
			keys[i] = Key{rng.Float64(), 17, 17 + rng.IntN(200)}
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
