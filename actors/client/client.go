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

// maxBatchesPerFlush is how many received batches are handled before what they caused is sent: many, and little is
// sent with each system call; too many, and servers idle meanwhile.
const maxBatchesPerFlush = 8

// Client talks to a cluster. All methods may be called from any goroutine. Make it with New, and Close it.
type Client struct {
	options Options
	codec   *messages.Codec
	answers *runtime.Pull
	names   *runtime.Pull
	peers   *runtime.Peers
	start   time.Time
	wake    chan struct{} // something was queued that nobody flushes
	room    chan struct{} // there may be room for one who waits
	closing chan struct{}
	done    chan struct{} // the loop has ended

	// flushSoon: the loop is at work and flushes before it waits, so nobody needs to wake it.
	flushSoon atomic.Bool

	mu struct {
		sync.Mutex
		core    *core
		spare   []*op // the other ended list
		waiters int   // goroutines that wait for room
		alarmed bool  // the loop wakes up by itself
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
		wake: make(chan struct{}, 1), room: make(chan struct{}, 1), closing: make(chan struct{}), done: make(chan struct{})}
	if c.answers, err = c.listen(messages.ClientResponse); err != nil {
		return nil, err
	}
	if c.names, err = c.listen(messages.ClientKeyAddress); err != nil {
		return nil, errors.Join(err, c.answers.Close())
	}
	c.peers = runtime.NewPeers(runtime.PeersOptions{
		// What waits for a server that is away must not reach it long after we gave up: it may be a write.
		UnreachableAfter: o.AttemptTimeout,
		Push:             runtime.PushOptions{DialBackoffMax: 250 * time.Millisecond, Logf: o.Logf},
	})
	c.mu.core = newCore(o, &sockets{c.peers}, c.answers.Address(), c.names.Address(), random.New(o.Seed))
	go c.loop()
	return c, nil
}

func (c *Client) listen(s messages.Socket) (*runtime.Pull, error) {
	at, err := c.options.listenAt(s)
	if err != nil {
		return nil, err
	}
	pull, err := runtime.ListenPull(at, runtime.PullOptions{Name: s.String(), MaxFrameBytes: c.options.MaxAnswerBytes, Logf: c.options.Logf})
	if err != nil {
		return nil, fmt.Errorf("%s socket: %w (clients that share an IP need different port offsets)", s, err)
	}
	return pull, nil
}

// sockets is the core's network.
type sockets struct{ peers *runtime.Peers }

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
	if !first {
		<-c.done
		return nil
	}
	close(c.closing)
	<-c.done
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

// loop is the client's goroutine: it takes what arrives, keeps the time, and calls back.
func (c *Client) loop() {
	defer close(c.done)
	alarm := alarm{clock: c.options.Clock}
	for {
		select {
		case b := <-c.answers.Batches():
			c.flushSoon.Store(true)
			c.drain(b)
		case b := <-c.names.Batches():
			c.flushSoon.Store(true)
			c.handleNames(b)
		case <-c.wake:
			c.flushSoon.Store(true)
		case <-alarm.fired:
			c.flushSoon.Store(true)
			alarm.fired = nil
			c.handleTick()
		case <-c.closing:
			alarm.stop()
			c.abandon()
			return
		}
		c.settleDown(&alarm)
	}
}

// settleDown sends what is queued and sets the alarm for the next tick.
func (c *Client) settleDown(a *alarm) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushSoon.Store(false)
	now := c.now()
	c.mu.core.flush(now)
	if wait, needed := c.mu.core.nextTick(now); needed {
		a.set(now, wait)
	}
	c.mu.alarmed = a.fired != nil
}

// alarm is a timer that is only ever set to something earlier: while requests come and go, the one that is set is as
// good as a new one.
type alarm struct {
	clock clock.Clock
	timer *clock.Timer
	fired <-chan time.Time // nil: not set
	due   time.Duration
}

func (a *alarm) set(now, wait time.Duration) {
	if a.fired != nil && a.due <= now+wait {
		return
	}
	a.stop()
	a.timer = a.clock.NewTimer(wait)
	a.fired, a.due = a.timer.C, now+wait
}

func (a *alarm) stop() {
	if a.fired != nil {
		a.timer.Stop()
		a.fired = nil
	}
}

// drain handles a batch and those that have arrived behind it.
func (c *Client) drain(b *runtime.Batch) {
	for range maxBatchesPerFlush {
		c.handleAnswers(b)
		select {
		case b = <-c.answers.Batches():
		default:
			return
		}
	}
	c.handleAnswers(b)
}

// handleAnswers takes a batch of KeyResponses.
func (c *Client) handleAnswers(b *runtime.Batch) {
	bad := uint64(0)
	for _, frame := range b.Frames {
		m, err := c.codec.DecodeKeyResponse(frame)
		if err != nil {
			bad++
			continue
		}
		c.decoded = append(c.decoded, m)
	}
	c.mu.Lock()
	now := c.now()
	c.mu.core.metrics.MalformedFrames += bad
	for _, m := range c.decoded {
		c.mu.core.answered(now, m)
	}
	c.callBack()
	for i, m := range c.decoded {
		messages.ReleaseKeyResponse(m)
		c.decoded[i] = nil
	}
	c.decoded = c.decoded[:0]
	b.Release()
}

// handleNames takes a batch of KeyAddressResponses.
func (c *Client) handleNames(b *runtime.Batch) {
	c.mu.Lock()
	now := c.now()
	for _, frame := range b.Frames {
		m, err := c.codec.DecodeKeyAddressResponse(frame)
		if err != nil {
			c.mu.core.metrics.MalformedFrames++
			continue
		}
		c.mu.core.located(now, m)
		messages.ReleaseKeyAddressResponse(m)
	}
	c.callBack()
	b.Release()
}

func (c *Client) handleTick() {
	c.mu.Lock()
	wall := c.options.Clock.Now()
	now := wall.Sub(c.start)
	c.mu.core.tick(now)
	if now-c.swept >= time.Second {
		c.swept = now
		c.peers.Sweep(wall)
	}
	c.callBack()
}

// callBack runs the callbacks of the operations that have ended. REQUIRES: c.mu; releases it.
func (c *Client) callBack() {
	over := c.mu.core.ended
	c.mu.core.ended = c.mu.spare[:0]
	c.mu.spare = nil
	if len(over) > 0 && c.mu.waiters > 0 {
		signal(c.room)
	}
	c.mu.Unlock()
	for _, o := range over {
		o.done(&o.Result)
	}
	c.mu.Lock()
	for i, o := range over {
		c.mu.core.release(o)
		over[i] = nil
	}
	c.mu.spare = over
	c.mu.Unlock()
}

// abandon ends everything that is under way.
func (c *Client) abandon() {
	c.mu.Lock()
	for _, o := range c.mu.core.ops {
		if o.place == free || o.place == ended {
			continue
		}
		err := ErrClosed
		if o.place == sent && isWrite(o.Type) {
			err = fmt.Errorf("%w: %w", ErrClosed, messages.ErrTimeout)
		}
		c.mu.core.detach(o)
		c.mu.core.finish(o, err)
	}
	c.callBack()
}
