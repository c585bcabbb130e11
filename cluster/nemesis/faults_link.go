package nemesis

import (
	"context"
	"fmt"
	"strings"
)

// linkFaults cut links between nodes, one direction or both.
var linkFaults = []fault{
	{name: "cut-kn-dpm", weight: 5, cuts: true, make: cut(func(w *world, d draw, kn string) string { return w.o.Network.DPM() })},
	{name: "cut-kn-monitor", weight: 3, cuts: true, make: cut(func(w *world, d draw, kn string) string { return monitorOf(w, draw{a: d.c}) })},
	{name: "cut-kn-client", weight: 3, cuts: true, make: cut(func(w *world, d draw, kn string) string {
		ip, _ := pick(d.c, w.clients)
		return ip
	})},
	{name: "cut-kn-route", weight: 1, cuts: true, make: cut(func(w *world, d draw, kn string) string { return routeOf(w, draw{a: d.c}) })},
	{name: "cut-kn-all", weight: 2, cuts: true, make: cutOff},
	{name: "cut-monitor-dpm", weight: 2, cuts: true, make: cutMonitor},
}

// direction chooses one of the two directions of a link, or both.
func direction(word uint64, a, b string) []link {
	switch word % 3 {
	case 0:
		return []link{{a, b}}
	case 1:
		return []link{{b, a}}
	}
	return both(a, b)
}

// cut makes a fault that cuts the link between a KN and somebody.
func cut(other func(w *world, d draw, kn string) string) func(context.Context, *world, draw) (string, func(context.Context) error, error) {
	return func(ctx context.Context, w *world, d draw) (string, func(context.Context) error, error) {
		p, err := w.kn(ctx, d.a)
		if err != nil {
			return "", nil, err
		}
		return cutLinks(w, direction(d.b, p.ip, other(w, d, p.ip)))
	}
}

// cutOff takes a KN off the network altogether.
func cutOff(ctx context.Context, w *world, d draw) (string, func(context.Context) error, error) {
	p, err := w.kn(ctx, d.a)
	if err != nil {
		return "", nil, err
	}
	others := append([]string{w.o.Network.DPM(), w.o.Network.Manage()}, w.clients...)
	for i := range w.o.Monitors {
		others = append(others, w.o.Network.Monitor(i))
	}
	for i := range w.o.Routes {
		others = append(others, w.o.Network.Route(i))
	}
	var cuts []link
	for _, other := range others {
		cuts = append(cuts, both(p.ip, other)...)
	}
	_, mend, err := cutLinks(w, cuts)
	return fmt.Sprintf("%s from everybody", p.ip), mend, err
}

// cutMonitor cuts an M-node off the pool.
func cutMonitor(_ context.Context, w *world, d draw) (string, func(context.Context) error, error) {
	return cutLinks(w, direction(d.b, monitorOf(w, d), w.o.Network.DPM()))
}

func cutLinks(w *world, which []link) (string, func(context.Context) error, error) {
	mend, err := w.links.cut(which)
	if err != nil {
		return "", nil, err
	}
	names := make([]string, len(which))
	for i, l := range which {
		names[i] = l.String()
	}
	return strings.Join(names, " "), func(context.Context) error { return mend() }, nil
}
