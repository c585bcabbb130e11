package index

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dinomo-kv/dinomo/dpm/format"
)

// Errors of reading an index.
var (
	// ErrMoved: the bucket belongs to another table by now; fetch the root again and start over.
	ErrMoved = errors.New("index table was replaced")
	// ErrChain: an overflow chain is longer than MaxChain or leads out of the pool: it is damaged.
	ErrChain = fmt.Errorf("index overflow chain is %w", format.ErrDamaged)
)

// MaxChain bounds the buckets of a chain that a reader follows. A chain of this length would mean
// hundreds of keys in one bucket, which a grown table does not have.
const MaxChain = 512

// Table is an index table as seen by a reader: its root and where its extents lie. It does not
// change; a replaced table is noticed by ErrMoved from Probe. Any number of goroutines may use it.
type Table struct {
	Root    format.Root
	Extents []format.SegmentID

	layout *format.Layout
	tag    format.Tag
	header uint64 // first word of each of its buckets
}

func makeTable(l *format.Layout, root format.Root, extents []format.SegmentID) *Table {
	return &Table{Root: root, Extents: extents, layout: l, tag: root.Tag(), header: format.BucketHeaderWord(root.Tag(), 0)}
}

// NewTable makes the view of the table that root and directory (Root.Extents x 4 bytes, or more)
// describe. It checks the directory's checksum.
func NewTable(l *format.Layout, root format.Root, directory []byte) (*Table, error) {
	extents, err := format.DecodeDirectory(directory, l, &root, nil)
	if err != nil {
		return nil, err
	}
	return makeTable(l, root, extents), nil
}

// DecodeTable makes a Table from a root (format.RootBytes) followed by its directory: what a KN gets from the DPM.
func DecodeTable(l *format.Layout, encoded []byte) (*Table, error) {
	if len(encoded) < format.RootBytes {
		return nil, fmt.Errorf("%w: %d bytes", format.ErrNoRoot, len(encoded))
	}
	var root format.Root
	if err := format.DecodeRoot((*[format.RootBytes]byte)(encoded), l, &root); err != nil {
		return nil, err
	}
	return NewTable(l, root, encoded[format.RootBytes:])
}

// AppendTo appends the encoding that DecodeTable takes.
func (t *Table) AppendTo(b []byte) []byte {
	var root [format.RootBytes]byte
	t.Root.Encode(t.layout.Salt, &root)
	b = append(b, root[:]...)
	start := len(b)
	b = append(b, make([]byte, len(t.Extents)*format.DirectoryEntryBytes)...)
	format.EncodeDirectory(t.layout.Salt, b[start:], t.Extents)
	return b
}

// Buckets returns the number of main buckets.
func (t *Table) Buckets() uint64 { return 1 << t.Root.BucketsLog2 }

// BucketOf returns the offset of the main bucket for a key hash: the first 64 bytes to READ.
func (t *Table) BucketOf(hash uint64) uint64 {
	return t.layout.BucketOffset(t.Extents, format.BucketNumber(hash, t.Root.BucketsLog2))
}

// sameChain says whether two hashes belong to one main bucket.
func (t *Table) sameChain(a, b uint64) bool {
	return format.BucketNumber(a, t.Root.BucketsLog2) == format.BucketNumber(b, t.Root.BucketsLog2)
}

// Probe is what a bucket says about a hash.
type Probe struct {
	Candidates [format.SlotsPerBucket]format.Pointer // the first Count lead to entries of keys with this hash
	Count      int
	Next       uint64 // offset of the next bucket of the chain, 0 when it ends
	// Foreign is the offset of a hash word of which no key belongs into this chain, 0: there is none. The word is damaged, and
	// its key cannot be found; or the bucket has changed chains since its predecessor was read.
	Foreign uint64
}

// Probe reads from a bucket's 64 bytes, which were read at offset, where entries of keys with this
// hash may be. It fails with ErrMoved, or with an error wrapping format.ErrDamaged that names the
// address. It does not allocate on success.
//
// A candidate's entry must be compared with the key: hashes collide, and slots change between two READs. The caller
// bounds the chain by MaxChain.
func (t *Table) Probe(bucket *[format.BucketBytes]byte, offset, hash uint64, p *Probe) error {
	word := func(at int) uint64 { return binary.LittleEndian.Uint64(bucket[at:]) }
	if header := word(format.BucketHeaderOffset); header != t.header {
		return t.refuse(offset, header)
	}
	p.Count, p.Foreign = 0, 0
	for i := 0; i < format.SlotsPerBucket; i++ {
		at := i * format.SlotBytes
		pointer, found := word(format.BucketPointerOffset+at), word(format.BucketHashOffset+at)
		switch {
		case pointer == 0:
		case found == hash:
			p.Candidates[p.Count] = format.Pointer(pointer)
			p.Count++
		case !t.sameChain(found, hash):
			p.Foreign = offset + format.BucketHashOffset + uint64(at)
		}
	}
	next := word(format.BucketOverflowOffset)
	if next == 0 {
		p.Next = 0
		return nil
	}
	var ok bool
	if p.Next, ok = format.OpenOverflow(next); !ok || !t.inSegments(p.Next) {
		return &format.WordError{What: "bucket overflow", Offset: offset + format.BucketOverflowOffset, Word: next}
	}
	return nil
}

// refuse says why a bucket is not of this table. A header that fails its check may be damage, or an extent
// that is log by now: only a reader with the current root can tell, so the caller refreshes the root once and
// then believes it.
func (t *Table) refuse(offset, header uint64) error {
	if _, _, ok := format.OpenBucketHeader(header); ok {
		return ErrMoved
	}
	return fmt.Errorf("%w, or %w", ErrMoved, &format.WordError{What: "bucket header", Offset: offset, Word: header})
}

func (t *Table) inSegments(offset uint64) bool {
	_, ok := t.layout.SegmentOf(offset)
	return ok
}
