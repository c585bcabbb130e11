package dac

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/cespare/xxhash/v2"
)

// Where no level has between a twentieth and a quarter of the shortcuts at or above it, the
// watched level stays all the same, and what is known of it.
func TestWatchedLevelStays(t *testing.T) {
	c := newCache(t, Options{BudgetBytes: MinBudgetBytes})
	l, p := &c.lfu, &c.adaptive.epoch
	l.byLevel[2], l.byLevel[4], l.byLevel[9], l.total = 60, 30, 4, 94
	p.chooseHot(c)
	if p.hotLevel != 4 || p.hotEntries != 34 {
		t.Fatalf("level %d is watched, %d shortcuts; want level 4, 34", p.hotLevel, p.hotEntries)
	}
	p.hot.see(0.5)
	p.chooseHot(c)
	if p.hotLevel != 4 || p.hot.usual != 0.5 {
		t.Errorf("level %d is watched, usual share %v; want level 4, 0.5 as before", p.hotLevel, p.hot.usual)
	}
	// Too few now: another level, of which nothing is known.
	l.byLevel[2], l.byLevel[4] = 90, 0
	if p.chooseHot(c); p.hotLevel != 2 || p.hot.usual != 0 {
		t.Errorf("level %d is watched, usual share %v; want level 2, 0", p.hotLevel, p.hot.usual)
	}
}

// A share that any entries would have is none of what was popular.
func TestChanceIsNotPopularity(t *testing.T) {
	c := newCache(t, Options{BudgetBytes: MinBudgetBytes})
	p := &c.adaptive.epoch
	c.table.entries = 1000
	for _, w := range []struct{ share, left float64 }{{0.5, 1}, {0.3, 0.5}, {0.1, 0}, {0.08, 0}} {
		// One entry in eight is watched; eight reads in ten find an entry.
		p.hot.usual, p.hotEntries, p.repeats = 0.5, 125, windowReads
		if left := p.left(c, 0, w.share, 0.8, windowReads); math.Abs(left-w.left) > 1e-9 {
			t.Errorf("half of the reads, now %v of them: %v is left, want %v", w.share, left, w.left)
		}
	}
	c.table.entries = 0
}

// A key that was not read since it was written gives way to one that was.
func TestKeysNeverReadMakeWay(t *testing.T) {
	const some, many = 1000, 20_000
	c := newCache(t, Options{BudgetBytes: MinBudgetBytes, MissCost: 3, MaxValueBytes: 1})
	key := func(n uint64) ([]byte, uint64) {
		k := binary.BigEndian.AppendUint64(nil, n)
		return k, xxhash.Sum64(k)
	}
	value := make([]byte, 100) // too long to be kept
	for n := range uint64(many) {
		k, h := key(some + n)
		c.Update(k, h, value, 0, 1+n)
	}
	full := c.Stats().Shortcuts
	if full < some || full == many {
		t.Fatalf("%d shortcuts: want a full cache", full)
	}
	for n := range uint64(some) {
		k, h := key(n)
		if c.Lookup(k, h).Kind == Miss {
			c.InsertAfterMiss(k, h, value, 0, 1+n, 3)
		}
	}
	known := 0
	for n := range uint64(some) {
		if c.Lookup(key(n)).Kind != Miss {
			known++
		}
	}
	// Now and then an entry goes because others need its slot.
	if known < some*9/10 {
		t.Errorf("%d of %d keys that were read are cached; %d were before that were not", known, some, full)
	}
}

// A window that begins with Reset counts what comes after it.
func TestWindowBeginsAnewWithReset(t *testing.T) {
	c := newCache(t, Options{BudgetBytes: MinBudgetBytes})
	for n := range uint64(100) {
		c.Lookup(binary.BigEndian.AppendUint64(nil, n), n)
	}
	c.Reset()
	p, s := &c.adaptive.epoch, &c.stats
	if p.window != 100 || p.misses != s.misses || p.values != s.valueHits {
		t.Errorf("the window begins at %d lookups, %d misses, %d value hits; want 100, %d, %d", p.window, p.misses, p.values, s.misses, s.valueHits)
	}
}
