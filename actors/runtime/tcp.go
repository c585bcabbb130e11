package runtime

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dinomo-kv/dinomo/internal/clock"
)

// TCPOptions configures a TCP; the zero value of a field means its default.
type TCPOptions struct {
	Pull  PullOptions
	Rep   RepOptions
	Req   ReqOptions
	Peers PeersOptions // UnreachableAfter is 10 min by default here: nodes may start slowly
	// MaxRequests is how many requests may be in flight (default 256).
	MaxRequests int
	// SweepInterval is how often idle and unreachable peers are looked for (default 1 s).
	SweepInterval time.Duration
	// Linger is how long Close waits for queued frames to be written (default 1 s).
	Linger time.Duration
	// ReplyTimeout closes the connection of a client whose request nobody answered
	// (default 2 min).
	ReplyTimeout time.Duration
	Clock        clock.Clock
	Logf         func(format string, args ...any)
}

// EnsureDefaults fills the fields that are zero, those of the parts included.
func (o *TCPOptions) EnsureDefaults() {
	setDefault(&o.MaxRequests, 256)
	setDefault(&o.SweepInterval, time.Second)
	setDefault(&o.Linger, time.Second)
	setDefault(&o.ReplyTimeout, 2*time.Minute)
	setDefault(&o.Peers.UnreachableAfter, 10*time.Minute)
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
	for _, c := range []*clock.Clock{&o.Pull.Clock, &o.Rep.Clock, &o.Req.Clock, &o.Peers.Push.Clock} {
		if *c == nil {
			*c = o.Clock
		}
	}
	for _, f := range []*func(string, ...any){&o.Pull.Logf, &o.Rep.Logf, &o.Peers.Push.Logf} {
		if *f == nil {
			*f = o.Logf
		}
	}
}

// TCP is the Transport of real processes. All methods may be called from any goroutine.
type TCP struct {
	options  TCPOptions
	peers    *Peers
	requests atomic.Int64
	ctx      context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup // deliverers, requests, the sweeper

	mu struct {
		sync.Mutex
		closed bool
		pulls  []*Pull
		reps   []*Rep
	}
}

var _ Transport = (*TCP)(nil)

// NewTCP returns a transport without sockets.
func NewTCP(o TCPOptions) *TCP {
	o.EnsureDefaults()
	t := &TCP{options: o, peers: NewPeers(o.Peers)}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.wg.Add(1)
	go t.sweeper()
	return t
}

func (t *TCP) sweeper() {
	defer t.wg.Done()
	for {
		timer := t.options.Clock.NewTimer(t.options.SweepInterval)
		select {
		case now := <-timer.C:
			t.peers.Sweep(now)
		case <-t.ctx.Done():
			timer.Stop()
			return
		}
	}
}

// Listen implements Transport.
func (t *TCP) Listen(address string, deliver func(frame []byte)) (string, error) {
	pull, err := ListenPull(address, t.options.Pull)
	if err != nil {
		return "", err
	}
	if !t.adopt(func() { t.mu.pulls = append(t.mu.pulls, pull) }) {
		_ = pull.Close()
		return "", fmt.Errorf("listen on %s: %w", address, ErrClosed)
	}
	go func() {
		defer t.wg.Done()
		for batch := range pull.Batches() {
			for _, frame := range batch.Frames {
				if t.ctx.Err() == nil {
					deliver(frame)
				}
			}
			batch.Release()
		}
	}()
	return pull.Address(), nil
}

// ListenReply implements Transport.
func (t *TCP) ListenReply(address string, serve func(request []byte, reply func([]byte))) (string, error) {
	rep, err := ListenRep(address, func(request []byte) []byte { return t.awaitReply(request, serve) }, t.options.Rep)
	if err != nil {
		return "", err
	}
	if !t.adopt(func() { t.mu.reps = append(t.mu.reps, rep) }) {
		_ = rep.Close()
		return "", fmt.Errorf("listen on %s: %w", address, ErrClosed)
	}
	t.wg.Done() // a Rep joins its own goroutines
	return rep.Address(), nil
}

// adopt registers a socket and one goroutine for it, unless the transport is closed.
func (t *TCP) adopt(register func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.closed {
		return false
	}
	register()
	t.wg.Add(1)
	return true
}

// awaitReply runs serve and waits for its reply. Rep wants one; when none comes, nil makes it
// give the client up.
func (t *TCP) awaitReply(request []byte, serve func([]byte, func([]byte))) []byte {
	answers := make(chan []byte, 1)
	serve(request, func(reply []byte) {
		if reply == nil {
			reply = []byte{}
		}
		select {
		case answers <- reply:
		default: // answered already
		}
	})
	timer := t.options.Clock.NewTimer(t.options.ReplyTimeout)
	defer timer.Stop()
	select {
	case reply := <-answers:
		return reply
	case <-timer.C:
	case <-t.ctx.Done():
	}
	return nil
}

// Send implements Transport.
func (t *TCP) Send(address string, frame []byte) error {
	push, err := t.peers.Get(address)
	if err != nil {
		return err
	}
	return push.AppendBytes(frame)
}

// Flush implements Transport.
func (t *TCP) Flush() { t.peers.FlushDirty() }

// Request implements Transport. Each request makes a connection of its own: they are rare.
func (t *TCP) Request(address string, request []byte, timeout time.Duration, done func([]byte, error)) error {
	if _, err := ParseAddress(address); err != nil {
		return err
	}
	if t.requests.Add(1) > int64(t.options.MaxRequests) {
		t.requests.Add(-1)
		return fmt.Errorf("request to %s: %w: %d", address, ErrTooManyRequests, t.options.MaxRequests)
	}
	if !t.adopt(func() {}) {
		t.requests.Add(-1)
		return fmt.Errorf("request to %s: %w", address, ErrClosed)
	}
	request = append([]byte(nil), request...)
	go func() {
		defer t.wg.Done()
		defer t.requests.Add(-1)
		ctx, cancel := t.withTimeout(timeout)
		defer cancel()
		reply, err := Request(ctx, address, request, t.options.Req)
		if err != nil && t.ctx.Err() != nil {
			err = fmt.Errorf("request to %s: %w", address, ErrClosed)
		}
		done(reply, err)
	}()
	return nil
}

// withTimeout is context.WithTimeout on the transport's clock.
func (t *TCP) withTimeout(d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(t.ctx)
	timer := t.options.Clock.NewTimer(d)
	go func() {
		select {
		case <-timer.C:
			cancel(context.DeadlineExceeded)
		case <-ctx.Done():
			timer.Stop()
		}
	}()
	return ctx, func() { cancel(nil) }
}

// PeersMetrics returns the counters of the outgoing side.
func (t *TCP) PeersMetrics() PeersMetrics { return t.peers.Metrics() }

// PullMetrics returns the counters of every Listen socket by its address.
func (t *TCP) PullMetrics() map[string]PullMetrics {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := make(map[string]PullMetrics, len(t.mu.pulls))
	for _, p := range t.mu.pulls {
		m[p.Address()] = p.Metrics()
	}
	return m
}

// Close implements Transport.
func (t *TCP) Close() error {
	t.mu.Lock()
	t.mu.closed = true
	pulls, reps := t.mu.pulls, t.mu.reps
	t.mu.pulls, t.mu.reps = nil, nil
	t.mu.Unlock()
	t.peers.FlushDirty()
	t.peers.Close(t.options.Linger)
	t.cancel()
	for _, p := range pulls {
		_ = p.Close()
	}
	for _, r := range reps {
		_ = r.Close()
	}
	t.wg.Wait()
	return nil
}
