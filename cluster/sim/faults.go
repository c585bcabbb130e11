package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/dinomo-kv/dinomo/messages"
)

// fault is a kind of thing that goes wrong, or changes at a bad time.
type fault struct {
	name   string
	weight int
	// begin makes it happen and returns what ends it, nil when nothing does. length is how long it lasts.
	begin func(w *World, length time.Duration) (end func())
}

var faultTable = []fault{
	{"kill-kn", 5, func(w *World, _ time.Duration) func() { return w.kill(w.kns) }},
	{"pause-kn", 6, func(w *World, _ time.Duration) func() { return w.stop(w.kns) }},
	{"kill-dpm", 2, func(w *World, _ time.Duration) func() { return w.kill([]*process{w.dpm}) }},
	{"pause-dpm", 2, func(w *World, _ time.Duration) func() { return w.stop([]*process{w.dpm}) }},
	{"kill-monitor", 3, func(w *World, _ time.Duration) func() { return w.kill(w.monitors) }},
	{"pause-monitor", 3, func(w *World, _ time.Duration) func() { return w.stop(w.monitors) }},
	{"kill-route", 2, func(w *World, _ time.Duration) func() { return w.kill(w.routes) }},
	{"pause-route", 1, func(w *World, _ time.Duration) func() { return w.stop(w.routes) }},
	{"cut-kn-dpm", 5, (*World).cutVerbs},
	{"cut-control", 5, (*World).cutControl},
	{"cut-client", 2, (*World).cutClient},
	{"join", 3, (*World).join},
	{"leave", 4, (*World).leave},
	{"replicate", 6, (*World).replicate},
	{"outside", 4, (*World).outside},
	{complaints, 4, (*World).complain},
	{"slow-net", 3, (*World).slowNet},
	{"lossy-net", 3, (*World).lossyNet},
	{"bad-verbs", 4, (*World).badVerbs},
}

// Faults lists the kinds of fault.
func Faults() []string {
	var names []string
	for _, f := range faultTable {
		names = append(names, f.name)
	}
	return names
}

// misfortune makes faults, one after the other, until the world heals.
func (w *World) misfortune() {
	var chosen []fault
	total := 0
	for _, name := range w.o.Faults {
		for _, f := range faultTable {
			if f.name == name {
				chosen = append(chosen, f)
				total += f.weight
			}
		}
	}
	if total == 0 {
		return
	}
	mean := time.Duration(30+w.rng.IntN(400)) * time.Millisecond
	var next func()
	next = func() {
		if w.healing {
			return
		}
		pick := w.rng.IntN(total)
		for _, f := range chosen {
			if pick -= f.weight; pick < 0 {
				w.make(f)
				break
			}
		}
		w.net.After(time.Duration(w.rng.ExpFloat64()*float64(mean)), next)
	}
	w.net.After(time.Duration(w.rng.Int64N(int64(mean))), next)
}

// make makes one fault. Lengths are around the lease's, where the protocol has to decide.
func (w *World) make(f fault) {
	length := lease/8 + time.Duration(w.rng.Float64()*2*float64(lease))
	if end := f.begin(w, length); end != nil {
		w.net.After(length, func() {
			if !w.healing { // healing ends everything by itself
				end()
			}
		})
	}
}

// heal undoes everything that went wrong, and lets nothing more go wrong.
func (w *World) heal() {
	w.logf("heals")
	w.healing = true
	w.net.Heal()
	w.net.SetFaults(netDelayMin, netDelayMax, 0)
	w.fabric.SetFaults(quietVerbs())
	for _, p := range w.kns {
		w.fabric.Cut(p.ip, false)
	}
	for _, p := range w.all() {
		if p.node != nil && p.node.Paused() {
			p.resume()
		}
		if p.wanted {
			p.start()
		}
	}
	w.keepOneKN()
}

// keepOneKN has a KN join if none is going to stay, as soon as there is a place for it: one that has left says goodbye for a while.
func (w *World) keepOneKN() {
	if w.anyKN() {
		return
	}
	w.join(0)
	w.net.After(restartAfter, w.keepOneKN)
}

// anyKN says whether there is a KN that is going to stay.
func (w *World) anyKN() bool {
	for _, p := range w.kns {
		if p.wanted && !p.leaving {
			return true
		}
	}
	return false
}

func pick[T any](rng *rand.Rand, from []T) (one T, ok bool) {
	if len(from) == 0 {
		return one, false
	}
	return from[rng.IntN(len(from))], true
}

func (w *World) kill(some []*process) func() {
	if p, ok := pick(w.rng, running(some)); ok {
		p.crash()
	}
	return nil
}

func (w *World) stop(some []*process) func() {
	p, ok := pick(w.rng, running(some))
	if !ok || p.node.Paused() {
		return nil
	}
	p.pause()
	node := p.node
	return func() {
		if p.node == node {
			p.resume()
		}
	}
}

