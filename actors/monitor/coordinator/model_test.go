package coordinator_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/internal/random"
)

// TestOwnershipUnderFaults runs coordinators and guards in the model world under random faults, then heals it and
// wants every key served again. Guards OWN-1, OWN-2, RING-2 and DAC-2.
func TestOwnershipUnderFaults(t *testing.T) {
	rounds := 30
	if s := os.Getenv("MODEL_ROUNDS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("MODEL_ROUNDS=%q: want a number", s)
		}
		rounds = n
	}
	seed := random.Seed(t)
	swaps, writes := 0, 0
	for round := range rounds {
		w := newWorld(t, seed+uint64(round), 4, 1+round%2)
		w.faults()
		w.heal()
		swaps += w.swaps
		writes += w.writes
	}
	t.Logf("%d rounds, %d maps, %d acknowledged writes", rounds, swaps, writes)
	if swaps < 5*rounds || writes < 100*rounds {
		t.Fatal("the model hardly did anything: it would find nothing")
	}
}

// modelRegressions are worlds that broke once: they are always run.
var modelRegressions = []struct {
	seed        uint64
	kns, bosses int
	story       string
}{
	{7982843784039186760, 4, 1, "a KN's answer about a change of its coordinator's last run counted for another change of the same number"},
}

func TestModelRegressions(t *testing.T) {
	for _, r := range modelRegressions {
		t.Log(r.story)
		w := newWorld(t, r.seed, r.kns, r.bosses)
		w.faults()
		w.heal()
	}
}

// faults lets 30 virtual seconds of trouble pass.
func (w *world) faults() {
	w.run(3 * time.Second)
	w.lossy = w.rng.IntN(4) > 0
	for range 12 {
		k := w.kns[w.rng.IntN(len(w.kns))]
		switch w.rng.IntN(7) {
		case 0:
			w.logf("kill %s", k.ip)
			k.dead = true
		case 1:
			w.logf("kill %s, and it is known", k.ip)
			k.dead, w.ranks[k.rank].gone = true, true
		case 2:
			d := time.Duration(w.rng.IntN(4000)) * time.Millisecond
			w.logf("pause %s for %v", k.ip, d)
			k.pausedUntil = w.now.Add(d)
		case 3:
			b := w.coordinators[w.rng.IntN(len(w.coordinators))]
			w.logf("restart of coordinator %s", b.name)
			w.restart(b)
		case 4:
			if !k.dead {
				w.logf("%s is asked to leave", k.ip)
				w.leave(k)
			}
		case 5, 6:
			w.rebootDead()
		}
		w.run(time.Duration(w.rng.IntN(5000)) * time.Millisecond)
	}
}

// rebootDead starts one dead KN again, once the pool has its last run fenced or knows it gone.
func (w *world) rebootDead() {
	for _, k := range w.kns {
		if r := w.ranks[k.rank]; (k.dead || r.fenced) && (r.fenced || r.gone) {
			w.boot(k)
			return
		}
	}
}

// heal ends all faults, starts every KN that is not part of the cluster any more, and waits for health.
func (w *world) heal() {
	w.lossy = false
	for _, k := range w.kns {
		k.pausedUntil = time.Time{}
		if k.dead {
			w.ranks[k.rank].gone = true
		}
	}
	var err error
	for range 60 {
		w.run(time.Second)
		w.rebootDead()
		if err = w.healthy(); err == nil {
			return
		}
	}
	w.fail("no health 60 s after the last fault: %v", err)
}
