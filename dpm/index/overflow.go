package index

import (
	"fmt"
	"sync"

	"github.com/dinomo-kv/dinomo/dpm/format"
)

// overflow hands out the overflow buckets of one table, from segments of the kind overflow. What is
// free is known in memory only and found again at Open by walking the chains.
type overflow struct {
	table  uint64
	layout *format.Layout
	alloc  func(format.SegmentKind, uint64) (format.SegmentID, error)

	mu struct {
		sync.Mutex
		segments []format.SegmentID
		free     []uint64 // offsets, taken from the end
		bump     uint64   // next never-used bucket of the newest segment
		end      uint64   // where that segment ends
		used     int      // buckets in chains or about to be
		promised int      // buckets that batches under way may take
	}
	growing sync.Mutex // one segment is asked for at a time
}

// promise makes sure that n buckets can be taken. It asks for segments if need be, and fails with the
// allocator's error when there are none.
func (o *overflow) promise(n int) error {
	if o.tryPromise(n) {
		return nil
	}
	o.growing.Lock()
	defer o.growing.Unlock()
	for !o.tryPromise(n) {
		id, err := o.alloc(format.SegmentOverflow, o.table)
		if err != nil {
			return fmt.Errorf("segment for overflow buckets: %w", err)
		}
		o.addSegment(id)
	}
	return nil
}

func (o *overflow) tryPromise(n int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.mu.free)+int((o.mu.end-o.mu.bump)/format.BucketBytes)-o.mu.promised < n {
		return false
	}
	o.mu.promised += n
	return true
}

// unpromise gives back what of a promise was not taken.
func (o *overflow) unpromise(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mu.promised -= n
}

func (o *overflow) addSegment(id format.SegmentID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for ; o.mu.bump < o.mu.end; o.mu.bump += format.BucketBytes { // keep the rest of the last one
		o.mu.free = append(o.mu.free, o.mu.bump)
	}
	o.mu.segments = append(o.mu.segments, id)
	o.mu.bump = o.layout.SegmentOffset(id)
	o.mu.end = o.mu.bump + o.layout.SegmentBytes
}

// take returns a bucket that was promised. Its bytes are whatever was there.
func (o *overflow) take() (offset uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mu.promised--
	o.mu.used++
	if last := len(o.mu.free) - 1; last >= 0 {
		offset = o.mu.free[last]
		o.mu.free = o.mu.free[:last]
		return offset
	}
	offset = o.mu.bump
	o.mu.bump += format.BucketBytes
	return offset
}

// give takes back a bucket that nothing durable leads to.
func (o *overflow) give(offset uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mu.used--
	o.mu.free = append(o.mu.free, offset)
}

// restore rebuilds the free list of segment id from the buckets found in chains.
func (o *overflow) restore(id format.SegmentID, inUse func(offset uint64) bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mu.segments = append(o.mu.segments, id)
	first := o.layout.SegmentOffset(id)
	for offset := first + o.layout.SegmentBytes; offset > first; { // backwards: take the low ones first
		offset -= format.BucketBytes
		if inUse(offset) {
			o.mu.used++
		} else {
			o.mu.free = append(o.mu.free, offset)
		}
	}
}

func (o *overflow) used() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.mu.used
}

func (o *overflow) segments() []format.SegmentID {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]format.SegmentID(nil), o.mu.segments...)
}
