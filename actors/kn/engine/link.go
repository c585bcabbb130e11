package engine

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/remote"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/messages"
)

// link is the engine's attachment to the pool: there, away and being reconnected, or lost for good.
type link struct {
	thread *remote.Thread // REQUIRES up: while it is away the reconnecting goroutine owns it
	state  linkState
	fatal  error

	asked  time.Time // when the pool was last asked how far the log is merged
	unsure []unsure  // writes whose commit's outcome is unknown
	spent  fabric.Counters
	wrote  remote.AppendCounters // as of when the pool went away
	// unsettled are entries of keys with several owners whose publication was cut off.
	unsettled []uint64

	ctx    context.Context
	cancel context.CancelFunc
	done   chan error // the outcome of a reconnection
	work   clock.Group
}

type linkState uint8

const (
	linkUp linkState = iota
	linkAway
	linkLost
)

// unsure is a write of a batch whose outcome was unknown; Reconnect has it written.
type unsure struct {
	key      []byte
	hash     uint64
	sequence uint64
	after    state
}

func (l *link) open(e *Engine, t *remote.Thread) {
	l.thread, l.done, l.asked = t, make(chan error, 1), e.o.Clock.Now()
	l.ctx, l.cancel = context.WithCancel(context.Background())
	e.types.stale = true
}

func (l *link) up() bool { return l.state == linkUp }

func (l *link) close() error {
	l.cancel()
	l.work.Wait()
	return l.thread.Close()
}

// failed turns an error of the pool into what the peer is told, and begins to reconnect when the queue pair died.
func (e *Engine) failed(err error) messages.AnnaError {
	switch {
	case errors.Is(err, remote.ErrNoSpace):
		return messages.AnnaError_NO_SPACE
	case errors.Is(err, remote.ErrTooLarge):
		return messages.AnnaError_TOO_LARGE
	case errors.Is(err, remote.ErrBusy):
		return messages.AnnaError_OVERLOADED
	case errors.Is(err, remote.ErrRetries):
		e.tell("not served", err)
		return messages.AnnaError_OVERLOADED
	case errors.Is(err, format.ErrDamaged):
		e.tell("not served", err)
		return messages.AnnaError_DAMAGED
	}
	if e.link.up() && (remote.Broken(err) || errors.Is(err, remote.ErrUnresolved) || errors.Is(err, remote.ErrNotAttached)) {
		e.away(err)
	} else if e.link.up() {
		e.tell("pool", err)
	}
	return messages.AnnaError_TIMEOUT
}

// tellEvery bounds what is said of failures: whoever asked for the key asks again.
const tellEvery = time.Second

// tell logs why something failed that may fail again and again. Of damage, err has the address.
func (e *Engine) tell(what string, err error) {
	if e.told.IsZero() || e.now.Sub(e.told) >= tellEvery {
		e.told = e.now
		e.o.Logf("%s: %v", what, err)
	}
}

// away fails the open operations and reconnects in the background.
func (e *Engine) away(why error) {
	l := &e.link
	l.state = linkAway
	e.o.Logf("the pool is away, reconnecting: %v", why)
	posted := l.thread.Unresolved()
	for _, i := range e.open {
		o := &e.ops[i]
		o.code = messages.AnnaError_TIMEOUT
		if !posted {
			continue
		}
		e.cache.Invalidate(o.key, o.hash) // the old value may be the wrong one by the time it is asked for
		after := o.after
		after.value = nil
		l.unsure = append(l.unsure, unsure{key: bytes.Clone(o.key), hash: o.hash, sequence: o.sequence, after: after})
	}
	e.open = e.open[:0]
	for i := range e.groups {
		if g := &e.groups[i]; g.phase == groupAppended {
			e.lostGroup(g)
		}
	}
	l.spend()
	l.work.Go(e.o.Clock, func() {
		l.done <- l.thread.Reconnect(l.ctx)
		e.o.Changed()
	})
}

// spend keeps the counts of a queue pair that is about to be replaced.
func (l *link) spend() {
	l.wrote = l.thread.Appender.Counters()
	if qp := l.thread.QP(); qp != nil {
		addCounters(&l.spent, qp.Counters())
	}
}

// Poll takes notice of a reconnection that has ended. It returns why the pool is lost for good, nil while it is not:
// then the process must start anew.
func (e *Engine) Poll() error {
	l := &e.link
	if l.state != linkAway {
		return l.fatal
	}
	select {
	case err := <-l.done:
		if err != nil {
			l.state, l.fatal = linkLost, err
			return err
		}
	default:
		return nil
	}
	l.state = linkUp
	e.types.stale = true
	e.back()
	e.o.Logf("the pool is back, server epoch %d", l.thread.QP().Session().ServerEpoch)
	return nil
}

// back notes the writes that the reconnection settled.
func (e *Engine) back() {
	l := &e.link
	e.table.prune(l.thread.Merged())
	for _, sequence := range l.unsettled {
		l.thread.Settle(sequence)
	}
	l.unsettled = nil
	if len(l.unsure) == 0 {
		return
	}
	pointers := make(map[uint64]format.Pointer, len(l.unsure))
	for _, a := range l.thread.Entries() {
		pointers[a.Sequence] = a.Pointer
	}
	for _, u := range l.unsure {
		pointer, ok := pointers[u.sequence]
		if !ok {
			continue // cannot be: Reconnect settles the whole batch
		}
		e.table.insert(u.key, u.hash, u.sequence, pointer, u.after.kind)
		e.cache.Invalidate(u.key, u.hash)
		e.types.note(u.hash)
	}
	l.unsure = nil
	e.table.prune(l.thread.Merged())
}

// Up says whether the pool is there.
func (e *Engine) Up() bool { return e.link.up() }
