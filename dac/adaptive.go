package dac

// adaptive keeps what saves the most round trips a byte.
//
// Every hit of a shortcut saves the cost of a miss but one round trip, for entryBytes; every
// hit of a value saves that one as well, for its chunk. With known hit rates the best contents
// are those steps, shortcuts and values of all keys alike, whose saving per byte lies above one
// common price. adaptive approaches this: it estimates rates from hits, and whenever bytes are
// needed it gives up the step that saves least a byte, value or shortcut, and only for one that
// saves more. So the split between values and shortcuts, and between large and small values,
// has no parameter.
//
//   - Rates are hits over the reads that they were counted in; epoch.go says how old hits are
//     forgotten. For low numbers of hits, which say little, the rate at which all entries with
//     that many are really hit is measured.
//   - Reads of keys without an entry are counted too, roughly (tally.go). When such a key has been
//     read more often than the shortcut with the fewest hits, v, it takes that one's place, and
//     starts with v+1 hits: what the count says beyond that may be another key's. The bytes of the
//     counts are won back by filling the table further; taken from the shortcuts they would be
//     worth less than they cost.
//   - Written keys count no hit: only reads are what a cache saves.
type adaptive struct {
	epoch  epoch
	ranks  ranking
	margin margin
	// replaced: it was a shortcut, not a value, that last made room for a shortcut.
	replaced bool
}

// hitUnit is one hit in the counts of value entries, which are fixed-point numbers so that
// fractions survive ageing.
const hitUnit = 16

// hitsOf returns the hits of a shortcut of some level. The lowest level, which stands for one
// elsewhere, is for none here: a key not read since it was written, or since counts were cut
// down, has to give way to one that was.
func hitsOf(level uint64) float64 { return levelHits[level] - 1 }

// levelWith returns the level of a shortcut with so many hits.
func levelWith(hits uint32) uint64 { return levelOf(hits + 1) }

// maxHits is where the counts of value entries stay.
const maxHits = 1 << 31

// reset forgets all hits.
func (a *adaptive) reset(c *Cache) {
	changes, passes := a.epoch.changes, a.epoch.passes
	*a = adaptive{epoch: newEpoch()}
	a.epoch.begin(c)
	a.epoch.changes, a.epoch.passes = changes, passes
}

func (a *adaptive) missed(c *Cache, e *entry) {
	a.epoch.tick(c, a, e.hash)
	a.admit(c, e, 1)
}

func (a *adaptive) read(c *Cache, s slotID, e *entry) {
	a.epoch.tick(c, a, e.hash)
	a.promote(c, e, hitsOf(c.table.mark(s)&levelMask))
}

func (a *adaptive) written(c *Cache, s slotID, e *entry) {
	switch {
	case s == noSlot:
		a.admit(c, e, 0)
	case c.table.mark(s)&valueBit == 0:
		c.setShortcut(s, e.shortcut)
		a.promote(c, e, hitsOf(c.table.mark(s)&levelMask))
	default:
		r := ref(c.table.payload(s))
		if c.storable(e) && c.rewrite(s, e) {
			return
		}
		hits := float64(c.chunk(r).hits()) / hitUnit
		c.chunk(r).setShortcut(e.shortcut)
		c.demote(s)
		if s = c.locateShortcut(e.hash); s != noSlot && c.table.payload(s) == e.shortcut {
			a.promote(c, e, hits)
		}
	}
}

// admit stores what it can of a key that has no entry: the value if there is room, else a
// shortcut if that is worth what has to go. It was read so often just now: once, or not at all.
func (a *adaptive) admit(c *Cache, e *entry, reads uint32) {
	if c.locateShortcut(e.hash) != noSlot {
		return
	}
	if c.storable(e) && c.room(1, c.chunkCost(e)) {
		c.putValue(e, reads*hitUnit)
		return
	}
	level, ok := a.clear(c, e.hash, reads)
	if ok && c.putShortcut(e.hash, e.shortcut, level) && reads > 0 {
		a.promote(c, e, 1)
	}
}

