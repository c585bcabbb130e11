package format

import "fmt"

// Pointer is an 8-byte word that leads to a log entry or to an indirect-pointer word. It is what an
// index slot holds, what a KN caches as a shortcut, and what a replicated key's CAS swaps. 0 is nil.
//
//	 63  62        53 52               36 35                           0
//	+---+------------+-------------------+------------------------------+
//	| I | generation | entry size / 64   | offset / 8                   |
//	+---+------------+-------------------+------------------------------+
//
// The size (rounded up to 64-byte units) makes one READ of the entry enough; the generation's low
// ten bits let a reader refuse a reused segment. With I set, the offset is that of an
// indirect-pointer word and size and generation are zero.
type Pointer uint64

// Limits of what a Pointer can say.
const (
	// SizeUnit is the granule of a pointer's entry size.
	SizeUnit = 64
	// MaxSizeUnits is the largest entry size, in SizeUnits.
	MaxSizeUnits = 1<<17 - 1
	// MaxPoolBytes is where offsets end: 2^36 words of 8 bytes.
	MaxPoolBytes = 1 << 39
	// PointerGenerations is how many generations a pointer can tell apart.
	PointerGenerations = 1 << 10

	pointerOffsetMask    = 1<<36 - 1
	pointerSizeShift     = 36
	pointerGenShift      = 53
	pointerIndirect      = 1 << 63
	pointerGenerationMod = PointerGenerations - 1
)

// PackPointer makes the pointer to an entry of entryBytes at offset (a multiple of 8 below
// MaxPoolBytes), in a segment of that generation. Other arguments are programmer errors and panic.
func PackPointer(offset, entryBytes uint64, generation uint32) Pointer {
	units := (entryBytes + SizeUnit - 1) / SizeUnit
	if offset == 0 || offset%WordBytes != 0 || offset >= MaxPoolBytes || units == 0 || units > MaxSizeUnits {
		panic(fmt.Sprintf("format: no pointer can say offset %#x, %d bytes", offset, entryBytes))
	}
	return Pointer(offset/WordBytes | units<<pointerSizeShift | uint64(generation&pointerGenerationMod)<<pointerGenShift)
}

// PackIndirect makes the pointer to the indirect-pointer word at offset.
func PackIndirect(offset uint64) Pointer {
	if offset == 0 || offset%WordBytes != 0 || offset >= MaxPoolBytes {
		panic(fmt.Sprintf("format: no indirect pointer can say offset %#x", offset))
	}
	return Pointer(pointerIndirect | offset/WordBytes)
}

// Offset returns where the entry (or indirect-pointer word) begins, in bytes.
func (p Pointer) Offset() uint64 { return uint64(p) & pointerOffsetMask * WordBytes }

// Size returns the entry's size in bytes, rounded up to a multiple of SizeUnit: how much to READ.
// The last entry of a segment may be followed by fewer bytes than that; see Layout.EntryRange.
func (p Pointer) Size() uint64 { return p.Units() * SizeUnit }

// Units returns the entry's size in SizeUnits: the granule of live-byte accounting.
func (p Pointer) Units() uint64 { return uint64(p) >> pointerSizeShift & MaxSizeUnits }

// Generation returns the low ten bits of the segment's generation.
func (p Pointer) Generation() uint32 { return uint32(p>>pointerGenShift) & pointerGenerationMod }

// Indirect says whether the pointer leads to an indirect-pointer word.
func (p Pointer) Indirect() bool { return p&pointerIndirect != 0 }

// Nil says whether the pointer leads nowhere.
func (p Pointer) Nil() bool { return p == 0 }

// String shows the parts, for people.
func (p Pointer) String() string {
	switch {
	case p == 0:
		return "nil"
	case p.Indirect():
		return fmt.Sprintf("indirect@%#x", p.Offset())
	default:
		return fmt.Sprintf("%#x+%d.g%d", p.Offset(), p.Size(), p.Generation())
	}
}

// invalid returns what is wrong with the pointer's own bits, or "".
func (p Pointer) invalid() string {
	switch {
	case p.Offset() == 0:
		return "offset is nil"
	case p.Indirect() && (p.Units() != 0 || p.Generation() != 0):
		return "indirect pointer has a size or generation"
	case !p.Indirect() && p.Units() == 0:
		return "size is zero"
	}
	return ""
}
