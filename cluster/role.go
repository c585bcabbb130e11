package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/dinomo-kv/dinomo/actors/dpmnode"
	"github.com/dinomo-kv/dinomo/actors/kn"
	"github.com/dinomo-kv/dinomo/actors/monitor"
	"github.com/dinomo-kv/dinomo/actors/route"
	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/conf"
	"github.com/dinomo-kv/dinomo/internal/clock"
)

// RunDPM runs a DPM node until ctx ends.
func RunDPM(ctx context.Context, l *conf.Loaded, env Env) error {
	env.announce("dpm", l)
	o, err := DPMOptions(&l.Config, env)
	if err != nil {
		return err
	}
	if o.Pool.Path != "" && l.Dinomo.Pool.Path == "" {
		if err := os.MkdirAll(l.Dinomo.DataDirectory, 0o755); err != nil {
			return fmt.Errorf("make the data directory: %w", err)
		}
	}
	n, err := dpmnode.Start(o)
	if err != nil {
		return err
	}
	env.logf()("verbs by %s at %s, pool %s (%s)", l.Dinomo.Fabric, n.VerbsAddress(), n.Pool().PoolID(), o.Pool.Durability)
	return errors.Join(guard(ctx, l, n.HostMetrics), n.Close())
}

// RunKN runs a KN until ctx ends or it has left the cluster. It returns an error when it was fenced or could not start.
func RunKN(ctx context.Context, l *conf.Loaded, env Env) error {
	env.announce("kn", l)
	o, err := KNOptions(&l.Config, env)
	if err != nil {
		return err
	}
	n, err := kn.Start(ctx, o)
	if err != nil {
		if ctx.Err() != nil {
			return nil // it was stopped while it waited for the pool
		}
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- n.Wait() }()
	select {
	case <-ctx.Done():
		n.Close()
		return nil
	case err := <-ended:
		n.Close()
		return err
	}
}

// RunRoute runs a routing node until ctx ends.
func RunRoute(ctx context.Context, l *conf.Loaded, env Env) error {
	env.announce("route", l)
	o, err := RouteOptions(&l.Config, env)
	if err != nil {
		return err
	}
	n, err := route.Start(o)
	if err != nil {
		return occupied(err)
	}
	return errors.Join(guard(ctx, l, n.HostMetrics), n.Close())
}

// RunMonitor runs an M-node until ctx ends. Its summaries go to the log and, as JSON lines, to summaries.jsonl in the data
// directory.
func RunMonitor(ctx context.Context, l *conf.Loaded, env Env) error {
	env.announce("monitor", l)
	o, err := MonitorOptions(&l.Config, env)
	if err != nil {
		return err
	}
	journal, err := openJournal(l.Dinomo.DataDirectory, o.IP)
	if err != nil {
		return err
	}
	o.Summary = func(s monitor.Summary) {
		if !l.Policy.PerfMonitoring {
			return
		}
		env.logf()("%s", s.Text())
		if err := journal.write(&s); err != nil {
			env.logf()("summary: %v", err)
		}
	}
	n, err := monitor.Start(o)
	if err != nil {
		return errors.Join(occupied(err), journal.close())
	}
	return errors.Join(guard(ctx, l, n.HostMetrics), n.Close(), journal.close())
}

// guard waits until a node is to end.
func guard(ctx context.Context, l *conf.Loaded, metrics func() runtime.HostMetrics) error {
	return supervise(ctx, l.Dinomo.Actors.RestartsPerMinute, metrics, clock.Real{})
}

// announce prints a role's first lines.
func (e Env) announce(role string, l *conf.Loaded) {
	e.logf()("dinomo %s, version %s, process %d", role, e.Version, os.Getpid())
	if notes := describe(l); notes != "" {
		e.logf()("%s", notes)
	}
}

// occupied adds to the error of a port that is taken what is usually meant.
func occupied(err error) error {
	if !errors.Is(err, runtime.ErrAddressInUse) {
		return err
	}
	return fmt.Errorf("%w (does another node of this kind run here? each needs an IP of its own)", err)
}
