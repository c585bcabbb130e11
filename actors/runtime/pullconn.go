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
// Bytes live in exactly one of three places: chunk[:have] while they arrive; small while an
// incomplete frame waits for its rest; large while a frame arrives that fits no chunk.
type pullConn struct {
	pull *Pull
	tcp  *net.TCPConn
	raw  syscall.RawConn
	read func(fd uintptr) bool // readOnce, bound once so that a read allocates nothing

	chunk *chunk
	have  int
	small []byte

	large      []byte // received so far; its capacity is charged to pull.large
	largeTotal int    // bytes of the large frame with its header; 0 when there is none

	readErr     error // of the last readOnce
	deadline    bool  // the socket has a read deadline
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
		if c.largeTotal > 0 {
			c.large = c.large[:len(c.large)+n]
		} else {
			c.have += n
		}
	}
	return true
}

// space returns where the next bytes go. It is never empty: grow and slice see to that.
func (c *pullConn) space() []byte {
	if c.deadline {
		c.deadline = false
		_ = c.tcp.SetReadDeadline(time.Time{})
	}
	if c.largeTotal > 0 {
		return c.large[len(c.large):min(cap(c.large), c.largeTotal)]
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
	if c.chunk != nil && c.have <= parkBytes {
		c.small = append(c.small[:0], c.chunk.data[:c.have]...)
		c.dropChunk()
	}
	timeout := c.pull.options.IdleTimeout
	if c.midFrame() {
		timeout = c.pull.options.StallTimeout
	}
	if timeout > 0 {
		c.deadline = true
		_ = c.tcp.SetReadDeadline(clock.Real{}.Now().Add(timeout))
	}
}

func (c *pullConn) midFrame() bool { return c.have > 0 || len(c.small) > 0 || c.largeTotal > 0 }

func (c *pullConn) dropChunk() {
	c.chunk.put()
	c.chunk, c.have = nil, 0
}

// slice takes the complete frames out of what was read and delivers them. It returns true
// when it stopped early and must be called again before the next read.
func (c *pullConn) slice() (more bool, err error) {
	if c.largeTotal > 0 {
		return false, c.sliceLarge()
	}
	batch := batchPool.Get().(*Batch)
	data, offset := c.chunk.data[:c.have], 0
	var h frameHeader
	for len(batch.Frames) < maxBatchFrames {
		h, err = parseFrameHeader(data[offset:], c.pull.options.MaxFrameBytes)
		if err != nil || h.headerBytes == 0 || offset+h.total() > len(data) {
			break
		}
		body := data[offset+h.headerBytes : offset+h.total() : offset+h.total()]
		offset += h.total()
		if err = c.frame(batch, h, body); err != nil {
			break
		}
	}
	more = len(batch.Frames) == maxBatchFrames
	rest := data[offset:]
	if len(batch.Frames) == 0 {
		batchPool.Put(batch)
		c.have = copy(c.chunk.data, rest)
	} else {
		// What precedes a violation was sent in good order and is delivered.
		full := c.chunk
		c.chunk, c.have = nil, 0
		if len(rest) > 0 {
			c.chunk = getChunk()
			c.have = copy(c.chunk.data, rest)
		}
		batch.chunk = full
		if !c.deliver(batch, chunkBytes) {
			return false, ErrClosed
		}
	}
	if err != nil {
		return false, err
	}
	if !more && h.headerBytes > 0 && h.total() > chunkBytes {
		return false, c.beginLarge(h)
	}
	return more && c.have > 0, nil
}

// frame adds a message's body to the batch, drops it, or obeys a command.
func (c *pullConn) frame(batch *Batch, h frameHeader, body []byte) error {
	switch {
	case h.command():
		return c.command(body)
	case h.more():
		c.inMultipart = true
	case c.inMultipart:
		c.inMultipart = false
		c.pull.counters.multiFrameDropped.Add(1)
		c.pull.log.printf("%s: dropped a message of several frames from %s; send one frame a message",
			c.pull.Address(), c.tcp.RemoteAddr())
	default:
		batch.Frames = append(batch.Frames, body)
	}
	return nil
}

// beginLarge moves the start of a frame that fits no chunk to a buffer of its own. The buffer
// grows as bytes arrive: an announcement alone costs nothing.
func (c *pullConn) beginLarge(h frameHeader) error {
	size := min(h.total(), 2*chunkBytes)
	if err := c.pull.large.acquire(size, c.pull.listener.done, c.pull.options.StallTimeout); err != nil {
		return err
	}
	c.large = append(make([]byte, 0, size), c.chunk.data[:c.have]...)
	c.largeTotal = h.total()
	c.dropChunk()
	return nil
}

func (c *pullConn) sliceLarge() error {
	if len(c.large) < c.largeTotal {
		if len(c.large) == cap(c.large) {
			return c.growLarge()
		}
		return nil
	}
	h, err := parseFrameHeader(c.large, c.pull.options.MaxFrameBytes)
	if err != nil {
		return err
	}
	batch := batchPool.Get().(*Batch)
	if err := c.frame(batch, h, c.large[h.headerBytes:]); err != nil {
		return err
	}
	large := c.large
	c.large, c.largeTotal = nil, 0
	if len(batch.Frames) == 0 {
		batchPool.Put(batch)
		c.pull.large.release(cap(large))
		return nil
	}
	batch.large = large
	if !c.deliver(batch, cap(large)) {
		return ErrClosed
	}
	return nil
}

func (c *pullConn) growLarge() error {
	size := min(2*cap(c.large), c.largeTotal)
	if err := c.pull.large.acquire(size-cap(c.large), c.pull.listener.done, c.pull.options.StallTimeout); err != nil {
		return err
	}
	c.large = append(make([]byte, 0, size), c.large...)
	return nil
}

// deliver hands a batch to the consumer; false means that the socket is closing.
func (c *pullConn) deliver(batch *Batch, charge int) bool {
	batch.conn, batch.Socket, batch.charged = c, c.pull.options.Name, charge
	c.inFlight.Add(int64(charge))
	c.pull.counters.batches.Add(1)
	c.pull.counters.frames.Add(int64(len(batch.Frames)))
	select {
	case c.pull.batches <- batch:
		return true
	case <-c.pull.listener.done:
		batch.Release()
		return false
	}
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

// command answers PING and passes over everything else that has the form of a command.
func (c *pullConn) command(body []byte) error {
	name, data, ok := splitCommand(body)
	if !ok {
		return fmt.Errorf("%w: malformed command", ErrProtocol)
	}
	if string(name) != commandPing {
		return nil
	}
	pong, ok := appendPong(c.pong[:0], data)
	if !ok {
		return fmt.Errorf("%w: PING with %d bytes of data", ErrProtocol, len(data))
	}
	c.pong = pong
	sent, err := writeOrSkip(c.raw, pong)
	switch {
	case err != nil:
		return err
	case sent:
		c.pull.counters.pings.Add(1)
	default:
		c.pull.counters.pongsDropped.Add(1)
	}
	return nil
}

// writeOrSkip writes a small frame if the socket takes it at once and skips it if it takes
// nothing: a peer that does not read must not block the one who reads it. Only frames of
// whole size may be on the wire, so anything in between is an error.
func writeOrSkip(raw syscall.RawConn, frame []byte) (sent bool, err error) {
	n := 0
	ctrl := raw.Write(func(fd uintptr) bool {
		n, err = syscall.Write(int(fd), frame)
		return true
	})
	switch {
	case ctrl != nil:
		return false, fmt.Errorf("answer a heartbeat: %w", ctrl)
	case err == syscall.EAGAIN || err == syscall.EINTR:
		return false, nil
	case err != nil:
		return false, fmt.Errorf("answer a heartbeat: %w", err)
	case n != len(frame):
		return false, fmt.Errorf("answer a heartbeat: wrote %d of %d bytes", n, len(frame))
	}
	return true, nil
}

func (c *pullConn) readFailed(err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return nil // closed by us
	}
	if c.midFrame() {
		c.pull.counters.stalled.Add(1)
		return fmt.Errorf("silent in the middle of a frame for %v", c.pull.options.StallTimeout)
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
	case errors.Is(err, errBudget):
		c.pull.counters.stalled.Add(1)
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
	if c.large != nil {
		c.pull.large.release(cap(c.large))
		c.large = nil
	}
}
