package dac

import (
	"math"
	"testing"

	"github.com/dinomo-kv/dinomo/internal/random"
)

func newTestTally(t *testing.T) *tally {
	t.Helper()
	y, err := newTally(1 << 16)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(y.mem.close)
	return y
}

// Counters of different hashes and buckets do not touch each other.
func TestTallyCounts(t *testing.T) {
	y := newTestTally(t)
	for b := range uint64(4) {
		for j := range uint64(8) {
			for n := range 1 + b + j {
				if got := y.read(b, j<<32, 0); got != float64(n+1) {
					t.Fatalf("bucket %d, counter %d: %v reads, want %d", b, j, got, n+1)
				}
			}
		}
	}
	y.less(2, 3<<32, 4)
	if got := y.read(2, 3<<32, 0); got != 3 { // 6 - 4 + 1
		t.Errorf("after less: %v, want 3", got)
	}
	y.atLeast(2, 3<<32, 9)
	y.atLeast(2, 3<<32, 5)
	if got := y.read(2, 3<<32, 0); got != 10 {
		t.Errorf("after atLeast: %v, want 10", got)
	}
	for range 30 {
		y.read(1, 7<<32, 0)
	}
	if got := y.read(1, 7<<32, 0); got != tallyMost {
		t.Errorf("a full counter says %v, want %d", got, tallyMost)
	}
	if got := y.read(1, 6<<32, 0); got != 9 {
		t.Errorf("the full counter's neighbour says %v, want 9", got)
	}
}

// While the unit doubles, and after, counts stand for the reads that there were, on average.
func TestTallyUnits(t *testing.T) {
	const buckets = 2000
	rng := random.New(random.Seed(t))
	y := newTestTally(t)
	mean := func() float64 {
		sum := 0.0
		for b := range uint64(buckets) {
			for j := range uint64(8) {
				w, shift := y.slot(b, j<<32)
				sum += float64(*w>>shift&tallyMost) * y.unitOf(b)
			}
		}
		return sum / (8 * buckets)
	}
	reads := func(n int) {
		for range n * 8 * buckets {
			y.read(rng.Uint64N(buckets), rng.Uint64(), rng.Uint32())
		}
	}
	reads(6)
	for range 30 { // some way through the buckets
		y.follow(tallyFull, buckets, rng.Uint32())
	}
	if y.unit != 2 || y.hand >= buckets {
		t.Fatalf("unit %v, hand %d: want a unit of 2 and some buckets left", y.unit, y.hand)
	}
	if got := mean(); math.Abs(got-6) > 0.1 {
		t.Errorf("mean count %.2f while the unit doubles, want 6", got)
	}
	reads(3)
	for range 100 {
		y.follow(tallyFull, buckets, rng.Uint32())
	}
	if got := mean(); y.hand != noHand || y.unit != 2 || math.Abs(got-9) > 0.15 {
		t.Errorf("mean count %.2f in units of %v, hand %d; want 9, 2, none", got, y.unit, y.hand)
	}
	if err := y.split(7, buckets); err != nil {
		t.Fatal(err)
	}
	w, shift := y.slot(7, 0)
	v, at := y.slot(buckets, 0)
	if uint32(*w>>shift) != uint32(*v>>at) {
		t.Errorf("bucket split off has counts %#x, want %#x", uint32(*v>>at), uint32(*w>>shift))
	}
	y.reset(buckets + 1)
	if mean() != 0 || y.unit != 1 {
		t.Errorf("after reset: mean %v, unit %v", mean(), y.unit)
	}
}
