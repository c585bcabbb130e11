package sim

import (
	"time"

	"github.com/dinomo-kv/dinomo/messages"
)

// Where a script runs that knows nothing but Anna's messages and Dinomo's of their kind, and a node that there is not.
const (
	scriptIP   = "10.0.3.1"
	strangerIP = "10.0.3.2"
)

// outside has a script change the cluster: a KN departs in one of the ways that there are, a stranger comes and goes, or a hot key gets
// other replication. As the script's messages get lost, the KN may stay; and as they come late, it may be a later run of it that departs.
func (w *World) outside(time.Duration) func() {
	p, ok := pick(w.rng, running(w.kns))
	if !ok {
		return nil
	}
	switch w.rng.IntN(5) {
	case 0:
		report, _ := w.plan.Address(scriptIP, messages.MonitorDepartDone, 0)
		return w.departs(p, messages.KNSelfDepart, report.String(), p)
	case 1:
		return w.departs(p, messages.KNDepart, memory(p.ip).String(), p)
	case 2:
		return w.departs(p, messages.MonitorNotify, messages.Notice{Depart: true, Node: memory(p.ip)}.String(), w.monitors...)
	case 3:
		w.stranger(p)
		return nil
	default:
		key := w.replicable()
		w.scriptReplicates(p, key, uint32(1+w.rng.IntN(3)))
		return func() { w.scriptReplicates(p, key, 1) }
	}
}

func memory(ip string) messages.Node {
	return messages.Node{Tier: messages.Tier_MEMORY, PublicIP: ip, PrivateIP: ip}
}

// departs tells nodes that a KN is to depart; another comes in its place after a while.
func (w *World) departs(p *process, socket messages.Socket, text string, told ...*process) func() {
	p.wanted, p.leaving = false, true
	w.logf("a script tells the %s socket of %d nodes that %s is to depart", socket, len(told), p.name)
	for _, to := range told {
		w.sendFrame(scriptIP, to.ip, socket, []byte(text))
	}
	return func() { w.join(0) }
}

// stranger announces a node that there is not, in all the ways that there are, and takes it back.
func (w *World) stranger(p *process) {
	w.logf("a script announces a stranger to %s, M-nodes and routing nodes", p.name)
	join := messages.NodeJoin{Node: memory(strangerIP)}
	back, _ := w.plan.Address(scriptIP, messages.KNServerResponse, 0)
	w.sendFrame(scriptIP, p.ip, messages.KNJoin, []byte(join.String()))
	w.sendMessage(scriptIP, p.ip, messages.KNJoin, &messages.NodeJoinRequest{ResponseAddress: back.String(), RequestId: "1", RequestMsg: join.String()})
	w.sendFrame(scriptIP, p.ip, messages.KNDepart, []byte(join.Node.String()))
	for _, depart := range []bool{false, true} {
		notice := []byte(messages.Notice{Depart: depart, Node: join.Node}.String())
		for _, m := range w.monitors {
			w.sendFrame(scriptIP, m.ip, messages.MonitorNotify, notice)
		}
		for _, r := range w.routes {
			w.sendFrame(scriptIP, r.ip, messages.RouteNotify, notice)
		}
	}
}

// scriptReplicates asks a KN and the routing nodes for a key's replication, as Anna's nodes do among themselves.
func (w *World) scriptReplicates(p *process, key string, global uint32) {
	w.logf("a script wants owners of key %s in %d KNs", key, global)
	back, _ := w.plan.Address(scriptIP, messages.MonitorResponse, 0)
	update := &messages.ReplicationFactorUpdate{ResponseAddress: back.String(), RequestId: "1", Updates: []*messages.ReplicationFactor{{
		Key:    key,
		Global: []*messages.ReplicationValue{{Tier: messages.Tier_MEMORY, Value: global}},
		Local:  []*messages.ReplicationValue{{Tier: messages.Tier_MEMORY, Value: 1}},
	}}}
	w.sendMessage(scriptIP, p.ip, messages.KNReplicationChange, update)
	for _, r := range w.routes {
		w.sendMessage(scriptIP, r.ip, messages.RouteReplicationChange, update)
	}
}
