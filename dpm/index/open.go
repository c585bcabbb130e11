package index

import (
	"errors"
	"fmt"
	"slices"

	"github.com/dinomo-kv/dinomo/dpm/format"
)

// Open reads the index of a pool; it writes nothing. visit, unless nil, is called with every occupied slot:
// live bytes are counted in the same walk. A damaged index is refused with an error that names the address
// and wraps format.ErrDamaged.
func Open(o Options, visit func(hash uint64, p format.Pointer)) (*Index, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	ix := newIndex(o)
	root, which, err := format.CurrentRoot(o.Region.View(format.RootsOffset, format.PageBytes), o.Layout)
	if err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	if root.BucketsLog2 < StripesLog2 {
		return nil, fmt.Errorf("open index: %w: only 2^%d buckets", format.ErrNoRoot, root.BucketsLog2)
	}
	directory := o.Region.View(o.Layout.DirectoryOffset[root.Directory], uint64(root.Extents)*format.DirectoryEntryBytes)
	t, err := NewTable(o.Layout, root, directory)
	if err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	l := &live{Table: t, which: which, overflow: ix.newOverflow(root.Table)}
	overflows, err := ix.sortSegments(t)
	if err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	if err := ix.restore(l, overflows, visit); err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	ix.live.Store(l)
	return ix, nil
}

// sortSegments reads the segment table: which segments are the table's overflow segments, which are left over from
// other tables (orphans), whether the extents are what the directory takes them for, and the highest table id.
func (ix *Index) sortSegments(t *Table) (overflows []format.SegmentID, err error) {
	l := ix.o.Layout
	missing := make(map[format.SegmentID]bool, len(t.Extents))
	for _, id := range t.Extents {
		missing[id] = true
	}
	ix.nextTable = t.Root.Table + 1
	for id := range format.SegmentID(l.Segments) {
		at := l.SegmentHeaderOffset(id)
		var h format.SegmentHeader
		if err := format.DecodeSegmentHeader((*[format.SegmentHeaderBytes]byte)(ix.region.View(at, format.SegmentHeaderBytes)), at, &h); err != nil {
			return nil, fmt.Errorf("segment %d: %w", id, err)
		}
		if h.State == format.SegmentFree || h.Kind != format.SegmentIndex && h.Kind != format.SegmentOverflow {
			continue
		}
		ix.nextTable = max(ix.nextTable, h.Table+1)
		switch {
		case h.Table == t.Root.Table && missing[id] && h.Kind == format.SegmentIndex:
			delete(missing, id)
		case h.Table == t.Root.Table && h.Kind == format.SegmentOverflow:
			overflows = append(overflows, id)
		default:
			ix.orphans = append(ix.orphans, id)
		}
	}
	for id := range missing {
		err = errors.Join(err, fmt.Errorf("extent in segment %d, whose header says it is none of table %d: %w", id, t.Root.Table, format.ErrDamaged))
	}
	return overflows, err
}

