package hashring

import (
	"fmt"
	"testing"

	"github.com/dinomo-kv/dinomo/internal/random"
)

// shares returns each member's part of the ring by its slot, exactly.
func (r *ring) shares(slots int) []float64 {
	shares := make([]float64, slots)
	for i, p := range r.positions {
		next := r.positions[(i+1)%len(r.positions)]
		shares[r.slots[i]] += float64(next-p) / (1 << 64) // wraps rightly at the last point
	}
	return shares
}

// With 3000 points a member's share has a standard deviation of 1/sqrt(3000) = 1.8 % of the mean;
// a bound of six of them holds for whatever addresses a cluster has.
func TestGlobalRingIsBalanced(t *testing.T) {
	r := random.New(random.Seed(t))
	for _, nodes := range []int{2, 4, 16, 64} {
		s := Spec{Epoch: 1}
		for n := range nodes {
			m := testMember(n, 1)
			m.PrivateIP = fmt.Sprintf("10.%d.%d.%d", r.IntN(256), n, r.IntN(256))
			s.Members = append(s.Members, m)
		}
		const bound = 6 * 0.0183
		for slot, share := range mustMap(t, s).ring.shares(nodes) {
			if relative := share * float64(nodes); relative < 1-bound || relative > 1+bound {
				t.Errorf("%d nodes: slot %d owns %.3f of the mean, want 1 +- %.3f", nodes, slot, relative, bound)
			}
		}
	}
}

// Local rings are constants, so their balance is one too.
func TestLocalRingsAreBalanced(t *testing.T) {
	for threads := 1; threads <= MaxThreads; threads++ {
		for thread, share := range localRing(threads).shares(threads) {
			if relative := share * float64(threads); relative < 0.89 || relative > 1.11 {
				t.Errorf("thread %d of %d owns %.3f of the mean, want 1 +- 0.11", thread, threads, relative)
			}
		}
	}
}

// Keys, counted: both rings together spread them over all threads.
func TestKeysAreBalanced(t *testing.T) {
	const nodes, threads, keys = 8, 4, 200_000
	m := mustMap(t, testSpec(nodes, threads, 0))
	counts := make(map[Owner]int)
	for n := range keys {
		o, _ := m.PrimaryOwner(KeyHash(fmt.Appendf(nil, "%d", n)))
		counts[o]++
	}
	mean := float64(keys) / (nodes * threads)
	if len(counts) != nodes*threads {
		t.Fatalf("%d threads own keys, want %d", len(counts), nodes*threads)
	}
	for o, n := range counts {
		if ratio := float64(n) / mean; ratio < 0.85 || ratio > 1.15 {
			t.Errorf("thread %v owns %.2f times the mean", o, ratio)
		}
	}
}
