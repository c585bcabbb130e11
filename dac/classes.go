package dac

import (
	"math/bits"
	"reflect"

	"github.com/dinomo-kv/dinomo/internal/invariant"
)

// Chunks come in size classes: multiples of 16 bytes up to 512, above that 32 steps to a
// doubling, so that rounding up wastes 1.5 % on average and 3 % at most.
const (
	fineStep     = 16
	fineLimit    = 512
	fineClasses  = fineLimit / fineStep
	coarsePerDbl = 32
	maxClasses   = fineClasses + 12*coarsePerDbl // to 2 MiB
)

// classOf returns the smallest class that holds n bytes.
func classOf(n int) int {
	if n <= fineLimit {
		return max((n+fineStep-1)/fineStep-1, 0)
	}
	doubling := bits.Len(uint(n-1)) - bits.Len(uint(fineLimit)) // 0 for (512, 1024]
	step := fineLimit << doubling / coarsePerDbl
	return fineClasses + doubling*coarsePerDbl + (n-fineLimit<<doubling+step-1)/step - 1
}

// classBytes returns the chunk size of a class.
func classBytes(class int) int {
	if class < fineClasses {
		return (class + 1) * fineStep
	}
	class -= fineClasses
	base := fineLimit << (class / coarsePerDbl)
	return base + (class%coarsePerDbl+1)*(base/coarsePerDbl)
}

// A ref names a chunk: its class in the upper bits, its number within the class in the lower.
// A chunk's ref changes when it is moved into a hole.
type ref uint64

const refIndexBits = 40

func makeRef(class, index int) ref { return ref(class)<<refIndexBits | ref(index) }
func (r ref) class() int           { return int(r >> refIndexBits) }
func (r ref) index() int           { return int(r & (1<<refIndexBits - 1)) }

// A classHeap holds the chunks of one class as an array without holes: freeing a chunk moves
// the last one into its place. So a class wastes less than one page, whatever its history, and
// its memory can be given back at any time.
type classHeap struct {
	mem      region
	size     int // bytes of a chunk
	chunks   int // in use
	resident int // bytes that the system may have given us, whole pages
}

// classHeapBytes is what a class takes beside its chunks: this struct and its place in live.
var classHeapBytes = roundUp(int(reflect.TypeFor[classHeap]().Size())+8, 64)

// needed is the memory that n chunks touch.
func (h *classHeap) needed(n int) int { return roundUp(n*h.size, osPage) }

// slack is the memory that is resident and not needed.
func (h *classHeap) slack() int { return h.resident - h.needed(h.chunks) }

// chunk returns the bytes of a chunk.
func (h *classHeap) chunk(index int) []byte {
	off := index * h.size
	return h.mem.bytes[off : off+h.size : off+h.size]
}

// push takes one more chunk into use. Its memory must be resident.
func (h *classHeap) push() int {
	invariant.Check(h.needed(h.chunks+1) <= h.resident, "class of %d bytes: chunk %d has no memory", h.size, h.chunks)
	h.chunks++
	return h.chunks - 1
}

// trim gives back memory that is not needed and returns how much.
func (h *classHeap) trim() int {
	n := h.slack()
	if n > 0 {
		h.mem.release(h.resident-n, h.resident)
		h.resident -= n
	}
	return n
}
