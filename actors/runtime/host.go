package runtime

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/internal/invariant"
)

// HostOptions configures a Host; the zero value of a field means its default.
type HostOptions struct {
	// Transport is the network (required). The host does not close it: stop the host first.
	Transport Transport
	// MailboxMessages is how many messages may wait for one actor (default 16,384). A socket
	// waits for room, and so does its peer; a Tell is refused and counted.
	MailboxMessages int
	// MaxTimers is how many timers of all actors may run (default 65,536).
	MaxTimers int
	// StopTimeout is how long Stop waits for an actor to finish what is in its mailbox
	// (default 30 s).
	StopTimeout time.Duration
	// RestartPauseMax bounds the pause before a restart, which begins at 1 ms and doubles
	// while an actor panics at every message (default 1 s).
	RestartPauseMax time.Duration
	Clock           clock.Clock
	// Logf receives panics with their stacks, and failures to send at most once a second.
	Logf func(format string, args ...any)
}

// EnsureDefaults fills the fields that are zero.
func (o *HostOptions) EnsureDefaults() {
	setDefault(&o.MailboxMessages, 16384)
	setDefault(&o.MaxTimers, 65536)
	setDefault(&o.StopTimeout, 30*time.Second)
	setDefault(&o.RestartPauseMax, time.Second)
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
}

// HostMetrics counts what a Host did since it was made; Waiting is current.
type HostMetrics struct {
	Steps        int64
	Waiting      int   // messages in mailboxes
	Restarts     int64 // panics in Step
	DeadLetters  int64 // messages for actors that had stopped
	MailboxFull  int64 // messages refused
	TicksSkipped int64 // ticks that came while the actor had not handled the one before
	SendFailures int64 // frames, requests and timers that were refused
}

// Host runs actors on protoactor-go: a mailbox each, a guardian that restarts whoever panics.
// All methods may be called from any goroutine.
type Host struct {
	options  HostOptions
	system   *actor.ActorSystem
	guardian actor.SupervisorStrategy
	timers   *timers
	log      *quietLog
	done     chan struct{} // closed when Stop begins

	steps, restarts, deadLetters, mailboxFull, ticksSkipped, sendFailures atomic.Int64

	mu struct {
		sync.RWMutex
		residents map[string]*resident
		stopping  bool
	}
}

var _ Stage = (*Host)(nil)

// NewHost returns a host without actors.
func NewHost(o HostOptions) *Host {
	o.EnsureDefaults()
	invariant.Check(o.Transport != nil, "runtime: a Host without a Transport")
	h := &Host{options: o, timers: newTimers(o.Clock, o.MaxTimers), log: newQuietLog(o.Logf, o.Clock), done: make(chan struct{})}
	// Protoactor's own logger and metric providers stay off: the host counts and logs itself.
	h.system = actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.DiscardHandler)
	}))
	h.guardian = &pausingGuardian{host: h, restart: actor.NewRestartingStrategy()}
	h.system.EventStream.Subscribe(func(e any) {
		if letter, ok := e.(*actor.DeadLetterEvent); ok {
			if m, ok := letter.Message.(*mail); ok {
				h.deadLetters.Add(1)
				m.resident.leave()
			}
		}
	})
	h.mu.residents = make(map[string]*resident)
	return h
}

// Spawn implements Stage.
func (h *Host) Spawn(name string, factory func() Actor) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.mu.stopping:
		return fmt.Errorf("spawn %s: %w", name, ErrClosed)
	case h.mu.residents[name] != nil:
		return fmt.Errorf("spawn %s: there is an actor of that name", name)
	}
	r := &resident{host: h, name: name, factory: factory, slots: make(chan struct{}, h.options.MailboxMessages),
		born: make(chan struct{}), stopped: make(chan struct{})}
	props := actor.PropsFromFunc(r.receive, actor.WithGuardian(h.guardian))
	pid, err := h.system.Root.SpawnNamed(props, name)
	if err != nil {
		return fmt.Errorf("spawn %s: %w", name, err)
	}
	r.pid = pid
	close(r.born)
	h.mu.residents[name] = r
	return nil
}

func (h *Host) find(name string) (*resident, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	switch r := h.mu.residents[name]; {
	case h.mu.stopping:
		return nil, fmt.Errorf("actor %s: %w", name, ErrClosed)
	case r == nil:
		return nil, fmt.Errorf("actor %s: %w", name, ErrNoActor)
	default:
		return r, nil
	}
}