func (w *World) cutVerbs(time.Duration) func() {
	p, ok := pick(w.rng, running(w.kns))
	if !ok {
		return nil
	}
	w.logf("%s is cut off from the pool", p.name)
	w.fabric.Cut(p.ip, true)
	return func() {
		w.logf("%s reaches the pool again", p.name)
		w.fabric.Cut(p.ip, false)
	}
}

// cutControl cuts the link between two nodes of the cluster, in one direction or in both.
func (w *World) cutControl(time.Duration) func() {
	all := w.all()
	a, _ := pick(w.rng, all)
	b, _ := pick(w.rng, all)
	if a == b {
		return nil
	}
	both := w.rng.IntN(2) == 0
	return w.cut(a.name, a.ip, b.name, b.ip, both)
}

func (w *World) cutClient(time.Duration) func() {
	c, ok := pick(w.rng, w.clients)
	p, ok2 := pick(w.rng, w.kns)
	if !ok || !ok2 {
		return nil
	}
	if w.rng.IntN(2) == 0 {
		return w.cut(p.name, p.ip, fmt.Sprint("client ", c.number), c.ip, w.rng.IntN(2) == 0)
	}
	return w.cut(fmt.Sprint("client ", c.number), c.ip, p.name, p.ip, w.rng.IntN(2) == 0)
}

// cut cuts a link; the function that it returns mends it.
func (w *World) cut(from, fromIP, to, toIP string, both bool) func() {
	w.logf("link from %s to %s is cut, both ways: %v", from, to, both)
	w.net.Cut(fromIP, toIP)
	if both {
		w.net.Cut(toIP, fromIP)
	}
	return func() {
		w.logf("link from %s to %s is mended", from, to)
		w.net.Uncut(fromIP, toIP)
		if both {
			w.net.Uncut(toIP, fromIP)
		}
	}
}

func (w *World) join(time.Duration) func() {
	for _, p := range w.kns {
		if p.node == nil && !p.wanted {
			p.start()
			break
		}
	}
	return nil
}

// leave has a KN leave; another comes in its place after a while.
func (w *World) leave(time.Duration) func() {
	p, ok := pick(w.rng, running(w.kns))
	if !ok {
		return nil
	}
	p.leave()
	return func() { w.join(0) }
}

// replicate gives a hot key more owners, and takes them back.
func (w *World) replicate(time.Duration) func() {
	key := w.replicable()
	global, local := 1+w.rng.IntN(3), 1+w.rng.IntN(w.o.Threads)
	if global == 1 && local == 1 {
		global = 2
	}
	w.changeReplication(key, global, local)
	return func() { w.changeReplication(key, 1, 1) }
}

// changeReplication asks every M-node for a key's replication.
func (w *World) changeReplication(key string, global, local int) {
	w.logf("key %s shall have owners in %d KNs, %d threads each", key, global, local)
	for _, m := range w.monitors {
		w.send(m.ip, messages.MonitorControl, &messages.ReplicationChange{
			Keys: []*messages.ReplicatedKey{{Key: []byte(key), GlobalFactor: uint32(global), LocalFactor: uint32(local)}},
		})
	}
}

// The network's delays when nothing is wrong.
const (
	netDelayMin = 50 * time.Microsecond
	netDelayMax = 500 * time.Microsecond
)

func (w *World) slowNet(time.Duration) func() {
	most := time.Duration(1+w.rng.IntN(60)) * time.Millisecond
	w.logf("frames take up to %v", most)
	w.net.SetFaults(netDelayMin, most, 0)
	return w.calmNet
}

func (w *World) lossyNet(time.Duration) func() {
	lost := w.rng.IntN(200_000)
	w.logf("%d frames in a million are lost", lost)
	w.net.SetFaults(netDelayMin, netDelayMax, lost)
	return w.calmNet
}

func (w *World) calmNet() {
	w.logf("the network is calm")
	w.net.SetFaults(netDelayMin, netDelayMax, 0)
}

// badVerbs has queue pairs break and time out, with what was posted carried out late.
func (w *World) badVerbs(time.Duration) func() {
	f := quietVerbs()
	f.Break, f.Timeout, f.Late = w.rng.Float64()*0.02, w.rng.Float64()*0.01, w.rng.Float64()
	f.Pieces, f.DialLost, f.DelayMax = w.rng.Float64(), w.rng.Float64()*0.3, time.Duration(1+w.rng.IntN(1000))*time.Microsecond
	w.logf("verbs: %+v", f)
	w.fabric.SetFaults(f)
	return func() {
		w.logf("verbs are good again")
		w.fabric.SetFaults(quietVerbs())
	}
}
