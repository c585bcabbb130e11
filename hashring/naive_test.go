package hashring

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// naiveRing is the obvious slow twin of ring: all points in one slice, searched from end to end.
type naivePoint struct {
	position uint64
	slot     int
}

func naivePoints(seeds []uint64, count int) []naivePoint {
	var points []naivePoint
	for slot, seed := range seeds {
		for i := range count {
			points = append(points, naivePoint{point(seed, i), slot})
		}
	}
	slices.SortStableFunc(points, func(a, b naivePoint) int {
		switch {
		case a.position < b.position:
			return -1
		case a.position > b.position:
			return 1
		}
		return a.slot - b.slot
	})
	return points
}

// naiveOwners returns the first factor distinct slots from the last point at or below position
// downwards.
func naiveOwners(points []naivePoint, position uint64, factor int) []uint16 {
	start := len(points) - 1
	for i, p := range points {
		if p.position > position {
			break
		}
		start = i
	}
	var owners []uint16
	for i := range points {
		slot := uint16(points[(start-i+2*len(points))%len(points)].slot)
		if len(owners) < factor && !slices.Contains(owners, slot) {
			owners = append(owners, slot)
		}
	}
	return owners
}

// naiveKeyOwners computes a key's owners from a specification, sharing nothing with Map.
func naiveKeyOwners(s Spec, key []byte) []Owner {
	r, ok := s.Replicated[string(key)]
	if !ok {
		r = Single
	}
	members, _ := sortedMembers(s.Members)
	var seeds []uint64
	for _, m := range members {
		seeds = append(seeds, memberSeed(m.PrivateIP))
	}
	hash := KeyHash(key)
	var owners []Owner
	for _, slot := range naiveOwners(naivePoints(seeds, s.VirtualNodes), Position(hash), r.Global) {
		var threads []uint64
		for t := range members[slot].Threads {
			threads = append(threads, threadSeed(t))
		}
		for _, t := range naiveOwners(naivePoints(threads, localVirtualNodes), localPosition(hash), r.Local) {
			owners = append(owners, Owner{members[slot].Rank, int(t)})
		}
	}
	return owners
}

// testMember is a member at 10.0.x.y with rank n.
func testMember(n, threads int) Member {
	ip := fmt.Sprintf("10.0.%d.%d", n/250, n%250+1)
	return Member{Rank: Rank(n), PublicIP: ip, PrivateIP: ip, Threads: threads, Incarnation: 1}
}

func testSpec(members, threads, virtualNodes int) Spec {
	s := Spec{Epoch: 1, VirtualNodes: virtualNodes}
	for n := range members {
		s.Members = append(s.Members, testMember(n, threads))
	}
	return s
}

func mustMap(t testing.TB, s Spec) *Map {
	t.Helper()
	m, err := NewMap(s)
	if err != nil {
		t.Fatalf("NewMap: %v", err)
	}
	return m
}

func must(t testing.TB) func(m *Map, err error) *Map {
	return func(m *Map, err error) *Map {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
}

// randomKey draws one of n keys.
func randomKey(r *rand.Rand, n int) []byte { return fmt.Appendf(nil, "%d", r.IntN(n)) }

// randomStep changes a map the way a cluster does: a join, a leave, a restart, a replication.
func randomStep(t testing.TB, r *rand.Rand, m *Map, keys int) *Map {
	t.Helper()
	var next *Map
	var err error
	switch n := r.IntN(10); {
	case n < 4:
		next, err = m.With(freeMember(r, m))
	case n < 6 && len(m.Members()) > 0:
		next, err = m.Without(m.Members()[r.IntN(len(m.Members()))].Rank)
	case n < 8 && len(m.Members()) > 0:
		restarted := m.Members()[r.IntN(len(m.Members()))]
		restarted.Incarnation++
		if r.IntN(2) == 0 {
			restarted.Rank = freeMember(r, m).Rank
			restarted.Threads = 1 + r.IntN(4)
		}
		next, err = m.With(restarted)
	default:
		next, err = m.WithReplication(map[string]Replication{
			string(randomKey(r, keys)): {Global: 1 + r.IntN(4), Local: 1 + r.IntN(3)},
			string(randomKey(r, keys)): {},
		})
	}
	if err != nil {
		t.Fatalf("step from\n%v: %v", m, err)
	}
	return next
}

func freeMember(r *rand.Rand, m *Map) Member {
	for {
		candidate := testMember(r.IntN(40), 1+r.IntN(4))
		_, taken := m.Member(candidate.Rank)
		if !taken && !slices.ContainsFunc(m.Members(), func(o Member) bool { return o.PrivateIP == candidate.PrivateIP }) {
			return candidate
		}
	}
}
