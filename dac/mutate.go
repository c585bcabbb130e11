package dac

// InsertAfterMiss reports that a key was looked up, missed, and read from the pool in so many
// round trips. The policy decides what to keep. Nothing of key and value is kept by reference.
func (c *Cache) InsertAfterMiss(key []byte, hash uint64, value []byte, meta uint32, shortcut uint64, roundTrips int) {
	c.miss.observe(roundTrips)
	if c.policy == nil {
		return
	}
	c.in = entry{key, hash, value, meta, shortcut}
	if s := c.locate(key, hash); s != noSlot {
		// Inserted meanwhile, or the shortcut of a key with the same hash.
		c.policy.written(c, s, &c.in)
	} else {
		c.policy.missed(c, &c.in)
	}
	c.in.key, c.in.value = nil, nil
}

// PromoteAfterShortcutHit reports that a key's value was read through the shortcut that
// Lookup gave. The policy decides whether to keep the value.
func (c *Cache) PromoteAfterShortcutHit(key []byte, hash uint64, value []byte, meta uint32, shortcut uint64) {
	if c.policy == nil {
		return
	}
	s := c.locateShortcut(hash)
	if s == noSlot || c.table.payload(s) != shortcut {
		return // gone, or replaced, since the lookup
	}
	c.in = entry{key, hash, value, meta, shortcut}
	c.policy.read(c, s, &c.in)
	c.in.key, c.in.value = nil, nil
}

// Update reports that a key was written: from now on no lookup gives its old value or
// shortcut. Whether the new ones are kept is the policy's decision.
func (c *Cache) Update(key []byte, hash uint64, value []byte, meta uint32, shortcut uint64) {
	if c.policy == nil {
		return
	}
	c.in = entry{key, hash, value, meta, shortcut}
	c.policy.written(c, c.locate(key, hash), &c.in)
	c.in.key, c.in.value = nil, nil
}

// Invalidate forgets a key: it was deleted, or the shortcut given for it was not its own.
func (c *Cache) Invalidate(key []byte, hash uint64) {
	if c.policy == nil {
		return
	}
	if s := c.locate(key, hash); s != noSlot {
		c.remove(s)
	}
	if s := c.locateShortcut(hash); s != noSlot {
		c.remove(s)
	}
}

// UpdateShortcut reports that what shortcut old led to has moved: the pool compacts. It does
// nothing if the key's entry does not hold old.
func (c *Cache) UpdateShortcut(key []byte, hash uint64, old, moved uint64) {
	if c.policy == nil {
		return
	}
	s := c.locate(key, hash)
	switch {
	case s == noSlot:
	case c.table.mark(s)&valueBit == 0:
		if c.table.payload(s) == old {
			c.setShortcut(s, moved)
		}
	default:
		if k := c.chunk(ref(c.table.payload(s))); k.shortcut() == old {
			k.setShortcut(moved)
		}
	}
}

// DropIf forgets every entry whose hash the function accepts and returns how many there were.
// It looks at the whole table: some 5 ns an entry.
func (c *Cache) DropIf(lost func(hash uint64) bool) int {
	n := 0
	for b := range c.table.buckets {
		if c.policy == nil {
			break
		}
		for i := range bucketSlots {
			if s := slotOf(b, i); c.table.mark(s) != 0 && lost(c.table.hash(s)) {
				c.remove(s)
				n++
			}
		}
	}
	c.stats.dropped += uint64(n)
	if c.adaptive != nil {
		c.adaptive.epoch.lost()
	}
	return n
}

// Reset forgets everything and gives the memory back. Counters and the measured cost stay.
func (c *Cache) Reset() {
	if c.policy == nil {
		return
	}
	for _, class := range c.live {
		h := c.heaps[class]
		h.chunks = 0
		h.trim()
	}
	c.table.reset()
	c.tableResident = c.table.bytes()
	c.resident = c.tableResident
	c.chunkBytes, c.activeClasses, c.values = 0, 0, 0
	c.newest, c.oldest = noRef, noRef
	c.lfu = lfu{}
	if c.adaptive != nil {
		c.adaptive.reset(c)
	}
}

// countHit counts one more hit of a shortcut entry.
func (c *Cache) countHit(s slotID) {
	mark := c.table.mark(s)
	level := mark & levelMask
	if level < maxLevel && c.draw() <= levelRise[level] {
		c.table.words[s] = mark + 1
		c.lfu.moved(level, level+1)
	}
}

// rewriteOrDemote stores a written value over the key's old one. If it does not fit into the
// old one's place, the entry becomes a shortcut and a value again if there is room.
func (c *Cache) rewriteOrDemote(s slotID, e *entry) {
	r := ref(c.table.payload(s))
	hits := c.chunk(r).hits() + 1
	if c.storable(e) && c.rewrite(s, e) {
		k := c.chunk(r)
		k.setHits(hits)
		if c.header == linkedHeader {
			c.touch(r, k)
		}
		return
	}
	c.chunk(r).setShortcut(e.shortcut)
	c.demote(s)
	if s = c.locateShortcut(e.hash); s == noSlot || c.table.payload(s) != e.shortcut || !c.storable(e) {
		return
	}
	if c.room(0, c.chunkCost(e)) {
		c.upgrade(e, hits)
	}
}
