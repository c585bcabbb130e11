package hashring

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
)

// Range is a set of ring positions [First, Next) that changes hands; Next 0 means the end of the
// ring. From and To are the ranks before and after, NoRank where there is nobody. From equals To
// when a node keeps its rank and its place but is another run of itself.
type Range struct {
	First, Next uint64
	From, To    Rank
}

// KeyMove is a replicated key whose owners differ between two maps, or which is replicated in one
// of them only: then its index slot changes between a plain and an indirect pointer, even where a
// lack of members leaves it the same single owner.
type KeyMove struct {
	Key           string
	Before, After Replication
	From, To      []Owner
}

// Ranges is what moves between two maps: ranges of the ring for the keys with a single owner, and
// the replicated keys one by one. The zero Ranges is empty. Immutable.
type Ranges struct {
	ranges []Range // ascending, disjoint
	// special holds every key that is replicated in either map, with whether it moves: for these
	// the ranges do not count.
	special map[string]bool
	keys    []KeyMove // sorted by key; those of special that move
	// from and to are the maps compared; nil in the zero Ranges.
	from, to *Map
	// local, when set, restricts the ranges to the positions of one thread.
	local  *ring
	thread uint16
}

// AllThreads as a thread number means every thread of the node.
const AllThreads = -1

// Moves returns what changes owners between two maps. It walks both rings once.
func Moves(from, to *Map) Ranges {
	// twin[slot] is the slot in to of the same run of the same node, or -1.
	twin := make([]int, len(from.members))
	for slot, member := range from.members {
		twin[slot] = -1
		if other, ok := to.slotOf[member.Rank]; ok && sameOwner(member, to.members[other]) {
			twin[slot] = int(other)
		}
	}
	w := walk{from: from, to: to, twin: twin}
	r := Ranges{ranges: w.ranges(), from: from, to: to}
	r.addKeys(twin)
	return r
}

// walk is the merge of two rings' points.
type walk struct {
	from, to *Map
	twin     []int
	found    []Range
}

func (w *walk) ranges() []Range {
	a, b := w.from.ring, w.to.ring
	// Position 0 belongs to the last point, whose range wraps.
	slotA, slotB := lastSlot(a), lastSlot(b)
	first, i, j := uint64(0), 0, 0
	for i < len(a.positions) || j < len(b.positions) {
		var next uint64
		switch {
		case j == len(b.positions):
			next = a.positions[i]
		case i == len(a.positions):
			next = b.positions[j]
		default:
			next = min(a.positions[i], b.positions[j])
		}
		if next > first {
			w.add(first, next, slotA, slotB)
			first = next
		}
		for ; i < len(a.positions) && a.positions[i] == next; i++ {
			slotA = int(a.slots[i])
		}
		for ; j < len(b.positions) && b.positions[j] == next; j++ {
			slotB = int(b.slots[j])
		}
	}
	w.add(first, 0, slotA, slotB)
	return w.found
}

// lastSlot returns the slot of the last point, or -1 on an empty ring.
func lastSlot(r *ring) int {
	if len(r.slots) == 0 {
		return -1
	}
	return int(r.slots[len(r.slots)-1])
}

// add notes [first, next) when its owner differs, as part of the range before where that fits.
func (w *walk) add(first, next uint64, slotA, slotB int) {
	if slotA < 0 && slotB < 0 || slotA >= 0 && slotB >= 0 && w.twin[slotA] == slotB {
		return
	}
	r := Range{First: first, Next: next, From: w.from.rankAt(slotA), To: w.to.rankAt(slotB)}
	if n := len(w.found); n > 0 {
		if last := &w.found[n-1]; last.Next == first && last.From == r.From && last.To == r.To {
			last.Next = next
			return
		}
	}
	w.found = append(w.found, r)
}

func (m *Map) rankAt(slot int) Rank {
	if slot < 0 {
		return NoRank
	}
	return m.members[slot].Rank
}

// addKeys compares the owners of every key that is replicated in either map.
func (r *Ranges) addKeys(twin []int) {
	from, to := r.from, r.to
	if len(from.replicated)+len(to.replicated) == 0 {
		return
	}
	r.special = make(map[string]bool, max(len(from.replicated), len(to.replicated)))
	for _, m := range []*Map{from, to} {
		for key := range m.replicated {
			r.special[key] = false
		}
	}
	stays := func(o Owner) bool { return twin[from.slotOf[o.Rank]] >= 0 }
	for _, key := range slices.Sorted(maps.Keys(r.special)) {
		k := []byte(key)
		move := KeyMove{Key: key, Before: from.Replication(k), After: to.Replication(k),
			From: from.OwnersOf(k, nil), To: to.OwnersOf(k, nil)}
		sameMode := (move.Before == Single) == (move.After == Single)
		if sameMode && sameOwners(move.From, move.To) && !slices.ContainsFunc(move.From, func(o Owner) bool { return !stays(o) }) {
			continue
		}
		r.special[key] = true
		r.keys = append(r.keys, move)
	}
}

// sameOwners compares two lists as sets.
func sameOwners(a, b []Owner) bool {
	order := func(x, y Owner) int { return cmp.Or(cmp.Compare(x.Rank, y.Rank), cmp.Compare(x.Thread, y.Thread)) }
	return slices.Equal(slices.SortedFunc(slices.Values(a), order), slices.SortedFunc(slices.Values(b), order))
}

