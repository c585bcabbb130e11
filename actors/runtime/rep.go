package runtime

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/dinomo-kv/dinomo/internal/clock"
)

// RepOptions configures a Rep; the zero value of a field means its default.
type RepOptions struct {
	// MaxMessageBytes is the largest request (default 16 MiB).
	MaxMessageBytes int
	// MaxConnections is how many clients may be connected (default 1024).
	MaxConnections int
	// LargeMessageBytes is what all requests above 64 KiB share until they are answered
	// (default 64 MiB).
	LargeMessageBytes int64
	// HandshakeTimeout (default 5 s) closes clients that do not get to READY; IOTimeout
	// (default 30 s) those that stop in the middle of a request or do not take their reply.
	HandshakeTimeout, IOTimeout time.Duration
	// Clock limits the rate of log lines.
	Clock clock.Clock
	// Logf receives lines about clients that misbehave, at most one a second.
	Logf func(format string, args ...any)
}

// EnsureDefaults fills the fields that are zero.
func (o *RepOptions) EnsureDefaults() {
	setDefault(&o.MaxMessageBytes, 16<<20)
	setDefault(&o.MaxConnections, 1024)
	setDefault(&o.LargeMessageBytes, 64<<20)
	setDefault(&o.HandshakeTimeout, 5*time.Second)
	setDefault(&o.IOTimeout, 30*time.Second)
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
}

// Validate says what is wrong with the options, after EnsureDefaults.
func (o *RepOptions) Validate() error {
	if o.MaxMessageBytes < 1 || o.MaxConnections < 1 || o.LargeMessageBytes < int64(o.MaxMessageBytes) {
		return fmt.Errorf("rep options: want MaxMessageBytes >= 1, MaxConnections >= 1, LargeMessageBytes >= MaxMessageBytes")
	}
	return nil
}

// RepMetrics counts what a Rep did; Connections is current.
type RepMetrics struct {
	Connections        int
	ConnectionsRefused int64
	HandshakesFailed   int64
	ConnectionsBroken  int64 // closed for violations, stalls or unread replies
	RequestsMalformed  int64 // dropped: no delimiter, or several frames behind it
	Requests           int64
}

// A Rep is a bound socket that answers the requests of REQ clients, each in lock-step, and of
// DEALER clients that mimic them. It echoes whatever envelope precedes the empty delimiter, so
// clients with ZMQ_REQ_CORRELATE work.
type Rep struct {
	options  RepOptions
	listener *listener
	handle   func(request []byte) []byte
	budget   *byteBudget
	log      *quietLog

	refused, handshakesFailed, broken, malformed, requests atomic.Int64
}

// ListenRep binds address and calls handle for each request. It is called from a goroutine of
// the client's own: concurrently for different clients, one at a time for one. The request is
// the handler's to keep; the reply is written before the client's next request is handled. A
// nil reply (an empty one is not nil) closes the client's connection.
// Errors: ErrBadAddress, ErrAddressInUse, or invalid options.
func ListenRep(address string, handle func(request []byte) (reply []byte), o RepOptions) (*Rep, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	l, err := bind(address)
	if err != nil {
		return nil, err
	}
	r := &Rep{options: o, listener: l, handle: handle, budget: newByteBudget(o.LargeMessageBytes), log: newQuietLog(o.Logf, o.Clock)}
	l.maxConnections, l.log = o.MaxConnections, r.log
	l.refused = func() { r.refused.Add(1) }
	l.serve = r.serve
	l.start()
	return r, nil
}

// Address returns what the socket is bound to, with the port that port 0 became.
func (r *Rep) Address() string { return r.listener.address }

// Close unbinds, closes all connections and waits until no handler runs any more.
func (r *Rep) Close() error {
	r.listener.shut()
	return nil
}

// Metrics may be called from any goroutine.
func (r *Rep) Metrics() RepMetrics {
	return RepMetrics{
		Connections:        r.listener.connectionCount(),
		ConnectionsRefused: r.refused.Load(),
		HandshakesFailed:   r.handshakesFailed.Load(),
		ConnectionsBroken:  r.broken.Load(),
		RequestsMalformed:  r.malformed.Load(),
		Requests:           r.requests.Load(),
	}
}

// serve is a connection's goroutine. Requests are handled in another one, so that heartbeats
// are answered while a handler takes its time.
func (r *Rep) serve(conn *net.TCPConn) {
	if err := handshake(conn, socketRep, true, r.options.HandshakeTimeout); err != nil {
		r.handshakesFailed.Add(1)
		r.log.printf("%s: peer %s: %v", r.Address(), conn.RemoteAddr(), err)
		return
	}
	s := newStream(conn, r.options.MaxMessageBytes, r.options.IOTimeout)
	s.budget, s.done = r.budget, r.listener.done
	requests, answered := make(chan request), make(chan struct{})
	go r.answer(s, requests, answered)
	err := r.receive(s, requests)
	close(requests)
	_ = conn.Close() // frees an answer that is being written
	<-answered
	s.settle()
	if err != nil {
		r.broken.Add(1)
		r.log.printf("%s: closed the connection from %s: %v", r.Address(), conn.RemoteAddr(), err)
	}
}

// request is one request of a client on its way to the handler.
type request struct {
	envelope [][]byte
	body     []byte
	borrowed int // of the budget
}

// receive reads requests until the client leaves (nil) or must be thrown out (the reason).
func (r *Rep) receive(s *stream, requests chan<- request) error {
	for proven := false; ; {
		frames, err := s.read()
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.Is(err, ErrClosed):
			return nil
		case err != nil:
			return err
		}
		envelope, body, err := splitEnvelope(frames)
		if err != nil {
			s.settle()
			r.malformed.Add(1)
			r.log.printf("%s: dropped a request from %s: %v", r.Address(), s.tcp.RemoteAddr(), err)
			continue
		}
		if !proven {
			proven = true
			r.listener.prove(s.tcp)
		}
		next := request{envelope, body, s.borrowed}
		s.borrowed = 0
		select {
		case requests <- next:
		case <-s.done:
			r.budget.release(next.borrowed)
			return nil
		}
	}
}

func (r *Rep) answer(s *stream, requests <-chan request, answered chan<- struct{}) {
	defer close(answered)
	for q := range requests {
		r.requests.Add(1)
		reply := r.handle(q.body)
		r.budget.release(q.borrowed)
		if reply == nil {
			_ = s.tcp.Close()
			continue
		}
		if err := s.send(q.envelope, reply); err != nil {
			_ = s.tcp.Close() // receive returns; what it read meanwhile is answered into the void
		}
	}
}
