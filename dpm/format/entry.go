package format

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
)

// A log entry, 8-byte aligned, self-proving:
//
//	  0      1     2         3       4           8
//	+------+-----+---------+-------+-----------+
//	|magic | op  | lattice | flags | keyLength |  word 0
//	+------+-----+---------+-------+-----------+
//	| valueLength (stored) | rawLength         |  word 1
//	+----------------------+-------------------+
//	| sequence                                 |  word 2
//	+----------------------+-------------------+
//	| generation           | checksum          |  word 3
//	+----------------------+-------------------+ 32
//	| key (keyLength bytes)                    |
//	| value (valueLength bytes)                |
//	| zeros up to a multiple of 8              |
//	+------------------------------------------+
//
// sequence counts the entries of one KN thread's incarnation, consecutive across its segments.
// rawLength is the value's length before compression. The checksum is the CRC32C of everything but
// itself, started from the pool's salt mixed with the generation: a client, who knows neither, cannot
// put bytes into a value that would pass for an entry.

// EntryHeaderBytes is the size of an entry without key and value.
const EntryHeaderBytes = 32

// MaxKeyBytes bounds a key, so that a damaged length is refused before anything is read.
const MaxKeyBytes = 64 << 10

const entryMagic = 0xd7

// Op is what an entry does to its key.
type Op uint8

// Operations. Values are durable.
const (
	// OpPut sets the key to the value.
	OpPut Op = iota + 1
	// OpDelete removes the key; the value is empty.
	OpDelete
	// OpInstall makes the key's slot point to an indirect-pointer word; the value is that Pointer.
	OpInstall
	// OpUninstall makes the key's slot point to an entry again; the value is that Pointer.
	OpUninstall
	opEnd
)

// String returns the operation's name.
func (o Op) String() string {
	switch o {
	case OpPut:
		return "put"
	case OpDelete:
		return "delete"
	case OpInstall:
		return "install"
	case OpUninstall:
		return "uninstall"
	}
	return fmt.Sprintf("op%d", uint8(o))
}

// Flags of an entry: a codec in the low four bits, and FlagReplicated.
type Flags uint8

// Flag values. They are durable.
const (
	// CodecNone: the value is stored as it is.
	CodecNone Flags = 0
	// CodecS2: the value is one S2 block.
	CodecS2 Flags = 1
	// CodecZstd: the value is one Zstandard frame.
	CodecZstd Flags = 2
	codecEnd  Flags = 3

	codecMask Flags = 0x0f
	// FlagReplicated marks an entry of a replicated key: an indirect-pointer word leads to it, and
	// merging leaves the index slot alone.
	FlagReplicated Flags = 0x10

	flagsKnown = codecMask | FlagReplicated
)

// Codec returns the compression part of the flags.
func (f Flags) Codec() Flags { return f & codecMask }

// Replicated says whether FlagReplicated is set.
func (f Flags) Replicated() bool { return f&FlagReplicated != 0 }

// Entry is a log entry. Decoded, Key and Value point into the buffer it was decoded from.
type Entry struct {
	Op         Op
	Lattice    uint8 // the lattice type's wire number; opaque here
	Flags      Flags
	Sequence   uint64
	Generation uint32
	RawLength  uint32 // bytes of the value before compression; EncodeEntry fills it in when Flags has no codec
	Key        []byte
	Value      []byte // as stored
}

// Bytes returns how much of a segment the entry takes.
func (e *Entry) Bytes() uint64 { return EntryBytes(len(e.Key), len(e.Value)) }

// EntryBytes returns the size of an entry with a key and stored value of these lengths: a multiple of 8.
func EntryBytes(keyLength, valueLength int) uint64 {
	return (EntryHeaderBytes + uint64(keyLength) + uint64(valueLength) + WordBytes - 1) &^ (WordBytes - 1)
}

// MaxEntryBytes is the largest entry that fits a segment and that a Pointer can describe.
func MaxEntryBytes(segmentBytes uint64) uint64 { return min(segmentBytes, MaxSizeUnits*SizeUnit) }