// clear makes room for a new shortcut and returns the level it starts with.
func (a *adaptive) clear(c *Cache, hash uint64, reads uint32) (level uint64, ok bool) {
	level = levelWith(reads)
	if c.room(1, 0) {
		return level, true
	}
	y, home := c.table.tally, c.table.address(hash)
	hits := 0.0
	if reads > 0 {
		hits = y.read(home, hash, c.draw())
	}
	for !c.room(1, 0) {
		value, valueSaves := a.cheapestValue(c)
		shortcut, shortcutSaves := a.cheapestShortcut(c)
		if value != noSlot && (shortcut == noSlot || valueSaves <= shortcutSaves) && valueSaves < a.shortcutSaves(c, a.epoch.credit(hits)) {
			c.stats.demotions++
			c.demote(value)
			a.replaced = false
			continue
		}
		if shortcut == noSlot {
			return 0, false
		}
		least := c.table.mark(shortcut) & levelMask
		y.follow(hitsOf(least), c.table.buckets, c.draw())
		if hits <= hitsOf(least) {
			return 0, false
		}
		level = max(level, min(least+1, maxLevel))
		c.stats.evictedShortcuts++
		evicted := c.table.hash(shortcut)
		y.atLeast(c.table.address(evicted), evicted, max(0, hitsOf(least)-1))
		c.removeShortcut(shortcut)
		c.table.ease(extraReplaced)
		a.replaced = true
	}
	y.less(home, hash, max(0, hitsOf(level)-1))
	return level, true
}

// promote makes the shortcut of e, hit so often lately, a value if that is worth what has to go.
func (a *adaptive) promote(c *Cache, e *entry, hits float64) {
	if !c.storable(e) {
		return
	}
	need := c.chunkCost(e)
	saves := a.epoch.credit(hits) / float64(classBytes(c.pickClass(c.header+len(e.key)+len(e.value))))
	for !c.room(0, need) {
		if !a.giveUp(c, saves) {
			return
		}
	}
	if s := c.locateShortcut(e.hash); s == noSlot || c.table.payload(s) != e.shortcut {
		return // it was what had to go
	}
	if c.upgrade(e, uint32(min(hits*hitUnit, maxHits))) {
		c.stats.promotions++
	}
}

// giveUp removes or demotes what saves least a byte, if that is less than limit.
func (a *adaptive) giveUp(c *Cache, limit float64) bool {
	value, valueSaves := a.cheapestValue(c)
	shortcut, shortcutSaves := a.cheapestShortcut(c)
	switch {
	case value != noSlot && (shortcut == noSlot || valueSaves <= shortcutSaves):
		if valueSaves >= limit {
			return false
		}
		c.stats.demotions++
		c.demote(value)
	case shortcut != noSlot:
		if shortcutSaves >= limit {
			return false
		}
		c.stats.evictedShortcuts++
		c.removeShortcut(shortcut)
	default:
		return false
	}
	return true
}

// shortcutSaves returns the round trips that a shortcut with so many hits saves a byte, in the
// unit of ranking: the one round trip that a value's hit saves beyond a shortcut's.
func (a *adaptive) shortcutSaves(c *Cache, hits float64) float64 {
	return hits * max(0, c.miss.value()-1) / entryBytes
}

// cheapestValue returns one of the values that save least a byte, and how much that is.
func (a *adaptive) cheapestValue(c *Cache) (slotID, float64) {
	s, hits, size := a.ranks.cheapest(c)
	if s == noSlot {
		return noSlot, 0
	}
	return s, a.epoch.credit(hits) / float64(size)
}

// cheapestShortcut returns one of the shortcuts with the fewest hits, and what shortcuts at the
// margin save a byte; noSlot if to give one up frees nothing.
func (a *adaptive) cheapestShortcut(c *Cache) (slotID, float64) {
	s := c.leastUsed()
	if s == noSlot || !c.table.frees() {
		return noSlot, 0
	}
	return s, a.shortcutSaves(c, a.margin.of(c, a, c.table.mark(s)&levelMask))
}

// margin is the mean of hits over the third of the shortcuts that has the fewest. If there
// were fewer shortcuts it is these that would go: those of the very lowest level are newcomers
// mostly, who come and go at any size.
type margin struct {
	hits  float64
	level uint64 // the lowest level when hits was taken
	uses  int    // until it is taken anew
}

const (
	marginShare = 3
	marginUses  = 64
)

func (m *margin) of(c *Cache, a *adaptive, least uint64) float64 {
	if m.uses > 0 && m.level == least {
		m.uses--
		return m.hits
	}
	m.uses, m.level = marginUses, least
	want := 1 + c.lfu.total/marginShare
	sum, n := 0.0, 0
	for level := 1; level <= maxLevel && n < want; level++ {
		k := min(int(c.lfu.byLevel[level]), want-n)
		sum += float64(k) * a.epoch.credit(hitsOf(uint64(level)))
		n += k
	}
	m.hits = sum / float64(max(n, 1))
	return m.hits
}
