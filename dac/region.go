package dac

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dinomo-kv/dinomo/internal/invariant"
)

// osPage is the granule in which memory is taken from and given back to the system, and
// therefore counted. Systems with larger pages round commits up themselves; their caches may
// then exceed the budget by one such page per span.
const osPage = 4096

// commitStep is how much a region becomes accessible at a time: large enough that growing
// rarely costs a system call, and no memory is used before it is touched.
const commitStep = 1 << 20

// A region is a range of addresses outside Go's heap: the garbage collector neither scans nor
// counts it. Addresses are reserved at once, so that nothing in it ever moves because the
// region grows; memory is taken when a page is first written and given back by release.
//
// This file is the only one of the package that uses unsafe: for the view of the same memory
// as 64-bit words, which the table reads with one load and one bounds check.
type region struct {
	bytes     []byte
	words     []uint64
	committed int // bytes from the start that may be accessed
}

// newRegion reserves size bytes of addresses, rounded up to whole pages.
func newRegion(size int) (region, error) {
	size = roundUp(size, osPage)
	b, err := unix.Mmap(-1, 0, size, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return region{}, fmt.Errorf("reserve %d bytes of addresses for the cache (is the address space limited, ulimit -v?): %w", size, err)
	}
	return region{bytes: b, words: unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(b))), size/8)}, nil
}

// commit makes the first n bytes accessible. Bytes never written since newRegion or release
// read as zero.
func (r *region) commit(n int) error {
	if n <= r.committed {
		return nil
	}
	to := min(roundUp(n, commitStep), len(r.bytes))
	if err := unix.Mprotect(r.bytes[r.committed:to], unix.PROT_READ|unix.PROT_WRITE); err != nil {
		return fmt.Errorf("commit %d bytes of cache memory: %w", to-r.committed, err)
	}
	r.committed = to
	return nil
}

// release gives the memory of [from, to), whole pages, back to the system.
func (r *region) release(from, to int) {
	to = min(to, r.committed)
	if from >= to {
		return
	}
	err := unix.Madvise(r.bytes[from:to], unix.MADV_DONTNEED)
	invariant.Check(err == nil, "release pages [%d, %d) of %d: %v", from, to, r.committed, err)
}

// close unmaps the region; slices of it must not be used any more.
func (r *region) close() {
	if r.bytes == nil {
		return
	}
	err := unix.Munmap(r.bytes)
	invariant.Check(err == nil, "unmap %d bytes: %v", len(r.bytes), err)
	*r = region{}
}

// roundUp returns the smallest multiple of step, a power of two, that is at least n.
func roundUp(n, step int) int { return (n + step - 1) &^ (step - 1) }
