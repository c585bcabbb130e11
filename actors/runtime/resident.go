package runtime

import (
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// resident is an actor in a Host: its mailbox's slots, and what runs in its goroutine.
type resident struct {
	host    *Host
	name    string
	factory func() Actor
	pid     *actor.PID
	slots   chan struct{} // one token for each message in the mailbox
	ticking atomic.Bool   // a tick is in the mailbox
	born    chan struct{} // closed when pid is set
	stopped chan struct{} // closed when it has handled its last message

	// The rest belongs to the goroutine that runs the actor.
	actor       Actor
	incarnation int
	failures    int // panics since the last Step that returned
	unflushed   int // steps whose frames were not flushed yet
	out         Outbox
}

// mail is a message on its way through protoactor.
type mail struct {
	Message
	resident    *resident
	incarnation int // of the timer's or request's owner; 0: any
}

// enter waits for a slot in the mailbox; false when the host stops first.
func (r *resident) enter(done <-chan struct{}) bool {
	select {
	case r.slots <- struct{}{}:
		return true
	case <-done:
		return false
	}
}

func (r *resident) leave() { <-r.slots }

// post is enter and send for those who must not wait.
func (r *resident) post(m Message, incarnation int) error {
	select {
	case r.slots <- struct{}{}:
	default:
		r.host.mailboxFull.Add(1)
		return fmt.Errorf("actor %s: %w: %d messages", r.name, ErrMailboxFull, cap(r.slots))
	}
	r.host.system.Root.Send(r.pid, &mail{Message: m, resident: r, incarnation: incarnation})
	return nil
}

// receive is called by protoactor, in one goroutine at a time.
func (r *resident) receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started: // once for every incarnation
		<-r.born
		r.incarnation++
		r.actor = r.factory()
		r.step(Message{Kind: KindStarted})
	case *mail:
		defer r.leave()
		if m.Kind == KindTick {
			r.ticking.Store(false)
		}
		if m.incarnation == 0 || m.incarnation == r.incarnation {
			r.step(m.Message)
		}
	case *actor.Stopped:
		close(r.stopped)
	}
}

// step runs the actor and what it wants done. A panic is logged here, where its stack is, and
// goes on to protoactor, whose guardian makes a new incarnation.
func (r *resident) step(m Message) {
	defer func() {
		if reason := recover(); reason != nil {
			r.failures++
			r.host.options.Logf("actor %s panicked at a %v message and starts anew: %v\n%s", r.name, m.Kind, reason, debug.Stack())
			panic(reason)
		}
	}()
	r.out.Reset()
	r.host.steps.Add(1)
	r.actor.Step(r.host.options.Clock.Now(), m, &r.out)
	if m.Kind != KindStarted {
		r.failures = 0
	}
	r.host.carryOut(r, &r.out)
}

// stopRestarts is how often an actor may fail in a row while its host waits for it to end.
const stopRestarts = 3

// mayRestart waits the pause that is due before the next incarnation. It returns false when
// the host is stopping and the actor does nothing but panic.
func (r *resident) mayRestart(done <-chan struct{}) bool {
	pause := min(time.Millisecond<<min(r.failures, 20), r.host.options.RestartPauseMax)
	timer := r.host.options.Clock.NewTimer(pause)
	select {
	case <-timer.C:
		return true
	case <-done:
		timer.Stop()
		return r.failures <= stopRestarts
	}
}

// flushSteps is how many steps of a busy actor may share a flush.
const flushSteps = 32

// carryOut does what a Step wants done.
func (h *Host) carryOut(r *resident, out *Outbox) {
	for _, o := range out.Replies {
		if o.To.reply != nil {
			o.To.reply(o.Frame)
		}
	}
	for _, o := range out.Frames {
		h.failed(r, h.options.Transport.Send(o.Address, o.Frame))
	}
	for _, o := range out.Tells {
		h.failed(r, h.tell(o.Actor, Message{Kind: KindTold, From: r.name, Body: o.Body}))
	}
	for _, o := range out.Requests {
		h.request(r, o)
	}
	incarnation := r.incarnation
	for _, o := range out.Timers {
		m := Message{Kind: KindTimer, Body: o.Body}
		if !h.timers.after(o.After, func() { h.failed(r, r.post(m, incarnation)) }) {
			h.failed(r, fmt.Errorf("actor %s: %d timers already", r.name, h.options.MaxTimers))
		}
	}
	if len(out.Frames) > 0 {
		r.unflushed++
	}
	// Its own message is still counted in slots: more than that means another step follows.
	if r.unflushed > 0 && (len(r.slots) <= 1 || r.unflushed >= flushSteps) {
		r.unflushed = 0
		h.options.Transport.Flush()
	}
}

// request asks and posts the outcome, whatever it is, to the incarnation that asked.
func (h *Host) request(r *resident, o OutRequest) {
	incarnation := r.incarnation
	err := h.options.Transport.Request(o.Address, o.Frame, o.Timeout, func(reply []byte, err error) {
		h.failed(r, r.post(Message{Kind: KindReply, Body: o.Tag, Frame: reply, Err: err}, incarnation))
	})
	if err != nil {
		h.failed(r, err)
		h.failed(r, r.post(Message{Kind: KindReply, Body: o.Tag, Err: err}, incarnation))
	}
}

// failed counts and logs what could not be handed on; nil is fine.
func (h *Host) failed(r *resident, err error) {
	if err == nil {
		return
	}
	h.sendFailures.Add(1)
	h.log.printf("actor %s: %v", r.name, err)
}
