package coordinator

import (
	"errors"
	"time"

	"github.com/dinomo-kv/dinomo/messages"
)

// Options are a coordinator's surroundings and limits.
type Options struct {
	// Name tells this coordinator from others, in the map and in request ids: the M-node's private IP.
	Name string
	// Reply is the address of the M-node's control socket, where answers come back.
	Reply string
	// DPM is the address of the DPM's control socket.
	DPM string
	// Routes are the addresses of the routing nodes' control sockets.
	Routes []string
	// Plan gives the KNs' control ports.
	Plan messages.Plan
	// VirtualNodes of the first map; 0 means hashring's default.
	VirtualNodes int

	// InitialKNs is how many KNs the first map waits for, at most FirstMapWait after the first one said hello. Default 1.
	InitialKNs int
	// FirstMapWait defaults to 3 s.
	FirstMapWait time.Duration
	// Retry is the time between repetitions of an unanswered message. Default 100 ms: shorter would only add
	// duplicates while a merge runs, longer would show in the failover time.
	Retry time.Duration
	// DrainPoll is the time between questions whether a dead rank's log is merged. Default 10 ms.
	DrainPoll time.Duration
	// Poll is the time between questions for the map and for the pool's state. Default 100 ms: a lease word that stands still is
	// noticed up to so much late, which shows in the failover time; shorter, and a busy machine's pauses would look like gaps.
	Poll time.Duration
	// PrepareTimeout is when a change that has not been cleared is given up. Default 10 s.
	PrepareTimeout time.Duration
	// SpreadTimeout is how long a change waits for acknowledgements after its swap. Default 2 s.
	SpreadTimeout time.Duration
	// Lease is the length of a KN's lease. A rank whose lease word has not changed for Lease + LeaseMargin on this
	// node's clock is fenced. Defaults 1 s and 250 ms.
	Lease, LeaseMargin time.Duration
	// NodeMemory is how long a hello is remembered that is not repeated. Default 5 s.
	NodeMemory time.Duration
	// MaxNodes bounds how many nodes' hellos are remembered; more are ignored. Default 2048.
	MaxNodes int
}

// EnsureDefaults fills zero fields.
func (o *Options) EnsureDefaults() {
	defaults := []struct {
		field *time.Duration
		value time.Duration
	}{
		{&o.FirstMapWait, 3 * time.Second}, {&o.Retry, 100 * time.Millisecond}, {&o.DrainPoll, 10 * time.Millisecond}, {&o.Poll, 100 * time.Millisecond},
		{&o.PrepareTimeout, 10 * time.Second}, {&o.SpreadTimeout, 2 * time.Second},
		{&o.Lease, time.Second}, {&o.LeaseMargin, 250 * time.Millisecond}, {&o.NodeMemory, 5 * time.Second},
	}
	for _, d := range defaults {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if o.InitialKNs == 0 {
		o.InitialKNs = 1
	}
	if o.MaxNodes == 0 {
		o.MaxNodes = 2048
	}
}

// Validate says what is missing or out of proportion.
func (o *Options) Validate() error {
	switch {
	case o.Name == "":
		return errors.New("coordinator: no name")
	case o.Reply == "" || o.DPM == "":
		return errors.New("coordinator: needs its own control address and the DPM's")
	case o.InitialKNs < 1:
		return errors.New("coordinator: the first map needs at least one KN")
	case o.Retry <= 0 || o.Poll <= 0 || o.Lease <= 0 || o.LeaseMargin <= 0:
		return errors.New("coordinator: retry, poll, lease and margin must be positive")
	case o.Lease < 2*o.Poll:
		return errors.New("coordinator: a lease shorter than two polls cannot be watched")
	}
	return nil
}
