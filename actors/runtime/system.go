package runtime

import "errors"

// A System is where a node's sockets and actors live: on the Machine, or on a SimNode of a simulation. What composes a role
// takes one and does not know which it is.
type System interface {
	// ListenPull is the function of that name.
	ListenPull(address string, o PullOptions) (*Pull, error)
	// NewPeers is the function of that name.
	NewPeers(o PeersOptions) *Peers
	// NewActors returns a stage with a network of its own, for control actors. o.Transport is not used.
	NewActors(t TCPOptions, o HostOptions) Actors
}

// Actors is a Stage with its network.
type Actors interface {
	Stage
	// Metrics returns the counters of the actors' host.
	Metrics() HostMetrics
	// Stop ends the actors, which first handle what has come. See Host.Stop.
	Stop() error
	// Close gives the network back, after Stop. See TCP.Close.
	Close() error
}

// Machine is the System of real processes.
type Machine struct{}

var _ System = Machine{}

// ListenPull implements System.
func (Machine) ListenPull(address string, o PullOptions) (*Pull, error) {
	return ListenPull(address, o)
}

// NewPeers implements System.
func (Machine) NewPeers(o PeersOptions) *Peers { return NewPeers(o) }

// NewActors implements System.
func (Machine) NewActors(t TCPOptions, o HostOptions) Actors {
	transport := NewTCP(t)
	o.Transport = transport
	return &machineActors{NewHost(o), transport}
}

// machineActors is a Host and its TCP.
type machineActors struct {
	*Host
	transport *TCP
}

// Close implements Actors.
func (a *machineActors) Close() error { return a.transport.Close() }

var _ System = (*SimNode)(nil)

// NewActors implements System.
func (s *SimNode) NewActors(TCPOptions, HostOptions) Actors {
	return simActors{&SimHost{net: s.net, node: s, actors: make(map[string]*simActor)}}
}

// simActors is a SimHost that shares its node with threads' sockets.
type simActors struct{ *SimHost }

// Metrics implements Actors.
func (a simActors) Metrics() HostMetrics {
	return HostMetrics{Restarts: int64(len(a.Panics))}
}

// Stop implements Actors.
func (a simActors) Stop() error {
	a.down = true
	return nil
}

// Close implements Actors: the node's sockets go with the node.
func (a simActors) Close() error {
	if !a.down {
		return errors.New("close of actors that were not stopped")
	}
	return nil
}
