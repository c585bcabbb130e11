package sim

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/internal/random"
)

// seedOfTests is where the tests' seeds begin: the same for each run of a commit, so that what fails is the change. `make sim` takes
// fresh ones; TEST_SEED another.
func seedOfTests(t *testing.T) uint64 {
	t.Helper()
	if os.Getenv("TEST_SEED") != "" {
		return random.Seed(t)
	}
	return 1
}

// TestSeeds: some seeds find nothing wrong.
func TestSeeds(t *testing.T) {
	n := 20
	if testing.Short() {
		n = 2
	}
	err := RunSeeds(context.Background(), Options{Seed: seedOfTests(t)}, n, func(r *Report) bool {
		if r.Result != Passed {
			t.Errorf("dinomo sim --seed %d: %s: %v", r.Seed, r.Result, r.Violations)
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestReplay: one seed is one history, byte for byte, and another seed another one.
func TestReplay(t *testing.T) {
	seed := seedOfTests(t)
	seen := map[string]uint64{}
	n := uint64(3)
	if testing.Short() {
		n = 2
	}
	for i := range n {
		var hashes [2]string
		for j := range hashes {
			r, err := Run(Options{Seed: seed + i})
			if err != nil {
				t.Fatal(err)
			}
			if r.Operations == 0 {
				t.Errorf("seed %d: clients did nothing", seed+i)
			}
			hashes[j] = r.Hash
		}
		if hashes[0] != hashes[1] {
			t.Errorf("seed %d gives two histories: %s and %s", seed+i, hashes[0], hashes[1])
		}
		if other, ok := seen[hashes[0]]; ok {
			t.Errorf("seeds %d and %d give one history", other, seed+i)
		}
		seen[hashes[0]] = seed + i
	}
}

// TestEveryFault: each kind of fault alone can be made, and does no harm.
func TestEveryFault(t *testing.T) {
	seed := seedOfTests(t)
	for _, name := range Faults() {
		o := Options{Seed: seed, Faults: []string{name}}
		if testing.Short() {
			o.Safety = 500 * time.Millisecond
		}
		r, err := Run(o)
		if err != nil {
			t.Fatal(err)
		}
		if r.Result != Passed {
			t.Errorf("dinomo sim --seed %d --faults %s: %s: %v", seed, name, r.Result, r.Violations)
		}
	}
}

// TestCalmWorld: where nothing goes wrong, every operation succeeds.
func TestCalmWorld(t *testing.T) {
	seed := seedOfTests(t)
	r, err := Run(Options{Seed: seed, KNs: 2, Faults: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Result != Passed || r.Epoch != 1 {
		t.Errorf("seed %d: %s at epoch %d: %v", seed, r.Result, r.Epoch, r.Violations)
	}
	for outcome, n := range r.Outcomes {
		if !strings.HasSuffix(outcome, " ok") {
			t.Errorf("seed %d: %d times %s", seed, n, outcome)
		}
	}
}

// TestHealsWhenEveryKNLeaves: where all places are taken by KNs that say goodbye, one joins once there is a place.
func TestHealsWhenEveryKNLeaves(t *testing.T) {
	o := Options{Seed: seedOfTests(t), KNs: mostKNs, Faults: []string{}}
	o.EnsureDefaults()
	w := newWorld(o)
	w.start()
	members := func(want int) func() bool {
		return func() bool { m := w.currentMap(); return m != nil && len(m.Members()) == want }
	}
	if !w.runUntil(patience, func() bool { return members(mostKNs)() && len(w.strangers()) == 0 }) {
		t.Fatal("no map of all KNs")
	}
	for _, p := range w.kns {
		p.leave()
	}
	if !w.runUntil(patience, members(0)) || len(running(w.kns)) != mostKNs {
		t.Fatalf("%d KNs run on, want all, and none as a member", len(running(w.kns)))
	}
	w.heal()
	if !w.runUntil(w.o.Liveness, members(1)) {
		t.Error("nobody joined")
	}
}

// TestWatcherSeesFreeWordsMoved: a CAS that moves a pointer word of the DPM's is a violation.
func TestWatcherSeesFreeWordsMoved(t *testing.T) {
	o := Options{Seed: seedOfTests(t), KNs: 1, Faults: []string{}}
	o.EnsureDefaults()
	w := newWorld(o)
	w.start()
	if !w.runUntil(patience, func() bool { return w.currentMap() != nil }) {
		t.Fatal("no map")
	}
	layout := w.dpm.dpm.Pool().Layout()
	var err error
	w.net.Node(scriptIP).Clock().Go(func() {
		var qp fabric.QP
		if qp, err = w.fabric.Dial(context.Background(), w.listener.Address(), fabric.DialOptions{}); err != nil {
			return
		}
		for _, word := range []uint64{layout.FilterOffset, layout.IndirectOffset} {
			err = errors.Join(err, qp.Post([]fabric.Verb{{Kind: fabric.CAS, Address: word, Expect: w.region.Load64(word), Swap: 1}}))
		}
	})
	w.run(10 * time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if v := w.watch.violations; len(v) != 1 || !strings.Contains(v[0], "is free") {
		t.Errorf("violations: %q", v)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{{Faults: []string{"kill-everything"}}, {KNs: mostKNs + 1}, {Threads: 5}, {Clients: 1000}, {Safety: -1}} {
		if _, err := Run(o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}
