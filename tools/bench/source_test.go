package bench

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/internal/random"
	"github.com/dinomo-kv/dinomo/tools/bench/command"
)

func take(s source, n int) (out []task) {
	for range n {
		t, ok := s.next()
		if !ok {
			return out
		}
		out = append(out, t)
	}
	return out
}

func TestKeyNames(t *testing.T) {
	for n, want := range map[uint64]string{1: "00000001", 99999999: "99999999", 100000000: "100000000", 1234567890: "1234567890"} {
		if got := padded(n); got != want {
			t.Errorf("padded(%d) = %s, want %s", n, got, want)
		}
		if got, want := plain(n), fmt.Sprint(n); got != want {
			t.Errorf("plain(%d) = %s", n, got)
		}
	}
}

func TestInOrderAndRemembered(t *testing.T) {
	got := take(&inOrder{deed: put, left: command.KeyRange{First: 3, Next: 6}}, 10)
	if want := []task{{put, 3, 0}, {put, 4, 0}, {put, 5, 0}}; !slices.Equal(got, want) {
		t.Errorf("in order: %v", got)
	}
	d, err := newDrawing(10, 0.99, random.New(1))
	if err != nil {
		t.Fatal(err)
	}
	keys := draw(d, 5)
	first := take(&remembered{keys: keys}, 10)
	pick := around(keys)
	for i := range 12 {
		if want := first[i%5].key; pick() != want {
			t.Errorf("pick %d is not %d", i, want)
		}
	}
	if len(first) != 5 || keys.large != nil {
		t.Errorf("remembered %v in %v", first, keys)
	}
	if d, err = newDrawing(1<<33, 0, random.New(1)); err != nil {
		t.Fatal(err)
	}
	if keys = draw(d, 100); keys.small != nil || slices.Max(keys.large) < 1<<32 {
		t.Error("large keys do not fit")
	}
}

func TestMixFollowsItsRatio(t *testing.T) {
	const n = 100_000
	for _, ratio := range []float64{0, 0.05, 0.5, 0.95, 1} {
		rng := random.New(random.Seed(t))
		s := &mix{rng: rng, readRatio: ratio, pick: func() uint64 { return 1 }}
		reads := 0
		for _, task := range take(s, n) {
			if task.deed == read {
				reads++
			} else if task.deed != update {
				t.Fatalf("%v", task)
			}
		}
		// Five standard deviations.
		if slack := 5 * math.Sqrt(n*ratio*(1-ratio)); math.Abs(float64(reads)-n*ratio) > slack {
			t.Errorf("%d of %d are reads at ratio %g", reads, n, ratio)
		}
	}
}

func TestFreshKeysNeverMeet(t *testing.T) {
	seen := map[uint64]bool{}
	const nodes, threads = 2, 3
	for node := range nodes {
		for thread := range threads {
			th := &Thread{options: Options{NodeIndex: node, Nodes: nodes, Threads: threads}, index: thread, fresh: map[uint64]*freshKeys{}}
			for range 50 {
				key := th.freshAbove(1000).take() // asked for again, as each command does
				if key <= 1000 || seen[key] {
					t.Fatalf("node %d thread %d inserts key %d", node, thread, key)
				}
				seen[key] = true
			}
		}
	}
	if slices.Max(slices.Collect(maps.Keys(seen))) != 1000+nodes*threads*50 {
		t.Error("numbers left out")
	}
}

func TestAnnaMix(t *testing.T) {
	n := uint64(0)
	pick := func() uint64 { n++; return n }
	got := take(&annaMix{kind: command.AnnaPutGet, pick: pick}, 4)
	if want := []task{{put, 1, 0}, {read, 1, 0}, {put, 2, 0}, {read, 2, 0}}; !slices.Equal(got, want) {
		t.Errorf("M: %v", got)
	}
	if got := take(&annaMix{kind: command.AnnaPut, pick: pick}, 2); got[0].deed != put || got[1].deed != put {
		t.Errorf("P: %v", got)
	}
	if got := take(&annaMix{kind: command.AnnaGet, pick: pick}, 2); got[0].deed != read || got[1].deed != read {
		t.Errorf("G: %v", got)
	}
}

