package route

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/actors/ownership"
	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/messages"
)

const (
	routeIP   = "127.0.10.4"
	dpmIP     = "127.0.10.2"
	monitorIP = "127.0.10.3"
	nodeIP    = "127.0.10.50" // whoever asks
)

// rig is a membership actor on a simulated network, with a DPM that answers polls while it is up.
type rig struct {
	t     *testing.T
	net   *runtime.SimNet
	host  *runtime.SimHost
	o     Options
	table *table

	version uint64
	record  []byte
	polls   int
	heard   map[string][]messages.Message // by who heard it
	notices []string
	logs    []string
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, net: runtime.NewSimNet(1, runtime.SimOptions{}), table: &table{}, heard: map[string][]messages.Message{}}
	r.o = Options{IP: routeIP, DPM: dpmIP, Monitors: []string{monitorIP}, MaxAnnounced: 3, Threads: 2,
		Logf: func(format string, args ...any) { r.logs = append(r.logs, fmt.Sprintf(format, args...)) }}
	r.o.EnsureDefaults()
	if err := r.o.Validate(); err != nil {
		t.Fatal(err)
	}
	r.hear(dpmIP, messages.DPMControl, func(m messages.Message) {
		if q, ok := m.(*messages.MetaRead); ok {
			r.polls++
			r.send(dpmIP, q.GetResponseAddress(), &messages.MetaState{RequestId: q.GetRequestId(), Name: q.GetName(), Version: r.version, Value: r.record})
		}
	})
	r.hear(monitorIP, messages.MonitorControl, nil)
	r.hear(nodeIP, messages.KNControl, nil)
	if _, err := r.net.Node(monitorIP).Listen(r.o.address(monitorIP, messages.MonitorNotify, 0), func(frame []byte) { r.notices = append(r.notices, string(frame)) }); err != nil {
		t.Fatal(err)
	}
	r.host = runtime.NewSimHost(r.net, routeIP)
	if err := install(r.host, &r.o, r.table, func() map[string]uint64 { return map[string]uint64{"requests": 5} }); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) hear(ip string, s messages.Socket, then func(messages.Message)) {
	_, err := r.net.Node(ip).Listen(r.o.address(ip, s, 0), func(frame []byte) {
		m, err := messages.ParseControlFrame(frame)
		if err != nil {
			r.t.Fatal(err)
		}
		r.heard[ip] = append(r.heard[ip], m)
		if then != nil {
			then(m)
		}
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) send(from, to string, m messages.Message) {
	frame, err := messages.ControlFrame(from, m)
	if err = errors.Join(err, r.net.Node(from).Send(to, frame)); err != nil {
		r.t.Fatal(err)
	}
}

// last returns the last message of a type that a node heard.
func last[M messages.Message](r *rig, ip string) (m M, ok bool) {
	for _, x := range slices.Backward(r.heard[ip]) {
		if m, ok := x.(M); ok {
			return m, true
		}
	}
	return m, false
}

func testMap(t *testing.T, epoch hashring.Epoch, ips ...string) *hashring.Map {
	s := hashring.Spec{Epoch: epoch, VirtualNodes: 20}
	for i, ip := range ips {
		s.Members = append(s.Members, hashring.Member{Rank: hashring.Rank(i + 1), PublicIP: ip, PrivateIP: ip, Threads: 2, Incarnation: 1})
	}
	m, err := hashring.NewMap(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// publish makes m the pool's map.
func (r *rig) publish(m *hashring.Map) {
	record, err := ownership.Encode(m, monitorIP)
	if err != nil {
		r.t.Fatal(err)
	}
	r.record, r.version = record, uint64(m.Epoch())
}

func (r *rig) commit(m *hashring.Map, id string) {
	r.send(nodeIP, r.o.address(routeIP, messages.RouteControl, 0), &messages.OwnershipCommit{
		Map: ownership.ToWire(m, monitorIP), RequestId: id, ResponseAddress: r.o.address(nodeIP, messages.KNControl, 0)})
	r.net.RunFor(5 * time.Millisecond)
}

func TestMapComesFromThePoolAndFromCommits(t *testing.T) {
	r := newRig(t)
	r.net.RunFor(time.Second)
	if r.polls < 5 || r.table.load() != nil {
		t.Errorf("%d polls in the first second, addresses %v", r.polls, r.table.load())
	}
	r.publish(testMap(t, 3, "127.0.10.100"))
	r.net.RunFor(200 * time.Millisecond)
	if r.table.epoch() != 3 || r.table.load() == nil {
		t.Fatalf("epoch %d after the map was made", r.table.epoch())
	}
	r.polls = 0
	r.net.RunFor(3 * time.Second)
	if r.polls < 2 || r.polls > 4 {
		t.Errorf("%d polls in 3 s while there is a map", r.polls)
	}
	r.commit(testMap(t, 4, "127.0.10.100", "127.0.10.101"), "c4")
	if ack, ok := last[*messages.OwnershipAck](r, nodeIP); r.table.epoch() != 4 || !ok || ack.GetEpoch() != 4 || ack.GetRequestId() != "c4" || ack.GetRole() != "route" ||
		ack.GetAddress() != r.o.address(routeIP, messages.RouteControl, 0) {
		t.Errorf("epoch %d, acknowledged with %v", r.table.epoch(), ack)
	}
	// Older maps, from the pool or from a late message, change nothing (RING-2), and are acknowledged with what is known.
	r.commit(testMap(t, 2, "127.0.10.100"), "c2")
	r.net.RunFor(2 * time.Second)
	if ack, _ := last[*messages.OwnershipAck](r, nodeIP); r.table.epoch() != 4 || ack.GetEpoch() != 4 || ack.GetRequestId() != "c2" {
		t.Errorf("epoch %d after an old commit, acknowledged with %v", r.table.epoch(), ack)
	}
}

func TestBadMapsAreRefused(t *testing.T) {
	r := newRig(t)
	good := testMap(t, 3, "127.0.10.100")
	r.publish(good)
	r.net.RunFor(200 * time.Millisecond)
	r.record, r.version = []byte("garbage"), 9
	r.net.RunFor(2 * time.Second)
	bad := ownership.ToWire(testMap(t, 10, "127.0.10.100"), "")
	bad.Members[0].Threads = 60000
	r.send(nodeIP, r.o.address(routeIP, messages.RouteControl, 0), &messages.OwnershipCommit{Map: bad, ResponseAddress: r.o.address(nodeIP, messages.KNControl, 0)})
	r.send(nodeIP, r.o.address(routeIP, messages.RouteControl, 0), &messages.OwnershipCommit{})
	r.net.RunFor(10 * time.Millisecond)
	if ack, ok := last[*messages.OwnershipAck](r, nodeIP); ok {
		t.Errorf("a bad map was acknowledged: %v", ack)
	}
	if r.table.epoch() != 3 || len(r.host.Panics) != 0 || len(r.logs) == 0 {
		t.Errorf("epoch %d, panics %v, logs %v", r.table.epoch(), r.host.Panics, r.logs)
	}
}

func TestHello(t *testing.T) {
	r := newRig(t)
	r.net.RunFor(3500 * time.Millisecond)
	hellos := 0
	for _, m := range r.heard[monitorIP] {
		if h, ok := m.(*messages.NodeHello); ok && h.GetTier() == uint32(messages.Tier_ROUTING) && h.GetPrivateIp() == routeIP {
			hellos++
		}
	}
	if hellos != 4 || !slices.Equal(r.notices, []string{"join:ROUTING:127.0.10.4:127.0.10.4:0"}) {
		t.Errorf("%d hellos, notices %q", hellos, r.notices)
	}
}

// seed returns what the seed socket answers.
func (r *rig) seed() *messages.ClusterMembership {
	r.t.Helper()
	var c *messages.ClusterMembership
	err := r.net.Node(nodeIP).Request(r.o.address(routeIP, messages.RouteSeed, 0), []byte("join"), time.Second, func(reply []byte, err error) {
		c = &messages.ClusterMembership{}
		if err = errors.Join(err, messages.Unmarshal(reply, c)); err != nil {
			r.t.Error(err)
		}
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.net.RunFor(10 * time.Millisecond)
	return c
}

// members lists a membership as TIER:public_ip:private_ip.
func members(c *messages.ClusterMembership) []string {
	var all []string
	for _, tier := range c.GetTiers() {
		for _, s := range tier.GetServers() {
			all = append(all, messages.Node{Tier: tier.GetTierId(), PublicIP: s.GetPublicIp(), PrivateIP: s.GetPrivateIp()}.String())
		}
	}
	return all
}

func TestSeedListsMembersAndAnnouncements(t *testing.T) {
	r := newRig(t)
	notify := func(lines ...string) {
		for _, line := range lines {
			if err := r.net.Node(nodeIP).Send(r.o.address(routeIP, messages.RouteNotify, 0), []byte(line)); err != nil {
				t.Fatal(err)
			}
		}
		r.net.RunFor(5 * time.Millisecond)
	}
	self := "ROUTING:127.0.10.4:127.0.10.4"
	if got := members(r.seed()); !slices.Equal(got, []string{self}) {
		t.Errorf("alone: %q", got)
	}
	notify("join:MEMORY:127.0.10.100:127.0.10.100:0", "join:MEMORY:127.0.10.101:127.0.10.101:2", "join:ROUTING:127.0.10.5:127.0.10.5:0",
		"join:MEMORY:127.0.10.102:127.0.10.102:0" /* one too many */, "nonsense", "join:ROUTING:127.0.10.4:127.0.10.4:0" /* itself */)
	want := []string{"MEMORY:127.0.10.100:127.0.10.100", "MEMORY:127.0.10.101:127.0.10.101", self, "ROUTING:127.0.10.5:127.0.10.5"}
	if got := members(r.seed()); !slices.Equal(got, want) {
		t.Errorf("announced: %q", got)
	}
	if r.table.load() != nil {
		t.Error("an announcement made somebody an owner")
	}
	r.commit(testMap(t, 1, "127.0.10.100"), "")
	notify("depart:MEMORY:127.0.10.101:127.0.10.101")
	if got := members(r.seed()); !slices.Equal(got, []string{"MEMORY:127.0.10.100:127.0.10.100", self, "ROUTING:127.0.10.5:127.0.10.5"}) {
		t.Errorf("after the map and a departure: %q", got)
	}
}

func TestQueryStatusAndReplication(t *testing.T) {
	r := newRig(t)
	control, back := r.o.address(routeIP, messages.RouteControl, 0), r.o.address(nodeIP, messages.KNControl, 0)
	r.send(nodeIP, control, &messages.OwnershipQuery{ResponseAddress: back, RequestId: "q"})
	r.net.RunFor(5 * time.Millisecond)
	if m, ok := last[*messages.OwnershipCommit](r, nodeIP); ok {
		t.Errorf("a map out of nowhere: %v", m)
	}
	r.commit(testMap(t, 6, "127.0.10.100"), "")
	r.send(nodeIP, control, &messages.OwnershipQuery{ResponseAddress: back, RequestId: "q"})
	r.send(nodeIP, control, &messages.StatusQuery{ResponseAddress: back, RequestId: "s"})
	if err := r.net.Node(nodeIP).Send(control, []byte("rubbish")); err != nil {
		t.Fatal(err)
	}
	update := &messages.ReplicationFactorUpdate{ResponseAddress: r.o.address(nodeIP, messages.KNControl, 0), RequestId: "u", Updates: []*messages.ReplicationFactor{{
		Key: "hot", Global: []*messages.ReplicationValue{{Tier: messages.Tier_STORAGE, Value: 9}, {Tier: messages.Tier_MEMORY, Value: 3}}}}}
	update.ResponseAddress = ""
	frame, err := messages.Marshal(update)
	if err = errors.Join(err, r.net.Node(nodeIP).Send(r.o.address(routeIP, messages.RouteReplicationChange, 0), frame)); err != nil {
		t.Fatal(err)
	}
	r.net.RunFor(10 * time.Millisecond)
	if m, ok := last[*messages.OwnershipCommit](r, nodeIP); !ok || m.GetMap().GetEpoch() != 6 || m.GetRequestId() != "q" {
		t.Errorf("query: %v", m)
	}
	if s, ok := last[*messages.StatusReport](r, nodeIP); !ok || s.GetRole() != "route" || s.GetGauges()["members"] != 1 || s.GetGauges()["epoch"] != 6 || s.GetCounters()["requests"] != 5 {
		t.Errorf("status: %v", s)
	}
	if c, ok := last[*messages.ReplicationChange](r, monitorIP); !ok || len(c.GetKeys()) != 1 || string(c.GetKeys()[0].GetKey()) != "hot" ||
		c.GetKeys()[0].GetGlobalFactor() != 3 || c.GetKeys()[0].GetLocalFactor() != 1 {
		t.Errorf("the M-node hears %v", c)
	}
	if len(r.host.Panics) != 0 {
		t.Error(r.host.Panics)
	}
}
