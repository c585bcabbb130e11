package monitor

import (
	"errors"
	"time"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/internal/invariant"
	"github.com/dinomo-kv/dinomo/messages"
)

// actorName is the monitor actor's.
const actorName = "monitor"

// tickPeriod is how often the coordinator may look what is due: it decides how soon a finished drain is noticed.
const tickPeriod = 10 * time.Millisecond

// Node is a running M-node. Make it with Start.
type Node struct {
	actors runtime.Actors
}

// Start binds the node's sockets and begins to watch.
func Start(o Options) (*Node, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	transport := o.Transport
	transport.Clock, transport.Logf = o.Clock, o.Logf
	n := &Node{actors: o.System.NewActors(transport, runtime.HostOptions{MailboxMessages: o.Mailbox, Clock: o.Clock, Logf: o.Logf})}
	if err := Install(n.actors, &o); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// Install spawns the M-node's actor on a stage and binds its sockets. It is Start without processes' surroundings,
// for simulations. o has its defaults and is valid.
func Install(stage runtime.Stage, o *Options) error {
	if _, err := newMonitor(o); err != nil {
		return err
	}
	err := stage.Spawn(actorName, func() runtime.Actor {
		m, err := newMonitor(o)
		invariant.Check(err == nil, "options that were valid once are not any more: %v", err)
		return m
	})
	for _, b := range []struct {
		name   string
		socket messages.Socket
	}{
		{socketControl, messages.MonitorControl}, {socketNotify, messages.MonitorNotify}, {socketResponse, messages.MonitorResponse},
		{socketDepartDone, messages.MonitorDepartDone}, {socketFeedback, messages.MonitorFeedback}, {socketStatistics, messages.MonitorStatistics},
	} {
		if err == nil {
			_, err = stage.Bind(actorName, b.name, o.address(o.IP, b.socket))
		}
	}
	if err == nil {
		err = stage.Tick(actorName, tickPeriod)
	}
	return err
}

// Close unbinds everything and returns when no goroutine is left.
func (n *Node) Close() error {
	return errors.Join(n.actors.Stop(), n.actors.Close())
}

// HostMetrics returns the counters of the node's actor.
func (n *Node) HostMetrics() runtime.HostMetrics { return n.actors.Metrics() }