// restore walks all chains and rebuilds what is known in memory only.
func (ix *Index) restore(l *live, overflows []format.SegmentID, visit func(uint64, format.Pointer)) error {
	seen := newBucketSet(ix.o.Layout, overflows)
	var used, depths int64
	for bucket := range l.Buckets() {
		depth := int64(0)
		err := ix.walkChain(l.Table, bucket, func(offset uint64, b *format.Bucket) error {
			depth++
			if depth > 1 && !seen.add(offset) {
				return fmt.Errorf("%w: bucket %#x is in two chains, or in no overflow segment of table %d", ErrChain, offset, l.Root.Table)
			}
			for i, p := range b.Pointer {
				if p == 0 {
					continue
				}
				used++
				depths += depth
				if visit != nil {
					visit(b.Hash[i], p)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, id := range overflows {
		l.overflow.restore(id, seen.has)
	}
	ix.used.Store(used)
	ix.depths.Store(depths)
	return nil
}

// walkChain calls fn with the buckets of a chain, decoded and checked, main bucket first.
func (ix *Index) walkChain(t *Table, bucket uint64, fn func(offset uint64, b *format.Bucket) error) error {
	first := t.layout.BucketOffset(t.Extents, bucket)
	offset := first
	var b format.Bucket
	for range MaxChain {
		if err := format.DecodeBucket(ix.view(offset), offset, &b); err != nil {
			return err
		}
		if b.Tag != t.tag || b.Flags != 0 {
			return fmt.Errorf("bucket %#x is of table tag %d, flags %d; want %d, 0: %w", offset, b.Tag, b.Flags, t.tag, format.ErrDamaged)
		}
		if b.Overflow != 0 && !t.inSegments(b.Overflow) {
			return fmt.Errorf("%w: bucket %#x leads to %#x", ErrChain, offset, b.Overflow)
		}
		if err := fn(offset, &b); err != nil {
			return err
		}
		if offset = b.Overflow; offset == 0 {
			return nil
		}
	}
	return fmt.Errorf("%w: more than %d buckets from %#x on", ErrChain, MaxChain, first)
}

// Scan calls fn with every occupied slot of the current table, in no order, until it returns false. Changes
// made meanwhile may or may not show; it is repeated from the start, with restart called first, when the
// table is replaced.
func (ix *Index) Scan(restart func(), fn func(hash uint64, p format.Pointer) bool) error {
	for {
		err := ix.scanTable(ix.live.Load().Table, fn)
		if !errors.Is(err, ErrMoved) {
			return err
		}
		restart()
	}
}

func (ix *Index) scanTable(t *Table, fn func(uint64, format.Pointer) bool) error {
	errStop := errors.New("stop")
	for bucket := range t.Buckets() {
		err := ix.walkChain(t, bucket, func(_ uint64, b *format.Bucket) error {
			for i, p := range b.Pointer {
				if p != 0 && !fn(b.Hash[i], p) {
					return errStop
				}
			}
			return nil
		})
		switch {
		case err == errStop:
			return nil
		case err != nil && ix.live.Load().Table != t:
			return ErrMoved
		case err != nil:
			return err
		}
	}
	return nil
}

// Orphans returns the segments of index kinds that are not the current table's: a table half built, or
// one that was replaced, when the DPM stopped.
func (ix *Index) Orphans() []format.SegmentID { return slices.Clone(ix.orphans) }

// MarkOrphans marks the buckets in orphaned extents as moved, for readers that outlived the DPM and still
// hold an old root, and erases that root. It is to be called before anything else is changed; the orphans may
// be freed after it and a fence.
func (ix *Index) MarkOrphans() {
	l := ix.o.Layout
	ix.eraseRoot(1 - ix.live.Load().which)
	for _, id := range ix.orphans {
		for offset := l.SegmentOffset(id); offset < l.SegmentOffset(id)+l.SegmentBytes; offset += format.BucketBytes {
			tag, _, ok := format.OpenBucketHeader(ix.region.Load64(offset + format.BucketHeaderOffset))
			if ok && tag != 0 {
				ix.region.Store64(offset+format.BucketHeaderOffset, format.BucketHeaderWord(tag, format.BucketMoved))
			}
		}
	}
}

// bucketSet is a set of overflow buckets.
type bucketSet struct {
	layout *format.Layout
	bits   map[format.SegmentID][]uint64
}

func newBucketSet(l *format.Layout, segments []format.SegmentID) *bucketSet {
	s := &bucketSet{layout: l, bits: make(map[format.SegmentID][]uint64, len(segments))}
	for _, id := range segments {
		s.bits[id] = make([]uint64, l.SegmentBytes/format.BucketBytes/64)
	}
	return s
}

func (s *bucketSet) locate(offset uint64) (word *uint64, bit uint64) {
	id, _ := s.layout.SegmentOf(offset)
	bits := s.bits[id]
	if bits == nil {
		return nil, 0
	}
	n := (offset - s.layout.SegmentOffset(id)) / format.BucketBytes
	return &bits[n/64], 1 << (n % 64)
}

// add puts offset into the set; false means that it was in it, or that it is in none of the segments.
func (s *bucketSet) add(offset uint64) bool {
	word, bit := s.locate(offset)
	if word == nil || *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

func (s *bucketSet) has(offset uint64) bool {
	word, bit := s.locate(offset)
	return word != nil && *word&bit != 0
}
