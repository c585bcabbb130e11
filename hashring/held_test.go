package hashring

import (
	"fmt"
	"testing"
)

// TestHeldBy compares HeldBy with its definition: what the node loses, and the moved replicated keys that it owned.
func TestHeldBy(t *testing.T) {
	member := func(rank Rank) Member {
		ip := fmt.Sprintf("127.0.0.%d", 100+rank)
		return Member{Rank: rank, PublicIP: ip, PrivateIP: ip, Threads: 2, Incarnation: 1}
	}
	before, err := NewMap(Spec{
		Epoch: 1, VirtualNodes: 30, Members: []Member{member(1), member(2), member(3)},
		Replicated: map[string]Replication{"stays": {Global: 3, Local: 1}, "grows": {Global: 2, Local: 1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	next, err := before.WithReplication(map[string]Replication{"grows": {Global: 3, Local: 1}, "new": {Global: 2, Local: 1}})
	if err != nil {
		t.Fatal(err)
	}
	joined, err := next.With(member(4))
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []*Map{next, joined} {
		moves := Moves(before, to)
		for rank := Rank(1); rank <= 5; rank++ {
			held, lost := moves.HeldBy(rank), moves.LostBy(rank, AllThreads)
			for i := range 2000 {
				key := fmt.Appendf(nil, "k%d", i)
				if hash := KeyHash(key); held.ContainsKey(key, hash) != lost.ContainsKey(key, hash) {
					t.Fatalf("rank %d, plain key %s: held %v, lost %v", rank, key, held.ContainsKey(key, hash), lost.ContainsKey(key, hash))
				}
			}
			for _, name := range []string{"stays", "grows", "new"} {
				key := []byte(name)
				owned, changed := false, false
				for _, o := range before.OwnersOf(key, nil) {
					owned = owned || o.Rank == rank
				}
				for _, k := range moves.Keys() {
					changed = changed || k.Key == name
				}
				if got, want := held.ContainsKey(key, KeyHash(key)), owned && changed; got != want {
					t.Errorf("rank %d, %q: held %v, want %v", rank, name, got, want)
				}
			}
		}
	}
	if held := (Ranges{}).HeldBy(1); !held.Empty() {
		t.Error("nothing moves, yet something is held")
	}
}
