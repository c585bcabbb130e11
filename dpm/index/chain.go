package index

import (
	"bytes"
	"fmt"

	"github.com/dinomo-kv/dinomo/dpm/format"
)

// verdict is what preparing a mutation came to.
type verdict uint8

const (
	prepared     verdict = iota + 1 // a plan was made, or nothing is to do and the result says why
	waitForOther                    // another batch is about to publish a slot with the same hash
	noBucket                        // the chain is full and no overflow bucket at hand
)

// place is what a walk along a chain found.
type place struct {
	slot    uint64 // offset of the key's pointer word; 0: the key is absent
	pointer format.Pointer
	depth   int32

	empty      uint64 // offset of the best empty slot's pointer word, 0: none
	emptyDepth int32
	tail       uint64 // last bucket, pending links included
	tailDepth  int32
	wait       bool

	mute mute // the key's slot, where its hash word hides it
}

// mute is a slot whose hash word belongs to another chain, and is damaged therefore. The entry behind it says whose slot it is.
type mute struct {
	slot    uint64 // offset of its pointer word, 0: there is none
	hash    uint64
	pointer format.Pointer
	depth   int32
}

// hashToPointer is how far behind a slot's hash word its pointer word lies.
const hashToPointer = format.BucketPointerOffset - format.BucketHashOffset

// damage says which word is damaged.
func (m *mute) damage() *format.WordError {
	return &format.WordError{What: "index hash", Offset: m.slot - hashToPointer, Word: m.hash}
}

// find walks the chain of m's hash. REQUIRES: stripe locked.
func (ix *Index) find(l *live, s *stripe, m *Mutation) (f place, err error) {
	offset := l.BucketOf(m.Hash)
	for depth := int32(1); depth <= MaxChain; depth++ {
		b := ix.view(offset)
		if header := bucketWord(b, format.BucketHeaderOffset); header != l.header {
			if err := ix.mendHeader(l, offset, header); err != nil {
				return f, err
			}
		}
		f.tail, f.tailDepth = offset, depth
		if ix.findInBucket(l, s, m, b, offset, depth, &f); f.slot != 0 || f.wait {
			return f, nil
		}
		word := bucketWord(b, format.BucketOverflowOffset)
		next, ok := format.OpenOverflow(word)
		if !ok || next != 0 && !l.inSegments(next) {
			return f, &format.WordError{What: "bucket overflow", Offset: offset + format.BucketOverflowOffset, Word: word}
		}
		if next == 0 {
			if next = s.linkFrom(offset); next == 0 {
				ix.mend(m, &f)
				return f, nil
			}
		}
		offset = next
	}
	return f, fmt.Errorf("%w: more than %d buckets from %#x on", ErrChain, MaxChain, l.BucketOf(m.Hash))
}

// mendHeader writes the header of one of the table's buckets again, if it is damaged: what it has to be is known, and without it
// nobody reads the bucket. A sound one is another table's, which no damage explains.
func (ix *Index) mendHeader(l *live, offset, header uint64) error {
	damage := &format.WordError{What: "bucket header", Offset: offset, Word: header}
	if _, _, ok := format.OpenBucketHeader(header); ok {
		return damage
	}
	ix.region.Store64(offset+format.BucketHeaderOffset, l.header)
	ix.region.Flush(offset+format.BucketHeaderOffset, format.WordBytes)
	ix.o.Mended(damage)
	return nil
}

// findInBucket looks at one bucket's three slots.
func (ix *Index) findInBucket(l *live, s *stripe, m *Mutation, b *[format.BucketBytes]byte, offset uint64, depth int32, f *place) {
	for i := 0; i < format.SlotsPerBucket; i++ {
		at := i * format.SlotBytes
		hash := bucketWord(b, format.BucketHashOffset+at)
		pointer := format.Pointer(bucketWord(b, format.BucketPointerOffset+at))
		slot := offset + uint64(format.BucketPointerOffset+at)
		switch {
		case pointer != 0:
			switch {
			case hash == m.Hash && ix.holds(pointer, m):
				f.slot, f.pointer, f.depth = slot, pointer, depth
				return
			case hash != m.Hash && !l.sameChain(hash, m.Hash) && ix.holdsKey(pointer, m):
				f.mute = mute{slot, hash, pointer, depth}
			}
		case len(s.busy) == 0:
			if f.empty == 0 {
				f.empty, f.emptyDepth = slot, depth
			}
		default:
			ix.considerEmpty(s, m, hash, slot, depth, f)
			if f.wait {
				return
			}
		}
	}
}

