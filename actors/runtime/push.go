package runtime

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dinomo-kv/dinomo/internal/clock"
)

// OverflowPolicy says what a Push does with a frame when its queue is full.
type OverflowPolicy uint8

const (
	// Refuse returns ErrQueueFull at once. For those who must not wait: servers, timers.
	Refuse OverflowPolicy = iota
	// Wait blocks until there is room or the Push is closed. For those who only send.
	Wait
)

// PushOptions configures a Push; the zero value of a field means its default.
type PushOptions struct {
	// QueueBytes is the limit of what is queued, headers included (default 64 MiB). Buffers
	// may cost up to twice as much. A frame that exceeds it is ErrFrameTooLarge.
	QueueBytes int
	// Overflow says what happens when the queue is full.
	Overflow OverflowPolicy
	// DialBackoffMin and DialBackoffMax bound the pause after a failed attempt to connect
	// (5 ms, 1 s), which doubles each time. The attempts never end.
	DialBackoffMin, DialBackoffMax time.Duration
	// DialTimeout bounds one attempt (default 3 s), HandshakeTimeout what follows it (5 s).
	DialTimeout, HandshakeTimeout time.Duration
	// HeartbeatInterval, when set, sends a PING after so long a silence and gives the
	// connection up after three. It finds peers that vanished without a word; a peer that is
	// merely too slow to read is given up too, so keep it well above the longest pause.
	HeartbeatInterval time.Duration
	// LocalIP, when valid, is the address of this machine that connections are made from: nodes that share a machine
	// can then be told apart by a firewall.
	LocalIP netip.Addr
	// Clock times the pauses between attempts.
	Clock clock.Clock
	// Logf receives a line when a peer is lost or cannot be reached, at once and then ever more rarely, and one when it is
	// connected after all.
	Logf func(format string, args ...any)

	private struct {
		share *queueShare
		dirty func(*Push) // told at the first append since the last flushListed
		sim   *SimNode    // sends through a simulated network instead
		log   *quietLog   // of an earlier Push to the address
	}
}

// EnsureDefaults fills the fields that are zero.
func (o *PushOptions) EnsureDefaults() {
	setDefault(&o.QueueBytes, 64<<20)
	setDefault(&o.DialBackoffMin, 5*time.Millisecond)
	setDefault(&o.DialBackoffMax, time.Second)
	setDefault(&o.DialTimeout, 3*time.Second)
	setDefault(&o.HandshakeTimeout, 5*time.Second)
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
}

// PushMetrics counts what a Push did since it was made, except for the Queued fields.
type PushMetrics struct {
	Connected      bool
	QueuedBytes    int
	QueuedFrames   int
	FramesAccepted int64
	FramesRefused  int64 // ErrQueueFull
	FramesDropped  int64 // queued when the Push was closed
	BytesWritten   int64
	Writes         int64 // system calls
	WritesBlocked  int64 // flushes that the flusher had to finish
	Connects       int64
	Disconnects    int64
	DialFailures   int64
}

// A Push sends frames to one address. It connects in the background and queues meanwhile; the
// order of frames is kept and none is lost while the process lives (NET-1, NET-2), except what
// a dying peer had not read. All methods may be called from any goroutine.
type Push struct {
	address  string
	endpoint netip.AddrPort
	invalid  error // of the address; every send returns it
	options  PushOptions
	log      *quietLog

	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
	kick   chan struct{} // hands the writer's role to the flusher
	hurry  chan struct{} // ends the pause before the next attempt to connect

	framesRefused, bytesWritten, writes, writesBlocked atomic.Int64
	connects, disconnects, dialFailures                atomic.Int64

	mu struct {
		sync.Mutex
		changed  *sync.Cond // room, an empty queue, or a writer that gave up its role
		waiters  int        // goroutines waiting on changed
		queue    pushQueue
		conn     *pushConn // nil while there is no connection
		writing  bool      // somebody has the writer's role: a Flush, or the flusher
		gone     bool      // the flusher has ended
		listed   bool      // in its Peers' list of those to flush
		closing  bool
		accepted int64
		dropped  int64
		sim      simConn
	}
}

