package sim

import (
	"context"
	"fmt"
	"time"

	"github.com/dinomo-kv/dinomo/actors/dpmnode"
	"github.com/dinomo-kv/dinomo/actors/kn"
	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/messages"
)

// process is one node of the cluster, running or not.
type process struct {
	w        *World
	name, ip string
	compose  func(*process) error // starts the node, as a task of it; returns when it is up

	node *runtime.SimNode // nil: it does not run
	pid  uint32
	up   bool // compose has returned
	// wanted: it is restarted when it dies.
	wanted bool
	// leaving: it has been asked to leave, and will end.
	leaving bool
	// silent: nobody will learn of its death by its connections.
	silent bool
	kn     *kn.Node
	dpm    *dpmnode.Node
}

// start starts the process, unless it runs.
func (p *process) start() {
	w := p.w
	p.wanted = true
	if p.node != nil {
		return
	}
	p.leaving = false
	w.nextPID++
	p.node, p.pid, p.up = w.net.Node(p.ip), w.nextPID, false
	w.alive[p.pid] = true
	w.logf("%s starts as process %d", p.name, p.pid)
	node := p.node
	node.Clock().Go(func() {
		err := p.compose(p)
		if err != nil {
			w.net.After(0, func() { p.ended(node, err) })
			return
		}
		p.up = true
		if n := p.kn; n != nil {
			clock.Await(node.Clock(), func() bool { return clock.Closed(n.Done()) })
			err := n.Wait()
			_ = n.Close() // of a KN that was fenced, all sorts of things fail
			w.net.After(0, func() { p.ended(node, err) })
		}
	})
}

// ended takes notice that a process has ended by itself: in order (err is nil), or because it could not go on.
func (p *process) ended(node *runtime.SimNode, err error) {
	if p.node != node {
		return
	}
	p.w.logf("%s ends: %v", p.name, err)
	_ = node.Close()
	if p.leaving {
		p.wanted = false
	}
	p.gone(fmt.Sprint("ended: ", err))
}

// crash is kill -9.
func (p *process) crash() {
	if p.node == nil {
		return
	}
	p.w.logf("%s is killed", p.name)
	if p.dpm != nil {
		p.w.crashPool()
	}
	node := p.node
	if !p.silent && !p.machineLost() {
		p.w.fabric.Drop(p.ip)
	}
	node.Crash()
	p.gone("killed")
}

// machineLost draws whether nobody learns of a process' death by its connections, as when the machine has lost its power.
func (p *process) machineLost() bool {
	return !p.w.unmanaged && !p.w.mapped() && p.w.rng.IntN(4) == 0
}

// restartAfter is how long the management node takes to start a node anew.
const restartAfter = 300 * time.Millisecond

// gone forgets the process, tells the M-nodes, and has it restarted.
func (p *process) gone(why string) {
	w := p.w
	pid := p.pid
	delete(w.alive, pid)
	isKN := p.kn != nil || p.ip != dpmIP && w.isKN(p)
	p.node, p.kn, p.dpm, p.up = nil, nil, nil, false
	if isKN && !w.unmanaged && w.rng.IntN(3) > 0 { // sometimes the management node does not notice, and the lease has to run out
		w.net.After(time.Duration(w.rng.Int64N(int64(20*time.Millisecond))), func() { w.tellGone(p, pid, why) })
	}
	if p.wanted && !w.unmanaged {
		w.net.After(restartAfter, func() {
			if p.wanted {
				p.start()
			}
		})
	}
}

func (w *World) isKN(p *process) bool {
	for _, other := range w.kns {
		if other == p {
			return true
		}
	}
	return false
}

// tellGone is the management node's word that it has waited for a KN's process.
func (w *World) tellGone(p *process, pid uint32, why string) {
	for _, m := range w.monitors {
		w.send(m.ip, messages.MonitorControl, &messages.NodeGone{
			Kind: string(messages.KindMemory), PrivateIp: p.ip, Pid: uint64(pid), Detail: why,
		})
	}
}

// pause is SIGSTOP, resume SIGCONT.
func (p *process) pause() {
	if p.node != nil {
		p.w.logf("%s stands still", p.name)
		p.node.Pause()
	}
}

func (p *process) resume() {
	if p.node != nil {
		p.w.logf("%s goes on", p.name)
		p.node.Resume()
	}
}

// leave has a KN leave in order.
func (p *process) leave() {
	if p.kn == nil {
		return
	}
	p.w.logf("%s is asked to leave", p.name)
	p.wanted, p.leaving = false, true
	p.kn.Leave()
}

// forever is the context of nodes' starts: they end by being killed.
var forever = context.Background()
