package kn

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/dinomo-kv/dinomo/actors/kn/guard"
	"github.com/dinomo-kv/dinomo/actors/ownership"
	"github.com/dinomo-kv/dinomo/dpm/remote"
	"github.com/dinomo-kv/dinomo/internal/clock"
)

// desk asks the pool what may take long, on behalf of the control actor, which must not wait: it reads the ownership
// record regularly and when asked to, and swaps it.
type desk struct {
	session *remote.Session
	clock   clock.Clock
	period  time.Duration
	tell    func(body any)
	wake    chan struct{}

	mu struct {
		sync.Mutex
		read bool
		swap *guard.Swap // the latest; an older one that was not begun is given up
	}
}

// What the desk tells the control actor.
type (
	mapRead struct {
		version uint64
		record  []byte
	}
	mapSwapped mapRead
)

func newDesk(s *remote.Session, c clock.Clock, period time.Duration, tell func(any)) *desk {
	return &desk{session: s, clock: c, period: period, tell: tell, wake: make(chan struct{}, 1)}
}

func (d *desk) ask(read bool, swap *guard.Swap) {
	d.mu.Lock()
	d.mu.read = d.mu.read || read
	if swap != nil {
		d.mu.swap = swap
	}
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// run works until ctx ends.
func (d *desk) run(ctx context.Context) {
	for ctx.Err() == nil {
		d.mu.Lock()
		swap := d.mu.swap
		d.mu.read, d.mu.swap = false, nil
		d.mu.Unlock()
		if swap != nil {
			d.swap(ctx, swap)
		}
		d.read(ctx)
		clock.Wait(d.clock, d.period, d.wake, ctx.Done())
	}
}

// read tells the record, if it can be read; the lease keeper tells the log when the pool is away.
func (d *desk) read(ctx context.Context) {
	record, version, err := d.session.MetaGet(ctx, ownership.RecordName)
	if err == nil {
		d.tell(mapRead{version, record})
	}
}

// swap tells what the record holds afterwards, unless that is not known: then the guard asks again.
func (d *desk) swap(ctx context.Context, s *guard.Swap) {
	present, version, err := d.session.MetaCAS(ctx, ownership.RecordName, s.Expected, s.Record)
	switch {
	case err == nil:
		d.tell(mapSwapped{version, s.Record})
	case errors.Is(err, remote.ErrConflict):
		d.tell(mapSwapped{version, present})
	}
}
