package client

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/internal/random"
	"github.com/dinomo-kv/dinomo/messages"
)

// Client talks to a cluster. All methods may be called from any goroutine. Make it with New, and Close it.
type Client struct {
	options Options
	codec   *messages.Codec
	answers *runtime.Pull
	names   *runtime.Pull
	peers   *runtime.Peers
	start   time.Time
	wake    chan struct{} // something was queued that nobody flushes
	closing chan struct{}
	done    chan struct{} // the loop has ended

	// flushSoon: the loop is at work and flushes before it waits, so nobody needs to wake it.
	flushSoon atomic.Bool

	mu struct {
		sync.Mutex
		core    *core
		spare   []*op     // the other ended list
		waiters []*waiter // for room, in the order in which they came
		alarmed bool      // the loop wakes up by itself
		closed  bool
	}

	// Of the loop's goroutine.
	decoded []*messages.KeyResponse // that ended operations point into
	swept   time.Duration
}

// New binds the client's two sockets and starts its goroutine.
func New(o Options) (*Client, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	codec, err := messages.NewCodec(messages.Limits{
		MaxTuples: max(maxKeysPerQuestion, o.MaxTuplesPerRequest, messages.Limits{}.EnsureDefaults().MaxTuples)})
	if err != nil {
		return nil, err
	}
	c := &Client{options: o, codec: codec, start: o.Clock.Now(),
		wake: make(chan struct{}, 1), closing: make(chan struct{}), done: make(chan struct{})}
	if c.answers, err = c.listen(messages.ClientResponse); err != nil {
		return nil, err
	}
	if c.names, err = c.listen(messages.ClientKeyAddress); err != nil {
		return nil, errors.Join(err, c.answers.Close())
	}
	c.peers = o.System.NewPeers(runtime.PeersOptions{
		// What waits for a server that is away must not reach it long after we gave up: it may be a write.
		UnreachableAfter: o.AttemptTimeout,
		// A KN that is started again is back in the map at once; what the client then sleeps, all that wait for the KN's keys sleep.
		Push: runtime.PushOptions{DialBackoffMax: 50 * time.Millisecond, LocalIP: o.LocalIP, Logf: o.Logf},
	})
	c.mu.core = newCore(o, &sockets{c.peers}, c.answers.Address(), c.names.Address(), random.New(o.Seed))
	clock.Go(o.Clock, c.loop)
	return c, nil
}

func (c *Client) listen(s messages.Socket) (*runtime.Pull, error) {
	at, err := c.options.listenAt(s)
	if err != nil {
		return nil, err
	}
	pull, err := c.options.System.ListenPull(at, runtime.PullOptions{Name: s.String(), MaxFrameBytes: c.options.MaxAnswerBytes, Logf: c.options.Logf})
	if err != nil {
		return nil, fmt.Errorf("%s socket: %w (clients that share an IP need different port offsets)", s, err)
	}
	return pull, nil
}

// sockets is the core's network.
type sockets struct{ peers *runtime.Peers }

func (s *sockets) link(address string) (bool, int64) {
	push, err := s.peers.Get(address)
	if err != nil {
		return false, 0
	}
	m := push.Metrics()
	return m.Connected, m.Disconnects
}

func (s *sockets) send(address string, m runtime.Encoder) error {
	push, err := s.peers.Get(address)
	if err != nil {
		return err
	}
	return push.Append(m)
}

func (s *sockets) flush() { s.peers.FlushDirty() }

// Address returns where the client listens for answers.
func (c *Client) Address() string { return c.answers.Address() }

// Seed returns what the client's choices follow from.
func (c *Client) Seed() uint64 { return c.options.Seed }

// Metrics may be called at any time.
func (c *Client) Metrics() Metrics {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.mu.core.metrics
	m.Outstanding = c.mu.core.live
	return m
}

// ForgetAddresses drops all remembered owners, so that each key is asked for again.
func (c *Client) ForgetAddresses() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.core.cache.clear()
}

func (c *Client) now() time.Duration { return c.options.Clock.Now().Sub(c.start) }

// Submit starts an operation. An error means that nothing was started and Done will not be called: ErrTooManyOutstanding,
// ErrClosed, or messages.ErrInvalidRequest or ErrTooLarge for one that could never succeed. Operations that are submitted
// together, in particular from within Done, travel together.
func (c *Client) Submit(in Operation) error {
	if err := in.check(); err != nil {
		return err
	}
	wall := c.options.Clock.Now()
	now := wall.Sub(c.start)
	deadline := now + c.options.OperationTimeout
	if !in.Deadline.IsZero() {
		deadline = in.Deadline.Sub(c.start)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.submit(now, &in, deadline, wall); err != nil {
		return err
	}
	if !c.flushSoon.Load() {
		signal(c.wake)
	}
	return nil
}

// submit hands an operation to the core. REQUIRES: c.mu.
func (c *Client) submit(now time.Duration, in *Operation, deadline time.Duration, wall time.Time) (*op, error) {
	if c.mu.closed {
		return nil, ErrClosed
	}
	return c.mu.core.submit(now, in, deadline, uint64(wall.UnixNano()))
}

// signal fills a channel of capacity one.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// Close ends all operations with ErrClosed (messages.ErrTimeout for those that may have taken effect), calls them back, and
// closes the sockets. It must not be called from Done. Calling it again is a no-op.
func (c *Client) Close() error {
	c.mu.Lock()
	first := !c.mu.closed
	c.mu.closed = true
	c.mu.Unlock()
	if first {
		close(c.closing)
	}
	clock.Await(c.options.Clock, func() bool { return clock.Closed(c.done) })
	<-c.done
	if !first {
		return nil
	}
	err := errors.Join(c.answers.Close(), c.names.Close())
	for b := range c.answers.Batches() {
		b.Release()
	}
	for b := range c.names.Batches() {
		b.Release()
	}
	c.peers.Close(0)
	return err
}
