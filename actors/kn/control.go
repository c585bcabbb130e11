package kn

import (
	"fmt"
	"time"

	"github.com/dinomo-kv/dinomo/actors/kn/guard"
	"github.com/dinomo-kv/dinomo/actors/ownership"
	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/messages"
)

// control is the node's control actor: it feeds the guard, orders the threads, and speaks for the node. It keeps its
// state when a panic restarts it, because the releases that threads are carrying out must not be forgotten.
type control struct {
	o        *Options
	self     identity
	address  string // its own control address
	guard    *guard.Guard
	threads  []*mailbox
	askPool  func(read bool, swap *guard.Swap)
	public   *published
	finish   func(error) // ends the node
	releases map[string]*gathering
	epochs   []hashring.Epoch // that each thread has installed
	acks     []guard.Send     // acknowledgements that wait for the threads
	prepared bool             // the guard has cleared ranges for the change under way
	joined   bool             // the node was in a map
	announce announcing
	leave    leaving
	stats    statistics
	failover failovers
	wishes   wishes
	caches   caches
	codec    *messages.Codec
	unknown  uint64 // frames that made no sense on their socket
}

// gathering waits for every thread's word that a release is done.
type gathering struct {
	waiting map[int]bool
	merged  uint64
}

// tickPeriod is how often the control actor looks at the time.
const tickPeriod = 50 * time.Millisecond

// Names of the control actor's sockets. Those of threads carry the thread's number behind a slash.
const actorName = "kn"

// Step implements runtime.Actor.
func (c *control) Step(now time.Time, in runtime.Message, out *runtime.Outbox) {
	switch in.Kind {
	case runtime.KindStarted:
		c.announce.start(c, out)
	case runtime.KindFrame:
		c.frame(now, in.Socket, in.Frame, out)
	case runtime.KindRequest:
		c.failover.ask(c, in, out)
	case runtime.KindReply:
		c.announce.reply(c, in)
	case runtime.KindTold:
		c.told(now, in.Body, out)
	case runtime.KindTick:
		c.tick(now, out)
	}
}

func (c *control) tick(now time.Time, out *runtime.Outbox) {
	var g guard.Outbox
	c.guard.Tick(now, &g)
	c.carryOut(&g, out)
	c.announce.tick(c, now, out)
	c.leave.tick(c, now, out)
	c.stats.tick(c, now)
	c.failover.tick(c, now, out)
	c.wishes.tick(c, now, out)
	c.caches.tick(c, now, out)
}

// told takes what threads, the desk and the node say.
func (c *control) told(now time.Time, body any, out *runtime.Outbox) {
	var g guard.Outbox
	switch m := body.(type) {
	case mapRead:
		c.guard.Record(m.version, m.record, &g)
	case mapSwapped:
		c.guard.Swapped(m.version, m.record, &g)
	case installed:
		c.epochs[m.thread] = max(c.epochs[m.thread], m.epoch)
		c.acknowledge(out)
	case released:
		c.released(m, &g)
	case reported:
		c.stats.reported(c, m, now, out)
	case wished:
		c.wishes.add(c, now, &messages.ReplicationFactorUpdate{Updates: []*messages.ReplicationFactor{m.factor}}, out)
	case registered:
		c.caches.written(c, m, out)
	case leaveNow:
		c.leave.begin(c, "", now, out)
	}
	c.carryOut(&g, out)
}

// envelope takes a message of the control socket.
func (c *control) envelope(now time.Time, frame []byte, out *runtime.Outbox) {
	var e messages.ControlEnvelope
	if err := messages.Unmarshal(frame, &e); err != nil {
		c.unknown++
		return
	}
	switch m := messages.Unwrap(&e).(type) {
	case *messages.StatisticsQuery:
		c.stats.query(c, m)
		return
	case *messages.StatusQuery:
		c.status(m, out)
		return
	case *messages.RankState:
		c.failover.state(c, m, out)
		return
	case *messages.PoolState:
		c.failover.pool(c, m, out)
		return
	case *messages.OwnershipQuery:
		c.answerQuery(m, out)
		return
	case *messages.OwnershipPrepare:
		c.prepared = true
	}
	var g guard.Outbox
	c.guard.Receive(now, &e, &g)
	c.carryOut(&g, out)
}