// Errors of entry decoders. All but ErrNoEntry and ErrOtherEntry wrap ErrDamaged too, but the
// caller decides what that means: in the tail of an open segment it is where the log ends.
var (
	// ErrNoEntry: the bytes do not begin like an entry (fresh, zero or foreign bytes).
	ErrNoEntry = errors.New("no log entry here")
	// ErrEntryDamaged: begins like an entry, but lengths, fields or checksum are wrong.
	ErrEntryDamaged = fmt.Errorf("log entry is %w", ErrDamaged)
	// ErrOtherEntry: a sound entry, but not the one asked for: the pointer is stale.
	ErrOtherEntry = errors.New("another log entry than the pointer was made for")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Salt is the pool's random checksum seed, from its superblock.
type Salt uint32

func (s Salt) seed(generation uint32) uint32 { return uint32(s) ^ generation*0x9e3779b1 }

// EncodeEntry writes e to the start of dst and returns its size. dst must hold e.Bytes() bytes. The
// caller guarantees a valid Op and lengths within MaxEntryBytes and MaxKeyBytes. It does not allocate.
func (s Salt) EncodeEntry(dst []byte, e *Entry) uint64 {
	size := e.Bytes()
	dst = dst[:size]
	raw := e.RawLength
	if e.Flags.Codec() == CodecNone {
		raw = uint32(len(e.Value))
	}
	put64(dst, entryMagic|uint64(e.Op)<<8|uint64(e.Lattice)<<16|uint64(e.Flags)<<24|uint64(uint32(len(e.Key)))<<32)
	put64(dst[8:], uint64(uint32(len(e.Value)))|uint64(raw)<<32)
	put64(dst[16:], e.Sequence)
	put32(dst[24:], e.Generation)
	n := EntryHeaderBytes
	n += copy(dst[n:], e.Key)
	n += copy(dst[n:], e.Value)
	clear(dst[n:])
	put32(dst[28:], s.entryChecksum(dst, e.Generation))
	return size
}

func (s Salt) entryChecksum(entry []byte, generation uint32) uint32 {
	crc := crc32.Update(s.seed(generation), castagnoli, entry[:28])
	return crc32.Update(crc, castagnoli, entry[EntryHeaderBytes:])
}

// EntryBytesAt returns the size that the entry header at the start of buf claims, or ErrNoEntry or
// ErrEntryDamaged when it cannot be one. At least EntryHeaderBytes are needed; nothing but lengths is checked.
func EntryBytesAt(buf []byte) (uint64, error) {
	if len(buf) < EntryHeaderBytes || buf[0] != entryMagic {
		return 0, ErrNoEntry
	}
	keyLength, valueLength := uint64(le32(buf[4:])), uint64(le32(buf[8:]))
	size := (EntryHeaderBytes + keyLength + valueLength + WordBytes - 1) &^ (WordBytes - 1)
	if keyLength == 0 || keyLength > MaxKeyBytes || size > MaxSizeUnits*SizeUnit {
		return 0, ErrEntryDamaged
	}
	return size, nil
}

// PeekKey returns the key of the entry at the start of buf, in place, with the entry's generation and size, and checks
// nothing but bounds: the value is not even looked at. It is for deciding whether an entry is worth decoding, and for
// comparing the keys of entries that are about to be superseded.
func PeekKey(buf []byte) (key []byte, generation uint32, size uint64, err error) {
	if size, err = EntryBytesAt(buf); err != nil {
		return nil, 0, 0, err
	}
	end := EntryHeaderBytes + uint64(le32(buf[4:]))
	if end > uint64(len(buf)) {
		return nil, 0, 0, ErrEntryDamaged
	}
	return buf[EntryHeaderBytes:end:end], le32(buf[24:]), size, nil
}

// DecodeEntry decodes the entry at the start of buf, which may be longer, into e. It checks every
// byte of the entry; e is unchanged on error. Key and Value then point into buf. It does not allocate.
func (s Salt) DecodeEntry(buf []byte, e *Entry) error {
	size, err := EntryBytesAt(buf)
	if err != nil {
		return err
	}
	if size > uint64(len(buf)) {
		return ErrEntryDamaged
	}
	buf = buf[:size]
	word0, word1, sequence, word3 := le64(buf), le64(buf[8:]), le64(buf[16:]), le64(buf[24:])
	generation := uint32(word3)
	if uint32(word3>>32) != s.entryChecksum(buf, generation) {
		return ErrEntryDamaged
	}
	keyLength, valueLength := uint32(word0>>32), uint32(word1)
	// buf may be pool memory in place, where a KN writes at this moment, over a sound entry of an earlier life of
	// the segment: what was checked must be what is used. No log writes one entry twice at a place, so a header that
	// is as it was has not changed in between.
	if le64(buf) != word0 || le64(buf[8:]) != word1 || le64(buf[16:]) != sequence || le64(buf[24:]) != word3 ||
		EntryBytes(int(keyLength), int(valueLength)) != size {
		return ErrEntryDamaged
	}
	op, flags, raw := Op(word0>>8), Flags(word0>>24), uint32(word1>>32)
	if op == 0 || op >= opEnd || flags&^flagsKnown != 0 || flags.Codec() >= codecEnd ||
		flags.Codec() == CodecNone && raw != valueLength {
		return ErrEntryDamaged
	}
	valueStart := EntryHeaderBytes + keyLength
	*e = Entry{
		Op:         op,
		Lattice:    uint8(word0 >> 16),
		Flags:      flags,
		Sequence:   sequence,
		Generation: generation,
		RawLength:  raw,
		Key:        buf[EntryHeaderBytes:valueStart:valueStart],
		Value:      buf[valueStart : valueStart+valueLength : valueStart+valueLength],
	}
	return nil
}

// CheckEntry decodes the entry that was read through p and says whether it is the one that p was
// made for: nil, or ErrOtherEntry when it is a sound entry of another generation, size or key, or
// ErrNoEntry or ErrEntryDamaged when there is none (any more). After ErrOtherEntry e describes what was found.
func (s Salt) CheckEntry(buf []byte, p Pointer, key []byte, e *Entry) error {
	if err := s.DecodeEntry(buf, e); err != nil {
		return err
	}
	if !p.MadeFor(e.Bytes(), e.Generation) || !bytes.Equal(e.Key, key) {
		return ErrOtherEntry
	}
	return nil
}
