package stream

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/wire"
	"github.com/dinomo-kv/dinomo/internal/clock"
)

// Client is the dialler's end of one connection; it implements fabric.QP.
type Client struct {
	socket   net.Conn
	in       *bufio.Reader
	session  fabric.Session
	extra    []byte
	options  fabric.DialOptions
	counters fabric.Counters
	sequence uint32
	request  []byte      // header, descriptors and short payloads of the batch being sent
	vectors  net.Buffers // pieces of a batch with long payloads; kept for its array
	word     [wire.HeaderBytes]byte

	sender *sender
	watch  *watch

	cause  atomic.Pointer[error] // why the queue pair is dead
	closed atomic.Bool
	once   sync.Once
	done   chan struct{} // closed when the queue pair is dead
}

// copyBytes is the WRITE payload up to which copying into one buffer is cheaper than handing the
// kernel one more piece.
const copyBytes = 4 << 10

// Dial connects to address, greets and returns the admitted connection.
func Dial(ctx context.Context, address string, o fabric.DialOptions, backend wire.Backend, extra []byte) (*Client, error) {
	o.EnsureDefaults()
	ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	dialer := net.Dialer{}
	if o.LocalIP.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(o.LocalIP, 0))
	}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, DialError(address, fmt.Sprintf("is it running, with fabric %s?", backend), err)
	}
	return Attach(ctx, conn, address, o, backend, extra)
}

// Attach greets over an open connection, which it owns from then on, and returns the admitted one.
func Attach(ctx context.Context, conn net.Conn, address string, o fabric.DialOptions, backend wire.Backend, extra []byte) (*Client, error) {
	o.EnsureDefaults()
	ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	c := &Client{socket: conn, options: o, done: make(chan struct{})}
	tune(conn)
	c.in = bufio.NewReaderSize(c.socket, bufferBytes)
	stop := context.AfterFunc(ctx, func() { _ = c.socket.Close() })
	err := c.greet(ctx, backend, extra)
	if !stop() {
		err = ctx.Err()
	}
	if err != nil {
		_ = c.socket.Close()
		return nil, DialError(address, "is a DPM listening there?", err)
	}
	return c, nil
}

// DialError names the address, and says what to look at when nobody refused us in so many words.
func DialError(address, hint string, err error) error {
	var r refusal
	switch {
	case errors.As(err, &r):
		return fmt.Errorf("dial the DPM at %s: %w", address, err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		err = fabric.ErrTimeout
	}
	return fmt.Errorf("dial the DPM at %s (%s): %w", address, hint, err)
}

func (c *Client) greet(ctx context.Context, backend wire.Backend, extra []byte) error {
	hello, err := wire.AppendHello(nil, c.options.Hello, extra)
	if err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.socket.SetDeadline(deadline); err != nil {
			return err
		}
	}
	p := wire.Preamble{Version: wire.Version, Backend: backend, BodyBytes: uint32(len(hello))}
	if _, err := c.socket.Write(append(p.Append(nil), hello...)); err != nil {
		return c.why(err)
	}
	if _, err := io.ReadFull(c.in, c.word[:wire.PreambleBytes]); err != nil {
		return c.why(err)
	}
	p, err = wire.ParsePreamble(c.word[:wire.PreambleBytes], wire.MaxAnswerBytes)
	if err != nil {
		return err
	}
	body := make([]byte, p.BodyBytes)
	if _, err := io.ReadFull(c.in, body); err != nil {
		return c.why(err)
	}
	switch {
	case p.Status != wire.OK:
		if sentinel := p.Status.Err(); sentinel != nil {
			return Refusal(string(body), sentinel)
		}
	case p.Version != wire.Version:
		return fmt.Errorf("listener speaks fabric protocol %d, this is %d: %w", p.Version, wire.Version, fabric.ErrWrongPool)
	case p.Backend != backend:
		return fmt.Errorf("listener is a %s one: %w", p.Backend, fabric.ErrRefused)
	}
	if c.session, c.extra, err = wire.ParseSession(body); err != nil {
		return err
	}
	return c.socket.SetDeadline(noDeadline)
}

// Refusal returns an error with the listener's words that wraps sentinel.
func Refusal(text string, sentinel error) error { return refusal{text, sentinel} }

// refusal is the listener's own words with the sentinel that they stand for.
type refusal struct {
	text     string
	sentinel error
}

func (r refusal) Error() string { return "refused: " + r.text }
func (r refusal) Unwrap() error { return r.sentinel }

// Session implements fabric.QP.
func (c *Client) Session() fabric.Session { return c.session }

// Extra returns the backend's part of the listener's answer.
func (c *Client) Extra() []byte { return c.extra }

// Counters implements fabric.QP.
func (c *Client) Counters() fabric.Counters { return c.counters }

