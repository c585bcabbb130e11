package format

import (
	"fmt"
	"math/bits"
)

// Fixed sizes of a pool.
const (
	PageBytes       = 4096
	MinSegmentBytes = 64 << 10
	MaxSegmentBytes = 1 << 30
	RootsOffset     = PageBytes
)

// Layout says where everything in a pool lies. It follows from a Shape alone.
type Layout struct {
	Shape
	Salt               Salt
	MetadataOffset     uint64
	RankOffset         uint64
	IndirectOffset     uint64
	FilterOffset       uint64
	SegmentTableOffset uint64
	DirectoryOffset    [2]uint64
	SegmentsOffset     uint64 // a multiple of SegmentBytes
	TotalBytes         uint64

	segmentShift uint
}

// Shape is what one chooses about a pool when creating it. Zero fields mean their defaults.
type Shape struct {
	// SegmentBytes is the size of a segment: a power of two from MinSegmentBytes to MaxSegmentBytes. Default
	// 8 MiB: smaller ones cost a hand-out more often, larger ones hold more half-empty log per KN thread.
	SegmentBytes uint64
	// Segments is how many there are. No default: it is the pool's capacity.
	Segments uint32
	// MetadataRecords is how many named metadata records there can be. Default 8.
	MetadataRecords uint32
	// MetadataSlotBytes is the room for one version of a record, its header included: a multiple of 64.
	// Default 1 MiB: an ownership map of 1,024 members and 10,000 replicated keys.
	MetadataSlotBytes uint32
	// Ranks bounds the nodes attached at once, the DPM's rank 0 included. Default 1,024.
	Ranks uint32
	// IndirectWords bounds the keys replicated at once. Default 65,536. A multiple of 8.
	IndirectWords uint32
	// FilterBytes is the size of the lattice filter: a power of two from 64. Default 1 MiB.
	FilterBytes uint64
}

// EnsureDefaults fills zero fields but Segments.
func (s *Shape) EnsureDefaults() {
	defaultTo(&s.SegmentBytes, 8<<20)
	defaultTo(&s.MetadataRecords, 8)
	defaultTo(&s.MetadataSlotBytes, 1<<20)
	defaultTo(&s.Ranks, 1024)
	defaultTo(&s.IndirectWords, 65536)
	defaultTo(&s.FilterBytes, 1<<20)
}