// Bind implements Stage.
func (h *Host) Bind(name, socket, address string) (string, error) {
	r, err := h.find(name)
	if err != nil {
		return "", err
	}
	return h.options.Transport.Listen(address, func(frame []byte) {
		if r.enter(h.done) {
			h.system.Root.Send(r.pid, &mail{resident: r, Message: Message{Kind: KindFrame, Socket: socket, Frame: bytes.Clone(frame)}})
		}
	})
}

// BindReply implements Stage.
func (h *Host) BindReply(name, socket, address string) (string, error) {
	r, err := h.find(name)
	if err != nil {
		return "", err
	}
	return h.options.Transport.ListenReply(address, func(request []byte, reply func([]byte)) {
		if r.enter(h.done) {
			h.system.Root.Send(r.pid, &mail{resident: r, Message: Message{Kind: KindRequest, Socket: socket, Frame: request, ReplyTo: ReplyTo{reply}}})
		}
	})
}

// Tell implements Stage.
func (h *Host) Tell(name string, body any) error {
	return h.tell(name, Message{Kind: KindTold, Body: body})
}

func (h *Host) tell(name string, m Message) error {
	r, err := h.find(name)
	if err != nil {
		return err
	}
	return r.post(m, 0)
}

// Tick implements Stage.
func (h *Host) Tick(name string, period time.Duration) error {
	r, err := h.find(name)
	if err != nil {
		return err
	}
	if period <= 0 {
		return fmt.Errorf("tick %s: period %v", name, period)
	}
	var again func()
	again = func() {
		if r.ticking.CompareAndSwap(false, true) {
			if r.post(Message{Kind: KindTick}, 0) != nil {
				r.ticking.Store(false)
			}
		} else {
			h.ticksSkipped.Add(1)
		}
		if !h.timers.after(period, again) {
			h.options.Logf("actor %s: no more ticks: too many timers", name)
		}
	}
	if !h.timers.after(period, again) {
		return fmt.Errorf("tick %s: %d timers already", name, h.options.MaxTimers)
	}
	return nil
}

// Metrics may be called from any goroutine.
func (h *Host) Metrics() HostMetrics {
	m := HostMetrics{
		Steps:        h.steps.Load(),
		Restarts:     h.restarts.Load(),
		DeadLetters:  h.deadLetters.Load(),
		MailboxFull:  h.mailboxFull.Load(),
		TicksSkipped: h.ticksSkipped.Load(),
		SendFailures: h.sendFailures.Load(),
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, r := range h.mu.residents {
		m.Waiting += len(r.slots)
	}
	return m
}

// Stop takes nothing new, lets every actor handle what is in its mailbox, and waits for them.
// It returns an error that names the actors that did not finish in time.
func (h *Host) Stop() error {
	h.mu.Lock()
	if h.mu.stopping {
		h.mu.Unlock()
		return nil
	}
	h.mu.stopping = true
	var residents []*resident
	for _, r := range h.mu.residents {
		residents = append(residents, r)
	}
	h.mu.Unlock()
	slices.SortFunc(residents, func(a, b *resident) int { return strings.Compare(a.name, b.name) })
	close(h.done)
	h.timers.stop()
	for _, r := range residents {
		h.system.Root.Poison(r.pid) // behind what is queued; Stop would drop that
	}
	var errs []error
	timer := h.options.Clock.NewTimer(h.options.StopTimeout)
	defer timer.Stop()
	for _, r := range residents {
		select {
		case <-r.stopped:
			continue
		default:
		}
		select {
		case <-r.stopped:
		case <-timer.C:
			errs = append(errs, fmt.Errorf("actor %s still runs %v after it was stopped", r.name, h.options.StopTimeout))
		}
	}
	h.system.Shutdown()
	return errors.Join(errs...)
}

// pausingGuardian restarts an actor that panicked, for ever, with a growing pause while it does
// nothing else. Protoactor's default would stop it at the 11th panic within ten seconds.
type pausingGuardian struct {
	host    *Host
	restart actor.SupervisorStrategy
}

// HandleFailure implements actor.SupervisorStrategy; it runs in the failed actor's goroutine.
func (g *pausingGuardian) HandleFailure(system *actor.ActorSystem, supervisor actor.Supervisor, child *actor.PID,
	stats *actor.RestartStatistics, reason, message any) {
	g.host.restarts.Add(1)
	g.host.mu.RLock()
	r := g.host.mu.residents[child.Id]
	g.host.mu.RUnlock()
	if r != nil && !r.mayRestart(g.host.done) {
		supervisor.StopChildren(child)
		return
	}
	g.restart.HandleFailure(system, supervisor, child, stats, reason, message)
}