// NewPush returns a Push to address and begins to connect. It never blocks; a bad address
// shows at the first send, as ErrBadAddress.
func NewPush(address string, o PushOptions) *Push {
	o.EnsureDefaults()
	p := &Push{address: address, options: o, kick: make(chan struct{}, 1), hurry: make(chan struct{}, 1), log: o.private.log}
	if p.log == nil {
		p.log = newTroubleLog(o.Logf, o.Clock)
	}
	p.mu.changed = sync.NewCond(&p.mu.Mutex)
	p.mu.queue.limit, p.mu.queue.share = o.QueueBytes, o.private.share
	p.ctx, p.cancel = context.WithCancel(context.Background())
	if p.endpoint, p.invalid = ParseAddress(address); p.invalid != nil {
		return p
	}
	if o.private.sim != nil {
		return p
	}
	p.wg.Add(2)
	go p.connectLoop()
	go p.flusher()
	return p
}

// Address returns what NewPush was given.
func (p *Push) Address() string { return p.address }

// Connected reports whether there is a connection now.
func (p *Push) Connected() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.connected()
}

// connected says whether there is a connection now. REQUIRES: p.mu.
func (p *Push) connected() bool {
	if p.options.private.sim != nil {
		up, _ := p.simLook()
		return up
	}
	return p.mu.conn != nil
}

// Send queues a copy of frame and flushes. Errors: ErrQueueFull, ErrFrameTooLarge,
// ErrBadAddress, ErrClosed; with any of them the frame was not taken.
func (p *Push) Send(frame []byte) error {
	if err := p.AppendBytes(frame); err != nil {
		return err
	}
	p.Flush()
	return nil
}

// AppendBytes queues a copy of frame; errors as for Send. It goes out with the next Flush.
func (p *Push) AppendBytes(frame []byte) error {
	p.mu.Lock()
	err := p.makeRoom(frameBytes(len(frame)))
	if err == nil {
		before := p.mu.queue.bytes
		p.mu.queue.appendBytes(frame, p.mu.conn != nil)
		p.took(before)
	}
	first := p.enlist(err)
	p.mu.Unlock()
	if first {
		p.options.private.dirty(p)
	}
	return err
}

// Append encodes m straight into the queue; errors as for Send, and m's own. It goes out with
// the next Flush. m must not call this Push.
func (p *Push) Append(m Encoder) error {
	size := m.SizeVT()
	p.mu.Lock()
	err := p.makeRoom(frameBytes(size))
	if err == nil {
		before := p.mu.queue.bytes
		if err = p.mu.queue.appendEncoder(m, size, p.mu.conn != nil); err == nil {
			p.took(before)
		}
	}
	first := p.enlist(err)
	p.mu.Unlock()
	if first {
		p.options.private.dirty(p)
	}
	return err
}

// took counts a frame that was queued behind so many bytes. The first for a peer that is away is a sign that it may be back: a client that was
// started again and asks is worth an attempt to connect at once. Further ones are not, or whoever names dead addresses could
// have them dialled as often as he likes. REQUIRES: p.mu.
func (p *Push) took(behind int) {
	p.mu.accepted++
	if p.mu.conn == nil && behind == 0 {
		select {
		case p.hurry <- struct{}{}:
		default:
		}
	}
}

// enlist reports whether the Peers have to be told that there is something to flush.
// REQUIRES: p.mu.
func (p *Push) enlist(err error) bool {
	if err != nil || p.mu.listed || p.options.private.dirty == nil {
		return false
	}
	p.mu.listed = true
	return true
}

// flushListed is Flush for the Peers' list.
func (p *Push) flushListed() {
	p.mu.Lock()
	p.mu.listed = false
	p.mu.Unlock()
	p.Flush()
}

