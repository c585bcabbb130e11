package runtime

import (
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/dinomo-kv/dinomo/internal/clock"
)

// PullOptions configures a Pull; the zero value of a field means its default.
//
// What a Pull can cost at most, whoever connects:
//
//	MaxConnections x (one goroutine, a chunk of 64 KiB only while its bytes arrive, 8 KiB of a
//	                  message that stopped half-way)
//	+ MaxConnections x InFlightBytesPerConnection, further bounded by QueueBatches and by what
//	  the holder of the batches keeps
//	+ LargeFrameBytes
type PullOptions struct {
	// Name tags the batches, for consumers that read several sockets.
	Name string
	// MaxFrameBytes is the largest body of a frame (default 16 MiB). Not smaller than the
	// largest value plus its envelope; not larger than what is worth giving to one peer.
	MaxFrameBytes int
	// MaxConnections is how many peers may be connected (default 4096, which the usual limit
	// on file descriptors may undercut). For one more, the oldest that has never sent a message is closed and counted; where all
	// have, the new one.
	MaxConnections int
	// HandshakeTimeout closes a peer that has not finished greeting and READY by then
	// (default 5 s).
	HandshakeTimeout time.Duration
	// InFlightBytesPerConnection is how many bytes of buffers one peer's batches may hold that
	// are not released yet (default 1 MiB). Past it the connection is not read, so that TCP
	// slows the peer down. One batch is always allowed.
	InFlightBytesPerConnection int
	// QueueBatches is how many batches wait for the consumer (default 256). Small keeps the
	// backlog in the peers' queues, where it is bounded too; large smooths bursts.
	QueueBatches int
	// Into, when set, is where batches go instead of a channel of this Pull's own, so that one
	// thread can receive from several sockets, told apart by Batch.Socket. QueueBatches is
	// ignored, Batches returns Into, and Close does not close it.
	Into chan *Batch
	// LargeFrameBytes is the memory that all frames above 64 KiB share while they arrive and
	// until they are released (default 256 MiB). A frame has its whole size set aside once 64
	// KiB of it are there; when there is no room its connection waits, and TCP with it.
	LargeFrameBytes int64
	// StallTimeout closes a peer that stops in the middle of a frame (default 30 s), and one
	// whose large frame takes longer than that plus a second for each MiB: it holds memory
	// that others wait for. Between frames a peer may be silent for as long as it likes,
	// unless IdleTimeout says otherwise.
	StallTimeout time.Duration
	// IdleTimeout closes a peer that sends nothing for so long (default 0: never). ZeroMQ
	// peers connect again by themselves.
	IdleTimeout time.Duration
	// Clock limits the rate of log lines. Sockets keep the machine's time whatever it is.
	Clock clock.Clock
	// Logf receives lines about peers that misbehave, at most one a second. Nil: silent.
	Logf func(format string, args ...any)
}

// EnsureDefaults fills the fields that are zero.
func (o *PullOptions) EnsureDefaults() {
	setDefault(&o.MaxFrameBytes, 16<<20)
	setDefault(&o.MaxConnections, 4096)
	setDefault(&o.HandshakeTimeout, 5*time.Second)
	setDefault(&o.InFlightBytesPerConnection, 1<<20)
	setDefault(&o.QueueBatches, 256)
	setDefault(&o.LargeFrameBytes, 256<<20)
	setDefault(&o.StallTimeout, 30*time.Second)
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
}

// setDefault stores d where the value is zero.
func setDefault[T comparable](field *T, d T) {
	var zero T
	if *field == zero {
		*field = d
	}
}

// Validate says what is wrong with the options, after EnsureDefaults.
func (o *PullOptions) Validate() error {
	switch {
	case o.MaxFrameBytes < 1 || o.MaxConnections < 1 || o.InFlightBytesPerConnection < 1 || o.QueueBatches < 1:
		return fmt.Errorf("pull options: MaxFrameBytes, MaxConnections, InFlightBytesPerConnection and QueueBatches must be positive")
	case o.HandshakeTimeout < 0 || o.StallTimeout < 0 || o.IdleTimeout < 0:
		return fmt.Errorf("pull options: timeouts must not be negative")
	case o.LargeFrameBytes < int64(largeBytes(frameBytes(o.MaxFrameBytes))):
		return fmt.Errorf("pull options: LargeFrameBytes %d is below the buffer of one frame of MaxFrameBytes %d, %d",
			o.LargeFrameBytes, o.MaxFrameBytes, largeBytes(frameBytes(o.MaxFrameBytes)))
	}
	return nil
}

