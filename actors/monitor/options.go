package monitor

import (
	"errors"
	"fmt"
	"time"

	"github.com/dinomo-kv/dinomo/actors/monitor/coordinator"
	"github.com/dinomo-kv/dinomo/actors/monitor/policy"
	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/messages"
)

// Options configures an M-node. IP and DPM are required; the zero value of every other field means its default.
type Options struct {
	// IP is the node's own; every socket is bound to it.
	IP string
	// Plan gives the ports.
	Plan messages.Plan
	// DPM is the pool node's IP.
	DPM string
	// Management is the management node's IP; "" means that there is none, and nodes are neither added nor removed.
	Management string

	// Coordinator holds the times and limits of ownership changes; its addresses are filled in from the rest.
	Coordinator coordinator.Options

	// Policy decides, at the end of each period, whether the cluster should change. Its zero value changes nothing.
	Policy policy.Options
	// MaxReplicatedKeys bounds how many keys the policy may have replicated at once. Default 1024.
	MaxReplicatedKeys int
	// SummaryPeriod is how often the reports are summed up, and the policy is asked. Default 10 s.
	SummaryPeriod time.Duration
	// ReporterMemory is how long a reporter counts that sends nothing more. Default 3 times SummaryPeriod.
	ReporterMemory time.Duration
	// MaxReporters bounds how many KN threads, and how many users' threads, are remembered. Default 16384, more than
	// the largest cluster's.
	MaxReporters int
	// RouteMemory is how long a routing node counts that says hello no more. Default 10 s.
	RouteMemory time.Duration

	// Event is told what the coordinator does, Summary what each period brought. Both are called from the actor: they must
	// not block for long. Nil: nobody is told.
	Event   func(coordinator.Event)
	Summary func(Summary)

	Transport runtime.TCPOptions
	// Mailbox is how many messages may wait for the node's actor. Default as runtime.HostOptions.
	Mailbox int
	Clock   clock.Clock
	// System holds the sockets and actors. Default runtime.Machine.
	System runtime.System
	// Logf receives a line for each event. Nil: silent.
	Logf func(format string, args ...any)
}

// maxControlBytes bounds a frame on the control plane: a map of the largest cluster fits.
const maxControlBytes = 4 << 20

// EnsureDefaults fills zero fields.
func (o *Options) EnsureDefaults() {
	o.Policy.EnsureDefaults()
	if o.MaxReplicatedKeys == 0 {
		o.MaxReplicatedKeys = 1024
	}
	if o.SummaryPeriod == 0 {
		o.SummaryPeriod = 10 * time.Second
	}
	if o.ReporterMemory == 0 {
		o.ReporterMemory = 3 * o.SummaryPeriod
	}
	if o.MaxReporters == 0 {
		o.MaxReporters = 16384
	}
	if o.RouteMemory == 0 {
		o.RouteMemory = 10 * time.Second
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
	if o.Event == nil {
		o.Event = func(coordinator.Event) {}
	}
	if o.Summary == nil {
		o.Summary = func(Summary) {}
	}
	c := &o.Coordinator
	c.Name, c.Plan = o.IP, o.Plan
	c.Reply, c.DPM = o.address(o.IP, messages.MonitorControl), o.address(o.DPM, messages.DPMControl)
	c.EnsureDefaults()
}

// Validate says what is missing or wrong.
func (o *Options) Validate() error {
	if _, err := messages.ParseIP(o.IP); err != nil {
		return fmt.Errorf("own IP of the M-node: %w", err)
	}
	if _, err := messages.ParseIP(o.DPM); err != nil {
		return fmt.Errorf("options of the M-node: the DPM's IP: %w", err)
	}
	if o.Management != "" {
		if _, err := messages.ParseIP(o.Management); err != nil {
			return fmt.Errorf("options of the M-node: the management node's IP: %w", err)
		}
	}
	if o.SummaryPeriod <= 0 || o.ReporterMemory <= 0 || o.RouteMemory <= 0 || o.MaxReporters < 1 {
		return errors.New("options of the M-node: periods and limits must be positive")
	}
	if err := o.Policy.Validate(); err != nil {
		return err
	}
	return o.Coordinator.Validate()
}

// address returns where a socket of a node listens, "" when the IP is none; Validate finds those.
func (o *Options) address(ip string, s messages.Socket) string {
	a, err := o.Plan.Address(ip, s, 0)
	if err != nil {
		return ""
	}
	return a.String()
}
