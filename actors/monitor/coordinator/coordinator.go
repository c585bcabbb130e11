package coordinator

import (
	"fmt"
	"time"

	"github.com/dinomo-kv/dinomo/actors/ownership"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/messages"
)

// An Outbox collects what a step wants done.
type Outbox struct {
	Sends  []Send
	Events []Event
}

// Send is a message to an address.
type Send struct {
	To       string
	Envelope *messages.ControlEnvelope
}

// Event is something worth a log line, with the figures that led to it.
type Event struct {
	Kind string // map-read, change-begin, change-abort, change-commit, change-done, change-lost, rank-dead, refused
	Text string
}

// Coordinator is the state machine. Make it with New. It is used by one goroutine at a time.
type Coordinator struct {
	o        Options
	run      uint64
	current  *hashring.Map // nil: there is no map, or it has not been read yet (see read)
	read     bool          // the DPM has answered at least once
	nodes    map[string]*node
	watch    leaseWatch
	leaving  map[string]leave // by private IP
	wishes   map[string]hashring.Replication
	change   *change
	requests uint64
	polledAt time.Time
}

// node is a KN that said hello.
type node struct {
	hello       *messages.NodeHello
	first, last time.Time
}

// leave is a KN's wish, or somebody's order, to be left out of the map. It holds for one run of the node and those before:
// a later one that joins is not concerned, however late the message came.
type leave struct {
	incarnation uint64
	why         string
}

// New makes a coordinator that knows nothing yet. run tells it from earlier ones of its name: an answer to a question of theirs
// must not count as one to its own. When it is made, in nanoseconds, will do.
func New(o Options, run uint64) (*Coordinator, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	return &Coordinator{
		o: o, run: run, nodes: map[string]*node{}, watch: newLeaseWatch(),
		leaving: map[string]leave{}, wishes: map[string]hashring.Replication{},
	}, nil
}

// Map returns the newest map that the coordinator has read or made, or nil.
func (c *Coordinator) Map() *hashring.Map { return c.current }

// Busy says whether a change is under way.
func (c *Coordinator) Busy() bool { return c.change != nil }

// SetRoutes replaces the routing nodes' control addresses.
func (c *Coordinator) SetRoutes(addresses []string) { c.o.Routes = addresses }

// Leave asks that the KN at a private IP leave, the run of it that is known now; idempotent. Of a node that is neither a member nor
// has said hello there is nothing to leave.
func (c *Coordinator) Leave(privateIP, why string) {
	incarnation := uint64(0)
	if n := c.nodes[privateIP]; n != nil {
		incarnation = n.hello.GetIncarnation()
	}
	if c.current != nil {
		if m, in := memberAt(c.current, privateIP); in {
			incarnation = max(incarnation, m.Incarnation)
		}
	}
	c.leaveUpTo(privateIP, incarnation, why)
}

// leaveUpTo is Leave for the runs of a node up to one. The goodbyes of strangers take no memory.
func (c *Coordinator) leaveUpTo(privateIP string, incarnation uint64, why string) {
	old, known := c.leaving[privateIP]
	if incarnation == 0 || known && old.incarnation >= incarnation || !known && len(c.leaving) >= c.o.MaxNodes {
		return
	}
	c.leaving[privateIP] = leave{incarnation, why}
}

// Replicate asks for a key's replication to change; {1, 1} gives it its single owner back.
func (c *Coordinator) Replicate(key []byte, r hashring.Replication) { c.wishes[string(key)] = r }

// Receive takes one control message. Messages that are not for a coordinator are ignored.
func (c *Coordinator) Receive(now time.Time, e *messages.ControlEnvelope, out *Outbox) {
	switch m := messages.Unwrap(e).(type) {
	case *messages.NodeHello:
		c.hello(now, m, out)
	case *messages.NodeBye:
		c.leaveUpTo(m.GetPrivateIp(), m.GetIncarnation(), "said goodbye: "+m.GetReason())
	case *messages.NodeGone:
		c.watch.processGone(m)
		c.countTheDead(now, out)
	case *messages.PoolState:
		c.poolState(now, m, out)
	case *messages.MetaState:
		c.metaState(now, m, out)
	case *messages.ReplicationChange:
		c.replicationChange(m)
	case *messages.OwnershipQuery:
		c.answerQuery(m, out)
	case nil:
	default:
		if c.change != nil {
			c.change.receive(m, out)
		}
	}
	c.advance(now, out)
}

// Tick lets time pass: call it at least every Options.DrainPoll.
func (c *Coordinator) Tick(now time.Time, out *Outbox) {
	if now.Sub(c.polledAt) >= c.o.Poll {
		c.polledAt = now
		c.poll(out)
	}
	for ip, n := range c.nodes {
		if now.Sub(n.last) > c.o.NodeMemory {
			delete(c.nodes, ip)
		}
	}
	c.advance(now, out)
}

// advance moves the change under way on, or begins the next one.
func (c *Coordinator) advance(now time.Time, out *Outbox) {
	if c.change == nil {
		c.begin(now, out)
		return
	}
	c.drive(now, out)
}

