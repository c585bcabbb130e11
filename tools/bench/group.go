package bench

import (
	"context"
	"errors"
	"sync"

	"github.com/dinomo-kv/dinomo/tools/bench/command"
)

// Runner carries out a command and returns what it did on all threads together. A Group is one; so is the trigger, which has
// benchmark nodes do it.
type Runner interface {
	RunCommand(ctx context.Context, c command.Command) (*Result, error)
}

// Group is the threads of one process, without command sockets.
type Group struct{ threads []*Thread }

// NewGroup makes Options.Threads threads. Close it.
func NewGroup(o Options) (*Group, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	g := &Group{}
	for i := range o.Threads {
		t, err := NewThread(o, i)
		if err != nil {
			return nil, errors.Join(err, g.Close())
		}
		g.threads = append(g.threads, t)
	}
	return g, nil
}

// Threads returns the threads.
func (g *Group) Threads() []*Thread { return g.threads }

// RunCommand has every thread carry out c at once.
func (g *Group) RunCommand(ctx context.Context, c command.Command) (*Result, error) {
	results := make([]*Result, len(g.threads))
	errs := make([]error, len(g.threads))
	var all sync.WaitGroup
	for i, t := range g.threads {
		all.Go(func() { results[i], errs[i] = t.Run(ctx, c, nil) })
	}
	all.Wait()
	return Merge(results...), errors.Join(errs...)
}

// Close ends the threads' clients.
func (g *Group) Close() error {
	var errs []error
	for _, t := range g.threads {
		errs = append(errs, t.Close())
	}
	return errors.Join(errs...)
}
