package runtime

import "sync"

// chunkBytes is the unit of reading and of queueing. Smaller costs system calls (64 KiB of
// 64-byte messages is a thousand of them in one call); larger costs cache misses and pins
// more memory per connection.
const chunkBytes = 64 << 10

// smallChunkBytes is what a Push starts its queue with while its peer is not there, so that
// a thousand addresses where nobody listens do not pin a thousand large chunks.
const smallChunkBytes = 4 << 10

// A chunk is a pooled buffer: of a Batch, of a connection that is reading, or of a Push's
// queue. The last four fields belong to the queue.
type chunk struct {
	data []byte

	filled, written, frames int
	next                    *chunk
}

// largeClasses is how many powers of two above chunkBytes have pools: up to 2 MiB. A frame
// above that is rare enough to be left to the collector.
const largeClasses = 5

// Every chunk in use has exactly one holder (a reading connection, a Batch, a Push's queue),
// and each of them has a limit, so the pools need none.
var (
	chunkPool      = sync.Pool{New: func() any { return &chunk{data: make([]byte, chunkBytes)} }}
	smallChunkPool = sync.Pool{New: func() any { return &chunk{data: make([]byte, smallChunkBytes)} }}
	largePools     [largeClasses]sync.Pool
)

func getChunk() *chunk { return chunkPool.Get().(*chunk) }

// largeBytes returns the size of the chunk that getLarge returns for n bytes.
func largeBytes(n int) int {
	if n > chunkBytes<<largeClasses {
		return n
	}
	size := 2 * chunkBytes
	for size < n {
		size *= 2
	}
	return size
}

// getLarge returns a chunk for n > chunkBytes bytes.
func getLarge(n int) *chunk {
	size := largeBytes(n)
	if class := largeClass(size); class >= 0 {
		if c, ok := largePools[class].Get().(*chunk); ok {
			return c
		}
	}
	return &chunk{data: make([]byte, size)}
}

// largeClass returns the pool of chunks of that size, -1 if there is none.
func largeClass(size int) int {
	for class := range largeClasses {
		if size == 2*chunkBytes<<class {
			return class
		}
	}
	return -1
}

// put gives a chunk back to its pool; one of any other size is left to the collector.
func (c *chunk) put() {
	c.filled, c.written, c.frames, c.next = 0, 0, 0, nil
	switch size := len(c.data); size {
	case chunkBytes:
		chunkPool.Put(c)
	case smallChunkBytes:
		smallChunkPool.Put(c)
	default:
		if class := largeClass(size); class >= 0 {
			largePools[class].Put(c)
		}
	}
}

// byteBudget is a counting semaphore over bytes. Used for frames that do not fit a chunk, which
// are rare: it is not a hot path. Whoever acquires must hold nothing of the same budget: those
// who hold some and wait for more would wait for each other.
type byteBudget struct {
	mu struct {
		sync.Mutex
		free    int64
		changed chan struct{} // closed at the next release; nil when nobody waits
	}
}

func newByteBudget(bytes int64) *byteBudget {
	b := &byteBudget{}
	b.mu.free = bytes
	return b
}

// acquire takes n bytes, waiting until they are free; ErrClosed when done is closed first.
func (b *byteBudget) acquire(n int, done <-chan struct{}) error {
	for {
		changed := b.tryAcquire(int64(n))
		if changed == nil {
			return nil
		}
		select {
		case <-changed:
		case <-done:
			return ErrClosed
		}
	}
}

// tryAcquire takes n bytes and returns nil, or returns a channel that closes when some are
// given back.
func (b *byteBudget) tryAcquire(n int64) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.free >= n {
		b.mu.free -= n
		return nil
	}
	if b.mu.changed == nil {
		b.mu.changed = make(chan struct{})
	}
	return b.mu.changed
}

func (b *byteBudget) release(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.free += int64(n)
	if b.mu.changed != nil {
		close(b.mu.changed)
		b.mu.changed = nil
	}
}
