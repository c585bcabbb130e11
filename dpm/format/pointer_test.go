package format

import (
	"math/bits"
	"testing"

	"github.com/dinomo-kv/dinomo/internal/random"
)

// No flip of up to three bits makes a pointer out of a pointer, or one out of nil or nil out of one, so what the index
// holds is what it was last set to or is known to be damaged.
func TestPointerFlipsAreFound(t *testing.T) {
	rng := random.New(random.Seed(t))
	pointers := []Pointer{0, PackPointer(8, 1, 0), PackIndirect(8), PackPointer(MaxPoolBytes-8, MaxSizeUnits*SizeUnit, PointerGenerations-1)}
	for range 4 {
		offset := (rng.Uint64N(MaxPoolBytes/8-1) + 1) * 8
		pointers = append(pointers, PackPointer(offset, rng.Uint64N(1<<20)+1, rng.Uint32()), PackIndirect(offset))
	}
	for _, p := range pointers {
		for a := range 64 {
			for b := a; b < 64; b++ {
				for c := b; c < 64; c++ {
					flipped := p ^ (1<<a | 1<<b | 1<<c) // with a, b, c equal or not: one to three bits
					if flipped.syndrome() == 0 || flipped.Nil() {
						t.Fatalf("%v with bits %d, %d and %d flipped is %v", p, a, b, c, flipped)
					}
				}
			}
		}
	}
}

// The columns of the check are what the argument for it says.
func TestPointerCheckColumns(t *testing.T) {
	seen := map[uint8]int{}
	for bit := range 64 {
		c := Pointer(1 << bit).syndrome()
		if other, twice := seen[c]; twice {
			t.Errorf("bits %d and %d have the same column %#x", other, bit, c)
		}
		if bits.OnesCount8(c)%2 == 0 || c > 127 {
			t.Errorf("bit %d has column %#x", bit, c)
		}
		seen[c] = bit
	}
}

// Damaged pointers lead nowhere, for everybody who asks the layout.
func TestDamagedPointersLeadNowhere(t *testing.T) {
	l := testLayout(t)
	direct, indirect := PackPointer(l.SegmentOffset(4), 100, 1), PackIndirect(l.IndirectOffsetOf(5))
	for bit := range 64 {
		if offset, length, ok := l.EntryRange(direct ^ 1<<bit); ok {
			t.Errorf("bit %d flipped: entry at %#x, %d bytes", bit, offset, length)
		}
		if i, ok := l.IndirectOf(indirect ^ 1<<bit); ok {
			t.Errorf("bit %d flipped: indirect word %d", bit, i)
		}
	}
}

func TestSizeCodes(t *testing.T) {
	before := uint64(0)
	for units := uint64(1); units <= MaxSizeUnits; units++ {
		code := sizeCode(units)
		said := unitsOf(code)
		switch {
		case code > pointerSizeMask || sizeCode(said) != code:
			t.Fatalf("%d units have code %d, which says %d", units, code, said)
		case code != before && code != before+1:
			t.Fatalf("%d units have code %d after %d", units, code, before)
		case said < units || said > units && units <= 127 || (said-units)*64 >= units:
			t.Fatalf("%d units read as %d", units, said)
		}
		before = code
		p := PackPointer(8, units*SizeUnit-WordBytes, 0)
		if p.Size() > units*SizeUnit-WordBytes+p.slack() {
			t.Fatalf("%d units: %d bytes to read, slack %d", units, p.Size(), p.slack())
		}
	}
}

func BenchmarkPointerCheck(b *testing.B) {
	p := PackPointer(0x30000, 1000, 7)
	bad := 0
	for i := range b.N {
		if (p ^ Pointer(i&1)).syndrome() != 0 {
			bad++
		}
	}
	if bad != b.N/2 {
		b.Fatal(bad, b.N)
	}
}
