package backup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/dinomo-kv/dinomo/dpm/format"
)

// An archive is a header, data frames, and an end frame; nothing after it. All numbers are little-endian.
//
//	header, 128 bytes
//	  0  magic "DINOMOBK"
//	  8  version u32
//	 12  checksum u32            CRC32C of bytes 16 to 127
//	 16  pool id, 16 bytes
//	 32  created u64             unix seconds, of the backup
//	 40  server epoch u64        of the pool
//	 48  segmentBytes u64
//	 56  filterBytes u64
//	 64  segments u32
//	 68  metadataRecords u32
//	 72  metadataSlotBytes u32
//	 76  ranks u32
//	 80  indirectWords u32
//	 84  durability u8, live u8, zeros
//
//	frame, 32 bytes and its contents
//	  0  magic u32
//	  4  kind u8 (1 data, 2 end), zeros
//	  8  number u64              from 0
//	 16  rawBytes u32            of the contents
//	 20  storedBytes u32         that follow; fewer than rawBytes: one Zstandard frame
//	 24  records u32
//	 28  checksum u32            CRC32C of bytes 0 to 27 and what follows
//
//	contents of a data frame: records
//	  1  put: lattice u8, codec u8, key length uvarint, stored length uvarint, raw length uvarint, key, stored value
//	  2  metadata: version uvarint, name length uvarint, blob length uvarint, name, blob
//
//	contents of the end frame, 40 bytes, not compressed
//	  0  puts u64
//	  8  metadata records u64
//	 16  raw bytes u64           of all data frames
//	 24  digest u64              xxhash64 of the raw contents of all data frames
//	 32  skipped u64             damaged entries that were left out

// Sizes of an archive's parts.
const (
	headerBytes      = 128
	frameHeaderBytes = 32
	endBytes         = 40

	// frameTarget is how much a data frame holds before it is closed: enough for Zstandard to find repetition in, little
	// enough to hold a few of in memory.
	frameTarget = 1 << 20
	// maxFrameBytes is the largest contents of a frame: one that was nearly full when the largest metadata record came.
	maxFrameBytes = 80 << 20

	archiveVersion = 1
	frameMagic     = 0x4b424d46
	frameData      = 1
	frameEnd       = 2

	recordPut      = 1
	recordMetadata = 2
)

var (
	archiveMagic = [8]byte{'D', 'I', 'N', 'O', 'M', 'O', 'B', 'K'}
	castagnoli   = crc32.MakeTable(crc32.Castagnoli)
)

// Errors of reading an archive.
var (
	// ErrForeign: the file does not begin like an archive.
	ErrForeign = errors.New("not a Dinomo backup")
	// ErrVersion: an archive, but of a version that this program does not read.
	ErrVersion = errors.New("backup is of another version")
	// ErrDamaged: the archive is not what was written.
	ErrDamaged = errors.New("backup is damaged")
	// ErrTruncated: the archive ends before its end frame. It wraps ErrDamaged.
	ErrTruncated = fmt.Errorf("%w: it is cut short", ErrDamaged)
)

// Header says where an archive came from.
type Header struct {
	PoolID      [16]byte
	Created     uint64 // unix seconds
	ServerEpoch uint64
	Shape       format.Shape
	Durability  uint8 // a pmem.Durability
	Live        bool  // the pool was open
}

func (h *Header) encode() []byte {
	b := make([]byte, headerBytes)
	copy(b, archiveMagic[:])
	binary.LittleEndian.PutUint32(b[8:], archiveVersion)
	copy(b[16:], h.PoolID[:])
	for i, v := range []uint64{h.Created, h.ServerEpoch, h.Shape.SegmentBytes, h.Shape.FilterBytes} {
		binary.LittleEndian.PutUint64(b[32+8*i:], v)
	}
	for i, v := range []uint32{h.Shape.Segments, h.Shape.MetadataRecords, h.Shape.MetadataSlotBytes, h.Shape.Ranks, h.Shape.IndirectWords} {
		binary.LittleEndian.PutUint32(b[64+4*i:], v)
	}
	b[84] = h.Durability
	if h.Live {
		b[85] = 1
	}
	binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b[16:], castagnoli))
	return b
}

