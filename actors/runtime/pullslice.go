package runtime

import (
	"fmt"
	"syscall"
	"time"

	"github.com/dinomo-kv/dinomo/internal/clock"
)

// slice takes the complete frames out of what was read and delivers them. It returns true
// when it stopped early and must be called again before the next read.
func (c *pullConn) slice() (more bool, err error) {
	if c.large > 0 && c.have < c.large {
		c.growLarge()
		return false, nil
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
	// What precedes a violation was sent in good order and is delivered.
	if !c.handOver(batch, data[offset:]) {
		return false, ErrClosed
	}
	switch {
	case err != nil:
		return false, err
	case more:
		return c.have > 0, nil
	case c.have == chunkBytes: // full, and all of it belongs to one frame
		return false, c.beginLarge(h)
	}
	return false, nil
}

// handOver delivers the batch, if there is anything in it, with the chunk that its frames are
// in, and keeps the rest for the next read; false means that the socket is closing.
func (c *pullConn) handOver(batch *Batch, rest []byte) bool {
	switch {
	case len(batch.Frames) > 0:
		batch.chunk = c.chunk
		c.chunk, c.have, c.large = nil, 0, 0
		if len(rest) > 0 {
			c.chunk = getChunk()
			c.have = copy(c.chunk.data, rest)
		}
		return c.deliver(batch)
	case c.large > 0: // a large frame that is not delivered
		c.dropChunk()
	default:
		c.have = copy(c.chunk.data, rest)
	}
	batchPool.Put(batch)
	return true
}

// deliver hands a batch to the consumer; false means that the socket is closing.
func (c *pullConn) deliver(batch *Batch) bool {
	batch.conn, batch.Socket = c, c.pull.options.Name
	c.inFlight.Add(int64(len(batch.chunk.data)))
	c.pull.counters.batches.Add(1)
	if !c.proven {
		c.proven = true
		c.pull.listener.prove(c.tcp)
	}
	c.pull.counters.frames.Add(int64(len(batch.Frames)))
	select {
	case c.pull.batches <- batch:
		return true
	case <-c.pull.listener.done:
		batch.Release()
		return false
	}
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

// largeFrameRate is how many bytes a second of a large frame must arrive at least.
const largeFrameRate = 1 << 20

// beginLarge moves a frame that has filled a chunk to a larger one. Its whole size is set aside
// in the budget now, since frames that each hold a part and wait for more would never end; the
// memory itself grows as bytes arrive, so that an announcement alone costs nothing.
func (c *pullConn) beginLarge(h frameHeader) error {
	if err := c.pull.large.acquire(largeBytes(h.total()), c.pull.listener.done); err != nil {
		return err
	}
	c.large = h.total()
	c.largeBy = clock.Real{}.Now().Add(c.pull.options.StallTimeout + time.Duration(c.large)*time.Second/largeFrameRate)
	c.growLarge()
	return nil
}

// growLarge moves a large frame that has filled its chunk to one of twice the size, or of what
// it needs in the end, which is what was set aside.
func (c *pullConn) growLarge() {
	if c.have < len(c.chunk.data) {
		return
	}
	bigger := getLarge(min(2*len(c.chunk.data), c.large))
	copy(bigger.data, c.chunk.data[:c.have])
	c.chunk.put()
	c.chunk = bigger
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