// PullMetrics counts what a Pull saw since it was opened, except for Connections.
type PullMetrics struct {
	Connections         int   // open now
	ConnectionsAccepted int64 // handshakes that succeeded
	ConnectionsRefused  int64 // closed because of MaxConnections
	HandshakesFailed    int64 // silent, incompatible or foreign peers
	ProtocolViolations  int64 // connections closed for bytes that are not ZMTP, oversized frames apart
	FramesOversized     int64 // connections closed for announcing more than MaxFrameBytes
	ConnectionsStalled  int64 // connections closed in the middle of a frame by StallTimeout
	ConnectionsIdle     int64 // connections closed by IdleTimeout
	MultiFrameDropped   int64 // messages of several frames, none of which was delivered
	Pings               int64 // heartbeats answered
	PongsDropped        int64 // heartbeats not answered because the peer does not read
	Batches             int64
	Frames              int64
	Bytes               int64 // read from connections after their handshake
}

type pullCounters struct {
	accepted, refused, handshakesFailed, violations, oversized, stalled, idle atomic.Int64
	multiFrameDropped, pings, pongsDropped, batches, frames, bytes            atomic.Int64
}

// A Pull is a bound socket that any number of PUSH peers connect to.
type Pull struct {
	options  PullOptions
	listener *listener
	batches  chan *Batch
	large    *byteBudget
	log      *quietLog
	counters pullCounters
	sim      *simPull // set when the socket is a simulation's, which has no listener
}

// ListenPull binds address ("tcp://127.0.0.5:6400"; port 0 takes a free one) and begins to
// receive. Errors: ErrBadAddress, ErrAddressInUse, or invalid options.
func ListenPull(address string, o PullOptions) (*Pull, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	l, err := bind(address)
	if err != nil {
		return nil, err
	}
	p := &Pull{
		options:  o,
		listener: l,
		batches:  o.Into,
		large:    newByteBudget(o.LargeFrameBytes),
		log:      newQuietLog(o.Logf, o.Clock),
	}
	if p.batches == nil {
		p.batches = make(chan *Batch, o.QueueBatches)
	}
	l.maxConnections, l.log = o.MaxConnections, p.log
	l.refused = func() { p.counters.refused.Add(1) }
	l.serve = p.serve
	l.start()
	return p, nil
}

// Address returns what the socket is bound to, with the port that port 0 became.
func (p *Pull) Address() string {
	if p.sim != nil {
		return p.sim.address
	}
	return p.listener.address
}

// Batches returns the channel of received batches. It is closed when Close has returned;
// batches in it may still be received then and must be released as ever.
func (p *Pull) Batches() <-chan *Batch { return p.batches }

// Ready says whether a receive from Batches would not wait. On real sockets it may be too late by then.
func (p *Pull) Ready() bool { return len(p.batches) > 0 || p.sim != nil && p.sim.closed }

// Close unbinds, closes all connections, waits for their goroutines and closes Batches. What
// was not handed over by then is lost, as when the process dies. Calling it again is a no-op.
func (p *Pull) Close() error {
	first := false
	if p.sim != nil {
		first = p.sim.shut()
	} else {
		first = p.listener.shut()
	}
	if first && p.options.Into == nil {
		close(p.batches)
	}
	return nil
}

// Metrics may be called from any goroutine.
func (p *Pull) Metrics() PullMetrics {
	c, connections := &p.counters, 0
	if p.sim == nil {
		connections = p.listener.connectionCount()
	}
	return PullMetrics{
		Connections:         connections,
		ConnectionsAccepted: c.accepted.Load(),
		ConnectionsRefused:  c.refused.Load(),
		HandshakesFailed:    c.handshakesFailed.Load(),
		ProtocolViolations:  c.violations.Load(),
		FramesOversized:     c.oversized.Load(),
		ConnectionsStalled:  c.stalled.Load(),
		ConnectionsIdle:     c.idle.Load(),
		MultiFrameDropped:   c.multiFrameDropped.Load(),
		Pings:               c.pings.Load(),
		PongsDropped:        c.pongsDropped.Load(),
		Batches:             c.batches.Load(),
		Frames:              c.frames.Load(),
		Bytes:               c.bytes.Load(),
	}
}

// serve is a connection's goroutine.
func (p *Pull) serve(conn *net.TCPConn) {
	if err := handshake(conn, socketPull, true, p.options.HandshakeTimeout); err != nil {
		p.counters.handshakesFailed.Add(1)
		p.log.printf("%s: peer %s: %v", p.Address(), conn.RemoteAddr(), err)
		return
	}
	p.counters.accepted.Add(1)
	c, err := newPullConn(p, conn)
	if err != nil {
		p.log.printf("%s: peer %s: %v", p.Address(), conn.RemoteAddr(), err)
		return
	}
	if err := c.run(); err != nil {
		p.log.printf("%s: closed the connection from %s: %v", p.Address(), conn.RemoteAddr(), err)
	}
}
