package pmem

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// LineBytes is the cache line: what one write-back instruction covers.
const LineBytes = 64

const wordBytes = 8

// mapping is mapped memory and the accesses to it that all regions share. Its bytes lie outside
// Go's heap: the garbage collector does not know them, and neither does the race detector.
type mapping struct{ mem []byte }

// mapAnonymous returns private zero memory.
func mapAnonymous(bytes uint64) (mapping, error) {
	mem, err := unix.Mmap(-1, 0, int(bytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return mapping{}, fmt.Errorf("map %d bytes of memory: %w", bytes, err)
	}
	return mapping{mem}, nil
}

func (m *mapping) unmap() error {
	mem := m.mem
	m.mem = nil
	if mem == nil {
		return nil
	}
	return unix.Munmap(mem)
}

// Bytes implements Region.
func (m *mapping) Bytes() uint64 { return uint64(len(m.mem)) }

// word returns the aligned word at offset.
func (m *mapping) word(offset uint64) *uint64 {
	if offset%wordBytes != 0 || offset >= uint64(len(m.mem)) {
		panic(fmt.Sprintf("pmem: word at %#x of a region of %#x bytes", offset, len(m.mem)))
	}
	return (*uint64)(unsafe.Pointer(&m.mem[offset]))
}

// rangeOf returns the bytes [offset, offset+length).
func (m *mapping) rangeOf(offset, length uint64) []byte {
	if bytes := uint64(len(m.mem)); offset > bytes || length > bytes-offset {
		panic(fmt.Sprintf("pmem: range %#x+%#x of a region of %#x bytes", offset, length, bytes))
	}
	return m.mem[offset : offset+length : offset+length]
}

// Load64 implements Region.
func (m *mapping) Load64(offset uint64) uint64 { return atomic.LoadUint64(m.word(offset)) }

// Store64 implements Region.
func (m *mapping) Store64(offset, value uint64) { atomic.StoreUint64(m.word(offset), value) }

// CompareAndSwap64 implements Region.
func (m *mapping) CompareAndSwap64(offset, expect, swap uint64) (before uint64, swapped bool) {
	word := m.word(offset)
	for {
		if atomic.CompareAndSwapUint64(word, expect, swap) {
			return expect, true
		}
		if before = atomic.LoadUint64(word); before != expect {
			return before, false
		}
	}
}

// Add64 implements Region.
func (m *mapping) Add64(offset, delta uint64) (before uint64) {
	return atomic.AddUint64(m.word(offset), delta) - delta
}

// View implements Region.
func (m *mapping) View(offset, length uint64) []byte { return m.rangeOf(offset, length) }

// Read implements Region.
func (m *mapping) Read(offset uint64, dst []byte) {
	copyWords(dst, m.rangeOf(offset, uint64(len(dst))), offset)
}

// Write implements Region.
func (m *mapping) Write(offset uint64, src []byte) {
	copyWords(m.rangeOf(offset, uint64(len(src))), src, offset)
}

// copyWords copies src to dst, of which one lies in a region at offset (which has the same alignment as its
// address). Words of the region that the range covers do not tear: the runtime's memmove moves no less than a
// word at a time when both ends are equally aligned and the length is a multiple of 8, but for any other
// length or alignment it uses overlapping unaligned moves, so those are split off.
func copyWords(dst, src []byte, offset uint64) {
	head := int(-offset % wordBytes)
	if len(dst) < head+wordBytes {
		copy(dst, src)
		return
	}
	copy(dst[:head], src[:head])
	dst, src = dst[head:], src[head:]
	body := len(dst) &^ (wordBytes - 1)
	if uintptr(unsafe.Pointer(&dst[0]))%wordBytes == uintptr(unsafe.Pointer(&src[0]))%wordBytes {
		copy(dst[:body], src[:body])
	} else {
		for i := 0; i < body; i += wordBytes {
			*(*uint64)(unsafe.Pointer(&dst[i])) = *(*uint64)(unsafe.Pointer(&src[i]))
		}
	}
	copy(dst[body:], src[body:])
}
