package dac

import "math"

// paper is the policy as published (Dinomo §4.2): values while there is room, then shortcuts,
// for which values make way in LRU order, becoming shortcuts themselves, and shortcuts in LFU
// order. A shortcut becomes a value when its hits exceed what the shortcuts evicted for it
// would have saved: their hits times the cost of a miss.
type paper struct{}

func (p paper) missed(c *Cache, e *entry) {
	if c.storable(e) && c.room(1, c.chunkCost(e)) && c.putValue(e, 1) {
		return
	}
	for !c.room(1, 0) {
		if c.oldest != noRef {
			c.stats.demotions++
			c.demote(c.valueSlot(c.oldest))
		} else if !c.evictLeast() {
			return
		}
	}
	if c.locateShortcut(e.hash) == noSlot {
		c.putShortcut(e.hash, e.shortcut, 1)
	}
}

func (p paper) read(c *Cache, s slotID, e *entry) {
	if !c.storable(e) {
		return
	}
	level := c.table.mark(s) & levelMask
	hits := uint32(levelHits[level])
	if need := c.chunkCost(e); !c.room(0, need) {
		evict := (need + entryBytes - 1) / entryBytes
		lost, ok := c.lfu.leastHits(evict)
		if !ok || levelHits[level] <= lost*math.Max(1, c.miss.value()) {
			return
		}
		for !c.room(0, need) && c.evictLeast() {
		}
		if !c.room(0, need) {
			return
		}
	}
	if c.upgrade(e, hits) {
		c.stats.promotions++
	}
}

func (p paper) written(c *Cache, s slotID, e *entry) {
	switch {
	case s == noSlot:
		p.missed(c, e)
	case c.table.mark(s)&valueBit == 0:
		c.setShortcut(s, e.shortcut)
		c.countHit(s)
		p.read(c, s, e)
	default:
		c.rewriteOrDemote(s, e)
	}
}
