package experiment

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/actors/monitor"
	"github.com/dinomo-kv/dinomo/cluster/timeline"
	"github.com/dinomo-kv/dinomo/internal/random"
)

func TestLabels(t *testing.T) {
	for _, c := range []struct{ kind, text, want string }{
		{decisionEvent, "add-node 1: SLO missed: mean latency 2ms", "add-node 1"},
		{"change-commit", "epoch 4 in force after 14.5ms: failure of 127.0.0.9: its lease ran out", "epoch 4: failure of 127.0.0.9 (14.5ms)"},
		{"rank-dead", "rank=1 private=127.0.0.9: its process is gone", "seen: its process is gone"},
		{"rank-dead", "no reason", "no reason"},
	} {
		if got := label(monitor.EventRecord{Kind: c.kind, Text: c.text}); got != c.want {
			t.Errorf("%s %q: %q, want %q", c.kind, c.text, got, c.want)
		}
	}
}

// TestPhasesCountWholeSteps: a step that a phase has only a part of belongs to neither.
func TestPhasesCountWholeSteps(t *testing.T) {
	line := &timeline.Timeline{StepSeconds: 1, Points: []timeline.Point{
		{AtSeconds: 0, OpsPerSecond: 1000, MeanMicros: 9}, {AtSeconds: 1, OpsPerSecond: 10, MeanMicros: 100, P99Micros: 200},
		{AtSeconds: 2, OpsPerSecond: 30, MeanMicros: 300, P99Micros: 900, FailedPerSecond: 2}, {AtSeconds: 3, OpsPerSecond: 1000, MeanMicros: 9},
	}}
	p := TimedPhase{FromSeconds: 0.5, UntilSeconds: 3.5}
	p.fill(line)
	if p.OpsPerSecond != 20 || p.MeanMicros != 250 || p.WorstP99Micros != 900 || p.Failed != 2 {
		t.Errorf("%+v", p)
	}
	empty := TimedPhase{FromSeconds: 8, UntilSeconds: 9}
	empty.fill(line)
	if empty.OpsPerSecond != 0 || empty.MeanMicros != 0 {
		t.Errorf("a phase without steps: %+v", empty)
	}
}

func TestHotKeyGetsItsShare(t *testing.T) {
	others, err := keysOf(1000, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	w, rng := withHotKey(others, 0.75, 0.5), random.New(random.Seed(t))
	const draws = 40_000
	hot, writes := count(w, rng, draws)
	if share := float64(hot) / draws; share < 0.73 || share > 0.77 {
		t.Errorf("the hot key has %v of the operations, want 0.75", share)
	}
	if share := float64(writes) / float64(hot); share < 0.47 || share > 0.53 {
		t.Errorf("%v of them write, want 0.5", share)
	}
}

func count(w workload, rng *rand.Rand, draws int) (hot, writes int) {
	for range draws {
		if r := w(rng); r.hot {
			hot++
			if r.write {
				writes++
			}
		}
	}
	return hot, writes
}

func TestOptionsAreChecked(t *testing.T) {
	good := Options{Directory: "somewhere"}
	for name, check := range map[string]func() error{
		"no directory": func() error { o := ProfileOptions{}; o.EnsureDefaults(); return o.Validate() },
		"a profile of no KNs": func() error {
			o := ProfileOptions{Options: good, KNs: []int{0}}
			o.EnsureDefaults()
			return o.Validate()
		},
		"no room to grow": func() error {
			o := ElasticityOptions{Options: good, MinKNs: 3, MaxKNs: 3}
			o.EnsureDefaults()
			return o.Validate()
		},
		"a step down": func() error {
			o := ElasticityOptions{Options: good, Low: 9, High: 8}
			o.EnsureDefaults()
			return o.Validate()
		},
		"a hot key on one KN": func() error { o := HotKeyOptions{Options: good, KNs: 1}; o.EnsureDefaults(); return o.Validate() },
		"nobody to take over": func() error { o := FailureOptions{Options: good, KNs: 1}; o.EnsureDefaults(); return o.Validate() },
		"an unknown failure": func() error {
			o := FailureOptions{Options: good, Kinds: []string{"fire"}}
			o.EnsureDefaults()
			return o.Validate()
		},
		"a read ratio above 1": func() error {
			o := FailureOptions{Options: good, ReadRatio: 2}
			o.EnsureDefaults()
			return o.Validate()
		},
	} {
		if check() == nil {
			t.Errorf("%s is allowed", name)
		}
	}
}

// TestFailureIsSurvived runs both failures in short: the keys of each failed KN are served again, by a map without it.
func TestFailureIsSurvived(t *testing.T) {
	o := FailureOptions{Options: options(t), KNs: 2, Before: 300 * time.Millisecond, After: 500 * time.Millisecond, Probes: 16, Outstanding: 4}
	r, err := Failure(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Failovers) != 2 {
		t.Fatalf("%d failovers, want 2", len(r.Failovers))
	}
	for _, f := range r.Failovers {
		t.Log(f)
		if f.KN == "" || f.Probes != 16 || f.FirstServedMillis <= 0 || f.AllServedMillis < f.FirstServedMillis || f.MapMillis <= 0 {
			t.Errorf("%+v", f)
		}
	}
	// A KN that may still serve must not lose its keys before its lease is over; when it was renewed last is not known.
	if f := r.Failovers[1]; f.Kind != Unreachable || f.MapMillis < f.LeaseMillis/2 {
		t.Errorf("the unreachable KN lost its keys after %.0f ms, with lease and margin of %.0f ms", f.MapMillis, f.LeaseMillis)
	}
	checkOutputs(t, r, "served again", "failovers")
}

// long skips what takes minutes unless EXPERIMENTS is set.
func long(t *testing.T) {
	if os.Getenv("EXPERIMENTS") == "" {
		t.Skip("takes a minute; set EXPERIMENTS=1 to run it")
	}
}

func TestElasticityGrowsAndShrinks(t *testing.T) {
	long(t)
	o := ElasticityOptions{Options: options(t), MaxKNs: 2, SLO: 300 * time.Microsecond, GracePeriod: 3 * time.Second, Quiet: time.Second}
	r, err := Elasticity(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Decisions) < 2 {
		t.Errorf("decisions: %q", r.Decisions)
	}
	checkOutputs(t, r, "add-node", "decisions")
}

func TestHotKeyIsReplicatedAndTakenBack(t *testing.T) {
	long(t)
	o := HotKeyOptions{Options: options(t), KNs: 2, SLO: 300 * time.Microsecond, GracePeriod: 3 * time.Second, Quiet: time.Second, Steady: 2 * time.Second}
	r, err := HotKey(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.HotKey) < 2 || r.HotKey[0].Owners != 1 || r.HotKey[1].Reads == 0 {
		t.Errorf("%+v", r.HotKey)
	}
	checkOutputs(t, r, "replicate", "hot_key")
}
