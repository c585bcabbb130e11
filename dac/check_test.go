package dac

import (
	"fmt"
	"testing"
)

// check recounts everything a cache counts and compares.
func (c *Cache) check() error {
	if c.policy == nil {
		return nil
	}
	if used, budget := c.BytesUsed(), c.Budget(); used > budget {
		return fmt.Errorf("DAC-1: %d bytes used, budget %d", used, budget)
	}
	var byLevel [maxLevel + 1]uint32
	var ranks ranking
	entries, values, bytes, resident := 0, 0, 0, c.tableResident
	if c.table.bytes() > c.tableResident {
		return fmt.Errorf("table of %d bytes, %d resident", c.table.bytes(), c.tableResident)
	}
	shortcuts := map[uint64]bool{}
	for b := range c.table.buckets {
		for i := range bucketSlots {
			s := slotOf(b, i)
			mark := c.table.mark(s)
			if mark == 0 {
				continue
			}
			entries++
			hash := c.table.hash(s)
			want := c.table.address(hash)
			if mark&altBit != 0 {
				want = c.table.address(alternate(hash))
			}
			if want != b {
				return fmt.Errorf("slot %d: hash %#x belongs into bucket %d, not %d", s, hash, want, b)
			}
			if mark&valueBit == 0 {
				byLevel[mark&levelMask]++
				if shortcuts[hash] {
					return fmt.Errorf("two shortcuts for hash %#x", hash)
				}
				shortcuts[hash] = true
				continue
			}
			values++
			k := c.chunk(ref(c.table.payload(s)))
			if k.hash() != hash {
				return fmt.Errorf("slot %d with hash %#x leads to a chunk with hash %#x", s, hash, k.hash())
			}
			ranks.added(k.hits(), len(k))
		}
	}
	if entries != c.table.entries || values != c.values {
		return fmt.Errorf("%d entries, %d values; counted %d, %d", c.table.entries, c.values, entries, values)
	}
	chunks, active := 0, 0
	for _, class := range c.live {
		h := c.heaps[class]
		chunks += h.chunks
		bytes += h.chunks * h.size
		resident += h.resident
		if h.chunks > 0 {
			active++
		}
		if h.slack() < 0 {
			return fmt.Errorf("class of %d bytes: slack %d", h.size, h.slack())
		}
	}
	if chunks != values || bytes != c.chunkBytes || resident != c.resident || active != c.activeClasses {
		return fmt.Errorf("%d chunks for %d values, %d bytes (counted %d), resident %d (counted %d), active %d (counted %d)",
			chunks, values, c.chunkBytes, bytes, c.resident, resident, c.activeClasses, active)
	}
	if byLevel != c.lfu.byLevel {
		return fmt.Errorf("shortcuts by level are %v, want %v", c.lfu.byLevel, byLevel)
	}
	if a := c.adaptive; a != nil && (ranks.byRank != a.ranks.byRank || ranks.byHits != a.ranks.byHits || ranks.hits != a.ranks.hits) {
		return fmt.Errorf("values by rank are %v and %v, %d hits; want %v and %v, %d", a.ranks.byRank, a.ranks.byHits, a.ranks.hits, ranks.byRank, ranks.byHits, ranks.hits)
	}
	return c.checkRecency()
}

func (c *Cache) checkRecency() error {
	if c.header != linkedHeader {
		return nil
	}
	n := 0
	last := noRef
	for r := c.newest; r != noRef; r = c.chunk(r).older() {
		if c.chunk(r).newer() != last {
			return fmt.Errorf("chunk %#x: newer link is %#x, want %#x", uint64(r), uint64(c.chunk(r).newer()), uint64(last))
		}
		last = r
		if n++; n > c.values {
			return fmt.Errorf("recency list is longer than %d values", c.values)
		}
	}
	if n != c.values || last != c.oldest {
		return fmt.Errorf("recency list holds %d of %d values and ends at %#x, want %#x", n, c.values, uint64(last), uint64(c.oldest))
	}
	return nil
}

func mustCheck(t *testing.T, c *Cache, what string) {
	t.Helper()
	if err := c.check(); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func newCache(t testing.TB, opts Options) *Cache {
	t.Helper()
	c, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
