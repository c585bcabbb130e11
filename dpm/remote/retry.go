package remote

import (
	"context"
	"errors"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/internal/clock"
)

// passing says whether an attempt that failed with err may succeed later without anybody's doing.
func passing(err error) bool {
	for _, never := range []error{fabric.ErrFenced, fabric.ErrWrongPool, fabric.ErrClosed, ErrLogLost, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, never) {
			return false
		}
	}
	return true
}

// tellMost is the longest time between two of Waiting's calls.
const tellMost = 5 * time.Minute

// retry runs attempt until it succeeds, fails for good, or ctx ends. The error is then attempt's last
// one, joined with ctx's.
func (s *Session) retry(ctx context.Context, attempt func() error) error {
	var told time.Time
	tellAfter := time.Duration(0)
	for {
		err := attempt()
		if err == nil || !passing(err) {
			return err
		}
		if now := s.o.Clock.Now(); told.IsZero() || now.Sub(told) >= tellAfter {
			told, tellAfter = now, min(max(2*tellAfter, time.Second), tellMost)
			s.o.Waiting(err)
		}
		if clock.Wait(s.o.Clock, s.o.RetryEvery, nil, ctx.Done()) == clock.Stopped {
			return errors.Join(err, ctx.Err())
		}
	}
}
