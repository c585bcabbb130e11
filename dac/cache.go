package dac

import (
	"bytes"
	"fmt"
	"reflect"
)

// Kind says what the cache knows about a key.
type Kind uint8

const (
	// Miss: nothing; the caller has to go through the index.
	Miss Kind = iota
	// Shortcut: where the entry of a key with this hash was last seen.
	Shortcut
	// Value: the value itself.
	Value
)

// String returns the kind's name.
func (k Kind) String() string {
	return [...]string{"miss", "shortcut", "value"}[k]
}

// Result is the answer to a lookup.
type Result struct {
	Kind Kind
	// Meta is the word stored with a value. 0 for a shortcut: what it leads to has it.
	Meta uint32
	// Shortcut is set for Kind Shortcut and Value. For Kind Shortcut it is a hint: an entry
	// of 16 bytes has no room for the key, so where the hashes of two keys are equal it may
	// be the other key's. The caller compares the key of what it reads, and calls Invalidate
	// and takes the way of a miss if it differs. It is never an outdated shortcut of the
	// right key, as long as every write is reported by Update or Invalidate.
	Shortcut uint64
	// Value is exact, the keys were compared. It lies in the cache's own memory: valid until
	// the next call of any method but Lookup and the reports, not to be written to.
	Value []byte
}

// Cache is an adaptive cache of values and shortcuts. It belongs to one goroutine.
type Cache struct {
	opts   Options
	policy policy
	table  table
	heaps  [maxClasses]*classHeap
	live   []int // classes that have memory
	header int   // bytes of a chunk's header: linkedHeader if recency matters, else plainHeader

	fixedBytes    int // what the cache takes beside table and chunks
	tableResident int // bytes of the table that the system may have given us
	resident      int // the same of table and chunks together
	chunkBytes    int // size of all chunks in use
	activeClasses int // classes with chunks in use
	values        int // value entries

	newest, oldest ref // ends of the recency list, if header is linkedHeader
	lfu            lfu
	miss           missCost
	adaptive       *adaptive // the policy, if it is this one
	random         uint64
	in             entry // what the current call hands in; here so that it need not escape
	stats          counters
}

// noRef is no chunk.
const noRef = ^ref(0)

// New returns an empty cache. It takes little memory until it is filled.
func New(opts Options) (*Cache, error) {
	opts.EnsureDefaults()
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	kind, share, err := parsePolicy(opts.Policy)
	if err != nil {
		return nil, err
	}
	c := &Cache{opts: opts, header: linkedHeader, newest: noRef, oldest: noRef, random: opts.Seed}
	c.miss.reset(opts.MissCost)
	switch kind {
	case PolicyNone:
		c.opts.BudgetBytes = 0
		return c, nil
	case PolicyAdaptive:
		c.adaptive = &adaptive{epoch: newEpoch()}
		c.policy = c.adaptive
		c.header = plainHeader
		c.fixedBytes = int(reflect.TypeFor[adaptive]().Size() + reflect.TypeFor[tally]().Size())
	case PolicyPaper:
		c.policy = paper{}
	case PolicyStatic:
		c.policy = newStatic(c, share)
	case PolicyValueOnly:
		c.policy = newStatic(c, 1)
	case PolicyShortcutOnly:
		c.policy = newStatic(c, 0)
	}
	c.fixedBytes = roundUp(c.fixedBytes+int(reflect.TypeFor[Cache]().Size()), osPage)
	if c.table, err = newTable(opts.BudgetBytes, c.adaptive != nil); err != nil {
		return nil, fmt.Errorf("make the cache's table: %w", err)
	}
	c.tableResident = c.table.bytes()
	c.resident = c.tableResident
	return c, nil
}

// Close gives all memory back. No Result may be used any more, nor the cache.
func (c *Cache) Close() {
	for _, class := range c.live {
		c.heaps[class].mem.close()
		c.heaps[class] = nil
	}
	c.live = nil
	c.table.close()
	c.table.words = nil
	c.policy = nil
}

