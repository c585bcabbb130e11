package cluster

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/internal/clock"
)

func TestSuperviseCountsAMinute(t *testing.T) {
	var restarts atomic.Int64
	metrics := func() runtime.HostMetrics { return runtime.HostMetrics{Restarts: restarts.Load()} }
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	m := clock.NewManual(time.Unix(0, 0))
	ended := make(chan error, 1)
	go func() { ended <- supervise(ctx, 3, metrics, m) }()
	// second lets the supervisor look once; it has when the counter was read, which the next timer shows.
	look := make(chan struct{})
	go func() {
		for ctx.Err() == nil {
			m.Advance(500 * time.Millisecond)
			time.Sleep(50 * time.Microsecond)
		}
		close(look)
	}()
	wait := func(d time.Duration) {
		for end := m.Now().Add(d); m.Now().Before(end); time.Sleep(time.Millisecond) {
			select {
			case err := <-ended:
				t.Fatalf("it ended: %v", err)
			default:
			}
		}
	}
	for range 4 { // three restarts a minute are allowed, for ever
		restarts.Add(3)
		wait(70 * time.Second)
	}
	restarts.Add(4)
	select {
	case err := <-ended:
		if !errors.Is(err, ErrActorFails) {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("it does not end")
	}
	cancel()
	<-look
}

func TestSuperviseEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := supervise(ctx, 1, func() runtime.HostMetrics { return runtime.HostMetrics{} }, clock.Real{}); err != nil {
		t.Error(err)
	}
}
