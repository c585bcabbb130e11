package route

import (
	"errors"
	"fmt"
	"time"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/messages"
)

// Options configures a routing node. IP and DPM are required; the zero value of every other field means its default.
type Options struct {
	// IP is the node's own; every socket is bound to it.
	IP string
	// Plan gives the ports.
	Plan messages.Plan
	// Threads is how many address threads there are. Default 1.
	Threads int
	// DPM is the pool node's IP.
	DPM string
	// Monitors are the M-nodes' IPs.
	Monitors []string

	// PollFirst is the time between questions for the map while there is none (default 100 ms: clients wait for it),
	// Poll the time between them afterwards (default 1 s: commits are pushed, polling is for lost ones).
	PollFirst, Poll time.Duration
	// HelloPeriod is how often the node tells the M-nodes that it is there. Default 1 s.
	HelloPeriod time.Duration
	// MaxAnnounced bounds how many nodes are remembered that joined by Anna's notice alone. Default 1024.
	MaxAnnounced int

	// Limits bound address requests.
	Limits messages.Limits
	// Pull and Peers configure the address threads' sockets, Transport the control sockets.
	Pull      runtime.PullOptions
	Peers     runtime.PeersOptions
	Transport runtime.TCPOptions

	// Mailbox is how many messages may wait for the node's actor. Default as runtime.HostOptions.
	Mailbox int
	Clock   clock.Clock
	// System holds the sockets and actors. Default runtime.Machine.
	System runtime.System
	// Logf receives a line for each map and each membership change. Nil: silent.
	Logf func(format string, args ...any)
}

// maxControlBytes bounds a frame on the control plane: a map of the largest cluster fits.
const maxControlBytes = 4 << 20

// EnsureDefaults fills zero fields.
func (o *Options) EnsureDefaults() {
	if o.Threads == 0 {
		o.Threads = 1
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&o.PollFirst, 100 * time.Millisecond}, {&o.Poll, time.Second}, {&o.HelloPeriod, time.Second}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if o.MaxAnnounced == 0 {
		o.MaxAnnounced = 1024
	}
	if o.Pull.MaxFrameBytes == 0 {
		o.Pull.MaxFrameBytes = maxControlBytes
	}
	if o.Transport.Pull.MaxFrameBytes == 0 {
		o.Transport.Pull.MaxFrameBytes = maxControlBytes
	}
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
	if o.System == nil {
		o.System = runtime.Machine{}
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
}

// Validate says what is missing or wrong.
func (o *Options) Validate() error {
	if _, err := messages.ParseIP(o.IP); err != nil {
		return fmt.Errorf("routing node's own IP: %w", err)
	}
	if _, err := messages.ParseIP(o.DPM); err != nil {
		return fmt.Errorf("routing node: the DPM's IP: %w", err)
	}
	for _, ip := range o.Monitors {
		if _, err := messages.ParseIP(ip); err != nil {
			return fmt.Errorf("routing node: an M-node's IP: %w", err)
		}
	}
	if o.PollFirst <= 0 || o.Poll <= 0 || o.HelloPeriod <= 0 {
		return errors.New("routing node: poll and hello periods must be positive")
	}
	if _, err := o.Plan.Bindings(messages.RoleRoute, o.Threads); err != nil {
		return fmt.Errorf("routing node: %w", err)
	}
	return nil
}

// address returns where one of the node's own sockets, or another node's, listens. REQUIRES: o is valid.
func (o *Options) address(ip string, s messages.Socket, thread int) string {
	a, err := o.Plan.Address(ip, s, thread)
	if err != nil {
		return "" // Validate has seen the IPs and the thread count
	}
	return a.String()
}