// considerEmpty decides about an empty slot while some slots of the stripe are busy.
func (ix *Index) considerEmpty(s *stripe, m *Mutation, hash, slot uint64, depth int32, f *place) {
	busy := s.find(slot)
	switch {
	case busy >= 0 && hash != m.Hash:
	case busy >= 0 && s.busy[busy].freed == 0:
		// Reserved for this very hash: it may be for this very key, and two slots for one key must not be (IDX-1).
		f.wait = true
	case f.empty == 0:
		// Free; or freed without a fence since, but for this same hash, which may be put back at once:
		// whatever a crash leaves of the pointer, it is joined to the hash it belongs to (IDX-2).
		f.empty, f.emptyDepth = slot, depth
	}
}

// holds says whether the entry at pointer, in a slot with m's hash, is of m's key.
func (ix *Index) holds(pointer format.Pointer, m *Mutation) bool {
	if m.Conditional && m.If != 0 {
		return pointer == m.If
	}
	key, err := ix.o.KeyAt(pointer)
	if err == nil && bytes.Equal(key, m.Key) {
		return true
	}
	if err == nil && ix.o.private.hashOf(key) == m.Hash {
		return false // another key with the same hash
	}
	// The entry is damaged (or its slot is) and can never be served. That its key was another one with the same 64-bit hash
	// is not believable; taking it for this one lets a new value heal the slot, and a delete empty it.
	ix.damagedEntries.Add(1)
	return true
}

// holdsKey is holds for a slot whose hash word says nothing.
func (ix *Index) holdsKey(pointer format.Pointer, m *Mutation) bool {
	if m.Conditional && m.If != 0 {
		return pointer == m.If
	}
	key, err := ix.o.KeyAt(pointer)
	return err == nil && bytes.Equal(key, m.Key)
}

// mend takes the slot that a damaged hash word hides for the key's own, when the key has no other, and writes the word again: else
// no reader would find what is about to be published there. Were it left, the key would get a second slot, or a delete would
// seem to have nothing to do, and the old value come back when the word is right again one day.
func (ix *Index) mend(m *Mutation, f *place) {
	if f.mute.slot == 0 {
		return
	}
	f.slot, f.pointer, f.depth = f.mute.slot, f.mute.pointer, f.mute.depth
	damage := f.mute.damage()
	ix.region.Store64(damage.Offset, m.Hash)
	ix.region.Flush(damage.Offset, format.WordBytes)
	ix.o.Mended(damage)
}

// prepare finds the mutation's slot, writes what must be durable before its pointer (the hash, an
// overflow bucket) and adds a plan; or sets the result if there is nothing to do.
func (ix *Index) prepare(l *live, number int, m *Mutation, r *Result, sc *scratch) (verdict, error) {
	s := &ix.stripes[stripeOf(m.Hash)]
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.prev != nil {
		ix.markMoved(l, stripeOf(m.Hash))
	}
	f, err := ix.find(l, s, m)
	switch {
	case err != nil:
		return 0, err
	case f.wait:
		return waitForOther, nil
	case m.Conditional && m.If != f.pointer:
		r.Outcome = Refused
	case f.slot == 0 && m.New == 0:
		r.Outcome = Absent
	case f.slot != 0 && f.pointer == m.New:
		r.Outcome = Unchanged
	case f.slot != 0:
		sc.plans = append(sc.plans, plan{mutation: number, slot: f.slot, old: f.pointer, depth: f.depth})
	default:
		return ix.prepareInsert(l, s, number, m, sc, &f), nil
	}
	return prepared, nil
}