// Empty tells whether nothing moves.
func (r Ranges) Empty() bool { return len(r.ranges) == 0 && len(r.keys) == 0 }

// All returns the ranges, ascending and disjoint. The slice is r's own: read it only. After LostBy
// with a thread only those of its positions count that Contains confirms.
func (r Ranges) All() []Range { return r.ranges }

// Keys returns the replicated keys that move, sorted. The slice is r's own: read it only.
func (r Ranges) Keys() []KeyMove { return r.keys }

// Contains tells whether keys of that hash with a single owner, before and after, change it.
// It allocates nothing. Where keys may be replicated, ask ContainsKey.
func (r Ranges) Contains(hash uint64) bool {
	position := Position(hash)
	i := sort.Search(len(r.ranges), func(i int) bool { return r.ranges[i].First > position }) - 1
	if i < 0 || r.ranges[i].Next != 0 && position >= r.ranges[i].Next {
		return false
	}
	return r.local == nil || r.local.owner(localPosition(hash)) == r.thread
}

// ContainsKey tells whether the key moves, replicated or not; hash is KeyHash(key). It allocates nothing.
func (r Ranges) ContainsKey(key []byte, hash uint64) bool {
	if len(r.special) > 0 {
		if moves, ok := r.special[string(key)]; ok {
			return moves
		}
	}
	return r.Contains(hash)
}

// LostBy returns the part that the thread must stop serving: its ranges, and the replicated keys
// of which it is no longer an owner. With AllThreads it is the part that any thread of the node
// must stop serving. A rank that the map before does not have loses nothing.
func (r Ranges) LostBy(rank Rank, thread int) Ranges {
	if r.from == nil {
		return r
	}
	slot, ok := r.from.slotOf[rank]
	if !ok || thread != AllThreads && (thread < 0 || thread >= r.from.members[slot].Threads) {
		return Ranges{}
	}
	renewed := !r.sameRun(rank)
	part := r.restrict(
		func(x Range) bool { return x.From == rank },
		func(k KeyMove) bool { return drops(k.From, k.To, rank, thread, renewed) })
	if thread != AllThreads {
		part.local, part.thread = r.from.locals[slot], uint16(thread)
	}
	return part
}

// HeldBy returns the part that the node must hold back while the change is prepared: what LostBy says of all its
// threads, and every replicated key that moves and that the node owns before, even where it stays an owner:
// the key's index slot may change its kind meanwhile.
func (r Ranges) HeldBy(rank Rank) Ranges {
	if r.from == nil {
		return r
	}
	if _, ok := r.from.slotOf[rank]; !ok {
		return Ranges{}
	}
	return r.restrict(
		func(x Range) bool { return x.From == rank },
		func(k KeyMove) bool {
			return slices.ContainsFunc(k.From, func(o Owner) bool { return o.Rank == rank })
		})
}

// GainedBy returns the part that some thread of the node starts to serve.
func (r Ranges) GainedBy(rank Rank) Ranges {
	if r.to == nil {
		return r
	}
	if _, ok := r.to.slotOf[rank]; !ok {
		return Ranges{}
	}
	renewed := !r.sameRun(rank)
	return r.restrict(
		func(x Range) bool { return x.To == rank },
		func(k KeyMove) bool { return drops(k.To, k.From, rank, AllThreads, renewed) })
}

// sameRun tells whether the rank is the same run of the same node in both maps.
func (r Ranges) sameRun(rank Rank) bool {
	a, before := r.from.Member(rank)
	b, after := r.to.Member(rank)
	return before && after && sameOwner(a, b)
}

// drops tells whether the thread (or any, with AllThreads) is an owner in have and, unless its
// node is another run by then, not in kept.
func drops(have, kept []Owner, rank Rank, thread int, renewed bool) bool {
	return slices.ContainsFunc(have, func(o Owner) bool {
		return o.Rank == rank && (thread == AllThreads || o.Thread == thread) && (renewed || !slices.Contains(kept, o))
	})
}

// restrict returns the ranges and keys that pass, and no others.
func (r Ranges) restrict(keepRange func(Range) bool, keepKey func(KeyMove) bool) Ranges {
	part := Ranges{from: r.from, to: r.to}
	for _, x := range r.ranges {
		if keepRange(x) {
			part.ranges = append(part.ranges, x)
		}
	}
	if len(r.special) > 0 {
		part.special = make(map[string]bool, len(r.special))
		for key := range r.special {
			part.special[key] = false
		}
	}
	for _, k := range r.keys {
		if keepKey(k) {
			part.special[k.Key] = true
			part.keys = append(part.keys, k)
		}
	}
	return part
}

// Share returns the part of the ring that the ranges cover, 0 to 1: the expected share of keys.
// A restriction to one thread does not count.
func (r Ranges) Share() float64 {
	var sum float64
	for _, x := range r.ranges {
		sum += float64(x.Next-x.First-1) + 1 // Next 0 stands for 2^64: the subtraction wraps rightly
	}
	return sum / (1 << 64)
}

// String lists what moves, one range or key a line, for golden tests.
func (r Ranges) String() string {
	var b strings.Builder
	for _, x := range r.ranges {
		fmt.Fprintf(&b, "[%016x, %016x) %v -> %v\n", x.First, x.Next, x.From, x.To)
	}
	for _, k := range r.keys {
		fmt.Fprintf(&b, "%q %v -> %v, %v -> %v\n", k.Key, k.Before, k.After, k.From, k.To)
	}
	return b.String()
}
