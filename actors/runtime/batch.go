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

	conn    *pullConn
	chunk   *chunk // the buffer, when the frames fit one
	large   []byte // else the buffer of one large frame
	charged int    // bytes of in-flight credit to give back
}

var batchPool = sync.Pool{New: func() any { return &Batch{Frames: make([][]byte, 0, 64)} }}

// Release gives the buffer back and lets the connection read on. The frames must not be
// touched afterwards; builds that check invariants overwrite them.
func (b *Batch) Release() {
	conn := b.conn
	invariant.Check(conn != nil, "runtime: Batch released twice")
	b.conn = nil
	charged, large := b.charged, b.large
	if b.chunk != nil {
		invariant.Mangle(b.chunk.data)
		b.chunk.put()
	}
	invariant.Mangle(large)
	if large != nil {
		clear(b.Frames) // a pooled Batch must not keep 16 MiB alive
	}
	b.Frames, b.Socket, b.chunk, b.large, b.charged = b.Frames[:0], "", nil, nil, 0
	batchPool.Put(b)
	if large != nil {
		conn.pull.large.release(cap(large))
	}
	conn.giveCredit(charged)
}
