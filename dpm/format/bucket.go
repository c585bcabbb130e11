package format

import "fmt"

// An index bucket is one cache line:
//
//	 byte
//	  0    tag u32 | flags u16     checked word: the table the bucket belongs to; bucket flags
//	  8    hash of slot 0
//	 16    pointer of slot 0       0: the slot is empty, and its hash word means nothing
//	 24    hash of slot 1
//	 32    pointer of slot 1
//	 40    hash of slot 2
//	 48    pointer of slot 2
//	 56    overflow u48            checked word: offset of the next bucket of the chain; 0: none
//
// A slot is published by the one store of its pointer, when its hash is durable. The pointer carries a check; the hash has
// none: the entry behind it holds the key, and so proves it. A hash that a flip has changed hides its key, and nearly always
// belongs to another bucket, which readers notice (index.Probe). A tag other than the reader's table's tells that the
// extent is somebody else's by now.

// Sizes of the index.
const (
	BucketBytes    = 64
	SlotsPerBucket = 3
)

// Offsets of a bucket's words. Slot i's hash is at BucketHashOffset + i*SlotBytes.
const (
	BucketHeaderOffset   = 0
	BucketHashOffset     = 8
	BucketPointerOffset  = 16
	SlotBytes            = 16
	BucketOverflowOffset = 56
)

// BucketFlags are marks on a bucket.
type BucketFlags uint16

// BucketMoved: the table was replaced; whoever reads this fetches the root again.
const BucketMoved BucketFlags = 1

const bucketFlagsKnown = BucketMoved

// Tag names an index table within its buckets: the low 32 bits of the table id, never 0.
type Tag uint32

// BucketHeaderWord returns the first word of a bucket.
func BucketHeaderWord(tag Tag, flags BucketFlags) uint64 {
	return SealWord(RoleBucketHeader, uint64(tag)|uint64(flags)<<32)
}

// OpenBucketHeader decodes the first word of a bucket. A zero word is tag 0 (no bucket), which is sound.
func OpenBucketHeader(word uint64) (tag Tag, flags BucketFlags, ok bool) {
	p, ok := OpenWord(RoleBucketHeader, word)
	flags = BucketFlags(p >> 32)
	return Tag(p), flags, ok && flags&^bucketFlagsKnown == 0
}

// OverflowWord returns the last word of a bucket whose chain goes on at offset (0: ends).
func OverflowWord(offset uint64) uint64 { return SealWord(RoleBucketOverflow, offset) }

// OpenOverflow decodes the last word of a bucket.
func OpenOverflow(word uint64) (offset uint64, ok bool) {
	offset, ok = OpenWord(RoleBucketOverflow, word)
	return offset, ok && offset%BucketBytes == 0 && offset < MaxPoolBytes
}

// Bucket is a decoded index bucket.
type Bucket struct {
	Tag      Tag
	Flags    BucketFlags
	Hash     [SlotsPerBucket]uint64
	Pointer  [SlotsPerBucket]Pointer
	Overflow uint64
}

// Encode writes the bucket to dst.
func (b *Bucket) Encode(dst *[BucketBytes]byte) {
	put64(dst[BucketHeaderOffset:], BucketHeaderWord(b.Tag, b.Flags))
	for i := range b.Hash {
		put64(dst[BucketHashOffset+i*SlotBytes:], b.Hash[i])
		put64(dst[BucketPointerOffset+i*SlotBytes:], uint64(b.Pointer[i]))
	}
	put64(dst[BucketOverflowOffset:], OverflowWord(b.Overflow))
}

// DecodeBucket decodes src, which was read at offset of the pool; offset is only named in errors
// (*WordError). Slots are copied as they are. It does not allocate on success.
func DecodeBucket(src *[BucketBytes]byte, offset uint64, b *Bucket) error {
	var ok bool
	if b.Tag, b.Flags, ok = OpenBucketHeader(le64(src[BucketHeaderOffset:])); !ok {
		return &WordError{What: "bucket header", Offset: offset, Word: le64(src[BucketHeaderOffset:])}
	}
	for i := range b.Hash {
		b.Hash[i] = le64(src[BucketHashOffset+i*SlotBytes:])
		b.Pointer[i] = Pointer(le64(src[BucketPointerOffset+i*SlotBytes:]))
	}
	if b.Overflow, ok = OpenOverflow(le64(src[BucketOverflowOffset:])); !ok {
		return &WordError{What: "bucket overflow", Offset: offset + BucketOverflowOffset, Word: le64(src[BucketOverflowOffset:])}
	}
	return nil
}

// String shows the bucket on one line, for people.
func (b *Bucket) String() string {
	s := fmt.Sprintf("tag=%d", b.Tag)
	if b.Flags&BucketMoved != 0 {
		s += " moved"
	}
	for i := range b.Hash {
		if b.Pointer[i] != 0 {
			s += fmt.Sprintf(" [%016x %v]", b.Hash[i], b.Pointer[i])
		}
	}
	if b.Overflow != 0 {
		s += fmt.Sprintf(" next=%#x", b.Overflow)
	}
	return s
}

// BucketNumber returns which of 2^bucketsLog2 buckets a key hash belongs to. Doubling the table
// splits bucket b into 2b and 2b+1, so both tables are walked in address order by a resize.
func BucketNumber(hash uint64, bucketsLog2 uint32) uint64 {
	mixed := (hash ^ hash>>32) * 0x9e3779b97f4a7c15
	return mixed >> (64 - bucketsLog2) // bucketsLog2 0 shifts everything out: bucket 0
}
