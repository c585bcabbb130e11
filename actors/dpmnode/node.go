package dpmnode

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/dpm"
	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/messages"
)

// actorName is the control actor's.
const actorName = "control"

// tellAgain is the pause before a chore's outcome is told again to an actor whose mailbox is full.
const tellAgain = 10 * time.Millisecond

// Node is a running DPM node. Make it with Start.
type Node struct {
	o        Options
	pool     *dpm.Pool
	listener fabric.Listener
	actors   runtime.Actors
	cancel   context.CancelFunc
	chores   clock.Group
}

// Start opens the pool and serves it. An occupied port, and a pool file that is missing, foreign, damaged or in use, are
// errors of one line that say what to do.
func Start(o Options) (*Node, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	n := &Node{o: o}
	if err := n.start(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *Node) start() error {
	o := &n.o
	address, err := o.verbsAddress()
	if err != nil {
		return err
	}
	poolOptions := o.Pool
	poolOptions.Clock = o.Clock
	poolOptions.Events = logged(o.Pool.Events, o.Logf)
	if n.pool, err = dpm.Open(poolOptions); err != nil {
		return advise(err, o.Pool.Path)
	}
	report := n.pool.Recovery()
	o.Logf("%s", strings.TrimSpace(report.String()))
	n.listener, err = o.Listen(n.pool, fabric.ListenOptions{Address: address, Path: n.pool.Path(), Logf: o.Logf})
	if err != nil {
		return adviseListen(fmt.Errorf("serve the pool's verbs at %s: %w", address, err))
	}
	n.pool.Listen(n.listener)
	return n.control()
}

// control starts the actor.
func (n *Node) control() error {
	o := &n.o
	transport := o.Transport
	transport.Clock, transport.Logf = o.Clock, o.Logf
	n.actors = o.System.NewActors(transport, runtime.HostOptions{MailboxMessages: o.Mailbox, Clock: o.Clock, Logf: o.Logf})
	var w surroundings
	w.ctx, n.cancel = context.WithCancel(context.Background())
	w.pool, w.verbs, w.self = poolOf{n.pool}, n.verbs, n.self
	w.spawn = func(work func()) { n.chores.Go(o.Clock, work) }
	if err := n.actors.Spawn(actorName, func() runtime.Actor { return newControl(o, w) }); err != nil {
		return err
	}
	a, err := o.Plan.Address(o.IP, messages.DPMControl, 0)
	if err != nil {
		return err
	}
	_, err = n.actors.Bind(actorName, "control", a.String())
	return err
}

// self tells the actor something, however full its mailbox is: a chore whose end it never learned of would never be
// repeated.
func (n *Node) self(body any) {
	for errors.Is(n.actors.Tell(actorName, body), runtime.ErrMailboxFull) {
		n.o.Clock.Sleep(tellAgain)
	}
}

// verbs returns the listener's figures for reports.
func (n *Node) verbs() map[string]uint64 { return verbFigures(n.listener.Metrics()) }

// Pool returns the open pool, for who runs the node in its own process.
func (n *Node) Pool() *dpm.Pool { return n.pool }

// VerbsAddress returns "ip:port" of the verbs listener.
func (n *Node) VerbsAddress() string { return n.listener.Address() }

// Close stops serving, and gives the pool back. What is unmerged stays for the next start.
func (n *Node) Close() error {
	var err error
	if n.cancel != nil {
		n.cancel()
	}
	if n.actors != nil {
		err = n.actors.Stop()
	}
	n.chores.Wait()
	if n.pool != nil {
		err = errors.Join(err, n.pool.Close()) // and the listener
	}
	if n.actors != nil {
		err = errors.Join(err, n.actors.Close())
	}
	return err
}

// advise adds what to do to the errors of opening a pool that a person meets.
func advise(err error, path string) error {
	switch {
	case errors.Is(err, dpm.ErrNoPool):
		return fmt.Errorf("%w: give the path of an existing pool (dinomo.pool.path), or let the DPM create one", err)
	case errors.Is(err, format.ErrForeign):
		return fmt.Errorf("%w: it is something else; give another path (dinomo.pool.path), nothing was changed", err)
	case errors.Is(err, pmem.ErrEmptyFile):
		return fmt.Errorf("%w: remove it, and the DPM creates a pool there; or give another path (dinomo.pool.path)", err)
	case errors.Is(err, format.ErrVersion):
		return fmt.Errorf("%w: open it with a program of that version, or give another path (dinomo.pool.path); nothing was changed", err)
	case errors.Is(err, format.ErrTruncated):
		return fmt.Errorf("%w: bring a backup back (dinomo restore), or give another path (dinomo.pool.path); nothing was changed", err)
	case errors.Is(err, format.ErrDamaged):
		return fmt.Errorf("%w: dinomo inspect verify --path %s says what is wrong, dinomo restore brings a backup back", err, path)
	}
	return err
}

// adviseListen adds what to do to the errors of an address that a person meets. A card's errors say it themselves.
func adviseListen(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w: stop what has it, or choose another IP or port (ib_config.sock_port)", err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w: no interface of this machine has that IP; give one that it has (dinomo.dpm.addresses)", err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w: choose a port above 1023 (ib_config.sock_port)", err)
	}
	return err
}

// logged adds a log line to each of the pool's events.
func logged(e dpm.EventListener, logf func(string, ...any)) dpm.EventListener {
	e.EnsureDefaults()
	admitted, fenced, small, damage, readOnly := e.RankAdmitted, e.RankFenced, e.SmallPool, e.Damage, e.ReadOnly
	e.RankAdmitted = func(i dpm.RankInfo) {
		logf("rank %d, incarnation %d is %s", i.Rank, i.Incarnation, i.Identity)
		admitted(i)
	}
	e.RankFenced = func(i dpm.RankInfo) {
		logf("rank %d is fenced up to incarnation %d (%s)", i.Rank, i.Incarnation, i.Identity)
		fenced(i)
	}
	e.SmallPool = func(i dpm.SizeInfo) {
		logf("WARNING: the pool is too small for %d KN threads: it has %d segments of %d KiB, and below %d puts may be refused with NO_SPACE though there is little in it; "+
			"make it %d MiB (capacities.storage-cap), its segments smaller (kvs_config.log-block-size), or the threads fewer",
			i.Threads, i.Segments, i.SegmentBytes>>10, i.WantedSegments, (i.WantedBytes+1<<20-1)>>20)
		small(i)
	}
	e.Damage = func(i dpm.DamageInfo) {
		logf("DAMAGE: %s at %#x: %v", i.What, i.Offset, i.Err)
		damage(i)
	}
	e.ReadOnly = func(err error) {
		logf("the pool is read-only from now on: %v", err)
		readOnly(err)
	}
	return e
}

// HostMetrics returns the counters of the node's actor.
func (n *Node) HostMetrics() runtime.HostMetrics { return n.actors.Metrics() }
