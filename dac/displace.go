package dac

import "math/bits"

// maxVisits bounds the search for a free slot: the buckets looked at before an entry is given
// up. Most searches end after some ten; the table becomes less full when they do not.
const maxVisits = 200

// A displacement is the breadth-first search for the shortest chain of moves, each of one entry
// to its other bucket, that frees a slot in one of two full buckets. Its arrays live in the
// table so that inserting allocates nothing.
type displacement struct {
	bucket [maxVisits]uint32
	parent [maxVisits]uint8 // the visit that led here
	from   [maxVisits]uint8 // and the slot there whose entry would move here
	visits int
	// weakest is the shortcut of the lowest level met, the one to give up if all fails.
	weakest      slotID
	weakestLevel uint64
}

// place puts an entry into one of its two buckets, moving others along if both are full. It
// fails, changing nothing, when the search finds no free slot; t.path.weakest then names a
// shortcut that may be evicted to make one free. Slots found before are void after a call.
func (t *table) place(hash, state, payload uint64) (slotID, bool) {
	home, other := t.address(hash), t.address(alternate(hash))
	tag := hash &^ stateMask
	// Home comes first, as lookups look there first.
	s := t.firstFree(home)
	if s == noSlot {
		if s = t.firstFree(other); s == noSlot {
			end := t.search(home, other)
			if end < 0 {
				return noSlot, false
			}
			t.ease(1)
			s = t.follow(end)
		}
		if uint64(s)/bucketWords == other {
			state |= altBit
		}
	}
	t.set(s, tag|state, payload)
	t.entries++
	return s, true
}

// firstFree returns a free slot of a bucket, noSlot if it is full.
func (t *table) firstFree(b uint64) slotID {
	for i, mark := range t.bucket(b)[:bucketSlots] {
		if mark == 0 {
			return slotOf(b, i)
		}
	}
	return noSlot
}

// search looks breadth first for a bucket with a free slot and returns its visit, or -1.
// The first one found is at the end of a shortest path, so no bucket is on the path twice.
func (t *table) search(home, other uint64) int {
	p := &t.path
	p.weakest, p.weakestLevel = noSlot, maxLevel+1
	p.bucket[0], p.bucket[1] = uint32(home), uint32(other)
	p.visits = 2
	for v := 0; v < p.visits; v++ {
		b := uint64(p.bucket[v])
		for i, mark := range t.bucket(b)[:bucketSlots] {
			if mark&valueBit == 0 && mark&levelMask < p.weakestLevel {
				p.weakest, p.weakestLevel = slotOf(b, i), mark&levelMask
			}
			if p.visits == maxVisits {
				continue
			}
			next := t.otherBucket(b, mark)
			p.bucket[p.visits], p.parent[p.visits], p.from[p.visits] = uint32(next), uint8(v), uint8(i)
			p.visits++
			if t.firstFree(next) != noSlot {
				return p.visits - 1
			}
		}
	}
	return -1
}

// follow moves entries along the path that ends at a visit and returns the slot at its root,
// in the home bucket or the other, that is free now.
func (t *table) follow(end int) slotID {
	p := &t.path
	free := t.firstFree(uint64(p.bucket[end]))
	for v := end; v > 1; v = int(p.parent[v]) {
		src := slotOf(uint64(p.bucket[p.parent[v]]), int(p.from[v]))
		t.set(free, t.mark(src)^altBit, t.payload(src))
		t.set(src, 0, 0)
		free = src
	}
	return free
}

// A homeless entry lost its slot when the table shrank and found no other.
type homeless struct{ hash, mark, payload uint64 }

// shrink takes the last bucket away and places its entries anew. Those that find no slot, none
// but in a table that is fuller than bucketsFor allows, are returned in dst's memory.
func (t *table) shrink(dst *[bucketSlots]homeless) []homeless {
	last := t.buckets - 1
	var moved [bucketSlots]homeless
	n := 0
	for i := range bucketSlots {
		if s := slotOf(last, i); t.mark(s) != 0 {
			moved[n] = homeless{t.hash(s), t.mark(s), t.payload(s)}
			n++
			t.clear(s)
		}
	}
	t.setBuckets(last)
	left := dst[:0]
	for _, e := range moved[:n] {
		if _, ok := t.place(e.hash, e.mark&(valueBit|levelMask), e.payload); !ok {
			left = append(left, e)
		}
	}
	return left
}

// splitPartner returns the bucket that bucket b, not one of the first minBuckets, split from.
func splitPartner(b uint64) uint64 { return b &^ (1 << (bits.Len64(b) - 1)) }
