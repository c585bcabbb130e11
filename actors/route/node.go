package route

import (
	"errors"
	"fmt"
	"time"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/messages"
)

// Names of the node's sockets as the actor sees them.
const (
	socketControl             = "control"
	socketNotify              = "notify"
	socketSeed                = "seed"
	socketReplicationResponse = "replication response"
	socketReplicationChange   = "replication change"
)

// actorName is the membership actor's.
const actorName = "membership"

// tickPeriod is how often the actor looks what is due.
const tickPeriod = 50 * time.Millisecond

// linger is how long Close waits for answers to be written.
const linger = time.Second

// Node is a running routing node. Make it with Start.
type Node struct {
	actors  runtime.Actors
	threads []*addressThread
}

// Start binds the node's sockets and begins to answer: with NO_SERVERS until the pool has a map.
func Start(o Options) (*Node, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	codec, err := messages.NewCodec(o.Limits)
	if err != nil {
		return nil, fmt.Errorf("routing node: %w", err)
	}
	n := &Node{}
	t := &table{}
	for i := range o.Threads {
		thread, err := newAddressThread(&o, i, codec, t)
		if err != nil {
			return nil, errors.Join(err, n.Close())
		}
		clock.Go(o.Clock, thread.run)
		n.threads = append(n.threads, thread)
	}
	transport := o.Transport
	transport.Clock, transport.Logf = o.Clock, o.Logf
	n.actors = o.System.NewActors(transport, runtime.HostOptions{MailboxMessages: o.Mailbox, Clock: o.Clock, Logf: o.Logf})
	if err := install(n.actors, &o, t, n.counters); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// install spawns the membership actor on a stage and binds its sockets.
func install(stage runtime.Stage, o *Options, t *table, status func() map[string]uint64) error {
	err := stage.Spawn(actorName, func() runtime.Actor { return newMembership(o, t, status) })
	if err != nil {
		return err
	}
	bind := func(name string, s messages.Socket, thread int) {
		if err == nil {
			_, err = stage.Bind(actorName, name, o.address(o.IP, s, thread))
		}
	}
	bind(socketControl, messages.RouteControl, 0)
	bind(socketNotify, messages.RouteNotify, 0)
	bind(socketReplicationChange, messages.RouteReplicationChange, 0)
	for i := range o.Threads {
		bind(socketReplicationResponse, messages.RouteReplicationResponse, i)
	}
	if err == nil {
		_, err = stage.BindReply(actorName, socketSeed, o.address(o.IP, messages.RouteSeed, 0))
	}
	if err == nil {
		err = stage.Tick(actorName, tickPeriod)
	}
	return err
}

// Metrics returns each address thread's counters.
func (n *Node) Metrics() []AddressMetrics {
	var all []AddressMetrics
	for _, t := range n.threads {
		all = append(all, t.metrics())
	}
	return all
}

// counters sums the address threads' counters up for a status report.
func (n *Node) counters() map[string]uint64 {
	sum := map[string]uint64{}
	for _, m := range n.Metrics() {
		sum["requests"] += uint64(m.Requests)
		sum["keys"] += uint64(m.Keys)
		sum["no_servers"] += uint64(m.NoServers)
		sum["refused"] += uint64(m.Refused)
		sum["malformed"] += uint64(m.Malformed)
		sum["dropped_answers"] += uint64(m.Dropped)
	}
	return sum
}

// Close answers what has arrived, unbinds everything and returns when no goroutine is left.
func (n *Node) Close() error {
	var err error
	if n.actors != nil {
		err = n.actors.Stop()
	}
	for _, t := range n.threads {
		err = errors.Join(err, t.close(linger))
	}
	if n.actors != nil {
		err = errors.Join(err, n.actors.Close())
	}
	return err
}

// HostMetrics returns the counters of the node's actor.
func (n *Node) HostMetrics() runtime.HostMetrics { return n.actors.Metrics() }
