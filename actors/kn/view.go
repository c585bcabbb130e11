package kn

import (
	"github.com/dinomo-kv/dinomo/actors/kn/engine"
	"github.com/dinomo-kv/dinomo/actors/ownership"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/internal/planted"
)

// view is what a thread knows of ownership: the installed map with the addresses of its members' threads.
type view struct {
	m         *hashring.Map // nil: none yet
	addresses *ownership.Addresses
	member    bool // the map has this run of this node
	several   bool // the map has replicated keys
}

func newView(m *hashring.Map, addresses *ownership.Addresses, self identity) view {
	member, ok := m.Member(self.rank)
	return view{m: m, addresses: addresses, member: ok && member.Incarnation == self.incarnation, several: m.ReplicatedKeys() > 0}
}

// serves says whether the thread owns the key (OWN-1).
func (v *view) serves(key []byte, hash uint64, self identity, number int) bool {
	if !v.member {
		return false
	}
	if !v.several {
		return v.m.IsOwner(hash, self.rank, number)
	}
	return v.m.Serves(key, hash, self.rank, number)
}

// owners is how many threads own the key.
func (v *view) owners(key []byte, hash uint64, room []hashring.Owner) int {
	if !v.several {
		return 1
	}
	return len(v.m.OwnersOfHashed(key, hash, room[:0]))
}

// install takes up a newer map. What the thread loses has left its cache by the release already; what it loses or gains
// without one (a map that came unannounced) leaves it here (DAC-2).
func (t *thread) install(next view) {
	if t.view.m != nil && next.m.Epoch() <= t.view.m.Epoch() {
		return // RING-2
	}
	if t.view.m != nil {
		t.dropMoved(hashring.Moves(t.view.m, next.m))
	}
	t.view = next
	t.engine.Refresh()
	t.engine.Share(t.sharedKeys())
	t.holding.forgetAll()
	t.tell(installed{thread: t.number, epoch: next.m.Epoch()})
}

// sharedKeys lists the keys that the thread owns together with others.
func (t *thread) sharedKeys() []engine.HashedKey {
	var keys []engine.HashedKey
	for name := range t.view.m.Replicated() {
		key := []byte(name)
		if hash := hashring.KeyHash(key); t.view.serves(key, hash, t.self, t.number) {
			keys = append(keys, engine.HashedKey{Key: key, Hash: hash})
		}
	}
	return keys
}

func (t *thread) dropMoved(moves hashring.Ranges) {
	for _, part := range []hashring.Ranges{moves.LostBy(t.self.rank, t.number), moves.GainedBy(t.self.rank)} {
		t.drop(part)
	}
}

// drop forgets what is cached of the ranges.
func (t *thread) drop(part hashring.Ranges) int {
	var keys []engine.HashedKey
	for _, k := range part.Keys() {
		keys = append(keys, engine.HashedKey{Key: []byte(k.Key), Hash: hashring.KeyHash([]byte(k.Key))})
	}
	if len(part.All()) == 0 && len(keys) == 0 || planted.Has(planted.CacheNotDropped) {
		return 0
	}
	return t.engine.Drop(part.Contains, keys)
}
