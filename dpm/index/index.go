package index

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/internal/invariant"
)

// KeyHash is the hash under which a key is indexed: unseeded xxhash64. Durable data depends on it.
func KeyHash(key []byte) uint64 { return xxhash.Sum64(key) }

// Options connect an index to its pool. Region, Layout, KeyAt, Alloc, Free and Retire are required.
type Options struct {
	Region pmem.Region
	Layout *format.Layout

	// KeyAt returns the key of the entry that p leads to (also through an indirect-pointer word). The bytes
	// are looked at before the next call from the same goroutine. It is called with a stripe lock held: it
	// must not block nor call the index. An error means that the entry is damaged; see Stats.DamagedEntries.
	KeyAt func(p format.Pointer) ([]byte, error)
	// Alloc hands out a segment, durably, of kind SegmentIndex or SegmentOverflow for the table named. It
	// must not wait for merging or compaction to free one: both may be waiting for the index.
	Alloc func(kind format.SegmentKind, table uint64) (format.SegmentID, error)
	// Free takes back segments that nothing durable refers to and no reader has seen.
	Free func(ids []format.SegmentID)
	// Retire takes the segments of a table that was replaced. They may be reused once no reader can
	// hold its root any more.
	Retire func(table uint64, ids []format.SegmentID)

	// Mended is told of a damaged word that was written again as it has to be: a bucket's header, or a slot's hash. It is called as
	// KeyAt is. Default: nobody is.
	Mended func(damage *format.WordError)

	// BucketsLog2 is the size of a new index. Default: one segment of buckets. At least StripesLog2.
	BucketsLog2 uint32
	// MaxLoad is the share of main-bucket slots above which ShouldGrow says yes. Default 0.6: there about one
	// bucket in ten has an overflow bucket; a lower load costs memory (64 bytes a bucket), a higher one round
	// trips.
	MaxLoad float64
	// MaxOverflow is the number of overflow buckets per main bucket above which ShouldGrow says yes. Default 0.25.
	MaxOverflow float64

	private struct {
		hashOf   func(key []byte) uint64 // KeyHash; tests make keys collide
		swapping func()                  // called when the pause of growth begins; nil: nothing is
	}
}

// EnsureDefaults fills zero fields.
func (o *Options) EnsureDefaults() {
	if o.BucketsLog2 == 0 {
		o.BucketsLog2 = o.Layout.BucketsPerSegmentLog2()
	}
	o.BucketsLog2 = max(o.BucketsLog2, StripesLog2)
	if o.Mended == nil {
		o.Mended = func(*format.WordError) {}
	}
	if o.MaxLoad == 0 {
		o.MaxLoad = 0.6
	}
	if o.MaxOverflow == 0 {
		o.MaxOverflow = 0.25
	}
	if o.private.hashOf == nil {
		o.private.hashOf = KeyHash
	}
}

// Validate returns an error that says which field is wrong.
func (o *Options) Validate() error {
	switch {
	case o.Region == nil || o.Layout == nil || o.KeyAt == nil || o.Alloc == nil || o.Free == nil || o.Retire == nil:
		return errors.New("index options: Region, Layout, KeyAt, Alloc, Free and Retire are required")
	case o.MaxLoad < 0.05 || o.MaxLoad > 10:
		return fmt.Errorf("index options: maximum load %v: want 0.05 to 10", o.MaxLoad)
	case o.MaxOverflow < 0.01:
		return fmt.Errorf("index options: maximum overflow %v: want at least 0.01", o.MaxOverflow)
	}
	return nil
}