func (c *Coordinator) hello(now time.Time, h *messages.NodeHello, out *Outbox) {
	ip := h.GetPrivateIp()
	n := c.nodes[ip]
	if n == nil {
		if len(c.nodes) >= c.o.MaxNodes {
			out.event("refused", "hello of %s: %d nodes are known already", ip, len(c.nodes))
			return
		}
		n = &node{first: now}
		c.nodes[ip] = n
	}
	if n.hello != nil && h.GetIncarnation() < n.hello.GetIncarnation() {
		return // an old message of an earlier run
	}
	n.hello, n.last = h, now
	if c.watch.state(memberOf(h)) == nil && now.Sub(c.polledAt) >= c.o.Retry {
		c.polledAt = now // it can join as soon as the pool confirms its rank
		c.poll(out)
	}
}

func (c *Coordinator) replicationChange(r *messages.ReplicationChange) {
	for _, k := range r.GetKeys() {
		c.Replicate(k.GetKey(), hashring.Replication{Global: int(k.GetGlobalFactor()), Local: int(k.GetLocalFactor())})
	}
}

func (c *Coordinator) answerQuery(q *messages.OwnershipQuery, out *Outbox) {
	if c.current == nil || q.GetResponseAddress() == "" {
		return
	}
	c.tell(out, q.GetResponseAddress(), &messages.OwnershipCommit{
		Map: ownership.ToWire(c.current, c.o.Name), RequestId: q.GetRequestId(),
	})
}

// poll asks the DPM for the map, if there is a newer one, and for the ranks' state.
func (c *Coordinator) poll(out *Outbox) {
	c.tell(out, c.o.DPM, &messages.MetaRead{
		ResponseAddress: c.o.Reply, RequestId: pollID, Name: ownership.RecordName, KnownVersion: uint64(c.epoch()),
	})
	c.tell(out, c.o.DPM, &messages.PoolQuery{ResponseAddress: c.o.Reply, RequestId: pollID})
}

const pollID = "poll"

func (c *Coordinator) metaState(now time.Time, s *messages.MetaState, out *Outbox) {
	if s.GetName() != ownership.RecordName {
		return
	}
	if c.change != nil && c.change.swapAnswered(s) {
		c.swapped(now, s, out)
		return
	}
	if s.GetRequestId() != pollID || s.GetError() != "" {
		return
	}
	c.read = true
	c.adopt(s.GetVersion(), s.GetValue(), out)
	if c.change != nil && c.change.phase == clearing && c.epoch() > c.change.fromEpoch {
		c.abort(out, fmt.Sprintf("epoch %d came from another coordinator or a KN that waited too long", c.epoch()))
	}
}

// adopt takes up a map that the pool holds, if it is newer (RING-2).
func (c *Coordinator) adopt(version uint64, record []byte, out *Outbox) {
	if version <= uint64(c.epoch()) || len(record) == 0 {
		return
	}
	m, err := ownership.Decode(record, version, c.current)
	if err != nil {
		out.event("refused", "the pool's map: %v", err)
		return
	}
	c.current = m
	out.event("map-read", "epoch %d, %d members", m.Epoch(), len(m.Members()))
}

func (c *Coordinator) epoch() hashring.Epoch {
	if c.current == nil {
		return 0
	}
	return c.current.Epoch()
}

// poolState takes the pool's report of its ranks.
func (c *Coordinator) poolState(now time.Time, s *messages.PoolState, out *Outbox) {
	c.watch.observe(now, s, 2*c.o.Poll+c.o.Retry)
	c.countTheDead(now, out)
}

// countTheDead sees whether a change waits for somebody who will not answer any more.
func (c *Coordinator) countTheDead(now time.Time, out *Outbox) {
	if c.change == nil {
		return
	}
	if c.change.phase == spreading {
		c.spareTheDead(now)
		return
	}
	if c.change.phase != clearing {
		return
	}
	for _, m := range c.change.waitsFor() {
		if v, dead := c.watch.dead(now, m, c.o.Lease+c.o.LeaseMargin); dead {
			out.event("rank-dead", "%s while its answer was awaited: %s", m, v.why)
			c.abort(out, "a KN that had to prepare is dead")
			return
		}
	}
}

// spareTheDead stops waiting for acknowledgements of members that died after the swap, so that their failover begins.
func (c *Coordinator) spareTheDead(now time.Time) {
	for _, m := range c.change.next.Members() {
		if _, dead := c.watch.dead(now, m, c.o.Lease+c.o.LeaseMargin); dead {
			if to, err := c.kn(m); err == nil {
				delete(c.change.spread, to)
			}
		}
	}
}

// kn returns the control address of a member.
func (c *Coordinator) kn(m hashring.Member) (string, error) {
	a, err := c.o.Plan.Address(m.PrivateIP, messages.KNControl, 0)
	if err != nil {
		return "", fmt.Errorf("control address of %s: %w", m, err)
	}
	return a.String(), nil
}

// tell queues one of our control messages.
func (c *Coordinator) tell(out *Outbox, to string, body messages.Message) {
	out.Sends = append(out.Sends, Send{To: to, Envelope: messages.Envelope(c.o.Name, body)})
}

func (o *Outbox) event(kind, format string, args ...any) {
	o.Events = append(o.Events, Event{Kind: kind, Text: fmt.Sprintf(format, args...)})
}