// makeRoom returns nil when n bytes may be queued. It may release p.mu for a while and calls
// for the queue to be written when that is what it takes. REQUIRES: p.mu.
func (p *Push) makeRoom(n int) error {
	switch {
	case p.invalid != nil:
		return p.invalid
	case n > p.options.QueueBytes:
		return fmt.Errorf("send to %s: %w: %d bytes, the queue takes %d", p.address, ErrFrameTooLarge, n, p.options.QueueBytes)
	}
	flushed := false
	for {
		switch {
		case p.mu.closing:
			return fmt.Errorf("send to %s: %w", p.address, ErrClosed)
		case !flushed && p.mu.conn != nil && !p.mu.writing && (p.mu.queue.fills(n) || !p.mu.queue.room(n)):
			// A full chunk is written now: its write would not grow by waiting, and the peer has something to do.
			flushed = true
			p.mu.Unlock()
			p.Flush()
			p.mu.Lock()
		case p.mu.queue.room(n):
			return nil
		case p.options.Overflow == Refuse || p.options.private.share != nil:
			p.framesRefused.Add(1)
			return fmt.Errorf("send to %s: %w", p.address, ErrQueueFull)
		default:
			p.wait()
			flushed = false
		}
	}
}

// wait blocks until changed is signalled. REQUIRES: p.mu.
func (p *Push) wait() {
	p.mu.waiters++
	p.mu.changed.Wait()
	p.mu.waiters--
}

// signal wakes those who wait for changed, if any. REQUIRES: p.mu.
func (p *Push) signal() {
	if p.mu.waiters > 0 {
		p.mu.changed.Broadcast()
	}
}

// Metrics may be called from any goroutine.
func (p *Push) Metrics() PushMetrics {
	p.mu.Lock()
	defer p.mu.Unlock()
	return PushMetrics{
		Connected:      p.connected(),
		QueuedBytes:    p.mu.queue.bytes,
		QueuedFrames:   p.mu.queue.frames(),
		FramesAccepted: p.mu.accepted,
		FramesRefused:  p.framesRefused.Load(),
		FramesDropped:  p.mu.dropped,
		BytesWritten:   p.bytesWritten.Load(),
		Writes:         p.writes.Load(),
		WritesBlocked:  p.writesBlocked.Load(),
		Connects:       p.connects.Load(),
		Disconnects:    p.disconnects.Load() + p.mu.sim.losses,
		DialFailures:   p.dialFailures.Load(),
	}
}

// Close flushes, waits up to linger for the queue to be written, drops and counts what is left,
// and waits for the goroutines. It returns how many frames were dropped.
func (p *Push) Close(linger time.Duration) (dropped int) {
	p.shut(linger)
	p.wg.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.mu.writing { // a Flush in another goroutine; its connection is closed, so it ends
		p.wait()
	}
	dropped = p.mu.queue.frames()
	p.mu.dropped += int64(dropped)
	p.mu.queue.drop()
	return dropped
}

// shut refuses further frames, lingers and tells the goroutines to end.
func (p *Push) shut(linger time.Duration) {
	p.mu.Lock()
	p.mu.closing = true
	p.mu.changed.Broadcast()
	p.mu.Unlock()
	p.Flush()
	if linger > 0 && p.invalid == nil && p.options.private.sim == nil {
		p.awaitEmpty(linger)
	}
	p.cancel()
	p.mu.Lock()
	if p.mu.conn != nil {
		p.mu.conn.finish()
	}
	p.mu.Unlock()
}

func (p *Push) awaitEmpty(linger time.Duration) {
	expired, stop := false, make(chan struct{})
	timer := p.options.Clock.NewTimer(linger)
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		select {
		case <-timer.C:
			p.mu.Lock()
			expired = true
			p.mu.changed.Broadcast()
			p.mu.Unlock()
		case <-stop:
			timer.Stop()
		}
	}()
	p.mu.Lock()
	for p.mu.queue.bytes > 0 && !expired && p.ctx.Err() == nil {
		p.wait()
	}
	p.mu.Unlock()
	close(stop)
	wg.Wait()
}

func (p *Push) state() (connected bool, queuedBytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.connected(), p.mu.queue.bytes
}