// prepareInsert reserves a slot for an absent key and writes its hash. REQUIRES: stripe locked.
func (ix *Index) prepareInsert(l *live, s *stripe, number int, m *Mutation, sc *scratch, f *place) verdict {
	p := plan{mutation: number, slot: f.empty, depth: f.emptyDepth, fresh: true}
	if p.slot == 0 {
		switch {
		case sc.credit > 0:
			sc.credit--
		case !l.overflow.tryPromise(1):
			return noBucket
		}
		p.slot, p.depth = ix.extend(l, s, f), f.tailDepth+1
	}
	s.reserve(p.slot)
	hashAt := p.slot - hashToPointer
	ix.region.Store64(hashAt, m.Hash)
	ix.region.Flush(hashAt, format.WordBytes)
	sc.plans = append(sc.plans, p)
	return prepared
}

// extend writes an empty overflow bucket that will follow the chain's tail, and returns its first slot. The
// link is published with the first slot that is, after a fence: a link that survived a crash must not lead to
// what the bucket held in an earlier life.
func (ix *Index) extend(l *live, s *stripe, f *place) (slot uint64) {
	offset := l.overflow.take()
	ix.writeBucket(offset, &format.Bucket{Tag: l.tag})
	s.links = append(s.links, pendingLink{from: f.tail, to: offset})
	return offset + format.BucketPointerOffset
}

// publish makes a prepared change visible. It returns false when the slot has changed since it was
// prepared, and the mutation must be tried again.
func (ix *Index) publish(l *live, p *plan, m *Mutation) bool {
	number := stripeOf(m.Hash)
	s := &ix.stripes[number]
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.fresh {
		ix.publishLinks(s, p.slot&^(format.BucketBytes-1))
		ix.region.Store64(p.slot, uint64(m.New))
		s.forget(p.slot)
	} else if _, swapped := ix.region.CompareAndSwap64(p.slot, uint64(p.old), uint64(m.New)); !swapped {
		return false
	}
	ix.region.Flush(p.slot, format.WordBytes)
	if m.New == 0 {
		s.free(p.slot, ix.freed.addSlot(number, p.slot))
		ix.unlinkTail(l, s, m.Hash)
	}
	if g := ix.growth.Load(); g != nil {
		g.changed(number, format.BucketNumber(m.Hash, l.Root.BucketsLog2))
	}
	return true
}

// publishLinks links the bucket at offset into its chain, and those before it that are not yet.
func (ix *Index) publishLinks(s *stripe, offset uint64) {
	for len(s.links) > 0 {
		link, ok := s.linkTo(offset)
		if !ok {
			return
		}
		ix.region.Store64(link.from+format.BucketOverflowOffset, format.OverflowWord(link.to))
		ix.region.Flush(link.from+format.BucketOverflowOffset, format.WordBytes)
		s.dropLink(link)
		offset = link.from
	}
}

// unlinkTail takes empty overflow buckets off the end of a chain. Only the last ones: a remote reader that
// stands in a bucket which is then reused must not miss what comes after it (IDX-4).
func (ix *Index) unlinkTail(l *live, s *stripe, hash uint64) {
	for {
		var before uint64
		offset := l.BucketOf(hash)
		for range MaxChain {
			next, _ := format.OpenOverflow(bucketWord(ix.view(offset), format.BucketOverflowOffset))
			if next == 0 {
				break
			}
			before, offset = offset, next
		}
		if before == 0 || !ix.disposable(s, offset) {
			return
		}
		ix.region.Store64(before+format.BucketOverflowOffset, 0)
		ix.region.Flush(before+format.BucketOverflowOffset, format.WordBytes)
		ix.freed.addBucket(l.overflow, offset)
	}
}

// disposable says whether the tail bucket at offset is empty and nobody has plans with it.
func (ix *Index) disposable(s *stripe, offset uint64) bool {
	b := ix.view(offset)
	for at := format.BucketPointerOffset; at < format.BucketOverflowOffset; at += format.SlotBytes {
		if bucketWord(b, at) != 0 {
			return false
		}
		if i := s.find(offset + uint64(at)); i >= 0 && s.busy[i].freed == 0 {
			return false
		}
	}
	return s.linkFrom(offset) == 0
}
