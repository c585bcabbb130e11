package dac

// The recency list links all value chunks from newest to oldest, for the policies that evict
// the least recently used. Its links are refs inside the chunks.

// touch makes a chunk the newest.
func (c *Cache) touch(r ref, k chunk) {
	if c.newest == r {
		return
	}
	c.unlink(k)
	c.link(r, k)
}

func (c *Cache) link(r ref, k chunk) {
	k.setNewer(noRef)
	k.setOlder(c.newest)
	if c.newest != noRef {
		c.chunk(c.newest).setNewer(r)
	} else {
		c.oldest = r
	}
	c.newest = r
}

func (c *Cache) unlink(k chunk) {
	newer, older := k.newer(), k.older()
	if newer != noRef {
		c.chunk(newer).setOlder(older)
	} else {
		c.newest = older
	}
	if older != noRef {
		c.chunk(older).setNewer(newer)
	} else {
		c.oldest = newer
	}
}

// relink tells the neighbours of a chunk that moved its new ref.
func (c *Cache) relink(to ref, k chunk) {
	if newer := k.newer(); newer != noRef {
		c.chunk(newer).setOlder(to)
	} else {
		c.newest = to
	}
	if older := k.older(); older != noRef {
		c.chunk(older).setNewer(to)
	} else {
		c.oldest = to
	}
}