// Lookup answers what is known about a key and counts the hit or miss. hash is the 64-bit
// xxhash of the key. It allocates nothing and moves nothing.
func (c *Cache) Lookup(key []byte, hash uint64) Result {
	var r Result
	c.Find(key, hash, &r)
	return r
}

// Find is Lookup with the answer in r. A Result that is returned is copied from frame to frame, in
// wider words than it was written in, which the processor cannot forward: that took as long
// as finding it.
func (c *Cache) Find(key []byte, hash uint64, r *Result) {
	t := &c.table
	if c.policy == nil {
		c.missed(r)
		return
	}
	tag := hash &^ stateMask
	w := t.bucket(t.address(hash))
	for i, mark := range w[:bucketSlots] {
		if mark&tagMask == tag && mark != 0 && c.hit(w, i, key, r) {
			return
		}
	}
	w = t.bucket(t.address(alternate(hash)))
	for i, mark := range w[:bucketSlots] {
		if mark&tagMask == tag|altBit && c.hit(w, i, key, r) {
			return
		}
	}
	c.missed(r)
}

func (c *Cache) missed(r *Result) {
	c.stats.misses++
	*r = Result{}
}

// hit answers from slot i of a bucket, whose hash is the key's, unless it turns out to be the
// value of another key.
func (c *Cache) hit(w *[bucketWords]uint64, i int, key []byte, r *Result) bool {
	mark, payload := w[i], w[i+bucketSlots]
	if mark&valueBit == 0 {
		c.stats.shortcutHits++
		level := mark & levelMask
		if c.adaptive != nil {
			c.adaptive.epoch.shortcutHit(level)
		}
		if level < exactLevels || level < maxLevel && c.draw() <= levelRise[level] {
			w[i] = mark + 1
			c.lfu.moved(level, level+1)
		}
		r.Kind, r.Meta, r.Shortcut, r.Value = Shortcut, 0, payload, nil
		return true
	}
	k := c.chunk(ref(payload))
	if !bytes.Equal(k.key(c.header), key) {
		return false
	}
	c.stats.valueHits++
	if n := k.hits(); c.adaptive == nil {
		k.setHits(n + 1)
	} else if n < maxHits {
		k.setHits(n + hitUnit)
		c.adaptive.epoch.valueHit(n)
		c.adaptive.ranks.changed(n, n+hitUnit, len(k))
	}
	if c.header == linkedHeader {
		c.touch(ref(payload), k)
	}
	r.Kind, r.Meta, r.Shortcut, r.Value = Value, k.meta(), k.shortcut(), k.value(c.header)
	return true
}

// draw returns 32 random bits.
func (c *Cache) draw() uint32 {
	c.random ^= c.random << 13
	c.random ^= c.random >> 7
	c.random ^= c.random << 17
	return uint32(c.random >> 32)
}

// chunk returns the chunk of a ref.
func (c *Cache) chunk(r ref) chunk { return c.heaps[r.class()].chunk(r.index()) }

// locate finds the entry of a key: its value entry if there is one, else the shortcut of its
// hash, which may be another key's, else noSlot.
func (c *Cache) locate(key []byte, hash uint64) slotID {
	t := &c.table
	found := noSlot
	tag := hash &^ stateMask
	for b, x := range [2]uint64{t.address(hash), t.address(alternate(hash))} {
		tag |= uint64(b) * altBit
		w := t.bucket(x)
		for i, mark := range w[:bucketSlots] {
			switch {
			case mark&tagMask != tag || mark == 0:
			case mark&valueBit == 0:
				found = slotOf(x, i)
			case bytes.Equal(c.chunk(ref(w[i+bucketSlots])).key(c.header), key):
				return slotOf(x, i)
			}
		}
	}
	return found
}

// locateShortcut finds the shortcut of a hash. There is one at most.
func (c *Cache) locateShortcut(hash uint64) slotID {
	var buf [2 * bucketSlots]slotID
	for _, s := range c.table.matches(hash, &buf) {
		if c.table.mark(s)&valueBit == 0 {
			return s
		}
	}
	return noSlot
}