func TestYCSBMixes(t *testing.T) {
	const n, keys = 40_000, 1000
	shares := map[string]map[deed]float64{
		"A": {read: .5, update: .5}, "B": {read: .95, update: .05}, "C": {read: 1},
		"D": {read: .95, insert: .05}, "E": {scan: .95, insert: .05}, "F": {read: .5, readModifyWrite: .5},
	}
	for workload, want := range shares {
		fresh := &freshKeys{base: keys, lanes: 1}
		s, err := newYCSB(command.YCSB{Workload: workload, Keys: keys, Zipf: 0.99}, fresh, random.New(random.Seed(t)))
		if err != nil {
			t.Fatal(err)
		}
		got := map[deed]float64{}
		inserted := uint64(0)
		for range n {
			task, _ := s.next()
			got[task.deed]++
			switch task.deed {
			case insert:
				inserted++
				if task.key != keys+inserted {
					t.Fatalf("%s: insert %d is key %d", workload, inserted, task.key)
				}
				s.ended(task)
			case scan:
				if task.count < 1 || task.count > maxScan || task.key+uint64(task.count)-1 > keys {
					t.Fatalf("%s: %+v", workload, task)
				}
			default:
				if task.key < 1 || task.key > keys+inserted {
					t.Fatalf("%s: key %d, inserted %d", workload, task.key, inserted)
				}
			}
		}
		for d, share := range want {
			if math.Abs(got[d]/n-share) > 0.02 {
				t.Errorf("%s: %g of deed %d, want %g", workload, got[d]/n, d, share)
			}
			delete(got, d)
		}
		if len(got) > 0 {
			t.Errorf("%s: also %v", workload, got)
		}
	}
}

// The newest key is read the most, and never one whose insert has not ended.
func TestYCSBLatest(t *testing.T) {
	fresh := &freshKeys{base: 100, lanes: 4, lane: 2}
	s, err := newYCSB(command.YCSB{Workload: "D", Keys: 100, Zipf: 0.99}, fresh, random.New(random.Seed(t)))
	if err != nil {
		t.Fatal(err)
	}
	a, b, c := fresh.take(), fresh.take(), fresh.take()
	fresh.done(c)
	counts := map[uint64]int{}
	for range 1000 {
		counts[s.latest()]++
	}
	if counts[a]+counts[b]+counts[c] > 0 || counts[100] < counts[90] {
		t.Errorf("before: %v", counts)
	}
	fresh.done(a)
	fresh.done(b)
	clear(counts)
	for range 1000 {
		counts[s.latest()]++
	}
	if counts[c] < counts[b] || counts[b] < counts[100] || counts[100] == 0 {
		t.Errorf("after: newest %d, then %d, loaded %d", counts[c], counts[b], counts[100])
	}
	if len(fresh.outOfOrder) != 0 || fresh.acknowledged != 3 {
		t.Errorf("%+v", fresh)
	}
}

func TestHotKeysFindsThemAll(t *testing.T) {
	rng := random.New(random.Seed(t))
	d, err := newDrawing(1_000_000, 0.99, rng)
	if err != nil {
		t.Fatal(err)
	}
	h := newHotKeys()
	for range 200_000 {
		h.observe(plain(d.key()), 5*time.Microsecond)
	}
	if len(h.entries) > hotKeyCandidates {
		t.Errorf("%d candidates", len(h.entries))
	}
	got := h.take()
	if len(got) > hotKeysReported || len(h.entries) != 0 {
		t.Errorf("%d reported, %d left", len(got), len(h.entries))
	}
	names := map[string]bool{}
	for _, k := range got {
		names[k.Key] = true
		if k.Latency != 5 {
			t.Errorf("%v", k)
		}
	}
	// Keys 1 to 10 each have more than 0.6 % of the draws.
	for n := uint64(1); n <= 10; n++ {
		if !names[plain(n)] {
			t.Errorf("key %d is not among the hot ones", n)
		}
	}
}
