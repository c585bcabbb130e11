package runtime

import (
	"sync"

	"github.com/dinomo-kv/dinomo/internal/invariant"
)

// maxBatchFrames bounds a Batch's slice headers: a peer that sends empty frames would
// otherwise make 64 KiB of input cost 24 times as much.
const maxBatchFrames = 2048

// A Batch is what one read of one connection brought: at least one frame, in order. Its
// holder calls Release exactly once, from any goroutine.
type Batch struct {
	// Frames are the bodies of single-frame messages. They are valid, and the holder's to
	// read, until Release (NET-4); writing to them is harmless.
	Frames [][]byte
	// Socket is the PullOptions.Name of the socket they came in by.
	Socket string

	conn      *pullConn
	chunk     *chunk // the buffer; its size is charged to the connection's credit
	simulated bool   // neither of them
}

var batchPool = sync.Pool{New: func() any { return &Batch{Frames: make([][]byte, 0, 64)} }}

// Release gives the buffer back and lets the connection read on. The frames must not be
// touched afterwards; builds that check invariants overwrite them.
func (b *Batch) Release() {
	conn := b.conn
	if b.simulated {
		b.releaseSimulated()
		return
	}
	invariant.Check(conn != nil, "runtime: Batch released twice")
	c := b.chunk
	size := len(c.data)
	invariant.Mangle(c.data)
	c.put()
	if size > chunkBytes {
		clear(b.Frames) // the buffer may be one that no pool keeps, and a pooled Batch must not
		conn.pull.large.release(size)
	}
	b.Frames, b.Socket, b.conn, b.chunk = b.Frames[:0], "", nil, nil
	batchPool.Put(b)
	conn.giveCredit(size)
}
