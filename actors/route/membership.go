package route

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/dinomo-kv/dinomo/actors/ownership"
	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/messages"
)

// announcement is a node that joined by Anna's notice. It is told to whoever asks the seed socket, and no more: what it
// owns, the map says.
type announcement struct {
	node      messages.Node
	joinCount uint32
}

// membership is the node's actor: it keeps the table up to date and answers everything but address requests.
type membership struct {
	o         *Options
	table     *table
	status    func() map[string]uint64 // counters of the address threads
	control   string                   // own control address
	dpm       string
	monitors  []string // control addresses
	notices   []string // notify addresses of the M-nodes
	announced map[string]announcement

	polledAt, helloAt time.Time
	counters          struct{ malformed, ignored, maps, refusedMaps uint64 }
}

func newMembership(o *Options, t *table, status func() map[string]uint64) *membership {
	m := &membership{
		o: o, table: t, status: status, announced: map[string]announcement{},
		control: o.address(o.IP, messages.RouteControl, 0), dpm: o.address(o.DPM, messages.DPMControl, 0),
	}
	for _, ip := range o.Monitors {
		m.monitors = append(m.monitors, o.address(ip, messages.MonitorControl, 0))
		m.notices = append(m.notices, o.address(ip, messages.MonitorNotify, 0))
	}
	return m
}

// Step implements runtime.Actor.
func (m *membership) Step(now time.Time, in runtime.Message, out *runtime.Outbox) {
	switch in.Kind {
	case runtime.KindStarted:
		join := messages.Notice{Node: m.self()}
		for _, to := range m.notices {
			out.Send(to, []byte(join.String()))
		}
		m.tick(now, out)
	case runtime.KindTick:
		m.tick(now, out)
	case runtime.KindRequest:
		m.seed(in, out)
	case runtime.KindFrame:
		switch in.Socket {
		case socketControl:
			m.receive(in.Frame, out)
		case socketNotify:
			m.notify(string(in.Frame))
		case socketReplicationChange:
			m.replicationChange(in.Frame, out)
		default:
			// Answers to questions for a key's replication, which this node never asks: the map says it.
			m.counters.ignored++
		}
	}
}

func (m *membership) self() messages.Node {
	return messages.Node{Tier: messages.Tier_ROUTING, PublicIP: m.o.IP, PrivateIP: m.o.IP}
}

func (m *membership) tick(now time.Time, out *runtime.Outbox) {
	poll := m.o.Poll
	if m.table.current() == nil {
		poll = m.o.PollFirst
	}
	if now.Sub(m.polledAt) >= poll {
		m.polledAt = now
		m.send(out, m.dpm, &messages.MetaRead{
			ResponseAddress: m.control, RequestId: "poll", Name: ownership.RecordName, KnownVersion: uint64(m.table.epoch()),
		})
	}
	if now.Sub(m.helloAt) >= m.o.HelloPeriod {
		m.helloAt = now
		for _, to := range m.monitors {
			m.send(out, to, &messages.NodeHello{
				PublicIp: m.o.IP, PrivateIp: m.o.IP, Threads: uint32(m.o.Threads), Tier: uint32(messages.Tier_ROUTING),
			})
		}
	}
}

func (m *membership) receive(frame []byte, out *runtime.Outbox) {
	body, err := messages.ParseControlFrame(frame)
	if err != nil {
		m.counters.malformed++
		return
	}
	switch b := body.(type) {
	case *messages.MetaState:
		m.record(b)
	case *messages.OwnershipCommit:
		m.commit(b, out)
	case *messages.OwnershipQuery:
		m.query(b, out)
	case *messages.StatusQuery:
		if to := b.GetResponseAddress(); to != "" {
			m.send(out, to, m.report(b.GetRequestId()))
		}
	default:
		m.counters.ignored++
	}
}

// record takes the DPM's answer to a poll.
func (m *membership) record(s *messages.MetaState) {
	if s.GetName() != ownership.RecordName || len(s.GetValue()) == 0 || s.GetVersion() <= uint64(m.table.epoch()) {
		return
	}
	next, err := ownership.Decode(s.GetValue(), s.GetVersion(), m.table.current())
	if err != nil {
		m.refuse(err)
		return
	}
	m.install(next, "read from the pool")
}

// commit takes a map that is in force from the M-node, and acknowledges it also when it is known already.
func (m *membership) commit(c *messages.OwnershipCommit, out *runtime.Outbox) {
	if c.GetMap().GetEpoch() > uint64(m.table.epoch()) {
		next, err := ownership.FromWire(c.GetMap(), m.table.current())
		if err != nil {
			m.refuse(err)
			return
		}
		m.install(next, "committed by "+c.GetMap().GetCoordinator())
	}
	if to := c.GetResponseAddress(); to != "" {
		m.send(out, to, &messages.OwnershipAck{
			RequestId: c.GetRequestId(), Epoch: uint64(m.table.epoch()), Role: "route", Address: m.control,
		})
	}
}

func (m *membership) refuse(err error) {
	m.counters.refusedMaps++
	m.o.Logf("map refused: %v", err)
}

// install makes a newer map the one that is answered from (RING-2).
func (m *membership) install(next *hashring.Map, how string) {
	addresses, err := ownership.NewAddresses(next, m.o.Plan)
	if err != nil {
		m.refuse(err)
		return
	}
	m.table.addresses.Store(addresses)
	m.counters.maps++
	for ip := range m.announced {
		if isMember(next, ip) {
			delete(m.announced, ip)
		}
	}
	m.o.Logf("epoch %d, %d KNs: %s", next.Epoch(), len(next.Members()), how)
}

