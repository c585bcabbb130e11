package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/dinomo-kv/dinomo/actors/monitor/policy"
	"github.com/dinomo-kv/dinomo/messages"
)

// complaints is the fault under which M-nodes have a policy: clients complain about latency, so that hot keys get more owners, and lose
// them again when nobody complains any more and they are no hotter than others. Every M-node decides for itself.
const complaints = "complaints"

// complaining says whether M-nodes have a policy.
func (w *World) complaining() bool { return slices.Contains(w.o.Faults, complaints) }

// Times of the policy, and the latency that it promises.
const (
	decisionPeriod = 200 * time.Millisecond
	complainEvery  = 50 * time.Millisecond
	promised       = time.Millisecond
)

// policy is what M-nodes decide by. Its bounds are such that among few keys with a few accesses some are hot and some are cold. KNs are
// neither added nor removed by it: others do that.
func (w *World) policy() policy.Options {
	return policy.Options{
		SelectiveReplication: w.complaining(), OnMean: true, SLO: promised, GracePeriod: decisionPeriod / 2,
		HotDeviations: 0.5, MinHotAccesses: 1, ColdDeviations: 0.01,
	}
}

// complain has clients report latencies that are too long, for a while.
func (w *World) complain(length time.Duration) func() {
	w.logf("clients complain about latency")
	end := w.now() + length
	var again func()
	again = func() {
		if w.healing || w.now() >= end {
			return
		}
		for _, c := range w.clients {
			latency := float64((1 + time.Duration(w.rng.IntN(3))) * 2 * promised / time.Microsecond)
			for _, m := range w.monitors {
				w.sendMessage(c.ip, m.ip, messages.MonitorFeedback, &messages.UserFeedback{
					Uid: fmt.Sprintf("%s:%d", c.ip, c.number), AvgLatency: latency, TailLatency: latency, Throughput: 100,
				})
			}
		}
		w.net.After(complainEvery, again)
	}
	again()
	return nil
}
