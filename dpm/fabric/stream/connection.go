package stream

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/wire"
	"github.com/dinomo-kv/dinomo/internal/clock"
)

// bufferBytes is the size of a connection's input buffer and of its output buffer. A batch whose request or answer is
// longer takes several system calls. Not larger: 4096 connections hold 2 x 128 MiB of them.
const bufferBytes = 32 << 10

// socketBytes asks for kernel buffers that hold a common group commit (64 KiB of log) whole.
const socketBytes = 256 << 10

// connection is the listener's end of one queue pair. Its goroutine owns everything but what
// Listener.mu guards: admitted, fenced, and session once admitted.
type connection struct {
	listener *Listener
	socket   net.Conn
	in       *bufio.Reader
	out      *bufio.Writer
	quiet    chan struct{} // closed when the last verb has been executed
	gone     chan struct{} // closed when the service knows that, too

	surplus  bool // to be refused because the listener is full
	admitted bool
	fenced   bool
	session  fabric.Session
	hello    fabric.Hello

	descriptors    []wire.Descriptor
	raw            []byte // encoded descriptors
	word           [wire.HeaderBytes]byte
	request, reply []byte
}

func newConnection(l *Listener, socket net.Conn) *connection {
	tune(socket)
	return &connection{
		listener: l, socket: socket,
		in: bufio.NewReaderSize(socket, bufferBytes), out: bufio.NewWriterSize(socket, bufferBytes),
		quiet: make(chan struct{}), gone: make(chan struct{}),
	}
}

// tune asks for what verbs need. The kernel may grant less; nothing depends on it but speed.
func tune(conn net.Conn) {
	t, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	_ = t.SetNoDelay(true)
	_ = t.SetReadBuffer(socketBytes)
	_ = t.SetWriteBuffer(socketBytes)
}

// run is the connection's goroutine.
func (c *connection) run() {
	l := c.listener
	defer l.loops.Done()
	admitted, reason, err := c.greet()
	if err != nil {
		l.refuse(c, reason, err)
	} else {
		err = c.serve()
		_ = c.socket.Close()
	}
	if l.config.Release != nil {
		l.config.Release(c.socket)
	}
	close(c.quiet)
	if admitted {
		l.service.Gone(c.session, c.hello.Thread)
	}
	l.remove(c)
	close(c.gone)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		l.options.Logf("fabric: connection from %s (rank %d thread %d): %v", c.socket.RemoteAddr(), c.session.Rank, c.hello.Thread, err)
	}
}

// greet reads the greeting and answers it when the peer is admitted. admitted says that Gone is
// due; with an error the caller refuses the peer.
func (c *connection) greet() (admitted bool, reason fabric.RefusalReason, err error) {
	l := c.listener
	if err := c.socket.SetDeadline(clock.Real{}.Now().Add(l.config.handshake)); err != nil {
		return false, fabric.RefusedProtocol, err
	}
	extra, err := c.readGreeting()
	if err != nil {
		return false, reasonOf(err, fabric.RefusedProtocol), err
	}
	if c.surplus {
		return false, fabric.RefusedFull, fmt.Errorf("%d connections are open already: %w", l.options.MaxConnections, fabric.ErrRefused)
	}
	if err := l.precheck(c.hello); err != nil {
		return false, reasonOf(err, fabric.RefusedOther), err
	}
	l.replace(c.hello)
	s, err := l.service.Admit(c.hello)
	if err != nil {
		return false, reasonOf(err, fabric.RefusedOther), err
	}
	answer, err := c.complete(&s, extra)
	if err != nil {
		c.session = s
		return true, reasonOf(err, fabric.RefusedOther), err
	}
	if err := l.register(c, s); err != nil {
		c.session = s
		return true, fabric.RefusedFenced, err
	}
	l.metrics.admitted.Add(1)
	if _, err := c.socket.Write(answer); err != nil {
		return true, fabric.RefusedProtocol, fmt.Errorf("answer the greeting: %w", err)
	}
	return true, 0, c.socket.SetDeadline(noDeadline)
}

// readGreeting fills c.hello and returns the greeting's extra part.
func (c *connection) readGreeting() ([]byte, error) {
	raw := c.word[:wire.PreambleBytes]
	if _, err := io.ReadFull(c.in, raw); err != nil {
		return nil, fmt.Errorf("read the greeting: %w", err)
	}
	p, err := wire.ParsePreamble(raw, wire.MaxGreetingBytes)
	if err != nil {
		return nil, err
	}
	// The whole greeting is read before it is judged: closing a socket with unread input would
	// reset the connection and could take the refusal with it.
	body := make([]byte, p.BodyBytes)
	if _, err := io.ReadFull(c.in, body); err != nil {
		return nil, fmt.Errorf("read the greeting: %w", err)
	}
	if p.Version != wire.Version {
		return nil, fmt.Errorf("peer speaks fabric protocol %d, this is %d: %w", p.Version, wire.Version, fabric.ErrWrongPool)
	}
	if p.Backend != c.listener.config.Backend {
		return nil, fmt.Errorf("peer dials %s, this is a %s listener; set the same fabric on both: %w", p.Backend, c.listener.config.Backend, fabric.ErrRefused)
	}
	hello, extra, err := wire.ParseHello(body)
	c.hello = hello
	return extra, err
}

// complete checks the session that the service gave and encodes the positive answer.
func (c *connection) complete(s *fabric.Session, extra []byte) ([]byte, error) {
	l := c.listener
	if c.hello.Pool != (fabric.PoolID{}) && c.hello.Pool != s.Pool {
		return nil, fmt.Errorf("peer wants pool %s, this is %s: %w", c.hello.Pool, s.Pool, fabric.ErrWrongPool)
	}
	if s.Rank == 0 || s.Rank >= fabric.MaxRanks {
		return nil, fmt.Errorf("rank %d was assigned, ranks are 1 to %d: %w", s.Rank, fabric.MaxRanks-1, fabric.ErrRefused)
	}
	s.PoolBytes, s.Durability = l.region.Bytes(), l.region.Durability()
	var answerExtra []byte
	if l.config.Greet != nil {
		var err error
		if answerExtra, err = l.config.Greet(c.socket, c.hello, s, extra); err != nil {
			return nil, err
		}
	}
	body, err := wire.AppendSession(nil, *s, answerExtra)
	if err != nil {
		return nil, err
	}
	p := wire.Preamble{Version: wire.Version, Backend: l.config.Backend, BodyBytes: uint32(len(body))}
	return append(p.Append(nil), body...), nil
}

// reasonOf counts a refusal under the sentinel that caused it.
func reasonOf(err error, otherwise fabric.RefusalReason) fabric.RefusalReason {
	switch {
	case errors.Is(err, fabric.ErrFenced):
		return fabric.RefusedFenced
	case errors.Is(err, fabric.ErrWrongPool):
		return fabric.RefusedWrongPool
	}
	return otherwise
}
