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
	lfuQueue = 1024
	// A sweep collects at least one shortcut in this many, so that finding a candidate
	// costs a look at a few cache lines on average.
	sweepShare = 128
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

func (l *lfu) pop() (uint64, bool) {
	if l.size == 0 {
		return 0, false
	}
	hash := l.queue[(l.end-l.size)%lfuQueue]
	l.size--
	return hash, true
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

// evictLeast removes one of the least used shortcuts and reports whether there was any.
func (c *Cache) evictLeast() bool {
	l := &c.lfu
	if l.total == 0 {
		return false
	}
	for {
		hash, ok := l.pop()
		if !ok {
			c.sweep()
			continue
		}
		s := c.locateShortcut(hash)
		if s == noSlot || c.table.mark(s)&levelMask > l.cut {
			continue
		}
		c.stats.evictedShortcuts++
		c.removeShortcut(s)
		return true
	}
}

// sweep fills the queue with shortcuts of the lowest levels, going once around the table at
// most. REQUIRES: there is a shortcut.
func (c *Cache) sweep() {
	l := &c.lfu
	enough := max(1, l.total/sweepShare)
	l.cut = 0
	for n := 0; n < enough; n += int(l.byLevel[l.cut]) {
		l.cut++
	}
	for range c.table.buckets {
		l.hand++
		if l.hand >= c.table.buckets {
			l.hand = 0
		}
		for i, mark := range c.table.bucket(l.hand)[:bucketSlots] {
			if mark != 0 && mark&valueBit == 0 && mark&levelMask <= l.cut {
				l.push(c.table.hash(slotOf(l.hand, i)))
			}
		}
		if l.size > lfuQueue-bucketSlots {
			return
		}
	}
}