func decodeHeader(b []byte) (h Header, err error) {
	switch {
	case len(b) < len(archiveMagic) || [8]byte(b) != archiveMagic:
		return h, fmt.Errorf("%w: it begins with % x", ErrForeign, b[:min(len(b), 8)])
	case len(b) < headerBytes:
		return h, ErrTruncated
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != archiveVersion {
		return h, fmt.Errorf("%w: %d, this program reads %d", ErrVersion, v, archiveVersion)
	}
	if binary.LittleEndian.Uint32(b[12:]) != crc32.Checksum(b[16:headerBytes], castagnoli) {
		return h, fmt.Errorf("%w: header's checksum is wrong", ErrDamaged)
	}
	word := func(at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
	half := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	h = Header{
		PoolID: [16]byte(b[16:32]), Created: word(32), ServerEpoch: word(40), Durability: b[84], Live: b[85] != 0,
		Shape: format.Shape{SegmentBytes: word(48), FilterBytes: word(56), Segments: half(64), MetadataRecords: half(68),
			MetadataSlotBytes: half(72), Ranks: half(76), IndirectWords: half(80)},
	}
	if _, err := format.NewLayout(h.Shape, 0); err != nil {
		return h, fmt.Errorf("%w: header: %w", ErrDamaged, err)
	}
	return h, nil
}

// totals are what the end frame says.
type totals struct {
	puts, metadata, rawBytes, digest, skipped uint64
}

func (t *totals) encode() []byte {
	var b []byte
	for _, v := range []uint64{t.puts, t.metadata, t.rawBytes, t.digest, t.skipped} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

func decodeTotals(b []byte) (t totals) {
	for i, v := range []*uint64{&t.puts, &t.metadata, &t.rawBytes, &t.digest, &t.skipped} {
		*v = binary.LittleEndian.Uint64(b[8*i:])
	}
	return t
}

// frameHeader is a frame's first 32 bytes.
type frameHeader struct {
	kind                         uint8
	number                       uint64
	rawBytes, storedBytes, count uint32
	checksum                     uint32
}

// encode returns the header with the checksum over it and the stored contents.
func (f *frameHeader) encode(stored []byte) []byte {
	b := make([]byte, frameHeaderBytes)
	binary.LittleEndian.PutUint32(b, frameMagic)
	b[4] = f.kind
	binary.LittleEndian.PutUint64(b[8:], f.number)
	binary.LittleEndian.PutUint32(b[16:], f.rawBytes)
	binary.LittleEndian.PutUint32(b[20:], f.storedBytes)
	binary.LittleEndian.PutUint32(b[24:], f.count)
	binary.LittleEndian.PutUint32(b[28:], frameChecksum(b, stored))
	return b
}

func frameChecksum(header, stored []byte) uint32 {
	return crc32.Update(crc32.Checksum(header[:28], castagnoli), castagnoli, stored)
}

// decodeFrameHeader checks what can be checked before the contents are there.
func decodeFrameHeader(b []byte, number uint64) (f frameHeader, err error) {
	f = frameHeader{
		kind: b[4], number: binary.LittleEndian.Uint64(b[8:]), rawBytes: binary.LittleEndian.Uint32(b[16:]),
		storedBytes: binary.LittleEndian.Uint32(b[20:]), count: binary.LittleEndian.Uint32(b[24:]), checksum: binary.LittleEndian.Uint32(b[28:]),
	}
	switch {
	case binary.LittleEndian.Uint32(b) != frameMagic:
		err = fmt.Errorf("%w: no frame %d where it should begin", ErrDamaged, number)
	case f.number != number:
		err = fmt.Errorf("%w: frame %d where frame %d should be", ErrDamaged, f.number, number)
	case f.kind != frameData && f.kind != frameEnd:
		err = fmt.Errorf("%w: frame %d is of kind %d", ErrDamaged, number, f.kind)
	case f.rawBytes > maxFrameBytes || f.storedBytes > f.rawBytes:
		err = fmt.Errorf("%w: frame %d has %d bytes, stored in %d", ErrDamaged, number, f.rawBytes, f.storedBytes)
	case f.kind == frameEnd && (f.rawBytes != endBytes || f.storedBytes != endBytes):
		err = fmt.Errorf("%w: end frame of %d bytes", ErrDamaged, f.rawBytes)
	}
	return f, err
}