// Dead returns why the connection is of no further use: nil while it is alive, else an error that
// wraps ErrBroken, ErrTimeout or ErrClosed. It costs two loads.
func (c *Client) Dead() error {
	if c.closed.Load() {
		return fabric.ErrClosed
	}
	if cause := c.cause.Load(); cause != nil {
		return *cause
	}
	return nil
}

// Close implements fabric.QP.
func (c *Client) Close() error {
	c.closed.Store(true)
	c.kill(fabric.ErrClosed)
	return nil
}

// Break makes the connection dead because of err, unless it is already, and returns why it is dead.
func (c *Client) Break(err error) error { return c.kill(c.why(err)) }

// kill makes the connection dead for cause, unless it is already, and returns why it is dead.
func (c *Client) kill(cause error) error {
	c.cause.CompareAndSwap(nil, &cause)
	c.once.Do(func() {
		close(c.done)
		_ = c.socket.Close()
	})
	return c.Dead()
}

// why turns an error of the socket into the fabric's.
func (c *Client) why(err error) error {
	switch {
	case c.closed.Load():
		return fabric.ErrClosed
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return fabric.ErrTimeout
	case errors.Is(err, fabric.ErrBroken), errors.Is(err, fabric.ErrTimeout), errors.Is(err, fabric.ErrClosed):
		return err
	}
	return fmt.Errorf("%w (%v)", fabric.ErrBroken, err)
}

// Post implements fabric.QP.
func (c *Client) Post(verbs []fabric.Verb) error {
	if len(verbs) == 0 {
		return c.Dead()
	}
	if cause := c.Dead(); cause != nil {
		c.counters.Failures++
		return fabric.Abandon(verbs, cause)
	}
	done, invalid := fabric.Prefix(verbs, c.session.PoolBytes, c.options.Hello.Access)
	if done > 0 {
		c.counters.RoundTrips++
		executed, failed, err := c.exchange(verbs[:done])
		if err != nil {
			c.counters.Failures++
			return fabric.Abandon(verbs, c.kill(c.why(err)))
		}
		if failed != nil {
			done, invalid = executed, failed
		}
		c.counters.Count(verbs[:done])
	}
	if invalid != nil {
		c.counters.Failures++
	}
	return fabric.Settle(verbs, done, invalid)
}

// exchange sends checked verbs and reads their results. err means that the connection is dead;
// failed is why the listener stopped after executed verbs.
func (c *Client) exchange(verbs []fabric.Verb) (executed int, failed, err error) {
	if err := c.socket.SetDeadline(clock.Real{}.Now().Add(c.options.Timeout)); err != nil {
		return 0, nil, err
	}
	long, err := c.sendBatch(verbs)
	if err != nil {
		return 0, nil, err
	}
	if err = c.await(); err == nil {
		executed, failed, err = c.readResults(verbs)
	}
	if long {
		if err != nil {
			c.kill(c.why(err)) // or the sender may wait for ever
		}
		if sent := <-c.sender.result; err == nil { // callers own their buffers again only now
			err = sent
		}
	}
	if err == nil {
		err = c.resume()
	}
	return executed, failed, err
}

// sendBatch encodes and sends verbs. A batch with long payloads that also reads much is sent by a goroutine of its own,
// because the listener may want to send results before it has taken the whole request; long says so.
func (c *Client) sendBatch(verbs []fabric.Verb) (long bool, err error) {
	c.sequence++
	fixed := wire.HeaderBytes + len(verbs)*wire.DescriptorBytes
	c.request = grow(c.request, fixed)
	var payload, results uint64
	biggest := 0
	for i := range verbs {
		v := &verbs[i]
		wire.Describe(v).Put(c.request[wire.HeaderBytes+i*wire.DescriptorBytes:])
		switch v.Kind {
		case fabric.Write:
			payload += uint64(len(v.Buffer))
			biggest = max(biggest, len(v.Buffer))
		case fabric.Read:
			results += uint64(len(v.Buffer))
		}
	}
	wire.Header{Op: wire.OpBatch, Count: uint16(len(verbs)), Sequence: c.sequence, Bytes: payload}.Put(c.request)
	if biggest <= copyBytes && payload <= bufferBytes {
		for i := range verbs {
			if verbs[i].Kind == fabric.Write {
				c.request = append(c.request, verbs[i].Buffer...)
			}
		}
		_, err := c.socket.Write(c.request)
		return false, err
	}
	c.vectors = append(c.vectors[:0], c.request)
	for i := range verbs {
		if verbs[i].Kind == fabric.Write && len(verbs[i].Buffer) > 0 {
			c.vectors = append(c.vectors, verbs[i].Buffer)
		}
	}
	if payload > bufferBytes && results > bufferBytes {
		c.startSender()
		select {
		case c.sender.work <- struct{}{}:
			return true, nil
		case <-c.done:
			return false, c.Dead()
		}
	}
	return false, c.sendVectors()
}

