package kn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"

	"github.com/dinomo-kv/dinomo/actors/kn/engine"
	"github.com/dinomo-kv/dinomo/actors/kn/guard"
	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/remote"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// Node is a running KVS node. Make it with Start.
type Node struct {
	o       Options
	session *remote.Session
	lease   *leaseKeeper
	threads []*thread
	actors  runtime.Actors
	cancel  context.CancelFunc
	work    clock.Group // lease keeper, desk
	serving clock.Group // threads
	closing sync.Once
	closed  error

	mu struct {
		sync.Mutex
		ended bool
		err   error
	}
	over chan struct{} // closed when the node has ended by itself or by Close
}

// Start attaches a node to the pool, binds its sockets and lets it serve. It waits for the pool until ctx ends, and
// says so once a second; the node runs on until Close, until it has left the cluster, or until it has lost its rank.
func Start(ctx context.Context, o Options) (*Node, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.DPMControl == "" {
		host, _, err := net.SplitHostPort(o.DPM)
		if err != nil {
			return nil, fmt.Errorf("kn options: address of the DPM: %w", err)
		}
		o.DPMControl = o.address(host, messages.DPMControl)
	}
	o.Logf("options: %s", o.String())
	o.Logf("random seed: %d", o.RandomSeed)
	n := &Node{o: o, over: make(chan struct{})}
	if err := n.start(ctx); err != nil {
		_ = n.Close()
		return nil, fmt.Errorf("kn %s: %w", o.PrivateIP, err)
	}
	return n, nil
}

func (n *Node) start(ctx context.Context) error {
	o := &n.o
	o.Logf("waits for the DPM at %s", o.DPM)
	var err error
	n.session, err = remote.Dial(ctx, remote.Options{
		Dialer: o.Dialer, Address: o.DPM, Identity: o.PrivateIP, PID: o.PID, PIDStart: o.PIDStart,
		DialTimeout: o.DialTimeout, Timeout: o.VerbTimeout, LocalIP: o.LocalIP, Clock: o.Clock,
		Waiting: func(err error) { o.Logf("still waits for the DPM at %s: %v", o.DPM, err) },
	})
	if err != nil {
		return err
	}
	self := identity{rank: hashring.Rank(n.session.Rank()), incarnation: uint64(n.session.Incarnation())}
	o.Logf("rank %d, incarnation %d, lease %v; waits for an ownership map that has it", self.rank, self.incarnation, n.session.LeaseLength())

	background, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	n.lease = newLeaseKeeper(n.session, o.Clock, o.RenewPeriod, n.finish, o.Logf)
	n.work.Go(o.Clock, func() { n.lease.run(background) })

	codec, err := messages.NewCodec(o.Limits)
	if err != nil {
		return err
	}
	public := &published{}
	for i := range o.Threads {
		if err := n.openThread(ctx, i, self, codec, public); err != nil {
			return err
		}
	}
	if err := n.startControl(background, self, codec, public); err != nil {
		return err
	}
	for _, t := range n.threads {
		n.serving.Go(o.Clock, t.run)
	}
	return nil
}

// openThread makes a thread, with its socket bound, that does not run yet.
func (n *Node) openThread(ctx context.Context, number int, self identity, codec *messages.Codec, public *published) error {
	o := &n.o
	address, err := o.Plan.Address(o.PrivateIP, messages.KNRequest, number)
	if err != nil {
		return err
	}
	pullOptions := o.Pull
	pullOptions.Clock, pullOptions.Logf = o.Clock, o.Logf
	pull, err := o.System.ListenPull(address.String(), pullOptions)
	if err != nil {
		return err
	}
	t := &thread{
		number: number, o: o, self: self, lease: n.lease, codec: codec, pull: pull, peers: o.System.NewPeers(o.Peers),
		mailbox: newMailbox(), lost: n.finish, public: public, tell: n.tell, pace: newPace(o.ServiceRate),
	}
	t.round.answer = &messages.KeyResponse{}
	t.report.hot = newHotKeys(o.RandomSeed + uint64(number))
	t.report.started = o.Clock.Now()
	t.report.reportedAt = t.report.started
	cache := o.Cache
	cache.Seed += uint64(number)
	t.engine, err = engine.Open(ctx, n.session, uint16(number), engine.Options{
		Cache: cache, Appender: o.Appender, WriteWait: o.WriteWait, Clock: o.Clock,
		Lattice: lattice.Options{Mode: o.LWW, MaxPayloadBytes: o.Limits.MaxPayloadBytes},
		Waits:   t.peers.FlushDirty, Changed: t.mailbox.poke,
		Logf: func(format string, args ...any) { o.Logf("thread %d: %s", number, fmt.Sprintf(format, args...)) },
	})
	if err != nil {
		t.peers.Close(0)
		return errors.Join(err, pull.Close())
	}
	n.threads = append(n.threads, t)
	return nil
}

