package runtime

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dinomo-kv/dinomo/internal/clock"
)

// parkBytes is how much of an incomplete frame is kept in a buffer of its own while the
// connection waits, instead of a whole chunk.
const parkBytes = 8 << 10

// pullConn reads one connection in that connection's goroutine.
//
// Bytes live in exactly one of two places: chunk[:have] while they arrive, small while the
// beginning of a frame waits for its rest. The chunk has chunkBytes, or more while a frame
// arrives that is larger than that.
type pullConn struct {
	pull *Pull
	tcp  *net.TCPConn
	raw  syscall.RawConn
	read func(fd uintptr) bool // readOnce, bound once so that a read allocates nothing

	chunk *chunk
	have  int
	small []byte

	large   int       // bytes of the large frame with its header; 0 when there is none
	largeBy time.Time // when the large frame must be there

	readErr     error // of the last readOnce
	deadline    bool  // the socket has a read deadline
	proven      bool  // a message has come, and the listener knows
	inMultipart bool  // between the first and the last frame of a message that is being dropped
	pong        []byte

	inFlight atomic.Int64 // bytes of batches not released
	waiting  atomic.Bool  // the goroutine waits for credit
	credit   chan struct{}
}

func newPullConn(p *Pull, conn *net.TCPConn) (*pullConn, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("raw connection: %w", err)
	}
	c := &pullConn{pull: p, tcp: conn, raw: raw, credit: make(chan struct{}, 1)}
	c.read = c.readOnce
	return c, nil
}

// run reads until the peer leaves (nil) or is thrown out (the reason).
func (c *pullConn) run() error {
	defer c.discard()
	for {
		if !c.awaitCredit() {
			return nil
		}
		if err := c.raw.Read(c.read); err != nil {
			return c.readFailed(err)
		}
		if c.readErr != nil {
			return nil // the peer left, or reset the connection: its right
		}
		for more := true; more; {
			var err error
			if more, err = c.slice(); err != nil {
				return c.sliceFailed(err)
			}
		}
	}
}

// readOnce reads what there is, or parks the connection's buffer and asks to be called again
// when there is something. It is called by the runtime's poller and must not block.
func (c *pullConn) readOnce(fd uintptr) bool {
	dst := c.space()
	n, err := syscall.Read(int(fd), dst)
	for err == syscall.EINTR {
		n, err = syscall.Read(int(fd), dst)
	}
	switch {
	case err == syscall.EAGAIN:
		c.park()
		return false
	case err != nil:
		c.readErr = err
	case n == 0:
		c.readErr = io.EOF
	default:
		c.pull.counters.bytes.Add(int64(n))
		c.have += n
	}
	return true
}

// space returns where the next bytes go. It is never empty: slice and growLarge see to that.
func (c *pullConn) space() []byte {
	if c.deadline {
		c.deadline = false
		_ = c.tcp.SetReadDeadline(time.Time{})
	}
	if c.large > 0 { // up to its end: the buffer shall hold nothing else
		return c.chunk.data[c.have:min(len(c.chunk.data), c.large)]
	}
	if c.chunk == nil {
		c.chunk = getChunk()
		c.have = copy(c.chunk.data, c.small)
		c.small = c.small[:0]
	}
	return c.chunk.data[c.have:]
}

// park gives the chunk back while the connection waits, unless it holds much of a frame, and
// sets the deadline that applies to waiting in this state.
func (c *pullConn) park() {
	if c.chunk != nil && c.large == 0 && c.have <= parkBytes {
		c.small = append(c.small[:0], c.chunk.data[:c.have]...)
		c.dropChunk()
	}
	timeout := c.pull.options.IdleTimeout
	if c.midFrame() {
		timeout = c.pull.options.StallTimeout
	}
	if timeout == 0 {
		return
	}
	deadline := clock.Real{}.Now().Add(timeout)
	if c.large > 0 && deadline.After(c.largeBy) {
		deadline = c.largeBy
	}
	c.deadline = true
	_ = c.tcp.SetReadDeadline(deadline)
}

func (c *pullConn) midFrame() bool { return c.have > 0 || len(c.small) > 0 }

func (c *pullConn) dropChunk() {
	if c.large > 0 {
		c.pull.large.release(largeBytes(c.large))
	}
	c.chunk.put()
	c.chunk, c.have, c.large = nil, 0, 0
}

// awaitCredit waits until another batch of this connection may be in flight; false means that
// the socket is closing.
func (c *pullConn) awaitCredit() bool {
	limit := int64(c.pull.options.InFlightBytesPerConnection)
	for {
		if used := c.inFlight.Load(); used == 0 || used+chunkBytes <= limit {
			return true
		}
		c.waiting.Store(true)
		// Looked at again after the announcement: a Release in between saw no waiter.
		if used := c.inFlight.Load(); used == 0 || used+chunkBytes <= limit {
			c.waiting.Store(false)
			return true
		}
		select {
		case <-c.credit:
		case <-c.pull.listener.done:
			return false
		}
		c.waiting.Store(false)
	}
}

// giveCredit is Release's half of awaitCredit; it may run in any goroutine.
func (c *pullConn) giveCredit(bytes int) {
	c.inFlight.Add(-int64(bytes))
	if !c.waiting.Load() {
		return
	}
	select {
	case c.credit <- struct{}{}:
	default:
	}
}

func (c *pullConn) readFailed(err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return nil // closed by us
	}
	if c.midFrame() {
		c.pull.counters.stalled.Add(1)
		return fmt.Errorf("stopped in the middle of a frame, or sent it too slowly")
	}
	c.pull.counters.idle.Add(1)
	return fmt.Errorf("idle for %v", c.pull.options.IdleTimeout)
}

func (c *pullConn) sliceFailed(err error) error {
	switch {
	case errors.Is(err, ErrClosed):
		return nil
	case errors.Is(err, ErrFrameTooLarge):
		c.pull.counters.oversized.Add(1)
	case errors.Is(err, ErrProtocol):
		c.pull.counters.violations.Add(1)
	}
	return err
}

// discard gives back what the connection holds; its batches in flight give theirs themselves.
func (c *pullConn) discard() {
	if c.chunk != nil {
		c.dropChunk()
	}
}
