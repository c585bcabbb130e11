package dac

// static splits the budget at a fixed share: values take at most that much and leave in LRU
// order, becoming shortcuts; shortcuts take the rest and leave in LFU order. Share 1 is a
// plain value cache, share 0 is Dinomo-S, which caches shortcuts only.
type static struct{ share float64 }

func newStatic(c *Cache, share float64) static {
	if share == 0 {
		c.header = plainHeader
	}
	return static{share}
}

// fits makes room for a value of e, if the share can hold it, and else reports false. entries is
// 1 if it has no entry yet.
func (p static) fits(c *Cache, e *entry, entries int) bool {
	need := c.chunkCost(e)
	limit := int(p.share * float64(c.capacity()))
	if !c.storable(e) || need+entryBytes > limit {
		return false
	}
	for c.chunkBytes+c.values*entryBytes+need+entryBytes > limit {
		p.retire(c)
	}
	return p.makeRoom(c, entries, need)
}

// makeRoom evicts shortcuts, and values if that frees nothing, until so many entries and bytes of
// chunks fit.
func (p static) makeRoom(c *Cache, entries, bytes int) bool {
	for !c.room(entries, bytes) {
		if c.evictLeast() {
			continue
		}
		if c.oldest == noRef {
			return false
		}
		p.retire(c)
	}
	return true
}

// retire takes the oldest value out; it leaves a shortcut if shortcuts have a share.
func (p static) retire(c *Cache) {
	s := c.valueSlot(c.oldest)
	if p.share == 1 {
		c.stats.evictedValues++
		c.removeValue(s)
		return
	}
	c.stats.demotions++
	c.demote(s)
}

func (p static) missed(c *Cache, e *entry) {
	if p.fits(c, e, 1) && c.locateShortcut(e.hash) == noSlot && c.putValue(e, 1) {
		return
	}
	if p.share == 1 || !p.makeRoom(c, 1, 0) || c.locateShortcut(e.hash) != noSlot {
		return
	}
	c.putShortcut(e.hash, e.shortcut, 1)
}

func (p static) read(c *Cache, s slotID, e *entry) {
	hits := uint32(levelHits[c.table.mark(s)&levelMask])
	if p.fits(c, e, 0) && c.upgrade(e, hits) {
		c.stats.promotions++
	}
}

func (p static) written(c *Cache, s slotID, e *entry) {
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
