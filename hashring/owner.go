package hashring

import "fmt"

// Owner is one thread of one KN.
type Owner struct {
	Rank   Rank
	Thread int
}

// String shows "rank/thread".
func (o Owner) String() string { return fmt.Sprintf("%d/%d", o.Rank, o.Thread) }

// PrimaryOwner returns the first owner of the keys with that hash: the only one, unless a key is
// replicated. It is false when the map has no members.
func (m *Map) PrimaryOwner(hash uint64) (Owner, bool) {
	if len(m.members) == 0 {
		return Owner{Rank: NoRank}, false
	}
	slot := m.ring.owner(Position(hash))
	return Owner{m.members[slot].Rank, int(m.locals[slot].owner(localPosition(hash)))}, true
}

// Owners appends to dst the owners of the keys with that hash when they are replicated on factor
// nodes: one thread on each, the primary owner first, fewer when there are fewer members.
func (m *Map) Owners(hash uint64, factor int, dst []Owner) []Owner {
	return m.OwnersFor(hash, Replication{Global: factor, Local: 1}, dst)
}

// OwnersOf appends to dst all owners of a key, honouring its replication, the primary owner first.
// It allocates nothing when dst has room.
func (m *Map) OwnersOf(key []byte, dst []Owner) []Owner {
	hash := KeyHash(key)
	return m.OwnersFor(hash, m.replication(key, hash), dst)
}

// OwnersOfHashed is OwnersOf for a caller that has the key's hash.
func (m *Map) OwnersOfHashed(key []byte, hash uint64, dst []Owner) []Owner {
	return m.OwnersFor(hash, m.replication(key, hash), dst)
}

// OwnersFor appends to dst the owners under a given replication: node after node, the primary
// thread of each first. A smaller replication's nodes are a prefix of a larger one's, so that
// replicating a key never takes it from an owner.
func (m *Map) OwnersFor(hash uint64, r Replication, dst []Owner) []Owner {
	if r == Single {
		if o, ok := m.PrimaryOwner(hash); ok {
			dst = append(dst, o)
		}
		return dst
	}
	var slotBuffer [MaxMembers]uint16
	var threadBuffer [MaxThreads]uint16
	local := localPosition(hash)
	for _, slot := range m.ring.owners(Position(hash), r.Global, slotBuffer[:0]) {
		for _, thread := range m.locals[slot].owners(local, r.Local, threadBuffer[:0]) {
			dst = append(dst, Owner{m.members[slot].Rank, int(thread)})
		}
	}
	return dst
}

// IsOwner tells whether that thread is the primary owner of the keys with that hash: the fast
// path of a map without replicated keys. Serves is the whole answer.
func (m *Map) IsOwner(hash uint64, rank Rank, thread int) bool {
	o, ok := m.PrimaryOwner(hash)
	return ok && o.Rank == rank && o.Thread == thread
}

// Serves tells whether that thread owns the key, be it as one of several. hash is KeyHash(key).
// It allocates nothing.
func (m *Map) Serves(key []byte, hash uint64, rank Rank, thread int) bool {
	r := m.replication(key, hash)
	if r == Single {
		return m.IsOwner(hash, rank, thread)
	}
	slot, ok := m.slotOf[rank]
	if !ok || thread < 0 || thread >= m.members[slot].Threads {
		return false
	}
	return m.ring.has(Position(hash), r.Global, slot) && m.locals[slot].has(localPosition(hash), r.Local, uint16(thread))
}
