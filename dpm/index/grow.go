package index

import (
	"bytes"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"sync/atomic"

	"github.com/dinomo-kv/dinomo/dpm/format"
)

// ErrGrowing is returned by Grow when another Grow is under way.
var ErrGrowing = errors.New("index is already growing")

// growth is a resize under way: the old table stays the truth, and buckets that change after they
// were copied are noted and copied again.
type growth struct {
	from, to *live
	copied   [stripes]bool // guarded by the stripe's lock
	dirty    []atomic.Uint64
	credit   int // overflow buckets of the new table that were promised to this copy

	used, depths int64 // of the new table

	halves [2][]format.Bucket // scratch of copyBucket
}

// changed notes that an old bucket was changed. REQUIRES: stripe locked.
func (g *growth) changed(stripe int, bucket uint64) {
	if g.copied[stripe] {
		g.dirty[bucket/64].Or(1 << (bucket % 64))
	}
}

// ShouldGrow says whether the table is fuller than Options allow.
func (ix *Index) ShouldGrow() bool {
	l := ix.live.Load()
	buckets := float64(l.Buckets())
	return float64(ix.used.Load()) > ix.o.MaxLoad*format.SlotsPerBucket*buckets ||
		float64(l.overflow.used()) > ix.o.MaxOverflow*buckets
}

// Grow doubles the table. Readers and Apply go on meanwhile: Apply waits for a copy of 1/1024 of the table at
// a time, and once for the swap of the roots. After an error (no segments left, say) the old table serves on.
//
// What a crash leaves: before the root is written, the old table, and the new one's segments as orphans; after,
// the new table, and the old one's segments as orphans.
func (ix *Index) Grow() error {
	if !ix.grow.TryLock() {
		return ErrGrowing
	}
	defer ix.grow.Unlock()
	if err := ix.broken(); err != nil {
		return err
	}
	from := ix.live.Load()
	id := ix.nextTable
	if format.Tag(id) == 0 {
		id++ // tag 0 is no table
	}
	ix.nextTable = id + 1
	t, err := ix.buildTable(id, from.Root.BucketsLog2+1)
	if err != nil {
		return fmt.Errorf("grow index: %w", err)
	}
	g := &growth{
		from:  from,
		to:    &live{Table: t, which: 1 - from.which, overflow: ix.newOverflow(id), prev: from.Table},
		dirty: make([]atomic.Uint64, from.Buckets()/64),
	}
	ix.growth.Store(g)
	err = ix.copyAll(g)
	if err == nil {
		err = ix.swapTables(g)
	}
	ix.growth.Store(nil)
	if err != nil {
		if ix.broken() == nil { // else nobody knows which root is durable: Open will
			ix.o.Free(slices.Concat(t.Extents, g.to.overflow.segments()))
		}
		return fmt.Errorf("grow index: %w", err)
	}
	ix.grows.Add(1)
	return ix.retire(g)
}

// copyAll copies the whole table and then what changed meanwhile, until little is left. The new
// table's bulk is durable when it returns.
func (ix *Index) copyAll(g *growth) error {
	perStripe := g.from.Buckets() / stripes
	for number := range stripes {
		first := uint64(number) * perStripe
		if err := ix.copyBuckets(g, number, first, first+perStripe); err != nil {
			return err
		}
	}
	// The fence before the root would do for a crash. But it comes while Apply pauses, and would wait for the whole
	// table to be written back.
	if err := ix.region.Fence(); err != nil {
		return ix.fail(err)
	}
	// Each pass takes less time than the one before and so leaves less; the rest is for the pause.
	for pass, left := 0, 1<<20; pass < 8 && left > 256; pass++ {
		var err error
		if left, err = ix.copyDirty(g); err != nil {
			return err
		}
	}
	return nil
}

// copyBuckets copies the old buckets [first, next), which are a stripe.
func (ix *Index) copyBuckets(g *growth, number int, first, next uint64) error {
	for {
		done, need, err := ix.copyLocked(g, number, first, next)
		if err != nil || done == next {
			return err
		}
		// Segments are handed out with fences: do not hold up the stripe for that. What changes meanwhile is dirty.
		if err := g.to.overflow.promise(need); err != nil {
			return err
		}
		g.credit += need
		first = done
	}
}

// copyLocked copies until it is done or needs overflow buckets.
func (ix *Index) copyLocked(g *growth, number int, first, next uint64) (done uint64, need int, err error) {
	s := &ix.stripes[number]
	s.mu.Lock()
	defer s.mu.Unlock()
	g.copied[number] = true
	for ; first < next && need == 0 && err == nil; first++ {
		need, err = ix.copyBucket(g, first, false)
	}
	if need > 0 {
		first--
	}
	return first, need, err
}

