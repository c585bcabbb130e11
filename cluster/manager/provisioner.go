package manager

import (
	"errors"

	"github.com/dinomo-kv/dinomo/messages"
)

// ErrTaken: an IP has a node already, of the provisioner's or of somebody else's.
var ErrTaken = errors.New("there is a node at this IP")

// Node is what a Provisioner starts: a kind of node at an IP of its own.
type Node struct {
	Kind messages.NodeKind
	IP   string
}

// State is what became of a node.
type State string

// The states of a node. Names are those of NodeStatus.
const (
	Starting State = "starting"
	Running  State = "running"
	Stopping State = "stopping"
	Stopped  State = "stopped" // it ended in order, or was killed on request
	Failed   State = "failed"  // it ended by itself, too often to be started again
)

// Event is a change of a node's state.
type Event struct {
	Node
	State State
	// PID is the process that the event is about: of Running the one that began, of all others the one that ended, 0 for
	// none.
	PID int
	// Gone: that process is known to have ended; it was waited for.
	Gone bool
	// Restarts is how often the node was started again so far.
	Restarts uint32
	// Detail says why, in words.
	Detail string
}

// A Provisioner starts and stops nodes. Its methods return at once; what comes of them, its events say, in order for
// each node. They may be called from any goroutine.
type Provisioner interface {
	// Recover takes over the nodes that a provisioner before left running, and returns how many it keeps from now on; events
	// say what became of each. It is called once; before it nothing can be started.
	Recover() (int, error)
	// Nodes returns the last event of each node that is kept.
	Nodes() []Event
	// Start starts a node. Errors: ErrTaken, and whatever makes it impossible.
	Start(n Node) error
	// Leave says that a node was asked to end by itself: however it ends, it is not started again.
	Leave(ip string) error
	// Stop ends a node in order, and by force when that takes too long. It is not started again.
	Stop(ip string) error
	// Kill ends a node as a failure would, without a farewell. It is not started again.
	Kill(ip string) error
	// Close ends all nodes, in order, and returns when none is left.
	Close() error
}