// Index is the writing side of the table, in the DPM's process. All methods may be called from any goroutine.
type Index struct {
	o       Options
	region  pmem.Region
	live    atomic.Pointer[live]
	growth  atomic.Pointer[growth] // nil unless Grow is copying
	stripes [stripes]stripe

	// swap is read-held by every round of Apply and held by Grow while it changes tables.
	swap   sync.RWMutex
	grow   sync.Mutex // one Grow at a time
	failed atomic.Pointer[error]

	freed     freedList
	published publishCount
	scratch   sync.Pool // *scratch
	orphans   []format.SegmentID
	nextTable uint64 // guarded by grow

	used           atomic.Int64 // occupied slots
	depths         atomic.Int64 // sum over occupied slots of their place in the chain, from 1
	damagedEntries atomic.Int64
	grows          atomic.Int64
	rounds         atomic.Int64
	retries        atomic.Int64
}

// live is the current table with what only writers need.
type live struct {
	*Table
	which    int // its root: 0 A, 1 B
	overflow *overflow
	prev     *Table // the table before, until all its buckets are marked as moved
}

func newIndex(o Options) *Index {
	ix := &Index{o: o, region: o.Region}
	ix.published.changed.L = &ix.published.mu
	ix.scratch.New = func() any { return &scratch{} }
	return ix
}

func (ix *Index) newOverflow(table uint64) *overflow {
	return &overflow{table: table, layout: ix.o.Layout, alloc: ix.o.Alloc}
}

// Create makes an empty index in a pool that has none. Segments are allocated with Alloc.
func Create(o Options) (*Index, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	ix := newIndex(o)
	const firstTable = 1
	t, err := ix.buildTable(firstTable, o.BucketsLog2)
	if err != nil {
		return nil, fmt.Errorf("create index: %w", err)
	}
	for b := range t.Buckets() {
		ix.writeBucket(o.Layout.BucketOffset(t.Extents, b), &format.Bucket{Tag: t.tag})
	}
	t.Root.Sequence = 1
	if err := ix.writeRoot(t, 0); err != nil {
		return nil, fmt.Errorf("create index: %w", err)
	}
	ix.nextTable = firstTable + 1
	ix.live.Store(&live{Table: t, overflow: ix.newOverflow(firstTable)})
	return ix, nil
}

// buildTable allocates the extents of a table; its buckets are not written, its root is not complete.
func (ix *Index) buildTable(table uint64, bucketsLog2 uint32) (*Table, error) {
	t := makeTable(ix.o.Layout, format.Root{Table: table, BucketsLog2: bucketsLog2, Extents: ix.o.Layout.ExtentsFor(bucketsLog2)}, nil)
	for range t.Root.Extents {
		id, err := ix.o.Alloc(format.SegmentIndex, table)
		if err != nil {
			ix.o.Free(t.Extents)
			return nil, fmt.Errorf("segment %d of %d for index table %d: %w", len(t.Extents)+1, t.Root.Extents, table, err)
		}
		t.Extents = append(t.Extents, id)
	}
	return t, nil
}

// writeRoot makes t the table that counts after a crash (IDX-5), as root which. t's buckets must have been
// flushed; its Root.Sequence must be set.
func (ix *Index) writeRoot(t *Table, which int) error {
	l := ix.o.Layout
	directory := make([]byte, (len(t.Extents)*format.DirectoryEntryBytes+7)&^7)
	t.Root.Directory = uint32(which)
	t.Root.DirectoryCRC = format.EncodeDirectory(l.Salt, directory, t.Extents)
	at := l.DirectoryOffset[which]
	ix.region.Write(at, directory)
	ix.region.Flush(at, uint64(len(directory)))
	if err := ix.region.Fence(); err != nil { // buckets and directory before the root that leads to them
		return fmt.Errorf("write index directory: %w", err)
	}
	var root [format.RootBytes]byte
	t.Root.Encode(l.Salt, &root)
	at = format.RootsOffset + format.RootOffset(which)
	ix.region.Write(at, root[:])
	ix.region.Flush(at, format.RootBytes)
	if err := ix.region.Fence(); err != nil {
		return fmt.Errorf("write index root: %w", err)
	}
	return nil
}

