package nemesis

import (
	"context"
	"fmt"

	"github.com/dinomo-kv/dinomo/messages"
)

// memberFaults are no failures: the cluster changes as it is meant to, at a bad time.
var memberFaults = []fault{
	{name: "join", weight: 3, make: join},
	{name: "leave", weight: 4, make: leave},
	{name: "replicate", weight: 6, make: replicate},
}

// mostKNs is how many more KNs there may be than at first.
const mostKNs = 2

// join adds a KN, unless there are many.
func join(ctx context.Context, w *world, _ draw) (string, func(context.Context) error, error) {
	running, err := w.kns(ctx)
	if err != nil {
		return "", nil, err
	}
	if len(running) >= w.o.KNs+mostKNs {
		return "", nil, errNotNow
	}
	return "a new KN", nil, w.churn(messages.Churn{Action: messages.ChurnAdd, Count: 1, Kind: messages.KindMemory})
}

// leave has a KN leave in order: by its own wish as Anna's nodes have it, or by the management node's. Another one comes in its
// place after a while.
func leave(ctx context.Context, w *world, d draw) (string, func(context.Context) error, error) {
	p, err := w.kn(ctx, d.a)
	if err != nil {
		return "", nil, err
	}
	how := "asked by the management node"
	if d.b%2 == 0 {
		how = "by itself"
		report, err := w.cluster.Plan().Address(w.o.Network.Monitor(0), messages.MonitorDepartDone, 0)
		if err != nil {
			return "", nil, err
		}
		to, err := w.cluster.Plan().Address(p.ip, messages.KNSelfDepart, 0)
		if err != nil {
			return "", nil, err
		}
		if err := w.asker.SendFrame(to.String(), []byte(report.String())); err != nil {
			return "", nil, err
		}
	} else if err := w.churn(messages.Churn{Action: messages.ChurnRemove, IP: p.ip, Kind: messages.KindMemory}); err != nil {
		return "", nil, err
	}
	again := func(context.Context) error {
		return w.churn(messages.Churn{Action: messages.ChurnAdd, Count: 1, Kind: messages.KindMemory})
	}
	return p.ip + " " + how, again, nil
}

// replicatedPlaces are the hot keys that get more owners: few, so that the same key gets them again soon after it lost them.
var replicatedPlaces = []int{0, 1, hotKeys - 2, hotKeys - 1}

// replicate gives a hot key more owners and takes them back later, while it is written.
func replicate(_ context.Context, w *world, d draw) (string, func(context.Context) error, error) {
	place, _ := pick(d.a, replicatedPlaces)
	key := w.keys.hotNow(place)
	global, local := 1+uint32(d.b%3), 1+uint32(d.c%uint64(w.o.Threads))
	if global == 1 && local == 1 {
		global = 2
	}
	change := func(global, local uint32) error {
		for i := range w.o.Monitors {
			err := w.send(w.o.Network.Monitor(i), messages.MonitorControl, &messages.ReplicationChange{Keys: []*messages.ReplicatedKey{
				{Key: []byte(key), GlobalFactor: global, LocalFactor: local},
			}})
			if err != nil {
				return err
			}
		}
		return nil
	}
	if err := change(global, local); err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("%s to %d KNs, %d threads each", key, global, local), func(context.Context) error { return change(1, 1) }, nil
}