// copyDirty copies again the buckets that changed since they were copied, and returns how many.
func (ix *Index) copyDirty(g *growth) (count int, err error) {
	for w := range g.dirty {
		for set := g.dirty[w].Swap(0); set != 0; set &= set - 1 {
			bucket := uint64(w*64 + bits.TrailingZeros64(set))
			if err := ix.recopy(g, bucket); err != nil {
				return count, err
			}
			count++
		}
	}
	return count, nil
}

// recopy rebuilds the two new buckets of an old one.
func (ix *Index) recopy(g *growth, bucket uint64) error {
	s := &ix.stripes[bucket/(g.from.Buckets()/stripes)]
	for {
		s.mu.Lock()
		need, err := ix.copyBucket(g, bucket, true)
		s.mu.Unlock()
		if err != nil || need == 0 {
			return err
		}
		if err := g.to.overflow.promise(need); err != nil {
			return err
		}
		g.credit += need
	}
}

// copyBucket writes the two new buckets of an old one, with their overflow buckets; with again it gives up
// what an earlier copy took. It returns how many overflow buckets have to be promised first, 0 when it is
// done. REQUIRES: stripe locked.
func (ix *Index) copyBucket(g *growth, bucket uint64, again bool) (need int, err error) {
	halves := &g.halves
	halves[0], halves[1] = halves[0][:0], halves[1][:0]
	chain := 0
	var muted []mute
	err = ix.walkChain(g.from.Table, bucket, func(offset uint64, b *format.Bucket) error {
		chain++
		for i, p := range b.Pointer {
			if p == 0 {
				continue
			}
			half := format.BucketNumber(b.Hash[i], g.to.Root.BucketsLog2)
			if half>>1 != bucket { // the word is damaged
				muted = append(muted, mute{slot: offset + format.BucketPointerOffset + uint64(i)*format.SlotBytes, hash: b.Hash[i], pointer: p})
				continue
			}
			halves[half&1] = appendSlot(halves[half&1], g.to.tag, b.Hash[i], p)
		}
		return nil
	})
	for i := 0; i < len(muted) && err == nil; i++ {
		err = ix.copyMute(g, bucket, &muted[i])
	}
	if err != nil {
		return 0, err
	}
	// Two chains never need more overflow buckets than the one that they were split from has.
	if g.credit < chain-1 {
		return (chain - 1) - g.credit, nil
	}
	for half := range halves {
		at := 2*bucket + uint64(half)
		if again {
			if err := ix.dropCopy(g, at); err != nil {
				return 0, err
			}
		}
		ix.writeChain(g, at, halves[half])
	}
	return 0, nil
}

// copyMute copies a slot of an old bucket whose hash word is damaged, under the hash of its entry's key. That is no older than what
// the key held last, because a write would have mended the slot (see mend); only where the key has another slot all the same, that
// one counts. REQUIRES: stripe locked, and the other slots of the chain are in g.halves.
func (ix *Index) copyMute(g *growth, bucket uint64, m *mute) error {
	damage := m.damage()
	key, err := ix.o.KeyAt(m.pointer)
	if err != nil {
		return fmt.Errorf("%w, and what the slot leads to, too: %w", damage, err)
	}
	key = bytes.Clone(key) // KeyAt is called again
	hash := ix.o.private.hashOf(key)
	half := format.BucketNumber(hash, g.to.Root.BucketsLog2)
	if half>>1 != bucket {
		return fmt.Errorf("%w, and leads to a key that does not belong there", damage)
	}
	ix.o.Mended(damage)
	for _, b := range g.halves[half&1] {
		for i, p := range b.Pointer {
			if p == 0 || b.Hash[i] != hash {
				continue
			}
			if other, err := ix.o.KeyAt(p); err == nil && bytes.Equal(other, key) {
				return nil
			}
		}
	}
	g.halves[half&1] = appendSlot(g.halves[half&1], g.to.tag, hash, m.pointer)
	return nil
}

// appendSlot adds a slot to a chain of buckets in memory.
func appendSlot(chain []format.Bucket, tag format.Tag, hash uint64, p format.Pointer) []format.Bucket {
	if n := len(chain); n > 0 {
		for i := range chain[n-1].Pointer {
			if chain[n-1].Pointer[i] == 0 {
				chain[n-1].Hash[i], chain[n-1].Pointer[i] = hash, p
				return chain
			}
		}
	}
	return append(chain, format.Bucket{Tag: tag, Hash: [format.SlotsPerBucket]uint64{hash}, Pointer: [format.SlotsPerBucket]format.Pointer{p}})
}

