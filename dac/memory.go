package dac

import "github.com/dinomo-kv/dinomo/internal/invariant"

// Two counts are kept. Policies think in used bytes: entryBytes for each entry and the size
// of each chunk. Memory is taken in pages, and what counts against the budget is resident
// bytes. Table, tally and classes each round up to a page; so as long as used bytes stay within
// capacity, which leaves out a page for each of them, pages that are not needed can always be
// found to stay within the budget (DAC-1).

// capacity is the number of used bytes that surely fits.
func (c *Cache) capacity() int {
	return c.opts.BudgetBytes - c.fixedBytes - osPage*(c.activeClasses+c.table.regions())
}

// chunkCost returns what capacity loses when a chunk for a value entry is added.
func (c *Cache) chunkCost(e *entry) int {
	class := c.pickClass(c.header + len(e.key) + len(e.value))
	switch h := c.heaps[class]; {
	case h == nil:
		return classBytes(class) + osPage + classHeapBytes
	case h.chunks == 0:
		return h.size + osPage
	default:
		return h.size
	}
}

// room reports whether so many more entries and so many more bytes of chunks fit.
func (c *Cache) room(entries, bytes int) bool {
	return c.table.usedBy(c.table.entries+entries)+c.chunkBytes+bytes <= c.capacity()
}

// storable reports whether a value may be kept as a value at all.
func (c *Cache) storable(e *entry) bool {
	return len(e.value) <= c.opts.MaxValueBytes && len(e.key) <= maxKeyBytes &&
		c.header+len(e.key)+len(e.value) <= classBytes(maxClasses-1)
}

// pickClass chooses the class for a chunk of n bytes: the tightest one, but where sizes are
// so mixed that the classes' last pages would eat up the budget, the nearest class that is in
// use already.
func (c *Cache) pickClass(n int) int {
	class := classOf(n)
	if h := c.heaps[class]; h != nil && h.chunks > 0 {
		return class
	}
	if c.activeClasses*osPage*64 < c.opts.BudgetBytes {
		return class
	}
	limit := classOf(n + n/4)
	for k := class + 1; k <= limit && k < maxClasses; k++ {
		if h := c.heaps[k]; h != nil && h.chunks > 0 {
			return k
		}
	}
	return class
}

// pushChunk takes a chunk of a class into use. REQUIRES: room for it.
func (c *Cache) pushChunk(class int) (ref, bool) {
	h := c.heaps[class]
	if h == nil {
		mem, err := newRegion(c.opts.BudgetBytes)
		if err != nil {
			c.stats.failures++
			return noRef, false
		}
		h = &classHeap{mem: mem, size: classBytes(class)}
		c.heaps[class] = h
		c.live = append(c.live, class)
		c.fixedBytes += classHeapBytes
	}
	if need := h.needed(h.chunks + 1); need > h.resident {
		n := need - h.resident
		if err := h.mem.commit(need); err != nil || !c.reserve(n) {
			c.stats.failures++
			return noRef, false
		}
		h.resident += n
		c.resident += n
	}
	if h.chunks == 0 {
		c.activeClasses++
	}
	c.chunkBytes += h.size
	return makeRef(class, h.push()), true
}

// popChunk takes the last chunk of a class out of use.
func (c *Cache) popChunk(class int) {
	h := c.heaps[class]
	invariant.Mangle(h.chunk(h.chunks - 1))
	h.chunks--
	c.chunkBytes -= h.size
	if h.chunks == 0 {
		c.activeClasses--
	}
}

// ensureBuckets grows the table until it may hold this many entries.
func (c *Cache) ensureBuckets(entries int) bool {
	for want := c.table.bucketsFor(entries); c.table.buckets < want; {
		next := c.table.bytesOf(c.table.buckets + 1)
		if n := next - c.tableResident; n > 0 {
			if !c.reserve(n) {
				c.stats.failures++
				return false
			}
			c.tableResident += n
			c.resident += n
		}
		if err := c.table.grow(); err != nil {
			c.stats.failures++
			return false
		}
	}
	return true
}

// reserve makes sure that n more bytes may become resident, giving back pages that nothing
// needs. It fails only if the caller did not keep to capacity.
func (c *Cache) reserve(n int) bool {
	limit := c.opts.BudgetBytes - c.fixedBytes - n
	for c.resident > limit {
		if c.trimClass() == 0 && c.trimTable(c.resident-limit) == 0 {
			return false
		}
	}
	return true
}

// trimClass gives back what the class with the most slack does not need.
func (c *Cache) trimClass() int {
	var most *classHeap
	slack := 0
	for _, class := range c.live {
		if h := c.heaps[class]; h.slack() > slack {
			most, slack = h, h.slack()
		}
	}
	if most == nil {
		return 0
	}
	n := most.trim()
	c.resident -= n
	return n
}

// trimTable takes buckets away until n bytes are free, or the table is as full as it may be.
func (c *Cache) trimTable(n int) int {
	target := max(c.table.bucketsFor(c.table.entries), c.table.bucketsIn(c.tableResident-n))
	had := c.table.buckets
	for c.table.buckets > target {
		var buf [bucketSlots]homeless
		for _, e := range c.table.shrink(&buf) {
			c.rehome(e)
		}
	}
	freed := c.tableResident - c.table.bytes()
	if freed > 0 {
		c.table.release(had)
		c.tableResident -= freed
		c.resident -= freed
	}
	return freed
}

// rehome finds a slot for an entry that lost its own, evicting the least used shortcut on the
// way there, or drops it if there are only values.
func (c *Cache) rehome(e homeless) {
	state := e.mark & (valueBit | levelMask)
	if _, ok := c.table.place(e.hash, state, e.payload); ok {
		return // others were evicted for its like
	}
	weakest := c.table.path.weakest
	if weakest != noSlot && (state&valueBit != 0 || c.table.path.weakestLevel < state) {
		c.stats.evictedShortcuts++
		c.removeShortcut(weakest)
		_, ok := c.table.place(e.hash, state, e.payload)
		invariant.Check(ok, "no slot for %#x though one was just freed on its path", e.hash)
		return
	}
	c.stats.rejected++
	if state&valueBit == 0 {
		c.lfu.removed(state & levelMask)
		return
	}
	c.values--
	c.freeChunk(ref(e.payload))
}
