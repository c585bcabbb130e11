package dpm

import (
	"fmt"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/index"
)

// Load puts entries into the pool by itself, without a log: into segments of the DPM's own, and the index. It is for
// filling a pool that nobody uses yet, from a backup: were a KN to write the same keys, nobody could say which is newer.
// Each entry is an OpPut; op, key, lattice, codec, raw length and stored value count, the rest is made anew. All are durable
// when Load returns nil. ErrNoSpace leaves some of them loaded.
func (p *Pool) Load(entries []format.Entry) error {
	if err := p.Err(); err != nil {
		return err
	}
	p.compact.Lock()
	defer p.compact.Unlock()
	c := &p.compact
	for next := 0; next < len(entries); {
		c.mutations = c.mutations[:0]
		start := c.used
		for ; next < len(entries); next++ {
			e := &entries[next]
			size := e.Bytes()
			if why := p.unloadable(e, size); why != "" {
				c.used = start // those before it in this batch are neither flushed nor led to
				return fmt.Errorf("load key %.64q: %s", e.Key, why)
			}
			if !c.open || c.used+size > p.layout.SegmentBytes {
				if len(c.mutations) > 0 { // the batch goes first, then this entry again
					break
				}
				if err := p.openCompactionKeeping(p.reserve); err != nil {
					return err
				}
				start = 0
			}
			if e.Lattice != latticeLWW {
				p.setFilter(index.KeyHash(e.Key))
			}
			pointer := p.placeEntry(e, size)
			c.mutations = append(c.mutations, index.Mutation{Hash: index.KeyHash(e.Key), Key: e.Key, New: pointer})
		}
		if err := p.publishLoaded(start); err != nil {
			return err
		}
	}
	return nil
}

func (p *Pool) unloadable(e *format.Entry, size uint64) string {
	switch {
	case e.Op != format.OpPut:
		return fmt.Sprintf("a %v cannot be loaded", e.Op)
	case len(e.Key) == 0 || len(e.Key) > format.MaxKeyBytes || size > p.layout.MaxEntryBytes():
		return fmt.Sprintf("an entry of %d bytes does not fit a segment of %d; make larger ones", size, p.layout.SegmentBytes)
	}
	return ""
}

// publishLoaded makes the entries placed since start durable and the index lead to them. REQUIRES: compact locked.
func (p *Pool) publishLoaded(start uint64) error {
	c := &p.compact
	p.region.Flush(p.layout.SegmentOffset(c.segment)+start, c.used-start)
	if cap(c.results) < len(c.mutations) {
		c.results = make([]index.Result, max(len(c.mutations), 1024))
	}
	results := c.results[:len(c.mutations)]
	clear(results) // an error leaves those without a result that did not happen
	_, applyErr := p.index.Apply(c.mutations, results)
	if err := p.fence(); err != nil {
		return err
	}
	for i := range results {
		switch results[i].Outcome {
		case index.Inserted, index.Replaced:
			p.countLive(c.mutations[i].New)
		}
		if !results[i].Old.Nil() {
			p.dereference(results[i].Old)
		}
	}
	if applyErr != nil {
		return fmt.Errorf("load: %w", applyErr)
	}
	_, err := p.growIndex()
	return err
}
