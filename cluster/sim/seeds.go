package sim

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
)

// RunSeeds runs o once with each of n seeds from o.Seed on, several at a time, and calls each with the reports in the order of
// their seeds. It stops early when ctx ends, or when each returns false.
func RunSeeds(ctx context.Context, o Options, n int, each func(*Report) (more bool)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	reports, errs := make([]chan *Report, n), make(chan error, n)
	for i := range reports {
		reports[i] = make(chan *Report, 1)
	}
	var next atomic.Int64
	var work sync.WaitGroup
	atOnce := min(n, runtime.GOMAXPROCS(0))
	if o.Logf != nil {
		atOnce = 1 // its lines shall be told apart
	}
	for range atOnce {
		work.Go(func() {
			for i := int(next.Add(1) - 1); i < n && ctx.Err() == nil; i = int(next.Add(1) - 1) {
				one := o
				one.Seed += uint64(i)
				r, err := Run(one)
				if err != nil {
					errs <- err
					return
				}
				reports[i] <- r
			}
		})
	}
	defer work.Wait()
	defer cancel()
	for _, report := range reports {
		select {
		case r := <-report:
			if !each(r) {
				return nil
			}
		case err := <-errs:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
