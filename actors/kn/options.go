package kn

import (
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/dac"
	"github.com/dinomo-kv/dinomo/dpm"
	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/remote"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/internal/random"
	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// Options configure a node; zero fields mean their defaults. Dialer, DPM and PrivateIP are required.
type Options struct {
	// Dialer and DPM are the fabric and the address ("ip:port") of the pool's verbs.
	Dialer fabric.Dialer
	DPM    string
	// DPMControl is the DPM's control address, for failover questions. Default: the control port of DPM's IP.
	DPMControl string
	// PrivateIP is the node's identity and where all its sockets are bound; PublicIP is where clients reach it, by
	// default the same.
	PrivateIP, PublicIP string
	// Threads is the number of request threads, 1 to 64. Default 2.
	Threads int
	Plan    messages.Plan
	// Monitors, Routes, Seed and Manage are the IPs of the M-nodes, of the routing nodes, of the one that is asked who
	// else is there, and of the management node; each may be empty.
	Monitors, Routes []string
	Seed, Manage     string

	// LocalIP, when valid, is the address that the node connects from; see runtime.PushOptions and fabric.DialOptions. That of
	// Peers is set to it.
	LocalIP netip.Addr

	// Cache is one thread's. Its seed is made different for each.
	Cache    dac.Options
	Appender remote.AppenderOptions
	LWW      lattice.Mode
	Limits   messages.Limits
	// Pull and Peers configure the request sockets and the connections that answers leave by.
	Pull  runtime.PullOptions
	Peers runtime.PeersOptions

	// DialTimeout bounds one attempt to reach the pool, VerbTimeout a batch of verbs or a call. Default 5 s and 2 s.
	DialTimeout, VerbTimeout time.Duration
	// WriteWait is how long writes wait for the pool to merge before they are refused. Default 1 s.
	WriteWait time.Duration
	// RenewPeriod is how often the lease is renewed. Default: a quarter of its length, which the pool sets.
	RenewPeriod time.Duration
	// MapPeriod is how often the pool is asked for a newer ownership map. Default 500 ms: a commit that got lost
	// keeps clients of moved keys waiting for that long.
	MapPeriod time.Duration
	// ReportPeriod and KeyReportPeriod are how often statistics and hot keys are reported. Default 5 s and 20 s.
	ReportPeriod, KeyReportPeriod time.Duration
	// ResumeTimeout is how long a change of ownership may stay undecided before the node settles it itself. Default 15 s.
	ResumeTimeout time.Duration
	// Farewell is how long a node that has left goes on to answer, with WRONG_THREAD and the new owners. Default 2 s: a client that
	// uses its keys more often than that never asks a node that is not there.
	Farewell time.Duration
	// HeldRequests and HeldBytes bound what one thread holds back of requests for keys that are moving; more are
	// refused as OVERLOADED. Default 4096 and 8 MiB.
	HeldRequests, HeldBytes int
	// DrainRequests bounds the requests that are served as one batch. Default 512: enough to share a commit
	// widely, while the first of them waits for the last.
	DrainRequests int
	// ServiceRate, for experiments, is how many tuples a second each thread serves at most (see pace). Default 0: no limit.
	ServiceRate int

	// PID and PIDStart name the process to the pool, see remote.Options. Default: this one.
	PID      uint32
	PIDStart uint64

	Clock clock.Clock
	// System holds the sockets and the control actor. Default runtime.Machine.
	System runtime.System
	// Logf receives the node's log, a line a call. Default: nothing.
	Logf func(format string, args ...any)
	// RandomSeed is where the node's random choices start from; it is logged. Default: a fresh one.
	RandomSeed uint64
}

// EnsureDefaults fills zero fields.
func (o *Options) EnsureDefaults() {
	set(&o.PublicIP, o.PrivateIP)
	set(&o.Threads, 2)
	set(&o.DialTimeout, 5*time.Second)
	set(&o.VerbTimeout, 2*time.Second)
	set(&o.WriteWait, time.Second)
	set(&o.MapPeriod, 500*time.Millisecond)
	set(&o.ReportPeriod, 5*time.Second)
	set(&o.KeyReportPeriod, 20*time.Second)
	set(&o.ResumeTimeout, 15*time.Second)
	set(&o.Farewell, 2*time.Second)
	set(&o.HeldRequests, 4096)
	set(&o.HeldBytes, 8<<20)
	set(&o.DrainRequests, 512)
	if o.RandomSeed == 0 {
		o.RandomSeed = random.FreshSeed()
	}
	o.Cache.EnsureDefaults()
	o.Appender.EnsureDefaults()
	o.Limits = o.Limits.EnsureDefaults()
	o.Peers.Push.LocalIP = o.LocalIP
	o.Pull.EnsureDefaults()
	o.Peers.EnsureDefaults()
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
	if o.PID == 0 {
		o.PID = uint32(os.Getpid())
		o.PIDStart = dpm.ProcessStart(o.PID)
	}
	if o.System == nil {
		o.System = runtime.Machine{}
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate says which option is missing or out of range, after EnsureDefaults.
func (o *Options) Validate() error {
	switch {
	case o.Dialer == nil || o.DPM == "":
		return fmt.Errorf("kn options: a fabric dialer and the DPM's address are needed")
	case o.Threads < 1 || o.Threads > min(o.Plan.MaxThreads(), hashring.MaxThreads):
		return fmt.Errorf("kn options: %d threads: want 1 to %d with the %s ports", o.Threads, o.Plan.MaxThreads(), o.Plan)
	case o.ServiceRate < 0:
		return fmt.Errorf("kn options: service rate %d: want 0 for no limit, or tuples a second", o.ServiceRate)
	case o.HeldRequests < 1 || o.HeldBytes < 1 || o.DrainRequests < 1:
		return fmt.Errorf("kn options: held requests %d, held bytes %d, drain requests %d: want at least 1 each", o.HeldRequests, o.HeldBytes, o.DrainRequests)
	}
	for _, ip := range append([]string{o.PrivateIP, o.PublicIP}, o.others()...) {
		if _, err := messages.ParseIP(ip); err != nil {
			return fmt.Errorf("kn options: %w", err)
		}
	}
	for _, d := range []time.Duration{o.DialTimeout, o.VerbTimeout, o.WriteWait, o.MapPeriod, o.ReportPeriod, o.KeyReportPeriod, o.ResumeTimeout, o.Farewell} {
		if d < 0 {
			return fmt.Errorf("kn options: a duration is negative: %v", d)
		}
	}
	if err := o.Limits.Validate(); err != nil {
		return fmt.Errorf("kn options: %w", err)
	}
	if err := o.Cache.Validate(); err != nil {
		return fmt.Errorf("kn options: %w", err)
	}
	if err := o.Appender.Validate(); err != nil {
		return fmt.Errorf("kn options: %w", err)
	}
	return nil
}

// others lists the other nodes' IPs.
func (o *Options) others() []string {
	var all []string
	all = append(all, o.Monitors...)
	all = append(all, o.Routes...)
	for _, ip := range []string{o.Seed, o.Manage} {
		if ip != "" {
			all = append(all, ip)
		}
	}
	return all
}

// String shows the options on a line, for the log.
func (o *Options) String() string {
	return fmt.Sprintf("private=%s public=%s threads=%d ports=%s dpm=%s monitors=%v routes=%v cache=%s/%d bytes a thread lww=%s",
		o.PrivateIP, o.PublicIP, o.Threads, o.Plan, o.DPM, o.Monitors, o.Routes, o.Cache.Policy, o.Cache.BudgetBytes, o.LWW)
}

// address returns a socket of another node.
func (o *Options) address(ip string, s messages.Socket) string {
	a, err := o.Plan.Address(ip, s, 0)
	if err != nil {
		return "" // Validate has seen the IP
	}
	return a.String()
}
