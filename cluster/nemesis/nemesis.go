package nemesis

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/dinomo-kv/dinomo/internal/clock"
)

// mostAtOnce is how many faults with an end may go on at the same time.
const mostAtOnce = 3

// faults makes faults until the run has lasted long enough and recorded enough, ends all of them, and brings the
// cluster back to its size (NEM-2).
func (r *run) faults(ctx context.Context) error {
	var under sync.WaitGroup
	places := make(chan struct{}, mostAtOnce)
	over := func() bool {
		elapsed := time.Duration(r.recorder.Now())
		done := min(1, elapsed.Seconds()/r.o.Duration.Seconds())
		if r.o.Operations > 0 {
			done = min(done, float64(r.recorder.Count())/float64(r.o.Operations))
		}
		r.o.Progress("faults", done)
		return done >= 1
	}
	for ctx.Err() == nil && !over() {
		d := r.schedule.next()
		sleep(ctx, d.after)
		if ctx.Err() != nil || over() {
			break
		}
		places <- struct{}{}
		under.Go(func() {
			defer func() { <-places }()
			r.make(ctx, d)
		})
	}
	under.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	healing, cancel := context.WithTimeout(ctx, r.o.ServedWithin)
	defer cancel()
	return r.w.restore(healing)
}

// make makes one fault and ends it after its length.
func (r *run) make(ctx context.Context, d draw) {
	e := Event{At: time.Duration(r.recorder.Now()), Number: d.number, Fault: d.fault.name}
	to, end, err := d.fault.make(ctx, r.w, d)
	e.Target = to
	if err != nil {
		e.Error = err.Error()
	}
	place := r.log.add(e)
	if !errors.Is(err, errNotNow) {
		r.o.Logf("%s", e)
	}
	if end == nil {
		return
	}
	sleep(ctx, d.length)
	// Whatever happens to the run, what was broken is mended.
	err = end(context.WithoutCancel(ctx))
	e = r.log.change(place, func(e *Event) {
		e.Until = time.Duration(r.recorder.Now())
		if err != nil {
			e.Error = err.Error()
		}
	})
	r.o.Logf("%8.3f s  end of fault %d%s", e.Until.Seconds(), e.Number, suffix(e.Error))
}

func suffix(err string) string {
	if err == "" {
		return ""
	}
	return ": " + err
}

// sleep waits for d, or for ctx.
func sleep(ctx context.Context, d time.Duration) {
	timer := clock.Real{}.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
