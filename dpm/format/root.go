package format

import (
	"errors"
	"fmt"
	"hash/crc32"
)

// The roots page holds two index roots and the server epoch:
//
//	 byte
//	    0   root A (64 B)
//	 1024   root B (64 B)
//	 2048   server epoch: checked word, grows with each start of the DPM
//	 2056   reserved, zero
//
// A root:
//
//	 byte
//	  0    sequence u64       the valid root with the higher one counts
//	  8    table u64          the index table's id; its low 32 bits are the buckets' tag
//	 16    bucketsLog2 u32
//	 20    extents u32        segments the main buckets take
//	 24    directory u32      0: A, 1: B
//	 28    directoryCRC u32   CRC32C of the directory's first extents x 4 bytes
//	 32    reserved, zero
//	 60    checksum u32       CRC32C of bytes 0 to 59, salted
//
// A directory is an array of u32 segment ids: entry e is the segment that holds the e-th extent of
// main buckets. The table is swapped by writing the other directory, then the other root, then a
// fence: until the new root is whole its checksum fails and the old one counts.

// Offsets and sizes on the roots page.
const (
	RootBytes           = 64
	ServerEpochOffset   = 2048
	DirectoryEntryBytes = 4

	rootSpacing = 1024
)

// RootOffset returns where root which (0: A, 1: B) lies on the roots page.
func RootOffset(which int) uint64 { return uint64(which) * rootSpacing }

// Root describes an index table.
type Root struct {
	Sequence     uint64
	Table        uint64
	BucketsLog2  uint32
	Extents      uint32
	Directory    uint32 // 0: A, 1: B
	DirectoryCRC uint32
}

// ErrNoRoot: neither root on the page is valid.
var ErrNoRoot = fmt.Errorf("index root is %w", ErrDamaged)

// Tag returns the tag of the table's buckets.
func (r *Root) Tag() Tag { return Tag(r.Table) }

// Encode writes the root with its checksum to dst.
func (r *Root) Encode(s Salt, dst *[RootBytes]byte) {
	clear(dst[:])
	put64(dst[0:], r.Sequence)
	put64(dst[8:], r.Table)
	put32(dst[16:], r.BucketsLog2)
	put32(dst[20:], r.Extents)
	put32(dst[24:], r.Directory)
	put32(dst[28:], r.DirectoryCRC)
	put32(dst[60:], crc32.Update(s.seed(1), castagnoli, dst[:60]))
}

// invalid returns what is wrong with the root, or "".
func (r *Root) invalid(l *Layout) string {
	switch {
	case r.Tag() == 0 || r.Table > MaxPayload:
		return "table id is out of range"
	case r.Directory > 1:
		return "directory is neither A nor B"
	case r.Extents == 0 || r.Extents > l.Segments:
		return "extents exceed the segments of the pool"
	case r.BucketsLog2 > 40 || r.Extents != extentsFor(r.BucketsLog2, l.SegmentBytes):
		return "extents do not fit the number of buckets"
	}
	return ""
}

func extentsFor(bucketsLog2 uint32, segmentBytes uint64) uint32 {
	return uint32(max((BucketBytes<<bucketsLog2)/segmentBytes, 1))
}

// ExtentsFor returns how many segments the main buckets of a table of 2^bucketsLog2 buckets take.
func (l *Layout) ExtentsFor(bucketsLog2 uint32) uint32 {
	return extentsFor(bucketsLog2, l.SegmentBytes)
}

// DecodeRoot decodes one root of the pool that l describes.
func DecodeRoot(src *[RootBytes]byte, l *Layout, r *Root) error {
	if le32(src[60:]) != crc32.Update(l.Salt.seed(1), castagnoli, src[:60]) {
		return fmt.Errorf("%w: checksum is wrong", ErrNoRoot)
	}
	*r = Root{
		Sequence:     le64(src[0:]),
		Table:        le64(src[8:]),
		BucketsLog2:  le32(src[16:]),
		Extents:      le32(src[20:]),
		Directory:    le32(src[24:]),
		DirectoryCRC: le32(src[28:]),
	}
	if why := r.invalid(l); why != "" {
		return fmt.Errorf("%w: %s", ErrNoRoot, why)
	}
	return nil
}

// CurrentRoot decodes both roots of a roots page and returns the one that counts and which it is
// (0: A, 1: B). It fails with ErrNoRoot when neither is valid.
func CurrentRoot(page []byte, l *Layout) (root Root, which int, err error) {
	if len(page) < rootSpacing+RootBytes {
		return Root{}, 0, fmt.Errorf("%w: roots page of %d bytes is cut short", ErrNoRoot, len(page))
	}
	var roots [2]Root
	errA := DecodeRoot((*[RootBytes]byte)(page), l, &roots[0])
	errB := DecodeRoot((*[RootBytes]byte)(page[rootSpacing:]), l, &roots[1])
	switch {
	case errA != nil && errB != nil:
		return Root{}, 0, errors.Join(fmt.Errorf("root A: %w", errA), fmt.Errorf("root B: %w", errB))
	case errA != nil || errB == nil && roots[1].Sequence > roots[0].Sequence:
		return roots[1], 1, nil
	default:
		return roots[0], 0, nil
	}
}

// EncodeDirectory writes the extents' segment ids to dst (4 bytes each) and returns the CRC for the root.
func EncodeDirectory(s Salt, dst []byte, extents []SegmentID) (crc uint32) {
	dst = dst[:len(extents)*DirectoryEntryBytes]
	for i, id := range extents {
		put32(dst[i*DirectoryEntryBytes:], uint32(id))
	}
	return crc32.Update(s.seed(2), castagnoli, dst)
}

// DecodeDirectory checks the directory at the start of src against its root and appends its segment ids to into.
func DecodeDirectory(src []byte, l *Layout, r *Root, into []SegmentID) ([]SegmentID, error) {
	length := int(r.Extents) * DirectoryEntryBytes
	if len(src) < length {
		return into, fmt.Errorf("index directory is %w: %d bytes for %d extents", ErrDamaged, len(src), r.Extents)
	}
	src = src[:length]
	if crc := crc32.Update(l.Salt.seed(2), castagnoli, src); crc != r.DirectoryCRC {
		return into, fmt.Errorf("index directory is %w: checksum %#x, root says %#x", ErrDamaged, crc, r.DirectoryCRC)
	}
	for at := 0; at < length; at += DirectoryEntryBytes {
		id := SegmentID(le32(src[at:]))
		if uint32(id) >= l.Segments {
			return into, fmt.Errorf("index directory is %w: extent %d is segment %d of %d", ErrDamaged, at/DirectoryEntryBytes, id, l.Segments)
		}
		into = append(into, id)
	}
	return into, nil
}

// ServerEpochWord returns the checked word for a server epoch (at most MaxPayload).
func ServerEpochWord(epoch uint64) uint64 { return SealWord(RoleServerEpoch, epoch) }

// OpenServerEpoch decodes the server epoch's word.
func OpenServerEpoch(word uint64) (epoch uint64, ok bool) { return OpenWord(RoleServerEpoch, word) }