func (ix *Index) writeBucket(offset uint64, b *format.Bucket) {
	var buf [format.BucketBytes]byte
	b.Encode(&buf)
	ix.region.Write(offset, buf[:])
	ix.region.Flush(offset, format.BucketBytes)
}

// view returns a bucket's bytes in place.
func (ix *Index) view(offset uint64) *[format.BucketBytes]byte {
	return (*[format.BucketBytes]byte)(ix.region.View(offset, format.BucketBytes))
}

func bucketWord(b *[format.BucketBytes]byte, at int) uint64 {
	return binary.LittleEndian.Uint64(b[at:])
}

// Table returns the current table, to hand to readers.
func (ix *Index) Table() *Table { return ix.live.Load().Table }

// TableID returns the current table's id.
func (ix *Index) TableID() uint64 { return ix.live.Load().Root.Table }

// Segments returns all segments of the current table: extents, then overflow segments.
func (ix *Index) Segments() []format.SegmentID {
	l := ix.live.Load()
	return append(append([]format.SegmentID(nil), l.Extents...), l.overflow.segments()...)
}

// Get returns the pointer that the index holds for a key, 0 when it has none. It takes no lock.
func (ix *Index) Get(hash uint64, key []byte) (format.Pointer, error) {
	for {
		t := ix.live.Load().Table
		p, err := ix.lookup(t, hash, key)
		if err == nil || t == ix.live.Load().Table && !errors.Is(err, errChanged) {
			return p, err
		}
		// Buckets are marked, and segments reused, only after the new table went live: look there.
	}
}

func (ix *Index) lookup(t *Table, hash uint64, key []byte) (format.Pointer, error) {
	var p Probe
	offset := t.BucketOf(hash)
	for range MaxChain {
		if err := t.Probe(ix.view(offset), offset, hash, &p); err != nil {
			return 0, err
		}
		for _, candidate := range p.Candidates[:p.Count] {
			found, err := ix.o.KeyAt(candidate)
			if err != nil {
				return 0, ix.unreadable(t, offset, hash, candidate, err)
			}
			if bytes.Equal(found, key) {
				return candidate, nil
			}
		}
		if p.Foreign != 0 { // a damaged hash word may hide the key
			muted := format.Pointer(ix.region.Load64(p.Foreign + hashToPointer))
			if found, err := ix.o.KeyAt(muted); err == nil && bytes.Equal(found, key) {
				return muted, nil
			}
		}
		if p.Next == 0 {
			return 0, nil
		}
		offset = p.Next
	}
	return 0, fmt.Errorf("%w: more than %d buckets from %#x on", ErrChain, MaxChain, t.BucketOf(hash))
}

// errChanged: a slot was changed, and its entry reused, between two looks; look again.
var errChanged = errors.New("index slot changed during a lookup")

// unreadable tells a damaged entry from one that was replaced and reused while it was looked up.
func (ix *Index) unreadable(t *Table, offset, hash uint64, candidate format.Pointer, err error) error {
	var p Probe
	if t.Probe(ix.view(offset), offset, hash, &p) != nil || !slices.Contains(p.Candidates[:p.Count], candidate) {
		return errChanged
	}
	return fmt.Errorf("entry %v of bucket %#x: %w", candidate, offset, err)
}

// fail makes err the answer of every later Apply: after a fence that failed nothing more may be promised.
func (ix *Index) fail(err error) error {
	ix.failed.CompareAndSwap(nil, &err)
	ix.published.add() // nobody need wait for this batch
	return err
}

// broken returns the error that ended the index's writing life, if any.
func (ix *Index) broken() error {
	if err := ix.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// addCounts adjusts the counters that Stats reports.
func (ix *Index) addCounts(used, depths int64) {
	if used|depths != 0 {
		after := ix.used.Add(used)
		ix.depths.Add(depths)
		invariant.Check(after >= 0, "index holds %d slots", after)
	}
}
