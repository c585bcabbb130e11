package hashring

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/dinomo-kv/dinomo/internal/random"
)

func TestMovesAgreesWithBruteForce(t *testing.T) {
	r := random.New(random.Seed(t))
	const keys = 300
	for range 15 {
		m := mustMap(t, Spec{Epoch: 1, VirtualNodes: 1 + r.IntN(50)})
		for range 12 {
			next := m
			for range 1 + r.IntN(3) {
				next = randomStep(t, r, next, keys)
			}
			checkMoves(t, r, m, next, keys)
			checkMoves(t, r, next, m, keys)
			m = next
		}
	}
}

// ownedBy tells whether the thread (any with AllThreads) owns the key: from the owners alone.
func ownedBy(m *Map, key []byte, rank Rank, thread int) bool {
	return slices.ContainsFunc(m.OwnersOf(key, nil), func(o Owner) bool {
		return o.Rank == rank && (thread == AllThreads || o.Thread == thread)
	})
}

func checkMoves(t *testing.T, r *rand.Rand, from, to *Map, keys int) {
	t.Helper()
	moves := Moves(from, to)
	checkShape(t, moves)
	renewed := func(rank Rank) bool {
		a, okA := from.Member(rank)
		b, okB := to.Member(rank)
		return okA && okB && !sameOwner(a, b)
	}
	var probes [][]byte
	for n := range keys {
		probes = append(probes, fmt.Appendf(nil, "%d", n))
	}
	ranks := []Rank{Rank(r.IntN(40))}
	for _, m := range append(slices.Clone(from.Members()), to.Members()...) {
		ranks = append(ranks, m.Rank)
	}
	rank := ranks[r.IntN(len(ranks))]
	lost, gained := moves.LostBy(rank, AllThreads), moves.GainedBy(rank)
	for _, key := range probes {
		hash := KeyHash(key)
		before, after := from.OwnersOf(key, nil), to.OwnersOf(key, nil)
		changed := !sameOwners(before, after) || (from.Replication(key) == Single) != (to.Replication(key) == Single) ||
			slices.ContainsFunc(before, func(o Owner) bool { return renewed(o.Rank) })
		if got := moves.ContainsKey(key, hash); got != changed {
			t.Fatalf("key %s: %v -> %v, moves = %v, from\n%vto\n%vmoves\n%v", key, before, after, got, from, to, moves)
		}
		anyLost, anyGained := false, false
		for thread := range MaxThreads {
			had, has := ownedBy(from, key, rank, thread), ownedBy(to, key, rank, thread)
			loses := had && (!has || renewed(rank))
			anyLost = anyLost || loses
			anyGained = anyGained || has && (!had || renewed(rank))
			if thread < 5 && moves.LostBy(rank, thread).ContainsKey(key, hash) != loses {
				t.Fatalf("key %s: %v -> %v, lost by %v/%d should be %v\nfrom\n%vto\n%v", key, before, after, rank, thread, loses, from, to)
			}
		}
		if lost.ContainsKey(key, hash) != anyLost || gained.ContainsKey(key, hash) != anyGained {
			t.Fatalf("key %s: %v -> %v, rank %v loses %v (want %v), gains %v (want %v)\nfrom\n%vto\n%v", key, before, after, rank,
				lost.ContainsKey(key, hash), anyLost, gained.ContainsKey(key, hash), anyGained, from, to)
		}
	}
}

// checkShape wants ranges that ascend, do not touch with the same owners, and are not empty.
func checkShape(t *testing.T, moves Ranges) {
	t.Helper()
	all := moves.All()
	for i, x := range all {
		if x.Next != 0 && x.First >= x.Next || x.Next == 0 && i != len(all)-1 {
			t.Fatalf("range %d of\n%v", i, moves)
		}
		if i > 0 && (all[i-1].Next > x.First || all[i-1].Next == x.First && all[i-1].From == x.From && all[i-1].To == x.To) {
			t.Fatalf("ranges %d and %d of\n%v", i-1, i, moves)
		}
	}
}

// A join takes an equal share from each, a leave gives an equal share to each, and nobody else moves.
func TestMovementIsMinimal(t *testing.T) {
	const nodes = 16
	m := mustMap(t, testSpec(nodes, 2, 0))
	joined := must(t)(m.With(testMember(nodes, 2)))
	for name, moves := range map[string]Ranges{
		"join":  Moves(m, joined),
		"leave": Moves(joined, must(t)(joined.Without(nodes))),
	} {
		if share, want := moves.Share(), 1.0/(nodes+1); share < want*0.92 || share > want*1.08 {
			t.Errorf("%s moves %.4f of the ring, want about %.4f", name, share, want)
		}
		for _, x := range moves.All() {
			if name == "join" && x.To != nodes || name == "leave" && x.From != nodes {
				t.Fatalf("%s moves %v -> %v", name, x.From, x.To)
			}
		}
		for rank := range Rank(nodes) {
			other := moves.LostBy(rank, AllThreads)
			if name == "leave" {
				other = moves.GainedBy(rank)
			}
			if share, want := other.Share(), 1.0/(nodes*(nodes+1)); share < want*0.5 || share > want*1.6 {
				t.Errorf("%s: rank %d's part is %.5f of the ring, want about %.5f", name, rank, share, want)
			}
		}
	}
}

func TestMovesOfEqualMapsIsEmpty(t *testing.T) {
	s := testSpec(5, 2, 0)
	s.Replicated = map[string]Replication{"k": {3, 2}}
	a := mustMap(t, s)
	s.Epoch = 9
	if moves := Moves(a, mustMap(t, s)); !moves.Empty() || moves.ContainsKey([]byte("k"), KeyHash([]byte("k"))) {
		t.Fatalf("moves\n%v", moves)
	}
	var zero Ranges
	if !zero.Empty() || zero.Contains(1) || !zero.LostBy(1, 0).Empty() || !zero.GainedBy(1).Empty() {
		t.Fatal("the zero Ranges is not empty")
	}
}

// The first member gets everything, from nobody; and the last one leaves everything to nobody.
func TestMovesFromAndToNobody(t *testing.T) {
	empty := mustMap(t, Spec{Epoch: 1})
	one := must(t)(empty.With(testMember(3, 2)))
	for _, moves := range []Ranges{Moves(empty, one), Moves(one, empty)} {
		if len(moves.All()) != 1 || moves.Share() != 1 || !moves.Contains(0) || !moves.Contains(1<<63) {
			t.Fatalf("moves\n%v", moves)
		}
	}
	if x := Moves(empty, one).All()[0]; x.From != NoRank || x.To != 3 {
		t.Fatalf("moves %v -> %v, want none -> 3", x.From, x.To)
	}
}

// Replicating a key never takes it from an owner (Owners' prefix property).
func TestReplicatingOnlyAddsOwners(t *testing.T) {
	m := mustMap(t, testSpec(6, 3, 100))
	for n := range 200 {
		hash := KeyHash(fmt.Appendf(nil, "%d", n))
		var previous []Owner
		for factor := 1; factor <= 8; factor++ {
			owners := m.Owners(hash, factor, nil)
			if len(owners) != min(factor, 6) || !slices.Equal(owners[:len(previous)], previous) {
				t.Fatalf("%d owners %v after %v", factor, owners, previous)
			}
			previous = owners
		}
	}
}
