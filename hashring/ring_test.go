package hashring

import (
	"math"
	"slices"
	"testing"

	"github.com/dinomo-kv/dinomo/internal/random"
)

func TestRingAgreesWithNaive(t *testing.T) {
	r := random.New(random.Seed(t))
	for range 200 {
		seeds := make([]uint64, 1+r.IntN(12))
		for i := range seeds {
			seeds[i] = r.Uint64()
		}
		if r.IntN(3) == 0 {
			seeds[len(seeds)-1] = seeds[0] // equal points: the tie must be broken alike
		}
		count := 1 + r.IntN(40)
		fast, slow := newRing(seeds, count), naivePoints(seeds, count)
		probe := func(position uint64) {
			factor := 1 + r.IntN(len(seeds)+1)
			got, want := fast.owners(position, factor, nil), naiveOwners(slow, position, factor)
			if !slices.Equal(got, want) {
				t.Fatalf("%d seeds, %d points each, position %x, factor %d: owners %v, want %v", len(seeds), count, position, factor, got, want)
			}
			if fast.owner(position) != want[0] {
				t.Fatalf("owner(%x) = %d, want %d", position, fast.owner(position), want[0])
			}
			for slot := range len(seeds) {
				if got := fast.has(position, factor, uint16(slot)); got != slices.Contains(want, uint16(slot)) {
					t.Fatalf("has(%x, %d, %d) = %v, want the owners %v", position, factor, slot, got, want)
				}
			}
		}
		for range 30 {
			probe(r.Uint64())
			edge := slow[r.IntN(len(slow))].position
			probe(edge - 1)
			probe(edge)
			probe(edge + 1)
		}
		probe(0)
		probe(math.MaxUint64)
	}
}

func TestEmptyRingHasNoOwners(t *testing.T) {
	if got := newRing(nil, 3000).owners(7, 3, nil); len(got) != 0 {
		t.Fatalf("owners = %v", got)
	}
}

// A run with a member more keeps every other point in its order: what makes movement minimal.
func TestRingIsSorted(t *testing.T) {
	r := random.New(random.Seed(t))
	ring := newRing([]uint64{r.Uint64(), r.Uint64(), r.Uint64()}, 3000)
	if !slices.IsSorted(ring.positions) {
		t.Fatal("positions are not sorted")
	}
	if len(ring.positions) != 9000 || int(ring.starts[len(ring.starts)-1]) != 9000 {
		t.Fatalf("%d positions, last start %d, want 9000", len(ring.positions), ring.starts[len(ring.starts)-1])
	}
}
