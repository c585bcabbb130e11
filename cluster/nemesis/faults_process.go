package nemesis

import (
	"context"
	"syscall"
)

// processFaults hit processes: they are killed, or stopped for a while.
var processFaults = []fault{
	{name: "kill-kn", weight: 6, make: killKN},
	{name: "pause-kn", weight: 8, make: pauseKN},
	{name: "kill-dpm", weight: 2, make: kill(dpmOf)},
	{name: "pause-dpm", weight: 2, make: pause(dpmOf)},
	{name: "kill-monitor", weight: 2, make: kill(monitorOf)},
	{name: "pause-monitor", weight: 4, make: pause(monitorOf)},
	{name: "kill-route", weight: 1, make: kill(routeOf)},
	// The KNs die with their management node: nobody is left but the pool.
	{name: "kill-manage", weight: 1, make: kill(manageOf)},
	{name: "pause-manage", weight: 1, make: pause(manageOf)},
	{name: "kill-all", weight: 1, make: killAll},
}

// killKN kills a KN, or all of them, without a word. The management node sees it and starts it again.
func killKN(ctx context.Context, w *world, d draw) (string, func(context.Context) error, error) {
	if d.b%12 == 0 {
		running, err := w.kns(ctx)
		if err != nil {
			return "", nil, err
		}
		for _, p := range running {
			if err := signal(p, syscall.SIGKILL); err != nil {
				return "", nil, err
			}
		}
		return "all KNs", nil, nil
	}
	p, err := w.kn(ctx, d.a)
	if err != nil {
		return "", nil, err
	}
	return p.ip, nil, signal(p, syscall.SIGKILL)
}

// killAll kills every process at once, as a power failure would for memory that keeps its contents.
func killAll(_ context.Context, w *world, _ draw) (string, func(context.Context) error, error) {
	for _, n := range w.cluster.Topology().Nodes() {
		if p, err := w.started(n.IP); err == nil {
			if err := signal(p, syscall.SIGKILL); err != nil {
				return "", nil, err
			}
		}
	}
	return "everything", nil, nil
}

// pauseKN stops a KN and lets it go on later, when somebody else may serve its keys.
func pauseKN(ctx context.Context, w *world, d draw) (string, func(context.Context) error, error) {
	p, err := w.kn(ctx, d.a)
	if err != nil {
		return "", nil, err
	}
	return p.ip, resume(p), signal(p, syscall.SIGSTOP)
}

func resume(p process) func(context.Context) error {
	return func(context.Context) error { return signal(p, syscall.SIGCONT) }
}

// kill makes a fault that kills one of the nodes that the cluster starts again by itself.
func kill(which func(*world, draw) string) func(context.Context, *world, draw) (string, func(context.Context) error, error) {
	return func(_ context.Context, w *world, d draw) (string, func(context.Context) error, error) {
		p, err := w.started(which(w, d))
		if err != nil {
			return "", nil, err
		}
		return p.ip, nil, signal(p, syscall.SIGKILL)
	}
}

// pause makes a fault that stops such a node for a while.
func pause(which func(*world, draw) string) func(context.Context, *world, draw) (string, func(context.Context) error, error) {
	return func(_ context.Context, w *world, d draw) (string, func(context.Context) error, error) {
		p, err := w.started(which(w, d))
		if err != nil {
			return "", nil, err
		}
		return p.ip, resume(p), signal(p, syscall.SIGSTOP)
	}
}

func dpmOf(w *world, _ draw) string    { return w.o.Network.DPM() }
func manageOf(w *world, _ draw) string { return w.o.Network.Manage() }
func monitorOf(w *world, d draw) string {
	return w.o.Network.Monitor(int(d.a % uint64(w.o.Monitors)))
}
func routeOf(w *world, d draw) string { return w.o.Network.Route(int(d.a % uint64(w.o.Routes))) }