// startControl hosts the control actor and binds its sockets: all of the port table's that are not request sockets.
func (n *Node) startControl(ctx context.Context, self identity, codec *messages.Codec, public *published) error {
	o := &n.o
	n.actors = o.System.NewActors(runtime.TCPOptions{
		Clock: o.Clock, Logf: o.Logf, Req: runtime.ReqOptions{LocalIP: o.LocalIP},
		Peers: runtime.PeersOptions{Push: runtime.PushOptions{LocalIP: o.LocalIP}},
	}, runtime.HostOptions{Clock: o.Clock, Logf: o.Logf})
	address := o.address(o.PrivateIP, messages.KNControl)
	d := newDesk(n.session, o.Clock, o.MapPeriod, n.tell)
	c := &control{
		o: o, self: self, address: address, public: public, finish: n.finish, codec: codec, askPool: d.ask,
		guard:    guard.New(guard.Options{Rank: self.rank, PrivateIP: o.PrivateIP, Address: address, ResumeTimeout: o.ResumeTimeout}),
		releases: map[string]*gathering{}, epochs: make([]hashring.Epoch, len(n.threads)),
	}
	for _, t := range n.threads {
		c.threads = append(c.threads, t.mailbox)
	}
	if err := n.actors.Spawn(actorName, func() runtime.Actor { return c }); err != nil {
		return err
	}
	bindings, err := o.Plan.Bindings(messages.RoleKN, o.Threads)
	if err != nil {
		return err
	}
	for _, b := range bindings {
		if b.Socket == messages.KNRequest {
			continue
		}
		at, err := o.Plan.Address(o.PrivateIP, b.Socket, b.Thread)
		if err != nil {
			return err
		}
		bind, name := n.actors.Bind, b.Socket.String()
		if b.Socket.Pattern() == messages.Rep {
			bind = n.actors.BindReply
		}
		if b.Socket.PerThread() {
			name += "/" + strconv.Itoa(b.Thread)
		}
		if _, err := bind(actorName, name, at.String()); err != nil {
			return err
		}
	}
	n.work.Go(o.Clock, func() { d.run(ctx) })
	return n.actors.Tick(actorName, tickPeriod)
}

// tell gives a message to the control actor. Every message that must not be lost is asked for again by a timer of whoever
// waits for it.
func (n *Node) tell(body any) {
	if err := n.actors.Tell(actorName, body); err != nil && !errors.Is(err, runtime.ErrClosed) {
		n.o.Logf("control actor: %v", err)
	}
}

// finish ends the node: nil when it has left in order. The first word counts.
func (n *Node) finish(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mu.ended {
		return
	}
	n.mu.ended, n.mu.err = true, err
	if errors.Is(err, fabric.ErrFenced) {
		n.mu.err = fmt.Errorf("this run of the node was fenced, somebody else serves its keys; start it again: %w", err)
	}
	if err != nil {
		n.lease.revoke()
		n.o.Logf("ends: %v", n.mu.err)
	}
	close(n.over)
}

// Done is closed when the node has ended; Wait tells why.
func (n *Node) Done() <-chan struct{} { return n.over }

// Wait returns when the node has ended: nil after Close or an orderly leave, else why it cannot go on. Close
// still has to be called.
func (n *Node) Wait() error {
	<-n.over
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mu.err
}

// Leave begins the node's orderly end: its keys get other owners first. Wait returns when that is done.
func (n *Node) Leave() { n.tell(leaveNow{}) }

// Close ends the node at once and gives everything back. What it acknowledged is in the pool.
func (n *Node) Close() error {
	n.finish(nil)
	n.closing.Do(func() { n.closed = n.shut() })
	return n.closed
}

func (n *Node) shut() error {
	var errs []error
	if n.cancel != nil {
		n.cancel()
	}
	for _, t := range n.threads {
		t.mailbox.put(stop{})
	}
	n.serving.Wait()
	if n.actors != nil {
		errs = append(errs, n.actors.Stop(), n.actors.Close())
	}
	for _, t := range n.threads {
		errs = append(errs, t.close())
	}
	n.work.Wait()
	if n.session != nil {
		errs = append(errs, n.session.Close())
	}
	return errors.Join(errs...)
}

// Rank is the node's rank and incarnation in the pool.
func (n *Node) Rank() (hashring.Rank, uint64) {
	return hashring.Rank(n.session.Rank()), uint64(n.session.Incarnation())
}
