package hashring

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Limits of a map. A map comes out of the pool or off a socket and is hostile until NewMap has
// seen it; the limits bound what one map may cost (about 40 MiB for MaxPoints).
const (
	MaxMembers            = 1024
	MaxThreads            = 64
	MaxVirtualNodes       = 1 << 16
	MaxPoints             = 1 << 22 // members x virtual nodes
	MaxReplicatedKeys     = 1 << 14
	MaxReplicatedKeyBytes = 1 << 16
)

// DefaultVirtualNodes is the number of points of a member on the global ring. The largest of 64
// members then owns some 5 % more than the mean; a third of it would make that 8 %, and thrice as
// many would no longer fit a level-2 cache.
const DefaultVirtualNodes = 3000

var (
	// ErrInvalidMap: NewMap and what builds on it were given members, keys or an epoch that no map may have.
	ErrInvalidMap = errors.New("invalid ownership map")
	// ErrUnknownRank: Without was asked to remove a rank that is not in the map.
	ErrUnknownRank = errors.New("no such rank in the ownership map")
)

// Spec is all that a map depends on, in the form in which it travels.
type Spec struct {
	// Epoch is at least 1.
	Epoch Epoch
	// Members in any order; none at all is a valid map: the data waits in the pool.
	Members []Member
	// VirtualNodes per member; 0 means DefaultVirtualNodes.
	VirtualNodes int
	// Replicated lists the keys with more owners than one. An entry of {1, 1} is the same as none.
	Replicated map[string]Replication
}

// Map is the ownership at one epoch: who is a member, and which keys have several owners.
// It is immutable and safe for concurrent use. Make one with NewMap.
type Map struct {
	epoch        Epoch
	virtualNodes int
	members      []Member // sorted by private address; the index is the slot
	slotOf       map[Rank]uint16
	locals       []*ring // by slot
	ring         *ring   // shared between maps whose members have the same addresses
	replicated   map[string]Replication
	// replicatedHashes lets the many keys that are not replicated pass without hashing them again.
	replicatedHashes map[uint64]struct{}
}

// NewMap checks a specification and builds its map. Errors are ErrInvalidMap with the reason.
func NewMap(s Spec) (*Map, error) { return build(nil, s) }

// Derive is NewMap for a map that probably resembles m: rings that would come out the same are
// shared with m instead of built. The result is equal to NewMap's.
func (m *Map) Derive(s Spec) (*Map, error) { return build(m, s) }

func build(previous *Map, s Spec) (*Map, error) {
	if s.VirtualNodes == 0 {
		s.VirtualNodes = DefaultVirtualNodes
	}
	switch {
	case s.Epoch == 0:
		return nil, fmt.Errorf("%w: epoch 0 means that there is no map; epochs start at 1", ErrInvalidMap)
	case s.VirtualNodes < 1 || s.VirtualNodes > MaxVirtualNodes:
		return nil, fmt.Errorf("%w: %d virtual nodes, want 1 to %d", ErrInvalidMap, s.VirtualNodes, MaxVirtualNodes)
	case len(s.Members)*s.VirtualNodes > MaxPoints:
		return nil, fmt.Errorf("%w: %d members with %d virtual nodes are more than %d points; configure fewer virtual nodes",
			ErrInvalidMap, len(s.Members), s.VirtualNodes, MaxPoints)
	}
	members, err := sortedMembers(s.Members)
	if err != nil {
		return nil, err
	}
	m := &Map{epoch: s.Epoch, virtualNodes: s.VirtualNodes, members: members}
	if m.replicated, err = checkReplicated(s.Replicated); err != nil {
		return nil, err
	}
	m.replicatedHashes = make(map[uint64]struct{}, len(m.replicated))
	for key := range m.replicated {
		m.replicatedHashes[KeyHash([]byte(key))] = struct{}{}
	}
	m.slotOf = make(map[Rank]uint16, len(members))
	m.locals = make([]*ring, len(members))
	for slot, member := range members {
		m.slotOf[member.Rank] = uint16(slot)
		m.locals[slot] = localRing(member.Threads)
	}
	m.ring = m.ringLike(previous)
	return m, nil
}

// ringLike returns the global ring for m's members, previous' where that is the same.
func (m *Map) ringLike(previous *Map) *ring {
	sameIdentity := func(a, b Member) bool { return a.PrivateIP == b.PrivateIP }
	if previous != nil && previous.virtualNodes == m.virtualNodes && slices.EqualFunc(previous.members, m.members, sameIdentity) {
		return previous.ring
	}
	seeds := make([]uint64, len(m.members))
	for slot, member := range m.members {
		seeds[slot] = memberSeed(member.PrivateIP)
	}
	return newRing(seeds, m.virtualNodes)
}

// Epoch returns the map's number.
func (m *Map) Epoch() Epoch { return m.epoch }

// VirtualNodes returns the number of points per member.
func (m *Map) VirtualNodes() int { return m.virtualNodes }

// Members returns the members, sorted by private address. The slice is the map's own: read it only.
func (m *Map) Members() []Member { return m.members }

// Member returns the member of that rank.
func (m *Map) Member(rank Rank) (Member, bool) {
	slot, ok := m.slotOf[rank]
	if !ok {
		return Member{}, false
	}
	return m.members[slot], true
}

// Spec returns what the map was made of, with defaults filled in. It shares nothing with the map.
func (m *Map) Spec() Spec {
	return Spec{Epoch: m.epoch, Members: slices.Clone(m.members), VirtualNodes: m.virtualNodes, Replicated: maps.Clone(m.replicated)}
}

// With returns the next epoch's map with the members added. A member whose private address is in
// the map already takes that one's place (a restart).
func (m *Map) With(members ...Member) (*Map, error) {
	s := m.Spec()
	s.Epoch++
	s.Members = slices.DeleteFunc(s.Members, func(old Member) bool {
		return slices.ContainsFunc(members, func(added Member) bool { return added.PrivateIP == old.PrivateIP })
	})
	s.Members = append(s.Members, members...)
	return m.Derive(s)
}

// Without returns the next epoch's map without those ranks. ErrUnknownRank when one is not there.
func (m *Map) Without(ranks ...Rank) (*Map, error) {
	s := m.Spec()
	s.Epoch++
	for _, rank := range ranks {
		if _, ok := m.slotOf[rank]; !ok {
			return nil, fmt.Errorf("remove rank %d from epoch %d: %w", rank, m.epoch, ErrUnknownRank)
		}
		s.Members = slices.DeleteFunc(s.Members, func(member Member) bool { return member.Rank == rank })
	}
	return m.Derive(s)
}

// WithReplication returns the next epoch's map with those keys' replication changed; {1, 1} (or
// the zero Replication) gives a key its single owner back.
func (m *Map) WithReplication(changes map[string]Replication) (*Map, error) {
	s := m.Spec()
	s.Epoch++
	if s.Replicated == nil {
		s.Replicated = make(map[string]Replication, len(changes))
	}
	for key, r := range changes {
		if r == (Replication{}) {
			r = Single
		}
		s.Replicated[key] = r
	}
	return m.Derive(s)
}

// String describes the map in full, sorted, for golden tests.
func (m *Map) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "epoch %d, %d virtual nodes\n", m.epoch, m.virtualNodes)
	for _, member := range m.members {
		fmt.Fprintf(&b, "member %v\n", member)
	}
	for _, key := range slices.Sorted(maps.Keys(m.replicated)) {
		fmt.Fprintf(&b, "replicated %q %v\n", key, m.replicated[key])
	}
	return b.String()
}