func (m *membership) query(q *messages.OwnershipQuery, out *runtime.Outbox) {
	current := m.table.current()
	if current == nil || q.GetResponseAddress() == "" {
		return
	}
	m.send(out, q.GetResponseAddress(), &messages.OwnershipCommit{
		Map: ownership.ToWire(current, m.o.IP), RequestId: q.GetRequestId(),
	})
}

// notify takes Anna's notice of a node that joins or departs.
func (m *membership) notify(text string) {
	n, err := messages.ParseNotice(text)
	switch {
	case err != nil:
		m.counters.malformed++
	case n.Depart:
		delete(m.announced, n.PrivateIP)
	case n.PrivateIP == m.o.IP:
	case m.table.current() != nil && isMember(m.table.current(), n.PrivateIP):
	case m.announced[n.PrivateIP] == announcement{n.Node, n.JoinCount}:
	case len(m.announced) >= m.o.MaxAnnounced:
		m.counters.ignored++
	default:
		m.announced[n.PrivateIP] = announcement{n.Node, n.JoinCount}
		m.o.Logf("%s announced itself", n.Node)
	}
}

func isMember(current *hashring.Map, privateIP string) bool {
	return slices.ContainsFunc(current.Members(), func(m hashring.Member) bool { return m.PrivateIP == privateIP })
}

// seed answers whoever wants to know the cluster, whatever it asked.
func (m *membership) seed(in runtime.Message, out *runtime.Outbox) {
	frame, err := messages.Marshal(m.clusterMembership())
	if err != nil {
		m.o.Logf("seed answer: %v", err)
		frame = nil // an empty reply is an empty ClusterMembership
	}
	out.Reply(in.ReplyTo, frame)
}

// clusterMembership lists the map's members, who announced themselves, and this node.
func (m *membership) clusterMembership() *messages.ClusterMembership {
	servers := map[messages.Tier][]*messages.Server{
		messages.Tier_ROUTING: {{PublicIp: m.o.IP, PrivateIp: m.o.IP}},
	}
	if current := m.table.current(); current != nil {
		for _, member := range current.Members() {
			servers[messages.Tier_MEMORY] = append(servers[messages.Tier_MEMORY],
				&messages.Server{PublicIp: member.PublicIP, PrivateIp: member.PrivateIP})
		}
	}
	for _, ip := range slices.Sorted(maps.Keys(m.announced)) {
		n := m.announced[ip].node
		servers[n.Tier] = append(servers[n.Tier], &messages.Server{PublicIp: n.PublicIP, PrivateIp: n.PrivateIP})
	}
	var c messages.ClusterMembership
	for _, tier := range slices.Sorted(maps.Keys(servers)) {
		c.Tiers = append(c.Tiers, &messages.TierMembership{TierId: tier, Servers: servers[tier]})
	}
	return &c
}

// replicationChange passes Anna's way of asking for a key's replication on to the M-nodes, which own such changes, and says
// that it was received.
func (m *membership) replicationChange(frame []byte, out *runtime.Outbox) {
	var update messages.ReplicationFactorUpdate
	if err := messages.Unmarshal(frame, &update); err != nil {
		m.counters.malformed++
		return
	}
	change := &messages.ReplicationChange{RequestId: update.GetRequestId()}
	for _, u := range update.GetUpdates() {
		change.Keys = append(change.Keys, &messages.ReplicatedKey{
			Key: []byte(u.GetKey()), GlobalFactor: memoryFactor(u.GetGlobal()), LocalFactor: memoryFactor(u.GetLocal()),
		})
	}
	for _, to := range m.monitors {
		m.send(out, to, change)
	}
	if to := update.GetResponseAddress(); to != "" {
		if answer, err := messages.Marshal(&messages.ReplicationFactorUpdateResponse{ResponseId: update.GetRequestId()}); err == nil {
			out.Send(to, answer)
		}
	}
}

// memoryFactor is the factor of the one tier that KNs are, at least 1.
func memoryFactor(values []*messages.ReplicationValue) uint32 {
	for _, v := range values {
		if v.GetTier() == messages.Tier_MEMORY {
			return max(v.GetValue(), 1)
		}
	}
	return 1
}

// report is the answer to a StatusQuery.
func (m *membership) report(id string) *messages.StatusReport {
	r := &messages.StatusReport{RequestId: id, Role: "route", Counters: m.status(), Gauges: map[string]float64{}, Facts: map[string]string{
		"ip": m.o.IP, "process": strconv.Itoa(os.Getpid()),
	}}
	r.Counters["maps"] = m.counters.maps
	r.Counters["maps_refused"] = m.counters.refusedMaps
	r.Counters["control_malformed"] = m.counters.malformed
	r.Counters["control_ignored"] = m.counters.ignored
	r.Gauges["epoch"] = float64(m.table.epoch())
	r.Gauges["announced"] = float64(len(m.announced))
	if current := m.table.current(); current != nil {
		r.Gauges["members"] = float64(len(current.Members()))
		for _, member := range current.Members() {
			r.Facts["member "+member.PrivateIP] = fmt.Sprintf("rank %d, %d threads", member.Rank, member.Threads)
		}
	}
	return r
}

// send queues one of our control messages.
func (m *membership) send(out *runtime.Outbox, to string, body messages.Message) {
	frame, err := messages.ControlFrame(m.o.IP, body)
	if err != nil {
		m.o.Logf("to %s: %v", to, err) // only an announced name that is no UTF-8 could be the cause, and those are IPs
		return
	}
	out.Send(to, frame)
}
