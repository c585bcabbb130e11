package runtime

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/dinomo-kv/dinomo/internal/clock"
)

// ReqOptions configures a Req; the zero value of a field means its default.
type ReqOptions struct {
	// MaxMessageBytes is the largest reply (default 16 MiB).
	MaxMessageBytes int
	// DialTimeout and HandshakeTimeout bound one attempt to connect (3 s, 5 s); IOTimeout
	// bounds the writing of a request and the pauses within a reply (30 s).
	DialTimeout, HandshakeTimeout, IOTimeout time.Duration
	// RetryPause is the pause after a failed attempt (default 50 ms).
	RetryPause time.Duration
	// LocalIP is as in PushOptions.
	LocalIP netip.Addr
	// Clock times the pauses.
	Clock clock.Clock
}

// EnsureDefaults fills the fields that are zero.
func (o *ReqOptions) EnsureDefaults() {
	setDefault(&o.MaxMessageBytes, 16<<20)
	setDefault(&o.DialTimeout, 3*time.Second)
	setDefault(&o.HandshakeTimeout, 5*time.Second)
	setDefault(&o.IOTimeout, 30*time.Second)
	setDefault(&o.RetryPause, 50*time.Millisecond)
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
}

// A Req asks one REP socket, one request at a time; its methods may be called from any
// goroutine and take turns.
//
// When the peer is away or dies before it answers, the request is sent again on a new
// connection for as long as the context lasts, so it may be carried out more than once: use it
// for what may be repeated.
type Req struct {
	address  string
	endpoint netip.AddrPort
	options  ReqOptions
	turn     chan struct{} // holds one token while nobody has his turn
	stream   *stream       // nil: not connected; belongs to who has his turn
}

// NewReq returns a client of address; it connects at the first request. Error: ErrBadAddress.
func NewReq(address string, o ReqOptions) (*Req, error) {
	o.EnsureDefaults()
	endpoint, err := ParseAddress(address)
	if err != nil {
		return nil, err
	}
	q := &Req{address: address, endpoint: endpoint, options: o, turn: make(chan struct{}, 1)}
	q.turn <- struct{}{}
	return q, nil
}

// Do sends a request and returns the reply, which is the caller's. It ends with ctx, with
// ErrTimeout and ctx's error (unknown outcome), and with ErrProtocol when the peer speaks
// nonsense.
func (q *Req) Do(ctx context.Context, request []byte) ([]byte, error) {
	select {
	case <-q.turn:
	case <-ctx.Done():
		return nil, q.timedOut(ctx, nil)
	}
	defer func() { q.turn <- struct{}{} }()
	var last error
	for {
		reply, err := q.attempt(ctx, request)
		switch {
		case err == nil:
			return reply, nil
		case errors.Is(err, ErrProtocol), errors.Is(err, ErrFrameTooLarge):
			return nil, fmt.Errorf("request to %s: %w", q.address, err)
		case ctx.Err() == nil:
			last = err
		}
		timer := q.options.Clock.NewTimer(q.options.RetryPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, q.timedOut(ctx, last)
		}
	}
}

func (q *Req) timedOut(ctx context.Context, last error) error {
	if last == nil {
		return fmt.Errorf("request to %s: %w (%w)", q.address, ErrTimeout, context.Cause(ctx))
	}
	return fmt.Errorf("request to %s: %w (%w); last attempt: %v", q.address, ErrTimeout, context.Cause(ctx), last)
}

// attempt makes one exchange on the connection at hand or a new one, and keeps the connection
// only if it is in step.
func (q *Req) attempt(ctx context.Context, request []byte) (reply []byte, err error) {
	if q.stream == nil {
		tcp, err := dialPeer(ctx, q.options.LocalIP, q.endpoint, socketReq, q.options.DialTimeout, q.options.HandshakeTimeout)
		if err != nil {
			return nil, err
		}
		q.stream = newStream(tcp, q.options.MaxMessageBytes, q.options.IOTimeout)
	}
	s := q.stream
	stop := context.AfterFunc(ctx, func() { _ = s.tcp.Close() })
	defer func() {
		if !stop() && err == nil {
			reply, err = nil, ctx.Err()
		}
		if err != nil {
			_ = s.tcp.Close()
			q.stream = nil
		}
	}()
	if err := s.send(nil, request); err != nil {
		return nil, err
	}
	frames, err := s.read()
	if err != nil {
		return nil, err
	}
	envelope, reply, err := splitEnvelope(frames)
	if err == nil && len(envelope) > 0 {
		err = fmt.Errorf("%w: a reply with an envelope", ErrProtocol)
	}
	return reply, err
}

// Close closes the connection once a running Do has ended; a later Do would connect again.
func (q *Req) Close() error {
	<-q.turn
	defer func() { q.turn <- struct{}{} }()
	if q.stream != nil {
		_ = q.stream.tcp.Close()
		q.stream = nil
	}
	return nil
}

// Request makes one exchange with a REP socket; see Req.Do.
func Request(ctx context.Context, address string, request []byte, o ReqOptions) ([]byte, error) {
	q, err := NewReq(address, o)
	if err != nil {
		return nil, err
	}
	defer q.Close()
	return q.Do(ctx, request)
}
