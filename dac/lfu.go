package dac

// lfu finds the shortcuts with the fewest hits. It counts shortcuts by level exactly, and keeps
// a small queue of candidates: new shortcuts go there at once, and when it runs empty a sweep
// of the table collects those of the lowest levels. Among equals the oldest leaves first.
type lfu struct {
	byLevel   [maxLevel + 1]uint32
	total     int
	queue     [lfuQueue]uint64 // hashes; a ring, in which the oldest candidate is lost when full
	end, size int
	cut       uint64 // candidates above this level are no longer any
	hand      uint64 // the bucket where the next sweep starts
}

const (
	lfuQueue = 256
	// A sweep collects at least one shortcut in this many, so that finding a candidate
	// costs a look at a few cache lines on average.
	sweepShare = 128
	// It ends when it has this many, so that no call takes long.
	sweepEnough = 64
)

func (l *lfu) added(hash, level uint64) {
	l.byLevel[level]++
	l.total++
	if level <= max(l.cut, 1) {
		l.push(hash)
	}
}

func (l *lfu) removed(level uint64) {
	l.byLevel[level]--
	l.total--
}

func (l *lfu) moved(from, to uint64) {
	l.byLevel[from]--
	l.byLevel[to]++
}

func (l *lfu) push(hash uint64) {
	l.queue[l.end%lfuQueue] = hash
	l.end++
	l.size = min(l.size+1, lfuQueue)
}

// leastHits returns the hits that the n least used shortcuts have together; false if there
// are fewer than n.
func (l *lfu) leastHits(n int) (float64, bool) {
	if n > l.total {
		return 0, false
	}
	sum := 0.0
	for level := 1; n > 0; level++ {
		k := min(n, int(l.byLevel[level]))
		sum += float64(k) * levelHits[level]
		n -= k
	}
	return sum, true
}

// evictLeast removes one of the least used shortcuts and reports whether that made room.
func (c *Cache) evictLeast() bool {
	s := c.leastUsed()
	if s == noSlot || !c.table.frees() {
		return false
	}
	c.stats.evictedShortcuts++
	c.removeShortcut(s)
	return true
}

// leastUsed returns one of the least used shortcuts, noSlot if there is none. It is the same
// one until it is removed or used.
func (c *Cache) leastUsed() slotID {
	l := &c.lfu
	if l.total == 0 {
		return noSlot
	}
	for {
		for l.size > 0 {
			s := c.locateShortcut(l.queue[(l.end-l.size)%lfuQueue])
			if s != noSlot && c.table.mark(s)&levelMask <= l.cut {
				return s
			}
			l.size--
		}
		c.sweep()
	}
}

// sweep fills the queue with shortcuts of the lowest levels, a part of 1/sweepShare of all at
// least. REQUIRES: the queue is empty, there is a shortcut.
func (c *Cache) sweep() {
	l := &c.lfu
	l.cut = 0
	for n, enough := 0, max(1, l.total/sweepShare); n < enough; n += int(l.byLevel[l.cut]) {
		l.cut++
	}
	var least uint64
	leastLevel := uint64(maxLevel + 1)
	for visits := range c.table.buckets {
		l.hand++
		if l.hand >= c.table.buckets {
			l.hand = 0
		}
		for i, mark := range c.table.bucket(l.hand)[:bucketSlots] {
			if mark == 0 || mark&valueBit != 0 {
				continue
			}
			if level := mark & levelMask; level < leastLevel {
				least, leastLevel = c.table.hash(slotOf(l.hand, i)), level
			}
			if mark&levelMask <= l.cut {
				l.push(c.table.hash(slotOf(l.hand, i)))
			}
		}
		switch {
		case l.size >= sweepEnough:
			return
		case visits >= sweepPatience && l.size > 0:
			return
		case visits >= sweepPatience && leastLevel <= maxLevel:
			l.cut = leastLevel
			l.push(least)
			return
		}
	}
}

// forget empties the queue: all levels are about to change.
func (l *lfu) forget() { l.size, l.cut = 0, 0 }
