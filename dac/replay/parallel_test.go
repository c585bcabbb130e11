package replay

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
)

// After an error, or when its context ends, no job is begun but those that a worker was being
// given just then.
func TestParallelJobsStop(t *testing.T) {
	const workers = 3
	failed := errors.New("job failed")
	for name, last := range map[string]func(stop func()) error{
		"error":   func(func()) error { return failed },
		"context": func(stop func()) error { stop(); return nil },
	} {
		ctx, stop := context.WithCancel(t.Context())
		var begun atomic.Int32
		jobs := make([]func() error, 1000)
		for i := range jobs {
			jobs[i] = func() error {
				if begun.Add(1) < 10 {
					return nil
				}
				return last(stop)
			}
		}
		err := inParallel(ctx, workers, jobs, func(string, float64) {})
		stop()
		if want := map[string]error{"error": failed, "context": context.Canceled}[name]; !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		if n := begun.Load(); n < 10 || n > 10+2*workers {
			t.Errorf("%s: %d of 1000 jobs were begun, want some 10", name, n)
		}
	}
	done := 0
	err := inParallel(t.Context(), workers, make([]func() error, 0), func(string, float64) { done++ })
	if err != nil || done != 0 {
		t.Errorf("no jobs: %v, %d done", err, done)
	}
}
