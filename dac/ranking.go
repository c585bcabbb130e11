package dac

import "math/bits"

// ranking finds the values that save least a byte. As lfu does for shortcuts it counts values
// by rank, the logarithm of hits per byte in steps of an eighth of a doubling, and keeps a short
// queue of candidates of the lowest ranks, which a sweep over the chunks fills.
type ranking struct {
	byRank     [maxRank + 1]uint32
	byHits     [lowLevels + 1]uint32 // values with so many whole hits
	hits       uint64                // of all values together
	queue      [rankQueue]uint64     // hashes
	head, size int
	cut        int // candidates above this rank are no longer any
	class      int // where the next sweep starts: an index into live,
	chunk      int // and a chunk
}

const (
	rankQueue = 16
	// The largest chunk has 152+7 steps more than a chunk of one byte would; the most hits
	// have 239.
	rankOffset = 160
	maxRank    = rankOffset + 239
	// sweepPatience is how many chunks in a row a sweep looks at in vain.
	sweepPatience = 4096
)

// steps is the logarithm of n in eighths of a doubling, linear within a doubling; for n below
// 8 it is n.
func steps(n uint32) int {
	e := bits.Len32(n)
	if e <= 3 {
		return int(n)
	}
	return (e-3)*8 + int(n>>(e-4)&7)
}

func rankOf(hits uint32, size int) int { return steps(hits) - steps(uint32(size)) + rankOffset }

func (q *ranking) added(hits uint32, size int) {
	q.hits += uint64(hits)
	q.byRank[rankOf(hits, size)]++
	if n := hits / hitUnit; n <= lowLevels {
		q.byHits[n]++
	}
}

func (q *ranking) removed(hits uint32, size int) {
	q.hits -= uint64(hits)
	q.byRank[rankOf(hits, size)]--
	if n := hits / hitUnit; n <= lowLevels {
		q.byHits[n]--
	}
}

// changed records that a value's hits went from one number to another.
func (q *ranking) changed(from, to uint32, size int) {
	q.hits += uint64(to) - uint64(from)
	if a, b := steps(from), steps(to); a != b {
		base := rankOffset - steps(uint32(size))
		q.byRank[base+a]--
		q.byRank[base+b]++
	}
	if a, b := from/hitUnit, to/hitUnit; a != b {
		if a <= lowLevels {
			q.byHits[a]--
		}
		if b <= lowLevels {
			q.byHits[b]++
		}
	}
}

// cheapest returns one of the values with the fewest hits per byte, its hits and the size of
// its chunk; noSlot if there is no value. It is the same value until that is hit or leaves.
func (q *ranking) cheapest(c *Cache) (s slotID, hits float64, size int) {
	if c.values == 0 {
		return noSlot, 0, 0
	}
	for {
		for q.size > 0 {
			var buf [2 * bucketSlots]slotID
			for _, s := range c.table.matches(q.queue[q.head], &buf) {
				if c.table.mark(s)&valueBit == 0 {
					continue
				}
				k := c.chunk(ref(c.table.payload(s)))
				if rankOf(k.hits(), len(k)) <= q.cut {
					return s, float64(k.hits()) / hitUnit, len(k)
				}
			}
			q.head = (q.head + 1) % rankQueue
			q.size--
		}
		q.sweep(c)
	}
}

// sweep looks for values of the lowest ranks, a part of 1/sweepShare of all at least.
// REQUIRES: the queue is empty, there is a value.
func (q *ranking) sweep(c *Cache) {
	q.cut = -1
	for n, enough := 0, max(1, c.values/sweepShare); n < enough; n += int(q.byRank[q.cut]) {
		q.cut++
	}
	var least uint64
	leastRank := maxRank + 1
	for visits := 0; q.size < rankQueue; visits++ {
		hash, rank := q.next(c)
		if rank <= q.cut {
			q.queue[(q.head+q.size)%rankQueue] = hash
			q.size++
		}
		if rank < leastRank {
			least, leastRank = hash, rank
		}
		if visits >= sweepPatience && q.size > 0 || visits >= c.values {
			return
		}
		if visits >= sweepPatience {
			q.queue[q.head], q.size, q.cut = least, 1, leastRank
			return
		}
	}
}

// next moves the hand on by one chunk. REQUIRES: there is a value.
func (q *ranking) next(c *Cache) (hash uint64, rank int) {
	for {
		if q.class >= len(c.live) {
			q.class, q.chunk = 0, 0
		}
		h := c.heaps[c.live[q.class]]
		if q.chunk < h.chunks {
			k := chunk(h.chunk(q.chunk))
			q.chunk++
			return k.hash(), rankOf(k.hits(), h.size)
		}
		q.class++
		q.chunk = 0
	}
}

// forget empties the queue: all ranks are about to change.
func (q *ranking) forget() { q.size = 0 }
