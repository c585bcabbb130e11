package format

import (
	"fmt"
	"math/bits"
)

// Pointer is an 8-byte word that leads to a log entry or to an indirect-pointer word. It is what an
// index slot holds, what a KN caches as a shortcut, and what a replicated key's CAS swaps. 0 is nil.
//
//	 63  62     56 55        46 45        36 35                        0
//	+---+---------+------------+------------+---------------------------+
//	| I | check   | generation | entry size | offset / 8                |
//	+---+---------+------------+------------+---------------------------+
//
// The size makes one READ of the entry enough (sizeCode below); the generation's low ten bits let a
// reader refuse a reused segment. With I set, the offset is that of an indirect-pointer word and size
// and generation are zero.
//
// The check is what an entry cannot prove: that it is the one its slot was last set to, and not an older one
// of the same key, whole and sound, in a segment that was not reused yet. It makes a pointer a word of an
// extended Hamming code (Hsiao, 1970: columns of odd weight), so that two pointers differ in at least four bits: a
// pointer with up to three bits flipped is no pointer, nil is not one flip away from one, and nothing has to be read or
// written for that.
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
	pointerSizeMask      = 1<<10 - 1
	pointerGenShift      = 46
	pointerCheckShift    = 56
	pointerCheckBits     = 7
	pointerIndirect      = 1 << 63
	pointerGenerationMod = PointerGenerations - 1
)

// sizeMantissa is how many bits of a size are kept below its leading one: up to 127 units a size code is exact, beyond it
// rounds up by less than 1/64. That much more than the entry is read.
const sizeMantissa = 6

// sizeCode returns the ten bits that say units, rounded up: e<<6 | m, of m units for e 0, else of (64+m)<<(e-1).
func sizeCode(units uint64) uint64 {
	e := max(bits.Len64(units), sizeMantissa+1) - sizeMantissa - 1 // what is shifted out
	m := (units + 1<<e - 1) >> e
	return uint64(e)<<sizeMantissa + m // m of 64 or more carries into e, as it should
}

// unitsOf returns the units that a size code says.
func unitsOf(code uint64) uint64 {
	e, m := code>>sizeMantissa, code&(1<<sizeMantissa-1)
	if e == 0 {
		return m
	}
	return (1<<sizeMantissa + m) << (e - 1)
}

// EntryUnits returns what an entry of that many bytes counts in live-byte accounting: the Units of any pointer to it.
func EntryUnits(entryBytes uint64) uint64 {
	return unitsOf(sizeCode((entryBytes + SizeUnit - 1) / SizeUnit))
}

// pointerSyndromes has, for each byte of a pointer and each value of that byte, the sum of the columns of its bits. A
// check bit's column has one bit, any other's three or more, odd in number; no two are the same.
var pointerSyndromes = func() (t [8][256]uint8) {
	column := uint8(0)
	for bit := range 64 {
		var c uint8
		if bit >= pointerCheckShift && bit < pointerCheckShift+pointerCheckBits {
			c = 1 << (bit - pointerCheckShift)
		} else {
			for column++; bits.OnesCount8(column)%2 == 0 || bits.OnesCount8(column) == 1; {
				column++
			}
			c = column
		}
		for v := range 256 {
			if v>>(bit%8)&1 != 0 {
				t[bit/8][v] ^= c
			}
		}
	}
	return t
}()

// syndrome is 0 for pointers, and for what has four or more bits flipped by bad luck. BenchmarkPointerCheck has its cost.
func (p Pointer) syndrome() uint8 {
	t := &pointerSyndromes
	return t[0][byte(p)] ^ t[1][byte(p>>8)] ^ t[2][byte(p>>16)] ^ t[3][byte(p>>24)] ^
		t[4][byte(p>>32)] ^ t[5][byte(p>>40)] ^ t[6][byte(p>>48)] ^ t[7][byte(p>>56)]
}

// sealed returns p, whose check is 0, with its check.
func (p Pointer) sealed() Pointer { return p | Pointer(p.syndrome())<<pointerCheckShift }

// PackPointer makes the pointer to an entry of entryBytes at offset (a multiple of 8 below
// MaxPoolBytes), in a segment of that generation. Other arguments are programmer errors and panic.
func PackPointer(offset, entryBytes uint64, generation uint32) Pointer {
	units := (entryBytes + SizeUnit - 1) / SizeUnit
	if offset == 0 || offset%WordBytes != 0 || offset >= MaxPoolBytes || units == 0 || units > MaxSizeUnits {
		panic(fmt.Sprintf("format: no pointer can say offset %#x, %d bytes", offset, entryBytes))
	}
	return Pointer(offset/WordBytes | sizeCode(units)<<pointerSizeShift | uint64(generation&pointerGenerationMod)<<pointerGenShift).sealed()
}

// PackIndirect makes the pointer to the indirect-pointer word at offset.
func PackIndirect(offset uint64) Pointer {
	if offset == 0 || offset%WordBytes != 0 || offset >= MaxPoolBytes {
		panic(fmt.Sprintf("format: no indirect pointer can say offset %#x", offset))
	}
	return Pointer(pointerIndirect | offset/WordBytes).sealed()
}

// Offset returns where the entry (or indirect-pointer word) begins, in bytes.
func (p Pointer) Offset() uint64 { return uint64(p) & pointerOffsetMask * WordBytes }

// Size returns the entry's size in bytes, rounded up to whole SizeUnits and beyond 127 of them by less than 1/64
// more: how much to READ. The last entry of a segment may be followed by fewer bytes than that; see Layout.EntryRange.
func (p Pointer) Size() uint64 { return p.Units() * SizeUnit }

// Units returns the entry's size in SizeUnits, as Size rounds it: the granule of live-byte accounting.
func (p Pointer) Units() uint64 { return unitsOf(uint64(p) >> pointerSizeShift & pointerSizeMask) }

// slack is how much more than the entry Size may say.
func (p Pointer) slack() uint64 {
	e := max(uint64(p)>>pointerSizeShift&pointerSizeMask>>sizeMantissa, 1) - 1
	return SizeUnit<<e - WordBytes
}

// Generation returns the low ten bits of the segment's generation.
func (p Pointer) Generation() uint32 { return uint32(p>>pointerGenShift) & pointerGenerationMod }

// MadeFor says whether p may have been made for an entry of that size in a segment of that generation.
func (p Pointer) MadeFor(entryBytes uint64, generation uint32) bool {
	return p.Generation() == generation&pointerGenerationMod && p.Units() == EntryUnits(entryBytes)
}

// Indirect says whether the pointer leads to an indirect-pointer word.
func (p Pointer) Indirect() bool { return p&pointerIndirect != 0 }

// Nil says whether the pointer leads nowhere.
func (p Pointer) Nil() bool { return p == 0 }

// String shows the parts, for people.
func (p Pointer) String() string {
	switch {
	case p == 0:
		return "nil"
	case p.syndrome() != 0:
		return fmt.Sprintf("%#016x, which fails its check", uint64(p))
	case p.Indirect():
		return fmt.Sprintf("indirect@%#x", p.Offset())
	default:
		return fmt.Sprintf("%#x+%d.g%d", p.Offset(), p.Size(), p.Generation())
	}
}

// invalid returns what is wrong with the pointer's own bits, or "".
func (p Pointer) invalid() string {
	switch {
	case p.syndrome() != 0:
		return "it fails its check"
	case p.Offset() == 0:
		return "offset is nil"
	case p.Indirect() && (p.Units() != 0 || p.Generation() != 0):
		return "indirect pointer has a size or generation"
	case !p.Indirect() && p.Units() == 0:
		return "size is zero"
	}
	return ""
}
