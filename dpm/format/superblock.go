package format

import (
	"errors"
	"fmt"
	"hash/crc32"
)

// The superblock, the pool's first page, is written once when the pool is created:
//
//	 byte
//	   0   magic "DINOMO\x00\x01"
//	   8   version u32
//	  12   checksum u32       CRC32C of the page without these four bytes
//	  16   pool id, 16 bytes
//	  32   created u64        unix seconds
//	  40   totalBytes u64
//	  48   segmentBytes u64
//	  56   salt u32
//	  60   durability u8, then three zero bytes
//	  64   segments u32
//	  68   ranks u32
//	  72   metadataRecords u32
//	  76   metadataSlotBytes u32
//	  80   indirectWords u32
//	  84   zero u32
//	  88   filterBytes u64
//	  96   metadataOffset u64
//	 104   rankOffset u64
//	 112   indirectOffset u64
//	 120   filterOffset u64
//	 128   segmentTableOffset u64
//	 136   directoryOffset[A] u64
//	 144   directoryOffset[B] u64
//	 152   segmentsOffset u64
//	 160   reserved, zero, to the end of the page
//
// Offsets follow from the counts and are stored so that tools can read a pool without knowing how;
// an open checks that they agree.

// SuperblockBytes is the size of the superblock.
const SuperblockBytes = PageBytes

// Version is the format's version: a pool of another one is refused.
const Version = 2

var superblockMagic = [8]byte{'D', 'I', 'N', 'O', 'M', 'O', 0, 1}

// Errors of DecodeSuperblock: which kind of no.
var (
	// ErrForeign: the file does not begin like a pool.
	ErrForeign = errors.New("not a Dinomo pool")
	// ErrVersion: a pool, but of a format version that this program does not read.
	ErrVersion = errors.New("pool has another format version")
	// ErrSuperblock: the superblock's checksum or contents are wrong.
	ErrSuperblock = fmt.Errorf("superblock is %w", ErrDamaged)
	// ErrTruncated: the file is shorter than its superblock says.
	ErrTruncated = errors.New("pool file is truncated")
)

// Superblock identifies a pool and says where everything lies.
type Superblock struct {
	PoolID     [16]byte
	Created    uint64 // unix seconds
	Durability uint8  // a pmem.Durability: what the pool was created for
	Layout     Layout
}

// Encode writes the superblock to dst.
func (s *Superblock) Encode(dst *[SuperblockBytes]byte) {
	clear(dst[:])
	l := &s.Layout
	copy(dst[0:], superblockMagic[:])
	put32(dst[8:], Version)
	copy(dst[16:], s.PoolID[:])
	put64(dst[32:], s.Created)
	put64(dst[40:], l.TotalBytes)
	put64(dst[48:], l.SegmentBytes)
	put32(dst[56:], uint32(l.Salt))
	dst[60] = s.Durability
	for i, v := range [...]uint32{l.Segments, l.Ranks, l.MetadataRecords, l.MetadataSlotBytes, l.IndirectWords} {
		put32(dst[64+4*i:], v)
	}
	put64(dst[88:], l.FilterBytes)
	for i, v := range l.offsets() {
		put64(dst[96+8*i:], v)
	}
	put32(dst[12:], superblockChecksum(dst))
}

// offsets lists the layout's offsets in superblock order.
func (l *Layout) offsets() [8]uint64 {
	return [...]uint64{l.MetadataOffset, l.RankOffset, l.IndirectOffset, l.FilterOffset,
		l.SegmentTableOffset, l.DirectoryOffset[0], l.DirectoryOffset[1], l.SegmentsOffset}
}

func superblockChecksum(page *[SuperblockBytes]byte) uint32 {
	crc := crc32.Update(0, castagnoli, page[:12])
	return crc32.Update(crc, castagnoli, page[16:])
}

// DecodeSuperblock decodes the first bytes of a file of fileBytes bytes. It fails with ErrForeign,
// ErrVersion, ErrSuperblock or ErrTruncated, in this order of questions.
func DecodeSuperblock(src []byte, fileBytes uint64) (Superblock, error) {
	if len(src) < 16 || [8]byte(src[:8]) != superblockMagic {
		return Superblock{}, fmt.Errorf("%w: it begins with % x", ErrForeign, src[:min(len(src), 8)])
	}
	if v := le32(src[8:]); v != Version {
		return Superblock{}, fmt.Errorf("%w: %d, this program reads %d", ErrVersion, v, Version)
	}
	if len(src) < SuperblockBytes {
		return Superblock{}, fmt.Errorf("%w: %d bytes do not even hold the superblock", ErrTruncated, fileBytes)
	}
	page := (*[SuperblockBytes]byte)(src)
	if got, want := superblockChecksum(page), le32(page[12:]); got != want {
		return Superblock{}, fmt.Errorf("%w: checksum is %#x, contents give %#x", ErrSuperblock, want, got)
	}
	s := Superblock{PoolID: [16]byte(page[16:32]), Created: le64(page[32:]), Durability: page[60]}
	shape := Shape{
		SegmentBytes:      le64(page[48:]),
		Segments:          le32(page[64:]),
		Ranks:             le32(page[68:]),
		MetadataRecords:   le32(page[72:]),
		MetadataSlotBytes: le32(page[76:]),
		IndirectWords:     le32(page[80:]),
		FilterBytes:       le64(page[88:]),
	}
	if why := shape.invalid(); why != "" { // before NewLayout: a stored zero must not turn into a default
		return Superblock{}, fmt.Errorf("%w: %s", ErrSuperblock, why)
	}
	var err error
	if s.Layout, err = NewLayout(shape, Salt(le32(page[56:]))); err != nil {
		return Superblock{}, fmt.Errorf("%w: %w", ErrSuperblock, err)
	}
	for i, want := range s.Layout.offsets() {
		if got := le64(page[96+8*i:]); got != want {
			return Superblock{}, fmt.Errorf("%w: area %d lies at %#x, the counts give %#x", ErrSuperblock, i, got, want)
		}
	}
	if got := le64(page[40:]); got != s.Layout.TotalBytes {
		return Superblock{}, fmt.Errorf("%w: %d bytes in all, the counts give %d", ErrSuperblock, got, s.Layout.TotalBytes)
	}
	if fileBytes < s.Layout.TotalBytes {
		return Superblock{}, fmt.Errorf("%w: %d bytes, the superblock says %d", ErrTruncated, fileBytes, s.Layout.TotalBytes)
	}
	return s, nil
}
