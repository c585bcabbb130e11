package dac

import (
	"testing"

	"github.com/dinomo-kv/dinomo/internal/random"
)

func newTestTable(t *testing.T, tallied bool) *table {
	t.Helper()
	tb, err := newTable(64<<20, tallied)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tb.close)
	return &tb
}

// find is the table's lookup, written the slow way.
func (t *table) find(hash, payload uint64) bool {
	var buf [2 * bucketSlots]slotID
	for _, s := range t.matches(hash, &buf) {
		if t.payload(s) == payload && t.hash(s) == hash {
			return true
		}
	}
	return false
}

// Entries stay findable, with their whole hash, while the table grows and shrinks through many
// doublings at its highest load, and hardly any is lost.
func TestTableKeepsEntriesThroughGrowthAndShrinking(t *testing.T) {
	seed := random.Seed(t)
	t.Run("plain", func(t *testing.T) { growAndShrink(t, seed, newTestTable(t, false), 300, 600) })
	t.Run("tallied", func(t *testing.T) { growAndShrink(t, seed, newTestTable(t, true), 1_000, 600) })
}

// growAndShrink fills a table with 60,000 entries and takes nearly all of them out again. No more
// than so many may fail to be placed, or lose their slots when the table shrinks.
func growAndShrink(t *testing.T, seed uint64, tb *table, mayFail, mayLose int) {
	rng := random.New(seed)
	entries := map[uint64]uint64{}
	failures := 0
	for len(entries) < 60_000 {
		for tb.buckets < tb.bucketsFor(tb.entries+1) {
			if err := tb.grow(); err != nil {
				t.Fatal(err)
			}
		}
		h, p := rng.Uint64(), rng.Uint64()
		if _, ok := tb.place(h, 1, p); ok {
			entries[h] = p
		} else {
			failures++
			tb.loosen()
		}
	}
	if failures > mayFail {
		t.Errorf("%d placements failed for %d entries in %d buckets, want at most %d", failures, len(entries), tb.buckets, mayFail)
	}
	lost := 0
	for len(entries) > 1000 {
		for h := range entries {
			if rng.IntN(3) > 0 {
				continue
			}
			var buf [2 * bucketSlots]slotID
			for _, s := range tb.matches(h, &buf) {
				tb.clear(s)
			}
			delete(entries, h)
		}
		for tb.buckets > tb.bucketsFor(tb.entries) {
			var buf [bucketSlots]homeless
			for _, e := range tb.shrink(&buf) {
				if entries[e.hash] != e.payload {
					t.Fatalf("entry %#x lost its slot with payload %d, want %d", e.hash, e.payload, entries[e.hash])
				}
				delete(entries, e.hash)
				lost++
			}
		}
		for h, p := range entries {
			if !tb.find(h, p) {
				t.Fatalf("entry %#x cannot be found in a table of %d buckets", h, tb.buckets)
			}
		}
	}
	if tb.buckets != minBuckets || tb.entries != len(entries) {
		t.Errorf("%d buckets, %d entries; want %d, %d", tb.buckets, tb.entries, minBuckets, len(entries))
	}
	t.Logf("%d placements failed, %d entries lost while shrinking", failures, lost)
	if lost > mayLose {
		t.Errorf("%d of 60000 entries lost while shrinking", lost)
	}
}

// The whole hash comes back from wherever displacement has put an entry.
func TestTableKnowsWholeHashes(t *testing.T) {
	rng := random.New(random.Seed(t))
	tb := newTestTable(t, false)
	want := map[uint64]uint64{}
	for {
		h, p := rng.Uint64(), rng.Uint64()
		if rng.IntN(4) == 0 {
			h = h&^(1<<20-1) | rng.Uint64N(64) // crowd a few home buckets
		}
		if _, ok := tb.place(h, 1, p); !ok {
			break
		}
		want[p] = h
	}
	seen := 0
	for b := range tb.buckets {
		for i := range bucketSlots {
			if s := slotOf(b, i); tb.mark(s) != 0 {
				seen++
				if tb.hash(s) != want[tb.payload(s)] {
					t.Fatalf("slot %d: hash %#x, want %#x", s, tb.hash(s), want[tb.payload(s)])
				}
			}
		}
	}
	if seen != len(want) || seen != tb.entries {
		t.Errorf("%d entries in slots, %d counted, %d placed", seen, tb.entries, len(want))
	}
}

// When no slot can be freed, the search names a shortcut whose removal makes one free.
func TestWeakestIsOnThePath(t *testing.T) {
	rng := random.New(random.Seed(t))
	tb := newTestTable(t, false)
	for range 200_000 {
		h := rng.Uint64()
		if _, ok := tb.place(h, 2+rng.Uint64N(100), 1); ok {
			continue
		}
		weakest := tb.path.weakest
		if weakest == noSlot || tb.mark(weakest)&levelMask != tb.path.weakestLevel {
			t.Fatalf("weakest slot %d, level %d", weakest, tb.path.weakestLevel)
		}
		tb.clear(weakest)
		if _, ok := tb.place(h, 1, 1); !ok {
			t.Fatal("no slot though the weakest was removed")
		}
		if rng.IntN(2000) == 0 {
			return
		}
	}
}
