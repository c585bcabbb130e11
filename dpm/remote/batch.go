package remote

import (
	"github.com/dinomo-kv/dinomo/dpm/call"
	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/format"
)

// Appended describes one entry of a batch.
type Appended struct {
	Sequence uint64
	Pointer  format.Pointer // where it lies; final once Commit or Reconnect returned nil
	Op       format.Op
	Flags    format.Flags
	Key      []byte // aliases the batch's buffer: valid until the next Put or Delete after Commit

	start, end int  // its bytes in the batch's buffer; both 0 when they are not there any more
	inLog      bool // found in the log by Reconnect
}

// handle is a segment that was handed out to this thread.
type handle struct {
	call.Segment
	base        uint64 // its offset in the pool
	deletesOnly bool   // out of a full pool's reserve: puts must not go here
}

// chunk is the part of a batch that goes to one segment.
type chunk struct {
	address    uint64
	start, end int // its bytes in the batch's buffer
}

// batch is what has been appended since the last Commit. Its buffers are kept from batch to batch.
type batch struct {
	buffer  []byte
	chunks  []chunk
	entries []Appended
	verbs   []fabric.Verb
	posted  bool // Post was called, so the pool may hold some of it

	// Where the thread's log stood before the batch, for Abandon.
	firstSequence uint64
	segment       handle
	used          uint64
	open          bool
	taken         []handle // segments that it went on to, in order
}

func (b *batch) empty() bool { return len(b.entries) == 0 }

// begin forgets the batch before and notes where the log stands.
func (b *batch) begin(sequence uint64, current handle, used uint64, open bool) {
	b.buffer, b.chunks, b.entries, b.taken, b.posted = b.buffer[:0], b.chunks[:0], b.entries[:0], b.taken[:0], false
	b.firstSequence, b.segment, b.used, b.open = sequence, current, used, open
}

// reserve returns size more bytes of the buffer, which continue the last chunk when it ends at address.
func (b *batch) reserve(address, size uint64) []byte {
	start := len(b.buffer)
	end := start + int(size)
	if end > cap(b.buffer) {
		b.grow(end)
	}
	b.buffer = b.buffer[:end]
	last := len(b.chunks) - 1
	if last >= 0 && b.chunks[last].address+uint64(b.chunks[last].end-b.chunks[last].start) == address {
		b.chunks[last].end = end
	} else {
		b.chunks = append(b.chunks, chunk{address, start, end})
	}
	return b.buffer[start:end:end]
}

// grow makes room for end bytes and lets the entries' keys point into the new buffer.
func (b *batch) grow(end int) {
	buffer := make([]byte, len(b.buffer), max(end, 2*cap(b.buffer), 4096))
	copy(buffer, b.buffer)
	b.buffer = buffer
	for i := range b.entries {
		e := &b.entries[i]
		if e.end == 0 {
			continue
		}
		keyStart := e.start + format.EntryHeaderBytes
		e.Key = buffer[keyStart : keyStart+len(e.Key) : keyStart+len(e.Key)]
	}
}

// post lays the batch out as verbs: all WRITEs, then all FLUSHes (which a queue pair settles
// together), then extra.
func (b *batch) post(extra []fabric.Verb) []fabric.Verb {
	v := b.verbs[:0]
	for _, c := range b.chunks {
		v = append(v, fabric.Verb{Kind: fabric.Write, Address: c.address, Buffer: b.buffer[c.start:c.end]})
	}
	for _, c := range b.chunks {
		v = append(v, fabric.Verb{Kind: fabric.Flush, Address: c.address, Length: uint64(c.end - c.start)})
	}
	b.verbs = append(v, extra...)
	return b.verbs
}
