package manager

import (
	"errors"
	"fmt"
	"strings"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/messages"
)

// actorName is the manager actor's.
const actorName = "manager"

// Manager is a running management node. Make it with Start.
type Manager struct {
	transport   *runtime.TCP
	host        *runtime.Host
	provisioner Provisioner
}

// Start binds the node's sockets and starts its initial nodes.
func Start(o Options) (*Manager, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	transport := o.Transport
	transport.Clock, transport.Logf = o.Clock, o.Logf
	m := &Manager{transport: runtime.NewTCP(transport)}
	m.host = runtime.NewHost(runtime.HostOptions{Transport: m.transport, MailboxMessages: o.Mailbox, Clock: o.Clock, Logf: o.Logf})
	if err := m.start(&o); err != nil {
		return nil, errors.Join(err, m.Abandon()) // nodes that were taken over are none of the error's business
	}
	return m, nil
}

func (m *Manager) start(o *Options) error {
	var err error
	m.provisioner, err = o.Provisioner(func(ev Event) {
		ev.Detail = strings.ToValidUTF8(ev.Detail, "?")
		if err := m.host.Tell(actorName, ev); err != nil && !errors.Is(err, runtime.ErrClosed) {
			o.Logf("%s %s is %s: %v", ev.Kind, ev.IP, ev.State, err)
		}
	})
	if err != nil {
		return fmt.Errorf("management node: %w", err)
	}
	if err := spawn(m.host, o, m.provisioner); err != nil {
		return err
	}
	// Before anybody can ask: who did would hear of no nodes.
	recovered, err := m.provisioner.Recover()
	if err != nil {
		return fmt.Errorf("management node: %w", err)
	}
	if err := bind(m.host, o); err != nil {
		return err
	}
	if recovered > 0 {
		o.Logf("%d nodes of the management node before are taken over; no others are started", recovered)
		return nil
	}
	for _, n := range o.Initial {
		if err := m.host.Tell(actorName, n); err != nil {
			return fmt.Errorf("start %s at %s: %w", n.Kind, n.IP, err)
		}
	}
	return nil
}

// Install spawns the management node's actor on a stage and binds its sockets: Start without a process's surroundings.
func Install(stage runtime.Stage, o *Options, p Provisioner) error {
	if err := spawn(stage, o, p); err != nil {
		return err
	}
	return bind(stage, o)
}

func spawn(stage runtime.Stage, o *Options, p Provisioner) error {
	return stage.Spawn(actorName, func() runtime.Actor { return newManager(o, p) })
}

func bind(stage runtime.Stage, o *Options) (err error) {
	for _, b := range []struct {
		name   string
		socket messages.Socket
		bind   func(actor, socket, address string) (string, error)
	}{
		{socketRestartCount, messages.ManageRestartCount, stage.BindReply}, {socketControl, messages.ManageControl, stage.BindReply},
		{socketChurn, messages.ManageChurn, stage.Bind}, {socketFunctionNodes, messages.ManageFunctionNodes, stage.Bind},
	} {
		if err != nil {
			return err
		}
		a, addressErr := o.Plan.Address(o.IP, b.socket, 0)
		if addressErr != nil {
			return addressErr
		}
		_, err = b.bind(actorName, b.name, a.String())
	}
	return err
}

// Close ends all nodes, in order, and then this one.
func (m *Manager) Close() error {
	var err error
	if m.provisioner != nil {
		err = m.provisioner.Close()
	}
	return errors.Join(err, m.host.Stop(), m.transport.Close())
}

// Abandon ends this node and leaves the nodes that it started running, for the next one to take over.
func (m *Manager) Abandon() error { return errors.Join(m.host.Stop(), m.transport.Close()) }

// HostMetrics returns the counters of the node's actor.
func (m *Manager) HostMetrics() runtime.HostMetrics { return m.host.Metrics() }