// writeChain writes a chain for the new main bucket. Nobody reads the new table yet, so the order is free.
func (ix *Index) writeChain(g *growth, bucket uint64, chain []format.Bucket) {
	if len(chain) == 0 {
		chain = append(chain, format.Bucket{Tag: g.to.tag})
	}
	offset := g.to.layout.BucketOffset(g.to.Extents, bucket)
	for i := range chain {
		if i+1 < len(chain) {
			chain[i].Overflow = g.to.overflow.take()
			g.credit--
		}
		ix.writeBucket(offset, &chain[i])
		offset = chain[i].Overflow
		used := occupied(&chain[i])
		g.used += used
		g.depths += used * int64(i+1)
	}
}

func occupied(b *format.Bucket) (used int64) {
	for _, p := range b.Pointer {
		if p != 0 {
			used++
		}
	}
	return used
}

// dropCopy takes an earlier copy of the new bucket out of the counts and gives its overflow buckets back.
func (ix *Index) dropCopy(g *growth, bucket uint64) error {
	depth := int64(0)
	return ix.walkChain(g.to.Table, bucket, func(offset uint64, b *format.Bucket) error {
		depth++
		used := occupied(b)
		g.used -= used
		g.depths -= used * depth
		if depth > 1 {
			g.to.overflow.give(offset)
		}
		return nil
	})
}

// swapTables makes the new table the current one, durably and for everybody. Apply pauses meanwhile.
func (ix *Index) swapTables(g *growth) error {
	ix.swap.Lock()
	defer ix.swap.Unlock()
	if err := ix.broken(); err != nil {
		return err
	}
	if hook := ix.o.private.swapping; hook != nil {
		hook()
	}
	if _, err := ix.copyDirty(g); err != nil {
		return err
	}
	g.to.overflow.unpromise(g.credit)
	g.to.Root.Sequence = g.from.Root.Sequence + 1
	if err := ix.writeRoot(g.to.Table, g.to.which); err != nil {
		return ix.fail(err)
	}
	// What was under way in the old table is of no interest any more.
	ix.freed.take()
	for i := range ix.stripes {
		s := &ix.stripes[i]
		s.mu.Lock()
		s.busy, s.links = nil, nil
		s.mu.Unlock()
	}
	ix.used.Store(g.used)
	ix.depths.Store(g.depths)
	ix.live.Store(g.to)
	return nil
}

// markMoved marks the old table's main buckets of a stripe, so that readers who hold the old root
// notice before the tables differ there (IDX-4). It needs no flush: after a crash nobody holds the old root,
// and Open lists what is left of the table as orphans. REQUIRES: stripe locked.
func (ix *Index) markMoved(l *live, number int) {
	s := &ix.stripes[number]
	if s.marked == l.Root.Table {
		return
	}
	old := l.prev
	word := format.BucketHeaderWord(old.tag, format.BucketMoved)
	perStripe := old.Buckets() / stripes
	for b := uint64(number) * perStripe; b < uint64(number+1)*perStripe; b++ {
		ix.region.Store64(old.layout.BucketOffset(old.Extents, b)+format.BucketHeaderOffset, word)
	}
	s.marked = l.Root.Table
}

// retire marks what is left of the old table and gives its segments away.
func (ix *Index) retire(g *growth) error {
	for number := range stripes {
		s := &ix.stripes[number]
		s.mu.Lock()
		ix.markMoved(g.to, number)
		s.mu.Unlock()
	}
	ix.swap.Lock()
	to := *g.to
	to.prev = nil
	ix.live.Store(&to)
	ix.swap.Unlock()

	ix.eraseRoot(g.from.which)
	if err := ix.region.Fence(); err != nil {
		return ix.fail(err)
	}
	ix.o.Retire(g.from.Root.Table, slices.Concat(g.from.Extents, g.from.overflow.segments()))
	return nil
}

// eraseRoot clears the root that does not count, which must not count again should the other ever be
// damaged: its table's segments will be reused.
func (ix *Index) eraseRoot(which int) {
	at := format.RootsOffset + format.RootOffset(which)
	ix.region.Write(at, make([]byte, format.RootBytes))
	ix.region.Flush(at, format.RootBytes)
}
