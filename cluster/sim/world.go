package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/dinomo-kv/dinomo/actors/client/history"
	"github.com/dinomo-kv/dinomo/actors/runtime"
	simfabric "github.com/dinomo-kv/dinomo/dpm/fabric/sim"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/internal/random"
	"github.com/dinomo-kv/dinomo/messages"
)

// World is a simulated cluster. All its methods are called by the one goroutine that steps it.
type World struct {
	o        Options
	net      *runtime.SimNet
	fabric   *simfabric.Network
	rng      *rand.Rand // of faults and clients; network and fabric have their own
	region   *pmem.Fake
	listener *simfabric.Listener
	plan     messages.Plan

	dpm      *process
	kns      []*process // by slot
	routes   []*process
	monitors []*process
	clients  []*simClient
	nextPID  uint32
	alive    map[uint32]bool

	ops     []history.Operation
	merged  []mergedKey
	unsure  map[string]int // deletes of unknown outcome
	watch   watcher
	healing bool // nothing goes wrong any more by chance
	// unmanaged: nobody restarts what has died.
	unmanaged bool
	// mergers is dpm.Options.Workers.
	mergers int
}

// Addresses of the simulated nodes.
const (
	dpmIP    = "10.0.0.1"
	manageIP = "10.0.0.9"
)

func routeIP(i int) string   { return fmt.Sprintf("10.0.0.%d", 20+i) }
func monitorIP(i int) string { return fmt.Sprintf("10.0.0.%d", 30+i) }
func knIP(i int) string      { return fmt.Sprintf("10.0.1.%d", 1+i) }
func clientIP(i int) string  { return fmt.Sprintf("10.0.2.%d", 1+i) }

// newWorld makes a cluster whose nodes do not run yet. o has its defaults and is valid.
func newWorld(o Options) *World {
	w := &World{o: o, rng: random.New(o.Seed), alive: map[uint32]bool{}, nextPID: 100, mergers: 1, merged: mergedKeys(), unsure: map[string]int{}}
	w.watch.init(w)
	w.net = runtime.NewSimNet(o.Seed+1, runtime.SimOptions{Intercept: w.watch.intercept})
	w.fabric = simfabric.New(simfabric.Options{
		Rand: random.New(o.Seed + 2), Wait: w.net.Wait, Faults: quietVerbs(), Mapped: o.Fabric == Mapped,
		Swapped: w.watch.swapped,
	})
	w.region = pmem.NewFake(poolBytes(o.Segments), pmem.DAX)
	w.dpm = &process{w: w, name: "dpm", ip: dpmIP, compose: composeDPM}
	for i := range o.Monitors {
		w.monitors = append(w.monitors, &process{w: w, name: fmt.Sprint("m", i+1), ip: monitorIP(i), compose: composeMonitor})
	}
	for i := range o.Routes {
		w.routes = append(w.routes, &process{w: w, name: fmt.Sprint("rn", i+1), ip: routeIP(i), compose: composeRoute})
	}
	for i := range mostKNs {
		w.kns = append(w.kns, &process{w: w, name: fmt.Sprint("kn", i+1), ip: knIP(i), compose: composeKN})
	}
	return w
}

// driftMost is how much the clocks of nodes gain or lose at most, in microseconds a second: less than the margins of leases allow for.
const driftMost = 30_000

// driftClocks gives every node that is concerned with leases a clock of its own rate.
func (w *World) driftClocks() {
	for _, p := range w.all() {
		w.net.SetDrift(p.ip, w.rng.Int64N(2*driftMost+1)-driftMost)
	}
}

// verbDelay is the most that a verb takes when nothing is wrong.
const verbDelay = 20 * time.Microsecond

// start starts the nodes of the cluster's shape, the pool first.
func (w *World) start() {
	w.dpm.start()
	for _, p := range w.monitors {
		p.start()
	}
	for _, p := range w.routes {
		p.start()
	}
	for _, p := range w.kns[:w.o.KNs] {
		p.start()
	}
}

// now is the time since the simulation began.
func (w *World) now() time.Duration { return w.net.Clock().Now().Sub(runtime.SimEpoch) }

func (w *World) logf(format string, args ...any) {
	w.o.Logf("%9.4f s  %s", w.now().Seconds(), fmt.Sprintf(format, args...))
}

// running lists the processes of some that run, paused ones included.
func running(some []*process) []*process {
	var up []*process
	for _, p := range some {
		if p.node != nil {
			up = append(up, p)
		}
	}
	return up
}

// all lists all processes.
func (w *World) all() []*process {
	all := []*process{w.dpm}
	all = append(all, w.monitors...)
	all = append(all, w.routes...)
	return append(all, w.kns...)
}

// send sends one of our control messages as the management node.
func (w *World) send(ip string, socket messages.Socket, body messages.Message) {
	w.sendMessage(manageIP, ip, socket, messages.Envelope(manageIP, body))
}

// sendMessage sends a message as a node that is not of the cluster.
func (w *World) sendMessage(from, ip string, socket messages.Socket, body messages.Message) {
	frame, err := messages.Marshal(body)
	if err != nil {
		w.watch.violation("message of %s: %v", from, err)
		return
	}
	w.sendFrame(from, ip, socket, frame)
}

func (w *World) sendFrame(from, ip string, socket messages.Socket, frame []byte) {
	to, err := w.plan.Address(ip, socket, 0)
	if err == nil {
		err = w.net.Node(from).Send(to.String(), frame)
	}
	if err != nil {
		w.watch.violation("message of %s: %v", from, err)
	}
}

// run lets d of virtual time pass.
func (w *World) run(d time.Duration) {
	end := w.now() + d
	for w.now() < end {
		w.net.RunFor(min(watchEvery, end-w.now()))
		w.watch.look()
	}
}

// runUntil steps until ok returns true; false when limit passed first.
func (w *World) runUntil(limit time.Duration, ok func() bool) bool {
	end := w.now() + limit
	for !ok() {
		if w.now() >= end {
			return false
		}
		w.run(watchEvery)
	}
	return true
}
