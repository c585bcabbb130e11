package replay

import (
	"context"
	"sync"
)

// inParallel runs jobs, so many at a time, until one fails or ctx ends.
func inParallel(ctx context.Context, workers int, jobs []func() error, progress func(phase string, fraction float64)) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	next := make(chan func() error)
	var done struct {
		sync.Mutex
		n int
	}
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for job := range next {
				if err := job(); err != nil {
					stop(err)
					continue
				}
				done.Lock()
				done.n++
				progress("replay", float64(done.n)/float64(len(jobs)))
				done.Unlock()
			}
		})
	}
	for i := 0; i < len(jobs) && ctx.Err() == nil; i++ {
		select {
		case next <- jobs[i]:
		case <-ctx.Done():
		}
	}
	close(next)
	group.Wait()
	return context.Cause(ctx)
}
