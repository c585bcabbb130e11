package stream

import (
	"encoding/binary"
	"io"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/wire"
)

var noDeadline time.Time

// serve answers requests until the connection ends; io.EOF when the peer closed it between two.
func (c *connection) serve() error {
	for {
		if _, err := io.ReadFull(c.in, c.word[:wire.HeaderBytes]); err != nil {
			return err
		}
		h, err := wire.ParseHeader(c.word[:wire.HeaderBytes])
		if err != nil {
			return err
		}
		if h.Op == wire.OpCall {
			err = c.call(h)
		} else {
			err = c.batch(h)
		}
		if err != nil {
			return err
		}
		if c.in.Buffered() == 0 { // else the next request is there already: answer both at once
			if err := c.out.Flush(); err != nil {
				return err
			}
		}
	}
}

// call serves one request of the peer through the service.
func (c *connection) call(h wire.Header) error {
	l := c.listener
	c.request = grow(c.request, int(h.Bytes))
	if _, err := io.ReadFull(c.in, c.request); err != nil {
		return err
	}
	c.reply = l.service.Call(c.session, c.hello.Thread, c.request, c.reply[:0])
	l.metrics.calls.Add(1)
	answer := wire.Header{Op: wire.OpCall, Sequence: h.Sequence, Bytes: uint64(len(c.reply))}
	if len(c.reply) > fabric.MaxCallBytes {
		l.options.Logf("fabric: a reply of %d bytes, at most %d", len(c.reply), fabric.MaxCallBytes)
		answer.Status, answer.Bytes, c.reply = wire.TooLong, 0, c.reply[:0]
	}
	l.metrics.bytesWritten.Add(uint64(len(c.request)))
	l.metrics.bytesRead.Add(answer.Bytes)
	answer.Put(c.word[:])
	if _, err := c.out.Write(c.word[:]); err != nil {
		return err
	}
	_, err := c.out.Write(c.reply)
	return err
}

// batch reads, checks and executes one batch.
func (c *connection) batch(h wire.Header) error {
	c.raw = grow(c.raw, int(h.Count)*wire.DescriptorBytes)
	if _, err := io.ReadFull(c.in, c.raw); err != nil {
		return err
	}
	var err error
	if c.descriptors, err = wire.ParseDescriptors(c.descriptors, c.raw, int(h.Count), h.Bytes); err != nil {
		return err
	}
	done, status := c.admissible(c.descriptors)
	answer := wire.Header{Op: wire.OpBatch, Status: status, Count: uint16(done), Sequence: h.Sequence}
	answer.Put(c.word[:])
	if _, err := c.out.Write(c.word[:wire.HeaderBytes]); err != nil {
		return err
	}
	unread, err := c.execute(c.descriptors[:done], h.Bytes)
	if err != nil {
		return err
	}
	if err := skip(c.in, unread); err != nil { // payload of verbs that were not executed
		return err
	}
	wire.PutTrailer(c.word[:], h.Sequence)
	_, err = c.out.Write(c.word[:wire.TrailerBytes])
	return err
}

// admissible returns how many leading verbs may be executed, and the status of the next one.
func (c *connection) admissible(verbs []wire.Descriptor) (int, wire.Status) {
	l := c.listener
	for i, d := range verbs {
		if l.config.FlushOnly && d.Kind != fabric.Flush {
			return i, wire.Permission
		}
		if err := fabric.Check(d.Kind, d.Address, d.A, l.region.Bytes(), c.hello.Access); err != nil {
			return i, wire.StatusOf(err)
		}
	}
	return len(verbs), wire.OK
}

