package dac

import "github.com/dinomo-kv/dinomo/internal/invariant"

// The verbs in this file change entries for the policies. They keep, each on its own:
// at most one shortcut per hash, at most one value per key, the recency list, the counts by
// level, and the byte counts. A slotID does not survive any of them but setShortcut.

// putShortcut adds a shortcut for a hash that has none, with as many hits as level stands for.
// REQUIRES: room for one entry. It fails, rarely, if its buckets hold nothing but values.
func (c *Cache) putShortcut(hash, shortcut, level uint64) bool {
	if !c.ensureBuckets(c.table.entries + 1) {
		return false
	}
	if _, ok := c.table.place(hash, level, shortcut); !ok {
		weakest := c.table.path.weakest
		if c.adaptive != nil && !c.adaptive.replaced {
			c.table.loosen()
		}
		if weakest == noSlot {
			c.stats.rejected++
			return false
		}
		c.stats.evictedShortcuts++
		c.removeShortcut(weakest)
		_, ok = c.table.place(hash, level, shortcut)
		invariant.Check(ok, "no slot for %#x though one was just freed on its path", hash)
	}
	c.lfu.added(hash, level)
	return true
}

// putValue adds a value entry for a key that has neither value nor shortcut.
// REQUIRES: room for it.
func (c *Cache) putValue(e *entry, hits uint32) bool {
	level := levelOf(hits)
	if c.adaptive != nil {
		level = levelWith(hits / hitUnit)
	}
	return c.putShortcut(e.hash, e.shortcut, level) && c.upgrade(e, hits)
}

// upgrade turns the shortcut of e.hash into a value entry for e. If that cannot be done the
// shortcut stays. REQUIRES: room for the chunk.
func (c *Cache) upgrade(e *entry, hits uint32) bool {
	class := c.pickClass(c.header + len(e.key) + len(e.value))
	r, ok := c.pushChunk(class)
	if !ok {
		return false
	}
	// Making memory for the chunk may have moved slots, so look now.
	s := c.locateShortcut(e.hash)
	if s == noSlot {
		c.popChunk(class)
		return false
	}
	k := c.chunk(r)
	k.write(c.header, e, hits)
	mark := c.table.mark(s)
	c.lfu.removed(mark & levelMask)
	c.table.set(s, mark|valueBit, uint64(r))
	c.values++
	if c.adaptive != nil {
		c.adaptive.ranks.added(hits, len(k))
	}
	if c.header == linkedHeader {
		c.link(r, k)
	}
	return true
}

// demote turns a value entry into the shortcut it holds. If another key of the same hash has
// a shortcut already, the entry is removed instead.
func (c *Cache) demote(s slotID) {
	r := ref(c.table.payload(s))
	k := c.chunk(r)
	hash, shortcut, level := k.hash(), k.shortcut(), levelOf(k.hits())
	if c.adaptive != nil {
		level = levelWith(k.hits() / hitUnit)
	}
	if c.locateShortcut(hash) != noSlot {
		c.removeValue(s)
		return
	}
	c.table.set(s, c.table.mark(s)&tagMask|level, shortcut)
	c.lfu.added(hash, level)
	c.values--
	c.freeChunk(r)
}

func (c *Cache) removeShortcut(s slotID) {
	c.lfu.removed(c.table.mark(s) & levelMask)
	c.table.clear(s)
}

func (c *Cache) removeValue(s slotID) {
	r := ref(c.table.payload(s))
	c.table.clear(s)
	c.values--
	c.freeChunk(r)
}

func (c *Cache) remove(s slotID) {
	if c.table.mark(s)&valueBit != 0 {
		c.removeValue(s)
	} else {
		c.removeShortcut(s)
	}
}

// setShortcut replaces the shortcut of a shortcut entry.
func (c *Cache) setShortcut(s slotID, shortcut uint64) {
	c.table.words[s+bucketSlots] = shortcut
}

// rewrite replaces what a value entry holds if the new value fits the entry's chunk and does
// not waste a quarter of it.
func (c *Cache) rewrite(s slotID, e *entry) bool {
	k := c.chunk(ref(c.table.payload(s)))
	need := c.header + len(e.key) + len(e.value)
	if need > len(k) || need < len(k)*3/4 && classBytes(classOf(need)) < len(k)*3/4 {
		return false
	}
	k.rewrite(c.header, e)
	return true
}

// freeChunk takes a chunk out of the recency list and out of use; the last chunk of its class
// moves into its place.
func (c *Cache) freeChunk(r ref) {
	h := c.heaps[r.class()]
	k := chunk(h.chunk(r.index()))
	if c.header == linkedHeader {
		c.unlink(k)
	}
	if c.adaptive != nil {
		c.adaptive.ranks.removed(k.hits(), h.size)
	}
	last := makeRef(r.class(), h.chunks-1)
	if r != last {
		moved := chunk(h.chunk(last.index()))
		copy(k, moved[:c.header+moved.keyLen()+moved.valueLen()])
		c.moved(last, r, k)
	}
	c.popChunk(r.class())
}

// moved tells the slot and the neighbours of a chunk its new ref.
func (c *Cache) moved(from, to ref, k chunk) {
	var buf [2 * bucketSlots]slotID
	found := false
	for _, s := range c.table.matches(k.hash(), &buf) {
		if c.table.mark(s)&valueBit != 0 && ref(c.table.payload(s)) == from {
			c.table.words[s+bucketSlots] = uint64(to)
			found = true
		}
	}
	invariant.Check(found, "chunk %#x has no slot", uint64(from))
	if c.header == linkedHeader {
		c.relink(to, k)
	}
}

// valueSlot returns the slot of a chunk.
func (c *Cache) valueSlot(r ref) slotID {
	var buf [2 * bucketSlots]slotID
	for _, s := range c.table.matches(c.chunk(r).hash(), &buf) {
		if c.table.mark(s)&valueBit != 0 && ref(c.table.payload(s)) == r {
			return s
		}
	}
	invariant.Check(false, "chunk %#x has no slot", uint64(r))
	return noSlot
}
