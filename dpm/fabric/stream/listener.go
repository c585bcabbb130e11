package stream

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/wire"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/internal/clock"
)

// handshakeTimeout bounds the time from a connection's arrival to its greeting being complete. A
// peer greets in its first packet; whoever takes longer is not one.
const handshakeTimeout = 5 * time.Second

// acceptBackoff is the pause after a failed accept (usually: out of file descriptors).
const acceptBackoff = 50 * time.Millisecond

// Config is what distinguishes the backends that are built on this package.
type Config struct {
	Backend wire.Backend
	// FlushOnly refuses all verbs but FLUSH: the peer reaches the memory by another way.
	FlushOnly bool
	// Revocable is what Listener.Revocable returns.
	Revocable bool
	// Greet, when set, sees the extra part of an admitted peer's greeting and makes that of the answer. The session may be
	// changed.
	Greet func(conn net.Conn, h fabric.Hello, s *fabric.Session, extra []byte) (answer []byte, err error)
	// Release, when set, runs after a connection's last verb, admitted or not: when it has returned
	// nothing of that peer may reach the memory any more by the other way.
	Release func(conn net.Conn)

	handshake time.Duration // tests shorten it; default handshakeTimeout
}

// Listener serves one region to many connections. It implements fabric.Listener.
type Listener struct {
	config  Config
	options fabric.ListenOptions
	region  pmem.Region
	service fabric.Service
	socket  net.Listener
	metrics metrics
	loops   sync.WaitGroup
	closing chan struct{}

	mu struct {
		sync.Mutex
		connections map[*connection]struct{}
		fenced      map[fabric.Rank]fabric.Incarnation // at most MaxRanks
		closed      bool
	}
}

type metrics struct {
	admitted, replaced, fences, fencedOff, calls, bytesRead, bytesWritten, flushes atomic.Uint64

	refused [fabric.RefusalReasons]atomic.Uint64
	verbs   [fabric.Kinds]atomic.Uint64
}

// Listen binds o.Address and starts to serve.
func Listen(region pmem.Region, service fabric.Service, o fabric.ListenOptions, config Config) (*Listener, error) {
	socket, err := net.Listen("tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("listen for %s verbs on %q (is another DPM running there?): %w", config.Backend, o.Address, err)
	}
	return Serve(socket, region, service, o, config), nil
}

// Serve starts to serve what socket accepts, and owns socket from then on.
func Serve(socket net.Listener, region pmem.Region, service fabric.Service, o fabric.ListenOptions, config Config) *Listener {
	o.EnsureDefaults()
	if config.handshake == 0 {
		config.handshake = handshakeTimeout
	}
	l := &Listener{config: config, options: o, region: region, service: service, socket: socket, closing: make(chan struct{})}
	l.mu.connections = make(map[*connection]struct{})
	l.mu.fenced = make(map[fabric.Rank]fabric.Incarnation)
	l.loops.Add(1)
	go l.accept()
	return l
}

// Address implements fabric.Listener.
func (l *Listener) Address() string { return l.socket.Addr().String() }

// Revocable implements fabric.Listener.
func (l *Listener) Revocable() bool { return l.config.Revocable }

// Metrics implements fabric.Listener.
func (l *Listener) Metrics() fabric.Metrics {
	m := fabric.Metrics{
		Admitted:     l.metrics.admitted.Load(),
		Replaced:     l.metrics.replaced.Load(),
		Fences:       l.metrics.fences.Load(),
		FencedOff:    l.metrics.fencedOff.Load(),
		Calls:        l.metrics.calls.Load(),
		BytesRead:    l.metrics.bytesRead.Load(),
		BytesWritten: l.metrics.bytesWritten.Load(),
		Flushes:      l.metrics.flushes.Load(),
	}
	for i := range m.Refused {
		m.Refused[i] = l.metrics.refused[i].Load()
	}
	for i := range m.Verbs {
		m.Verbs[i] = l.metrics.verbs[i].Load()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.mu.connections {
		if c.admitted {
			m.Connections++
		}
	}
	return m
}

// Fence implements fabric.Listener.
func (l *Listener) Fence(rank fabric.Rank, upTo fabric.Incarnation) error {
	if rank == 0 || rank >= fabric.MaxRanks {
		return fmt.Errorf("fence rank %d: ranks are 1 to %d", rank, fabric.MaxRanks-1)
	}
	l.metrics.fences.Add(1)
	var victims []*connection
	l.mu.Lock()
	l.mu.fenced[rank] = max(l.mu.fenced[rank], upTo)
	for c := range l.mu.connections {
		if c.admitted && c.session.Rank == rank && c.session.Incarnation <= upTo {
			victims = append(victims, c)
			if !c.fenced { // else it is still on its way out
				l.metrics.fencedOff.Add(1)
			}
			c.fenced = true
		}
	}
	l.mu.Unlock()
	for _, c := range victims {
		_ = c.socket.Close() // its loop ends with the error
	}
	for _, c := range victims {
		<-c.quiet
	}
	return nil
}

// Close implements fabric.Listener.
func (l *Listener) Close() error {
	l.mu.Lock()
	first := !l.mu.closed
	l.mu.closed = true
	if first {
		close(l.closing)
	}
	for c := range l.mu.connections {
		_ = c.socket.Close()
	}
	l.mu.Unlock()
	var err error
	if first {
		err = l.socket.Close()
	}
	l.loops.Wait()
	return err
}

// Break kills every connection and goes on listening, as a cable that is pulled and put back would. For tests.
func (l *Listener) Break() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.mu.connections {
		_ = c.socket.Close()
	}
}

