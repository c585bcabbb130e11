package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/internal/clock"
)

// ErrActorFails means that a node's actor panics again and again; starting the process anew is what is left to try.
var ErrActorFails = errors.New("the node's actor fails again and again")

// supervise waits until ctx ends, and returns nil then; or until the node's actor was started again more than perMinute times
// within a minute.
func supervise(ctx context.Context, perMinute int, metrics func() runtime.HostMetrics, c clock.Clock) error {
	const samples = 60
	var before [samples]int64 // restarts a second, two seconds, ... a minute ago
	for i := 0; ; i++ {
		timer := c.NewTimer(time.Second)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		restarts := metrics().Restarts
		if recent := restarts - before[i%samples]; recent > int64(perMinute) {
			return fmt.Errorf("%w: %d times within a minute (dinomo.actors.restarts-per-minute is %d); its panics are in the log",
				ErrActorFails, recent, perMinute)
		}
		before[i%samples] = restarts
	}
}