// execute runs checked verbs in order and writes their results. It returns how much of the
// payload is left to be read because a flush failed or verbs were refused.
func (c *connection) execute(verbs []wire.Descriptor, payload uint64) (unread uint64, err error) {
	region := c.listener.region
	var tally [fabric.Kinds]uint64
	var read, written uint64
	flushes := 0 // in the run that ends here
	for i, d := range verbs {
		tally[d.Kind]++
		switch d.Kind {
		case fabric.Read:
			read += d.A
			err = c.readRegion(d.Address, d.A)
		case fabric.Write:
			written += d.A
			payload -= d.A
			err = c.writeRegion(d.Address, d.A)
		case fabric.CAS:
			before, _ := region.CompareAndSwap64(d.Address, d.A, d.B)
			err = c.putWord(before)
		case fabric.FetchAdd:
			err = c.putWord(region.Add64(d.Address, d.A))
		case fabric.Flush:
			region.Flush(d.Address, d.A)
			flushes++
			if i+1 < len(verbs) && verbs[i+1].Kind == fabric.Flush {
				continue // one fence for the whole run, after its last
			}
			var durable bool
			if durable, err = c.fence(flushes); err == nil && !durable {
				c.listener.metrics.add(&tally, read, written)
				return payload, nil
			}
			flushes = 0
		}
		if err != nil {
			return payload, err
		}
	}
	c.listener.metrics.add(&tally, read, written)
	return payload, nil
}

// fence makes a run of flushes durable and writes the status of each; when that fails only the
// first one's, because the others were not reached.
func (c *connection) fence(flushes int) (durable bool, err error) {
	c.listener.metrics.flushes.Add(1)
	if err := c.listener.region.Fence(); err != nil {
		c.listener.options.Logf("fabric: flush for rank %d: %v", c.session.Rank, err)
		return false, c.putWord(uint64(wire.ReadOnly))
	}
	for range flushes {
		if err := c.putWord(uint64(wire.OK)); err != nil {
			return true, err
		}
	}
	return true, nil
}

// readRegion copies pool bytes into the output buffer, in pieces that end at word boundaries of
// the pool, so that no word is read in two halves.
func (c *connection) readRegion(address, length uint64) error {
	for length > 0 {
		n := piece(address, length, uint64(c.out.Available()))
		if n == 0 {
			if err := c.out.Flush(); err != nil {
				return err
			}
			continue
		}
		b := c.out.AvailableBuffer()[:n]
		c.listener.region.Read(address, b)
		if _, err := c.out.Write(b); err != nil {
			return err
		}
		address, length = address+n, length-n
	}
	return nil
}

// writeRegion copies payload from the input buffer to the pool, in pieces that end at word
// boundaries of the pool, so that no word is stored in two halves.
func (c *connection) writeRegion(address, length uint64) error {
	for length > 0 {
		if _, err := c.in.Peek(int(min(length, 8))); err != nil {
			return err
		}
		n := piece(address, length, uint64(c.in.Buffered()))
		b, err := c.in.Peek(int(n))
		if err != nil {
			return err
		}
		c.listener.region.Write(address, b)
		if _, err := c.in.Discard(int(n)); err != nil {
			return err
		}
		address, length = address+n, length-n
	}
	return nil
}

// piece returns how many of length bytes at address to copy when room for available is there: all,
// or as many as end at a word boundary.
func piece(address, length, available uint64) uint64 {
	if length <= available {
		return length
	}
	end := (address + available) &^ 7
	if end <= address {
		return 0
	}
	return end - address
}

func (c *connection) putWord(w uint64) error {
	_, err := c.out.Write(binary.LittleEndian.AppendUint64(c.out.AvailableBuffer(), w))
	return err
}

func (m *metrics) add(tally *[fabric.Kinds]uint64, read, written uint64) {
	for kind, n := range tally {
		if n != 0 {
			m.verbs[kind].Add(n)
		}
	}
	if read != 0 {
		m.bytesRead.Add(read)
	}
	if written != 0 {
		m.bytesWritten.Add(written)
	}
}

func skip(r io.Reader, n uint64) error {
	if n == 0 {
		return nil
	}
	_, err := io.CopyN(io.Discard, r, int64(n))
	return err
}

// grow returns b with length n, keeping its array when that is large enough.
func grow(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}
