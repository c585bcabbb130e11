package remote

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/call"
	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/internal/clock"
)

// NodeThread is the thread number of a node's own queue pair, which carries leases and metadata.
const NodeThread = fabric.SharedThread

// Options say which pool a node attaches to, and as whom. Dialer, Address and Identity are required.
type Options struct {
	Dialer   fabric.Dialer
	Address  string // "ip:port" of the DPM
	Identity string // the node's name for ever: its private IP
	PID      uint32 // this process, so that the DPM of the same machine can tell when it is gone
	PIDStart uint64
	// DialTimeout bounds one attempt, Timeout one Post or Call. Defaults as fabric.DialOptions.
	DialTimeout, Timeout time.Duration
	LocalIP              netip.Addr // as in fabric.DialOptions
	// RetryEvery is the pause between attempts while the pool is busy or not there. Default 20 ms.
	RetryEvery time.Duration
	Clock      clock.Clock
	// Waiting is told what an attempt failed with while Dial or Reconnect goes on trying: of the first at once, then after 1, 2, 4 ...
	// seconds. Default: nobody is.
	Waiting func(error)
}

// EnsureDefaults fills zero fields.
func (o *Options) EnsureDefaults() {
	if o.RetryEvery == 0 {
		o.RetryEvery = 20 * time.Millisecond
	}
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
	if o.Waiting == nil {
		o.Waiting = func(error) {}
	}
}

// Validate says which option is missing.
func (o *Options) Validate() error {
	switch {
	case o.Dialer == nil || o.Address == "":
		return fmt.Errorf("session options: a dialer and the DPM's address are needed")
	case o.Identity == "" || len(o.Identity) > fabric.MaxIdentityBytes:
		return fmt.Errorf("session options: identity %q: want 1 to %d bytes", o.Identity, fabric.MaxIdentityBytes)
	}
	return nil
}

// Session is a node's attachment to a pool: its rank and incarnation, under which its threads dial,
// and a queue pair of its own for the lease and for metadata. Its methods may be called from any goroutine
// unless they say otherwise.
type Session struct {
	o           Options
	pool        fabric.PoolID
	rank        fabric.Rank
	incarnation fabric.Incarnation
	layout      format.Layout
	lease       time.Duration

	// node is the caller over the node's own queue pair. It is held during a call. Lock order: before mu.
	node struct {
		sync.Mutex
		*caller
	}
	mu struct {
		sync.Mutex
		session fabric.Session // as of the last dial of any queue pair
		nodeQP  fabric.QP      // of node.caller: for Close, which does not wait for a call
		closed  bool
	}
}

// Dial attaches the node. It tries again until ctx ends while the DPM is not there or is still settling
// an earlier process of the same identity; other refusals it returns at once.
func Dial(ctx context.Context, o Options) (*Session, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	s := &Session{o: o}
	if err := s.retry(ctx, func() error { return s.open(ctx) }); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("attach %s to the pool at %s: %w", o.Identity, o.Address, err)
	}
	return s, nil
}

// open is one attempt of Dial. The queue pair outlives an attempt that finds the pool busy: closing it would
// give up the incarnation that came with it.
func (s *Session) open(ctx context.Context) error {
	s.node.Lock()
	defer s.node.Unlock()
	if s.node.caller == nil {
		s.node.caller = &caller{}
	}
	if err := s.dialNode(ctx); err != nil {
		return err
	}
	err := s.greet(s.node.caller)
	if err != nil && !errors.Is(err, ErrBusy) {
		s.dropNode()
	}
	return err
}

// dialNode makes the node's own queue pair if it has none. REQUIRES: node locked.
func (s *Session) dialNode(ctx context.Context) error {
	if s.node.qp != nil {
		return nil
	}
	qp, err := s.dial(ctx, NodeThread)
	if err != nil {
		return err
	}
	s.node.qp = qp
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.nodeQP = qp; s.mu.closed {
		return errors.Join(fabric.ErrClosed, qp.Close())
	}
	return nil
}

// dropNode closes the node's own queue pair. REQUIRES: node locked.
func (s *Session) dropNode() {
	if s.node.qp != nil {
		_ = s.node.qp.Close()
		s.node.qp = nil
	}
}

// greet reads the pool's layout and announces the node.
func (s *Session) greet(c *caller) error {
	page := make([]byte, format.SuperblockBytes)
	if err := c.qp.Post([]fabric.Verb{{Kind: fabric.Read, Address: 0, Buffer: page}}); err != nil {
		return fmt.Errorf("read superblock: %w", err)
	}
	given := c.qp.Session()
	superblock, err := format.DecodeSuperblock(page, given.PoolBytes)
	if err != nil {
		return err
	}
	reply, err := c.do(&call.Request{Op: call.Attach})
	if err != nil {
		return err
	}
	s.pool, s.rank, s.incarnation, s.layout = given.Pool, given.Rank, given.Incarnation, superblock.Layout
	s.lease = time.Duration(reply.LeaseMicros) * time.Microsecond
	return nil
}

// dial makes a queue pair for one of the node's threads.
func (s *Session) dial(ctx context.Context, thread uint16) (fabric.QP, error) {
	s.mu.Lock()
	closed := s.mu.closed
	s.mu.Unlock()
	if closed {
		return nil, fabric.ErrClosed
	}
	o := fabric.DialOptions{DialTimeout: s.o.DialTimeout, Timeout: s.o.Timeout, LocalIP: s.o.LocalIP, Hello: fabric.Hello{
		Rank: s.rank, Incarnation: s.incarnation, Thread: thread, Access: fabric.ReadWrite, Pool: s.pool,
		Identity: s.o.Identity, PID: s.o.PID, PIDStart: s.o.PIDStart,
	}}
	qp, err := s.o.Dialer.Dial(ctx, s.o.Address, o)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.mu.session = qp.Session()
	s.mu.Unlock()
	return qp, nil
}

// Layout says where everything in the pool lies.
func (s *Session) Layout() *format.Layout { return &s.layout }

// Rank is the node's rank, for as long as its identity is known to the pool.
func (s *Session) Rank() fabric.Rank { return s.rank }

// Incarnation tells this process from earlier ones of the same rank.
func (s *Session) Incarnation() fabric.Incarnation { return s.incarnation }

// LeaseLength is how long one renewal of the lease holds. The pool says so to all its nodes.
func (s *Session) LeaseLength() time.Duration { return s.lease }

// Fabric returns what the last dial of any of the node's queue pairs was given. Its ServerEpoch grows with each
// start of the DPM.
func (s *Session) Fabric() fabric.Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.session
}

// Lease makes the node's lease over a queue pair of its own, which the caller closes with it, so that
// no call of somebody else can hold a renewal up. After a renewal fails with a Broken error, make another.
func (s *Session) Lease(ctx context.Context) (*Lease, error) {
	qp, err := s.dial(ctx, NodeThread)
	if err != nil {
		return nil, fmt.Errorf("dial for the lease: %w", err)
	}
	l, err := newLease(qp, &s.layout, s.lease, s.o.Clock)
	if err != nil {
		_ = qp.Close()
		return nil, err
	}
	return l, nil
}

// Close closes the lease's queue pair and drops the lease.
func (l *Lease) Close() error {
	l.Drop()
	return l.qp.Close()
}

// Close closes the node's own queue pair. Threads and leases are closed by who made them.
func (s *Session) Close() error {
	s.mu.Lock()
	qp := s.mu.nodeQP
	s.mu.closed, s.mu.nodeQP = true, nil
	s.mu.Unlock()
	if qp == nil {
		return nil
	}
	return qp.Close()
}
