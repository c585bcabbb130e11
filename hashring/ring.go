package hashring

import (
	"math/bits"
	"sync"
)

// localVirtualNodes is the number of points a thread has on its node's local ring. Fewer would
// make threads uneven (the spread is about 1/sqrt of it), more would push the table out of the
// processor's cache: 64 threads are 640 KiB.
const localVirtualNodes = 1024

// pointsPerBucket is the wanted number of points in one bucket of the lookup table. At 2 a lookup
// touches one table line and, nearly always, one line of positions.
const pointsPerBucket = 2

// A ring is a sorted circle of points, each standing for a slot (an index into the members, or a
// thread number). The point at positions[i] owns [positions[i], positions[i+1]); the last one's
// range wraps around. Immutable, hence shared freely between maps.
type ring struct {
	positions []uint64
	slots     []uint16
	// starts[b] is the number of points whose top bits are below b, for b in [0, buckets].
	starts []uint32
	shift  uint
}

// newRing places count points per seed. The slot of a point is the index of its seed. Equal
// positions are ordered by slot, so the order of seeds must not depend on the node that computes.
//
// Points are as good as uniform, so one counting pass over their top bits sorts them almost, and
// the counts are the lookup table at the same time.
func newRing(seeds []uint64, count int) *ring {
	n := len(seeds) * count
	r := &ring{positions: make([]uint64, n), slots: make([]uint16, n)}
	buckets := 1 << bits.Len(uint(n/pointsPerBucket))
	r.shift = uint(64 - bits.TrailingZeros(uint(buckets)))
	r.starts = make([]uint32, buckets+1)

	for _, seed := range seeds {
		for i := range count {
			r.starts[point(seed, i)>>r.shift+1]++
		}
	}
	for b := range buckets {
		r.starts[b+1] += r.starts[b]
	}
	next := append([]uint32(nil), r.starts[:buckets]...)
	for slot, seed := range seeds {
		for i := range count {
			p := point(seed, i)
			b := p >> r.shift
			r.insert(int(r.starts[b]), int(next[b]), p, uint16(slot))
			next[b]++
		}
	}
	return r
}

// insert puts a point into the sorted run [first, next), whose place at next is free. Slots come
// in ascending order, so a point goes behind those of equal position.
func (r *ring) insert(first, next int, position uint64, slot uint16) {
	i := next
	for i > first && r.positions[i-1] > position {
		r.positions[i], r.slots[i] = r.positions[i-1], r.slots[i-1]
		i--
	}
	r.positions[i], r.slots[i] = position, slot
}

// at returns the index of the point that owns position. The ring must not be empty.
// (BenchmarkPrimaryOwner; its slow twin is naiveOwners in naive_test.go.)
func (r *ring) at(position uint64) int {
	b := position >> r.shift
	i, next := r.starts[b], r.starts[b+1]
	for i < next && r.positions[i] <= position {
		i++
	}
	if i == 0 {
		return len(r.positions) - 1
	}
	return int(i) - 1
}

// owner returns the slot that owns position. The ring must not be empty.
func (r *ring) owner(position uint64) uint16 { return r.slots[r.at(position)] }

// owners appends to dst the first factor distinct slots met when walking from position's owner
// towards lower positions, and stops early when there are no more. That direction makes the
// second owner the one who inherits the range when the first leaves.
func (r *ring) owners(position uint64, factor int, dst []uint16) []uint16 {
	if len(r.positions) == 0 || factor <= 0 {
		return dst
	}
	var seen [MaxMembers / 64]uint64
	i := r.at(position)
	for range r.positions {
		slot := r.slots[i]
		if word, bit := slot/64, uint64(1)<<(slot%64); seen[word]&bit == 0 {
			seen[word] |= bit
			dst = append(dst, slot)
			if factor--; factor == 0 {
				return dst
			}
		}
		if i--; i < 0 {
			i = len(r.positions) - 1
		}
	}
	return dst
}

// has tells whether slot is among the first factor owners of position.
func (r *ring) has(position uint64, factor int, slot uint16) bool {
	if factor == 1 {
		return r.owner(position) == slot
	}
	var buffer [MaxMembers]uint16
	for _, s := range r.owners(position, factor, buffer[:0]) {
		if s == slot {
			return true
		}
	}
	return false
}

// localRings holds the ring for each thread count, made on first use: constants in all but name.
var localRings [MaxThreads + 1]struct {
	once sync.Once
	ring *ring
}

// localRing returns the ring that spreads a node's keys over that many threads.
func localRing(threads int) *ring {
	l := &localRings[threads]
	l.once.Do(func() {
		seeds := make([]uint64, threads)
		for thread := range seeds {
			seeds[thread] = threadSeed(thread)
		}
		l.ring = newRing(seeds, localVirtualNodes)
	})
	return l.ring
}
