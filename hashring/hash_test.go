package hashring

import (
	"fmt"
	"math"
	"testing"
)

// Nodes of different builds serve one cluster: the hashes may never change.
func TestHashesAreFixed(t *testing.T) {
	got := fmt.Sprintf("%016x %016x %016x %016x %016x", KeyHash([]byte("foo")), Position(KeyHash([]byte("foo"))),
		localPosition(KeyHash([]byte("foo"))), point(memberSeed("127.0.0.1"), 0), point(threadSeed(1), 1023))
	const want = "33bf00a859c4ba3f c66557dfd6c8ff07 819bc66fbc35ac51 07f2767cbfabc924 6572664e2cd15f6c"
	if got != want {
		t.Fatalf("hashes of foo, its positions and two points:\n got %s\nwant %s", got, want)
	}
}

// The keys of one thread must fill the index's buckets and the caches' tables evenly, so neither
// ring may share bits with KeyHash, nor the rings with each other.
func TestRingsAreIndependentOfTheIndex(t *testing.T) {
	const keys, cells = 1 << 17, 64
	m := mustMap(t, testSpec(4, 4, DefaultVirtualNodes))
	var low, high [cells]int
	owned := 0
	for n := range keys {
		hash := KeyHash(fmt.Appendf(nil, "user%d", n))
		if o, _ := m.PrimaryOwner(hash); o == (Owner{2, 1}) {
			owned++
			low[hash%cells]++
			high[hash>>58]++
		}
	}
	for name, counts := range map[string][cells]int{"low": low, "high": high} {
		if chi, limit := chiSquare(counts[:], owned), 63+6*math.Sqrt(2*63); chi > limit {
			t.Errorf("%s bits of one thread's %d keys: chi-square %.0f over %d cells, want below %.0f", name, owned, chi, cells, limit)
		}
	}
}

func chiSquare(counts []int, total int) float64 {
	expected, sum := float64(total)/float64(len(counts)), 0.0
	for _, c := range counts {
		sum += (float64(c) - expected) * (float64(c) - expected) / expected
	}
	return sum
}