// sendVectors writes c.vectors, keeping its array for the next time.
func (c *Client) sendVectors() error {
	kept := c.vectors
	_, err := c.vectors.WriteTo(c.socket)
	clear(kept) // no reference to callers' buffers stays behind
	c.vectors = kept[:0]
	return err
}

// sender is the goroutine that sends long batches; it is started by the first one.
type sender struct {
	work   chan struct{}
	result chan error
}

func (c *Client) startSender() {
	if c.sender != nil {
		return
	}
	c.sender = &sender{work: make(chan struct{}), result: make(chan error, 1)}
	go func() {
		for {
			select {
			case <-c.sender.work:
				c.sender.result <- c.sendVectors()
			case <-c.done:
				return
			}
		}
	}()
}

// readResults reads the answer to the batch that was sent last.
func (c *Client) readResults(verbs []fabric.Verb) (executed int, failed, err error) {
	h, err := c.readHeader(wire.OpBatch)
	if err != nil {
		return 0, nil, err
	}
	executed, failed = int(h.Count), h.Status.Err()
	if executed > len(verbs) || (executed == len(verbs)) != (failed == nil) {
		return 0, nil, fmt.Errorf("answer for %d of %d verbs with status %d: %w", executed, len(verbs), h.Status, wire.ErrBadFrame)
	}
	for i := range verbs[:executed] {
		v := &verbs[i]
		switch v.Kind {
		case fabric.Read:
			_, err = io.ReadFull(c.in, v.Buffer)
		case fabric.CAS, fabric.FetchAdd:
			v.Result, err = c.readWord()
		case fabric.Flush:
			var status uint64
			if status, err = c.readWord(); err == nil && status != 0 {
				if failed = wire.Status(status).Err(); status > 0xff {
					failed = wire.ErrBadFrame
				}
				executed = i
			}
		}
		if err != nil {
			return 0, nil, err
		}
		if executed == i { // a flush failed: nothing follows
			break
		}
	}
	if _, err := io.ReadFull(c.in, c.word[:wire.TrailerBytes]); err != nil {
		return 0, nil, err
	}
	if !wire.IsTrailer(c.word[:], c.sequence) {
		return 0, nil, fmt.Errorf("batch answer without its trailer: %w", wire.ErrBadFrame)
	}
	return executed, failed, nil
}

func (c *Client) readHeader(op wire.Op) (wire.Header, error) {
	if _, err := io.ReadFull(c.in, c.word[:]); err != nil {
		return wire.Header{}, err
	}
	h, err := wire.ParseHeader(c.word[:])
	if err == nil && (h.Op != op || h.Sequence != c.sequence) {
		err = fmt.Errorf("answer %d to request %d: %w", h.Sequence, c.sequence, wire.ErrBadFrame)
	}
	return h, err
}

func (c *Client) readWord() (uint64, error) {
	_, err := io.ReadFull(c.in, c.word[:8])
	return binary.LittleEndian.Uint64(c.word[:]), err
}

// Call implements fabric.QP.
func (c *Client) Call(request, reply []byte) ([]byte, error) {
	if cause := c.Dead(); cause != nil {
		c.counters.Failures++
		return nil, cause
	}
	if len(request) > fabric.MaxCallBytes {
		c.counters.Failures++
		return nil, fmt.Errorf("call of %d bytes, at most %d: %w", len(request), fabric.MaxCallBytes, fabric.ErrTooLong)
	}
	c.counters.RoundTrips++
	reply, failed, err := c.exchangeCall(request, reply[:0])
	if err != nil {
		c.counters.Failures++
		return nil, c.kill(c.why(err))
	}
	if failed != nil {
		c.counters.Failures++
		return nil, fmt.Errorf("reply of the DPM: %w", failed)
	}
	c.counters.Calls++
	c.counters.BytesWritten += uint64(len(request))
	c.counters.BytesRead += uint64(len(reply))
	return reply, nil
}

func (c *Client) exchangeCall(request, reply []byte) (_ []byte, failed, err error) {
	if err := c.socket.SetDeadline(clock.Real{}.Now().Add(c.options.Timeout)); err != nil {
		return nil, nil, err
	}
	c.sequence++
	c.request = grow(c.request, wire.HeaderBytes)
	wire.Header{Op: wire.OpCall, Sequence: c.sequence, Bytes: uint64(len(request))}.Put(c.request)
	c.request = append(c.request, request...)
	if _, err := c.socket.Write(c.request); err != nil {
		return nil, nil, err
	}
	if err := c.await(); err != nil {
		return nil, nil, err
	}
	h, err := c.readHeader(wire.OpCall)
	if err != nil {
		return nil, nil, err
	}
	reply = grow(reply, int(h.Bytes))
	if _, err := io.ReadFull(c.in, reply); err != nil {
		return nil, nil, err
	}
	return reply, h.Status.Err(), c.resume()
}