func defaultTo[T uint32 | uint64](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// invalid returns what is wrong with the shape, or "".
func (s *Shape) invalid() string {
	switch {
	case bits.OnesCount64(s.SegmentBytes) != 1 || s.SegmentBytes < MinSegmentBytes || s.SegmentBytes > MaxSegmentBytes:
		return fmt.Sprintf("segment size %d is not a power of two from 64 KiB to 1 GiB", s.SegmentBytes)
	case s.Segments < 2 || uint64(s.Segments) > MaxPoolBytes/s.SegmentBytes:
		return fmt.Sprintf("%d segments of %d bytes: want at least 2 and less than 512 GiB", s.Segments, s.SegmentBytes)
	case s.MetadataRecords == 0 || s.MetadataRecords > 1024:
		return fmt.Sprintf("%d metadata records: want 1 to 1024", s.MetadataRecords)
	case s.MetadataSlotBytes < 512 || s.MetadataSlotBytes > 64<<20 || s.MetadataSlotBytes%64 != 0:
		return fmt.Sprintf("metadata slots of %d bytes: want a multiple of 64 from 512 B to 64 MiB", s.MetadataSlotBytes)
	case s.Ranks < 2 || s.Ranks > 65535:
		return fmt.Sprintf("%d ranks: want 2 to 65535", s.Ranks)
	case s.IndirectWords == 0 || s.IndirectWords%8 != 0 || s.IndirectWords > 1<<28:
		return fmt.Sprintf("%d indirect-pointer words: want a multiple of 8 up to 2^28", s.IndirectWords)
	case bits.OnesCount64(s.FilterBytes) != 1 || s.FilterBytes < 64 || s.FilterBytes > 1<<32:
		return fmt.Sprintf("lattice filter of %d bytes: want a power of two from 64 B to 4 GiB", s.FilterBytes)
	}
	return ""
}

// NewLayout computes the layout of a pool of that shape, after EnsureDefaults.
func NewLayout(s Shape, salt Salt) (Layout, error) {
	s.EnsureDefaults()
	if why := s.invalid(); why != "" {
		return Layout{}, fmt.Errorf("pool shape: %s", why)
	}
	l := Layout{Shape: s, Salt: salt, segmentShift: uint(bits.TrailingZeros64(s.SegmentBytes))}
	next := uint64(RootsOffset + PageBytes)
	area := func(bytes uint64) (offset uint64) {
		offset = next
		next = alignUp(next+bytes, PageBytes)
		return offset
	}
	l.MetadataOffset = area(2 * uint64(s.MetadataRecords) * uint64(s.MetadataSlotBytes))
	l.RankOffset = area(uint64(s.Ranks) * RankEntryBytes)
	l.IndirectOffset = area(uint64(s.IndirectWords) * WordBytes)
	l.FilterOffset = area(s.FilterBytes)
	l.SegmentTableOffset = area(uint64(s.Segments) * SegmentHeaderBytes)
	l.DirectoryOffset[0] = area(uint64(s.Segments) * DirectoryEntryBytes)
	l.DirectoryOffset[1] = area(uint64(s.Segments) * DirectoryEntryBytes)
	l.SegmentsOffset = alignUp(next, s.SegmentBytes)
	l.TotalBytes = l.SegmentsOffset + uint64(s.Segments)*s.SegmentBytes
	if l.TotalBytes > MaxPoolBytes {
		return Layout{}, fmt.Errorf("pool shape: %d bytes in all exceed the limit of 512 GiB", l.TotalBytes)
	}
	return l, nil
}

// SegmentsFor returns how many segments of s.SegmentBytes fit a pool of at most totalBytes; s.Segments
// is ignored. 0 means that totalBytes cannot hold even two.
func SegmentsFor(s Shape, totalBytes uint64) uint32 {
	s.EnsureDefaults()
	low, high := uint64(1), min(totalBytes, MaxPoolBytes)/s.SegmentBytes
	for low < high { // the largest count that fits; more segments never make a pool smaller
		s.Segments = uint32((low + high + 1) / 2)
		if l, err := NewLayout(s, 0); err == nil && l.TotalBytes <= totalBytes {
			low = uint64(s.Segments)
		} else {
			high = uint64(s.Segments) - 1
		}
	}
	if low < 2 {
		return 0
	}
	return uint32(low)
}

// SegmentOffset returns where segment id begins.
func (l *Layout) SegmentOffset(id SegmentID) uint64 {
	return l.SegmentsOffset + uint64(id)<<l.segmentShift
}

// SegmentHeaderOffset returns where segment id's entry in the segment table lies.
func (l *Layout) SegmentHeaderOffset(id SegmentID) uint64 {
	return l.SegmentTableOffset + uint64(id)*SegmentHeaderBytes
}

// SegmentOf returns the segment that holds the byte at offset; ok is false when none does.
func (l *Layout) SegmentOf(offset uint64) (id SegmentID, ok bool) {
	if offset < l.SegmentsOffset || offset >= l.TotalBytes {
		return NoSegment, false
	}
	return SegmentID((offset - l.SegmentsOffset) >> l.segmentShift), true
}

// RankEntryOffset returns where rank's entry lies; its first word is the lease word.
func (l *Layout) RankEntryOffset(rank uint32) uint64 {
	return l.RankOffset + uint64(rank)*RankEntryBytes
}

// IndirectOffsetOf returns where indirect-pointer word i lies.
func (l *Layout) IndirectOffsetOf(i uint32) uint64 { return l.IndirectOffset + uint64(i)*WordBytes }

// IndirectOf returns which indirect-pointer word p leads to; ok is false when p does not lead to one.
func (l *Layout) IndirectOf(p Pointer) (i uint32, ok bool) {
	offset := p.Offset()
	if !p.Indirect() || p.invalid() != "" || offset < l.IndirectOffset || offset >= l.IndirectOffset+uint64(l.IndirectWords)*WordBytes {
		return 0, false
	}
	return uint32((offset - l.IndirectOffset) / WordBytes), true
}

// MetadataSlotOffset returns where slot which (0 or 1) of a metadata record lies.
func (l *Layout) MetadataSlotOffset(record uint32, which int) uint64 {
	return l.MetadataOffset + (2*uint64(record)+uint64(which))*uint64(l.MetadataSlotBytes)
}

// MaxMetadataBlob is the largest blob a metadata record can hold.
func (l *Layout) MaxMetadataBlob() int { return int(l.MetadataSlotBytes) - MetadataHeaderBytes }

// MaxEntryBytes is the largest log entry of the pool.
func (l *Layout) MaxEntryBytes() uint64 { return MaxEntryBytes(l.SegmentBytes) }

// EntryRange returns the bytes to read for the entry behind p: its size as p rounds it up, cut at the end of its segment. ok is
// false when p is nil, indirect, fails its check or is not inside a segment: it is damaged or foreign.
func (l *Layout) EntryRange(p Pointer) (offset, length uint64, ok bool) {
	offset, length = p.Offset(), p.Size()
	if p.Indirect() || length == 0 || p.syndrome() != 0 {
		return 0, 0, false
	}
	id, ok := l.SegmentOf(offset)
	if !ok {
		return 0, 0, false
	}
	room := l.SegmentOffset(id) + l.SegmentBytes - offset
	if length > room+p.slack() { // more than rounding up can explain
		return 0, 0, false
	}
	return offset, min(length, room), true
}

// BucketsPerSegmentLog2 is the binary logarithm of how many buckets an extent holds.
func (l *Layout) BucketsPerSegmentLog2() uint32 { return uint32(l.segmentShift) - 6 }

// BucketOffset returns where a bucket of the table lies whose extents are given. bucket must be
// within the table.
func (l *Layout) BucketOffset(extents []SegmentID, bucket uint64) uint64 {
	perSegment := l.segmentShift - 6
	extent := extents[bucket>>perSegment]
	return l.SegmentOffset(extent) + bucket&(1<<perSegment-1)*BucketBytes
}

// The compiler refuses a negative array length: sizes and offsets that do not add up do not build.
var (
	_ [BucketBytes - BucketOverflowOffset - WordBytes]struct{}
	_ [BucketOverflowOffset - BucketHashOffset - SlotsPerBucket*SlotBytes]struct{}
	_ [SegmentHeaderBytes - SegmentSettledOffset - WordBytes]struct{}
	_ [RankEntryBytes - RankStartOffset - WordBytes]struct{}
	_ [MetadataHeaderBytes - 24 - MaxMetadataName]struct{}
	_ [PageBytes - ServerEpochOffset - WordBytes]struct{}
	_ [rootSpacing - RootBytes]struct{}
)