func (l *Listener) accept() {
	defer l.loops.Done()
	for {
		socket, err := l.socket.Accept()
		if err != nil {
			select {
			case <-l.closing:
				return
			default:
			}
			if errors.Is(err, net.ErrClosed) {
				return
			}
			l.options.Logf("fabric: accept on %s: %v", l.Address(), err)
			clock.Real{}.Sleep(acceptBackoff)
			continue
		}
		c := newConnection(l, socket)
		if l.add(c) {
			go c.run()
		} else {
			l.metrics.refused[fabric.RefusedFull].Add(1)
			_ = socket.Close()
		}
	}
}

// surplusConnections is how many connections above MaxConnections are read far enough to be told
// that the listener is full. Those above are closed without a word.
const surplusConnections = 64

// add enters a connection into the table and accounts for its goroutine; false when there is no
// room even for telling it that there is none.
func (l *Listener) add(c *connection) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.surplus = len(l.mu.connections) >= l.options.MaxConnections
	if len(l.mu.connections) >= l.options.MaxConnections+surplusConnections {
		return false
	}
	if l.mu.closed {
		_ = c.socket.Close() // the loop starts and ends at once
	}
	l.mu.connections[c] = struct{}{}
	l.loops.Add(1)
	return true
}

func (l *Listener) remove(c *connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.mu.connections, c)
}

// register makes an admitted connection visible to Fence, unless its rank was fenced meanwhile.
func (l *Listener) register(c *connection, s fabric.Session) error {
	for {
		old, err := l.tryRegister(c, s)
		if old == nil {
			return err
		}
		l.end(old) // it was as fast as this one
	}
}

func (l *Listener) tryRegister(c *connection, s fabric.Session) (old *connection, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if upTo, ok := l.mu.fenced[s.Rank]; ok && s.Incarnation <= upTo {
		return nil, fmt.Errorf("rank %d incarnation %d: %w", s.Rank, s.Incarnation, fabric.ErrFenced)
	}
	if old := l.connectionOf(s.Rank, s.Incarnation, c.hello.Thread); old != nil {
		return old, nil
	}
	c.session, c.admitted = s, true
	return nil, nil
}

// replace ends the connection that a greeting takes the place of, if there is one, so that the
// service hears of its end before it is asked to admit the new one.
func (l *Listener) replace(h fabric.Hello) {
	l.mu.Lock()
	old := l.connectionOf(h.Rank, h.Incarnation, h.Thread)
	l.mu.Unlock()
	if old != nil {
		l.end(old)
	}
}

// end breaks a connection and returns when nothing of it is left.
func (l *Listener) end(c *connection) {
	l.metrics.replaced.Add(1)
	_ = c.socket.Close()
	<-c.gone
}

// connectionOf returns the admitted connection of a thread, nil when there is none or may be many. REQUIRES: mu held.
func (l *Listener) connectionOf(rank fabric.Rank, incarnation fabric.Incarnation, thread uint16) *connection {
	if thread == fabric.SharedThread {
		return nil
	}
	for c := range l.mu.connections {
		if c.admitted && c.session.Rank == rank && c.session.Incarnation == incarnation && c.hello.Thread == thread {
			return c
		}
	}
	return nil
}

// Judge is for backends that meet a peer before there is a connection to serve: it says why the peer need not
// be listened to any further (ErrFenced or ErrWrongPool), and counts it as refused then; else nil.
func (l *Listener) Judge(h fabric.Hello) error {
	err := l.precheck(h)
	if err != nil {
		l.metrics.refused[reasonOf(err, fabric.RefusedOther)].Add(1)
	}
	return err
}

// precheck says why a peer is refused before the service is asked.
func (l *Listener) precheck(h fabric.Hello) error {
	l.mu.Lock()
	upTo, ok := l.mu.fenced[h.Rank]
	l.mu.Unlock()
	if ok && h.Rank != 0 && h.Incarnation <= upTo {
		return fmt.Errorf("rank %d incarnation %d: %w", h.Rank, h.Incarnation, fabric.ErrFenced)
	}
	none := fabric.PoolID{}
	if own := l.options.Pool; own != none && h.Pool != none && h.Pool != own {
		return fmt.Errorf("peer wants pool %s, this is %s: %w", h.Pool, own, fabric.ErrWrongPool)
	}
	return nil
}

// refuse tells the peer why it is not wanted, without waiting for it, and closes.
func (l *Listener) refuse(c *connection, reason fabric.RefusalReason, cause error) {
	l.metrics.refused[reason].Add(1)
	text := cause.Error()
	if len(text) > maxRefusalText {
		text = text[:maxRefusalText]
	}
	p := wire.Preamble{Version: wire.Version, Backend: l.config.Backend, Status: wire.StatusOf(cause), BodyBytes: uint32(len(text))}
	_ = c.socket.SetWriteDeadline(clock.Real{}.Now().Add(l.config.handshake))
	_, _ = c.socket.Write(append(p.Append(nil), text...))
	_ = c.socket.Close()
}

// maxRefusalText keeps a refusal within one packet.
const maxRefusalText = 1024
