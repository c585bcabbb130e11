package manager

import (
	"fmt"
	"time"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/messages"
)

// Options configures a management node. IP, Provisioner and Addresses are required.
type Options struct {
	// IP is the node's own; every socket is bound to it.
	IP string
	// Plan gives the ports.
	Plan messages.Plan
	// Monitors are the M-nodes' IPs; they are told of processes that ended.
	Monitors []string
	// Provisioner makes the provisioner that starts nodes, with where its events go. The management node closes it.
	Provisioner func(events func(Event)) (Provisioner, error)
	// Addresses lists the IPs that nodes of a kind may get, in the order of preference.
	Addresses map[messages.NodeKind][]string
	// Initial lists nodes to start at once.
	Initial []Node
	// LeaveTimeout is how long a KN that is to be removed has to leave the cluster by itself, so that its keys move in order,
	// before it is stopped. Default 30 s.
	LeaveTimeout time.Duration
	// History bounds how many nodes that are over are remembered. Default 256.
	History int

	Transport runtime.TCPOptions
	// Mailbox is how many messages may wait for the node's actor. Default as runtime.HostOptions.
	Mailbox int
	Clock   clock.Clock
	// Logf receives a line for each event. Nil: silent.
	Logf func(format string, args ...any)
}

// maxControlBytes bounds a frame on the control plane.
const maxControlBytes = 4 << 20

// EnsureDefaults fills zero fields.
func (o *Options) EnsureDefaults() {
	if o.LeaveTimeout == 0 {
		o.LeaveTimeout = 30 * time.Second
	}
	if o.History == 0 {
		o.History = 256
	}
	if o.Transport.Pull.MaxFrameBytes == 0 {
		o.Transport.Pull.MaxFrameBytes = maxControlBytes
	}
	if o.Transport.Rep.MaxMessageBytes == 0 {
		o.Transport.Rep.MaxMessageBytes = maxControlBytes
	}
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
}

// Validate says what is missing or wrong.
func (o *Options) Validate() error {
	if o.Provisioner == nil {
		return fmt.Errorf("management node: no provisioner")
	}
	if _, err := messages.ParseIP(o.IP); err != nil {
		return fmt.Errorf("management node's own IP: %w", err)
	}
	for _, ip := range o.Monitors {
		if _, err := messages.ParseIP(ip); err != nil {
			return fmt.Errorf("management node: an M-node's IP: %w", err)
		}
	}
	return nil
}