// carryOut does what the guard wants done, in its order.
func (c *control) carryOut(g *guard.Outbox, out *runtime.Outbox) {
	if g.Install != nil {
		c.install(g.Install)
	}
	for _, id := range g.Forget {
		delete(c.releases, id)
		c.order(forget{id})
	}
	for _, r := range g.Releases {
		waiting := make(map[int]bool, len(c.threads))
		for i := range c.threads {
			waiting[i] = true
		}
		c.releases[r.ID] = &gathering{waiting: waiting}
		c.order(release{id: r.ID, ranges: r.Ranges})
	}
	if g.ReadMap || g.Swap != nil {
		c.askPool(g.ReadMap, g.Swap)
	}
	for _, s := range g.Sends {
		if _, ack := messages.Unwrap(s.Envelope).(*messages.OwnershipAck); ack {
			c.acks = append(c.acks, s)
			continue
		}
		c.send(s.To, s.Envelope, out)
	}
	for _, note := range g.Notes {
		c.o.Logf("ownership: %s", note)
	}
	c.acknowledge(out)
}

// order gives every thread a command.
func (c *control) order(command any) {
	for _, t := range c.threads {
		t.put(command)
	}
}

// install gives the threads a newer map. A node that the map leaves out has left.
func (c *control) install(m *hashring.Map) {
	clear(c.releases)
	addresses, err := ownership.NewAddresses(m, c.o.Plan)
	if err != nil {
		c.o.Logf("ownership: epoch %d: %v", m.Epoch(), err)
		return
	}
	v := newView(m, addresses, c.self)
	c.order(install{view: v})
	c.unshare(m)
	was := c.joined
	c.joined = v.member
	if was && !v.member {
		c.leave.left(c, m.Epoch())
	}
	c.prepared = false
}

// acknowledge sends the acknowledgements of maps that every thread has by now: until then a thread may still write by
// the old one.
func (c *control) acknowledge(out *runtime.Outbox) {
	kept := c.acks[:0]
	for _, s := range c.acks {
		ack := messages.Unwrap(s.Envelope).(*messages.OwnershipAck)
		if c.installedBy(hashring.Epoch(ack.GetEpoch())) {
			c.send(s.To, s.Envelope, out)
		} else if len(kept) < maxAcks {
			kept = append(kept, s)
		}
	}
	clear(c.acks[len(kept):])
	c.acks = kept
	c.leave.acknowledged(c, out)
}

// maxAcks bounds the acknowledgements that wait; whoever misses one asks again.
const maxAcks = 64

func (c *control) installedBy(epoch hashring.Epoch) bool {
	for _, e := range c.epochs {
		if e < epoch {
			return false
		}
	}
	return true
}

// released notes that a thread has cleared what a change takes from it.
func (c *control) released(m released, g *guard.Outbox) {
	r := c.releases[m.id]
	if r == nil || !r.waiting[m.thread] {
		return
	}
	delete(r.waiting, m.thread)
	r.merged += m.merged
	if len(r.waiting) == 0 {
		c.guard.Released(m.id, r.merged, g)
	}
}

func (c *control) answerQuery(q *messages.OwnershipQuery, out *runtime.Outbox) {
	if m := c.guard.Map(); m != nil && q.GetResponseAddress() != "" {
		c.send(q.GetResponseAddress(), messages.Envelope(c.o.PrivateIP, &messages.OwnershipCommit{
			Map: ownership.ToWire(m, c.o.PrivateIP), RequestId: q.GetRequestId(),
		}), out)
	}
}

// status answers what the node is doing, for a person.
func (c *control) status(q *messages.StatusQuery, out *runtime.Outbox) {
	if q.GetResponseAddress() == "" {
		return
	}
	epoch := hashring.Epoch(0)
	if m := c.guard.Map(); m != nil {
		epoch = m.Epoch()
	}
	c.send(q.GetResponseAddress(), messages.Envelope(c.o.PrivateIP, &messages.StatusReport{
		RequestId: q.GetRequestId(), Role: "kn",
		Counters: map[string]uint64{"epoch": uint64(epoch), "releases": uint64(len(c.releases)), "unknown_frames": c.unknown},
		Facts:    map[string]string{"member": fmt.Sprint(c.joined), "rank": c.self.rank.String(), "options": c.o.String()},
	}), out)
}

// send queues an envelope.
func (c *control) send(to string, e *messages.ControlEnvelope, out *runtime.Outbox) {
	frame, err := messages.Marshal(e)
	if err != nil {
		c.o.Logf("control message for %s: %v", to, err)
		return
	}
	out.Send(to, frame)
}

// sendMonitors queues one of our control messages for every M-node.
func (c *control) sendMonitors(body messages.Message, out *runtime.Outbox) {
	for _, ip := range c.o.Monitors {
		c.send(c.o.address(ip, messages.MonitorControl), messages.Envelope(c.o.PrivateIP, body), out)
	}
}
