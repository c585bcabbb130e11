package monitor

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/dinomo-kv/dinomo/actors/monitor/policy"
	"github.com/dinomo-kv/dinomo/actors/ownership"
	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/messages"
)

// The story's M-node is .3, the DPM .2, the routing node .4, the management node .1; KNs are .100 and up.
const (
	manageIP  = "127.0.10.1"
	dpmIP     = "127.0.10.2"
	monitorIP = "127.0.10.3"
	routeIP   = "127.0.10.4"
	userIP    = "127.0.10.20"
)

// story is an M-node on a simulated network, among the simplest neighbours that answer it.
type story struct {
	t     *testing.T
	net   *runtime.SimNet
	host  *runtime.SimHost
	o     Options
	plan  messages.Plan
	lines []string

	version uint64
	record  []byte
	ranks   map[uint32]*messages.RankState
	kns     map[string]*fakeKN
}

// fakeKN answers what a KN answers, says hello until it is in the map, and renews its lease.
type fakeKN struct {
	ip          string
	rank        uint32
	incarnation uint64
	member      bool
	dead        bool
	mute        bool // answers no OwnershipPrepare
}

// newStory prepares a story; in one about the policy, the policy may act soon.
func newStory(t *testing.T, withPolicy bool) *story {
	s := &story{t: t, net: runtime.NewSimNet(1, runtime.SimOptions{}), ranks: map[uint32]*messages.RankState{}, kns: map[string]*fakeKN{}}
	s.o = Options{
		IP: monitorIP, DPM: dpmIP, Management: manageIP, SummaryPeriod: 10 * time.Second,
		Logf: func(format string, args ...any) { s.note(format, args...) },
		Summary: func(summary Summary) {
			s.note("summary: %s", summary.Text())
			for _, d := range summary.Decisions {
				s.note("  policy: %s", d)
			}
		},
	}
	s.o.Coordinator.VirtualNodes, s.o.Coordinator.InitialKNs = 10, 2
	if withPolicy {
		s.o.Policy = policy.Options{Elasticity: true, SelectiveReplication: true, MinKNs: 2, MaxKNs: 3, GracePeriod: 15 * time.Second}
		s.o.MaxReplicatedKeys = 2
		s.o.ReporterMemory = time.Hour
	}
	s.o.EnsureDefaults()
	if err := s.o.Validate(); err != nil {
		t.Fatal(err)
	}
	s.host = runtime.NewSimHost(s.net, monitorIP)
	if err := Install(s.host, &s.o); err != nil {
		t.Fatal(err)
	}
	s.listen(dpmIP, messages.DPMControl, s.dpm)
	s.listen(routeIP, messages.RouteControl, s.route)
	if _, err := s.net.Node(manageIP).Listen(s.address(manageIP, messages.ManageChurn), func(frame []byte) { s.note("management hears %s", frame) }); err != nil {
		t.Fatal(err)
	}
	s.renew()
	return s
}

func (s *story) note(format string, args ...any) {
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

func (s *story) address(ip string, socket messages.Socket) string {
	a, err := s.plan.Address(ip, socket, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	return a.String()
}

func (s *story) listen(ip string, socket messages.Socket, receive func(messages.Message)) {
	_, err := s.net.Node(ip).Listen(s.address(ip, socket), func(frame []byte) {
		m, err := messages.ParseControlFrame(frame)
		if err != nil {
			s.t.Fatal(err)
		}
		receive(m)
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *story) send(from, to string, m messages.Message) {
	frame, err := messages.ControlFrame(from, m)
	if err = errors.Join(err, s.net.Node(from).Send(to, frame)); err != nil {
		s.t.Fatal(err)
	}
}

// dpm is the simplest pool: it merges at once.
func (s *story) dpm(m messages.Message) {
	switch m := m.(type) {
	case *messages.MetaRead:
		s.send(dpmIP, m.GetResponseAddress(), &messages.MetaState{RequestId: m.GetRequestId(), Name: m.GetName(), Version: s.version, Value: s.record})
	case *messages.MetaSwap:
		answer := &messages.MetaState{RequestId: m.GetRequestId(), Name: m.GetName()}
		if m.GetExpectedVersion() == s.version {
			s.version, s.record, answer.Swapped = s.version+1, m.GetValue(), true
		}
		answer.Version, answer.Value = s.version, s.record
		s.send(dpmIP, m.GetResponseAddress(), answer)
	case *messages.PoolQuery:
		state := &messages.PoolState{RequestId: m.GetRequestId(), ServerEpoch: 1, Counters: map[string]uint64{"segments": 10, "free_segments": 7}}
		for _, rank := range slices.Sorted(maps.Keys(s.ranks)) {
			state.Ranks = append(state.Ranks, s.ranks[rank])
		}
		s.send(dpmIP, m.GetResponseAddress(), state)
	case *messages.RankFence:
		r := s.ranks[m.GetRank()]
		if !m.GetOnlyIfUnchanged() || r.GetLeaseWord() == m.GetLeaseWord() {
			r.Fenced = true
		}
		s.answerRank(m.GetResponseAddress(), m.GetRequestId(), r)
	case *messages.PointersChange:
		s.note("pool: install=%t %q", m.GetInstall(), m.GetKeys())
		s.send(dpmIP, m.GetResponseAddress(), &messages.PointersState{RequestId: m.GetRequestId(), Done: uint32(len(m.GetKeys()))})
	case *messages.RankDrain:
		r := s.ranks[m.GetRank()]
		r.Drained = true
		s.answerRank(m.GetResponseAddress(), m.GetRequestId(), r)
	}
}

func (s *story) answerRank(to, id string, r *messages.RankState) {
	answer := messages.Clone(r)
	answer.RequestId = id
	s.send(dpmIP, to, answer)
}

func (s *story) route(m messages.Message) {
	if c, ok := m.(*messages.OwnershipCommit); ok {
		s.note("route learns epoch %d", c.GetMap().GetEpoch())
		s.send(routeIP, c.GetResponseAddress(), &messages.OwnershipAck{
			RequestId: c.GetRequestId(), Epoch: c.GetMap().GetEpoch(), Role: "route", Address: s.address(routeIP, messages.RouteControl),
		})
	}
}

// kn makes a KN, or a new run of one.
func (s *story) kn(ip string) {
	k := s.kns[ip]
	if k == nil {
		k = &fakeKN{ip: ip, rank: uint32(len(s.kns) + 1)}
		s.kns[ip] = k
		s.listen(ip, messages.KNControl, func(m messages.Message) { s.knReceives(k, m) })
	}
	k.incarnation++
	k.dead, k.member = false, false
	s.ranks[k.rank] = &messages.RankState{Rank: k.rank, Incarnation: k.incarnation, PrivateIp: ip, Attached: true, LeaseWord: 1, Process: 1000 + 10*uint64(k.rank) + k.incarnation}
	s.hello(k)
}

func (s *story) hello(k *fakeKN) {
	if k.dead || k.member {
		return
	}
	s.send(k.ip, s.address(monitorIP, messages.MonitorControl), &messages.NodeHello{
		Rank: k.rank, PublicIp: k.ip, PrivateIp: k.ip, Threads: 2, Incarnation: k.incarnation, Tier: uint32(messages.Tier_MEMORY),
	})
	incarnation := k.incarnation
	s.net.After(time.Second, func() {
		if k.incarnation == incarnation {
			s.hello(k)
		}
	})
}

func (s *story) knReceives(k *fakeKN, m messages.Message) {
	if k.dead {
		return
	}
	switch m := m.(type) {
	case *messages.OwnershipPrepare:
		if !k.mute {
			s.send(k.ip, m.GetResponseAddress(), &messages.OwnershipPrepared{RequestId: m.GetRequestId(), Rank: k.rank, EpochFrom: m.GetEpochFrom(), Ok: true})
		}
	case *messages.OwnershipCommit:
		k.member = slices.ContainsFunc(m.GetMap().GetMembers(), func(x *messages.Member) bool {
			return x.GetRank() == k.rank && x.GetIncarnation() == k.incarnation
		})
		s.send(k.ip, m.GetResponseAddress(), &messages.OwnershipAck{
			RequestId: m.GetRequestId(), Rank: k.rank, Epoch: m.GetMap().GetEpoch(), Role: "kn", Address: s.address(k.ip, messages.KNControl),
		})
	}
}

// renew renews everybody's lease, for ever.
func (s *story) renew() {
	for _, k := range s.kns {
		if !k.dead {
			s.ranks[k.rank].LeaseWord++
		}
	}
	s.net.After(250*time.Millisecond, s.renew)
}

// run carries out one command of a story file.
func (s *story) run(d *datadriven.TestData) string {
	s.lines = nil
	switch d.Cmd {
	case "start":
		for _, ip := range strings.Fields(d.Input) {
			s.kn(ip)
		}
	case "kill":
		for _, ip := range strings.Fields(d.Input) {
			s.kns[ip].dead = true
		}
	case "mute":
		for _, ip := range strings.Fields(d.Input) {
			s.kns[ip].mute = true
		}
	case "gone":
		for _, ip := range strings.Fields(d.Input) {
			k := s.kns[ip]
			k.dead = true
			s.send(manageIP, s.address(monitorIP, messages.MonitorControl), &messages.NodeGone{
				Kind: "memory", PrivateIp: ip, Pid: s.ranks[k.rank].GetProcess(), Detail: "signal: killed",
			})
		}
	case "bye":
		var incarnation uint64
		if d.HasArg("incarnation") {
			d.ScanArgs(s.t, "incarnation", &incarnation)
		}
		for _, ip := range strings.Fields(d.Input) {
			k := s.kns[ip]
			if incarnation == 0 {
				incarnation = k.incarnation
			}
			s.send(ip, s.address(monitorIP, messages.MonitorControl), &messages.NodeBye{Rank: k.rank, PrivateIp: ip, Incarnation: incarnation, Reason: "story"})
		}
	case "route-hello":
		s.send(routeIP, s.address(monitorIP, messages.MonitorControl), &messages.NodeHello{PrivateIp: routeIP, PublicIp: routeIP, Tier: uint32(messages.Tier_ROUTING)})
	case "notice":
		s.frames(d, messages.MonitorNotify)
	case "depart-done":
		s.frames(d, messages.MonitorDepartDone)
	case "feedback":
		s.feedback(d)
	case "statistics":
		s.statistics(d)
	case "anna-statistics":
		s.annaStatistics(d)
	case "map":
		m, err := ownership.Decode(s.record, s.version, nil)
		if err != nil {
			return err.Error() + "\n"
		}
		s.note("epoch %d:", m.Epoch())
		for _, member := range m.Members() {
			s.note("  %s", member)
		}
		for key, r := range m.Replicated() {
			s.note("  %q %+v", key, r)
		}
		return strings.Join(append(s.lines, ""), "\n")
	case "replicate":
		s.send(userIP, s.address(monitorIP, messages.MonitorControl), &messages.ReplicationChange{
			Keys: []*messages.ReplicatedKey{{Key: []byte(strings.TrimSpace(d.Input)), GlobalFactor: 2, LocalFactor: 1}},
		})
	}
	if d.HasArg("for") {
		var text string
		d.ScanArgs(s.t, "for", &text)
		duration, err := time.ParseDuration(text)
		if err != nil {
			s.t.Fatal(err)
		}
		s.net.RunFor(duration)
	} else {
		s.net.RunFor(50 * time.Millisecond)
	}
	return strings.Join(append(s.lines, ""), "\n")
}

func (s *story) frames(d *datadriven.TestData, socket messages.Socket) {
	for line := range strings.Lines(d.Input) {
		if err := s.net.Node(userIP).Send(s.address(monitorIP, socket), []byte(strings.TrimSpace(line))); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *story) feedback(d *datadriven.TestData) {
	f := &messages.UserFeedback{}
	d.ScanArgs(s.t, "uid", &f.Uid)
	var throughput, mean, p99 int
	d.ScanArgs(s.t, "throughput", &throughput)
	d.ScanArgs(s.t, "mean", &mean)
	d.ScanArgs(s.t, "p99", &p99)
	f.Throughput, f.AvgLatency, f.TailLatency, f.Finish = float64(throughput), float64(mean), float64(p99), d.HasArg("finish")
	frame, err := messages.Marshal(f)
	if err = errors.Join(err, s.net.Node(userIP).Send(s.address(monitorIP, messages.MonitorFeedback), frame)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *story) statistics(d *datadriven.TestData) {
	k := &messages.KnStatistics{CacheBytesUsed: 1 << 20, CacheBytesBudget: 2 << 20}
	d.ScanArgs(s.t, "ip", &k.PrivateIp)
	d.ScanArgs(s.t, "thread", &k.Thread)
	var uptime, reads, hits int
	d.ScanArgs(s.t, "uptime", &uptime)
	d.ScanArgs(s.t, "reads", &reads)
	d.ScanArgs(s.t, "hits", &hits)
	k.UptimeSeconds, k.Reads, k.ValueHits, k.Misses = float64(uptime), uint64(reads), uint64(hits), uint64(reads-hits)
	k.Occupancy = 0.5
	k.RoundTripsRead, k.RoundTripsMiss = 2*k.Misses, 2*k.Misses
	for line := range strings.Lines(d.Input) { // a hot key and its accesses
		var key string
		var n uint64
		if _, err := fmt.Sscan(line, &key, &n); err != nil {
			s.t.Fatal(err)
		}
		k.HotKeys = append(k.HotKeys, &messages.HotKey{Key: []byte(key), Accesses: n})
	}
	if d.HasArg("busy") {
		var percent int
		d.ScanArgs(s.t, "busy", &percent)
		k.Occupancy = float64(percent) / 100
	}
	if kn := s.kns[k.PrivateIp]; kn != nil {
		k.Rank, k.Incarnation = kn.rank, kn.incarnation
	}
	s.send(userIP, s.address(monitorIP, messages.MonitorControl), k)
}

// annaStatistics sends a KN thread's statistics as Anna's nodes do.
func (s *story) annaStatistics(d *datadriven.TestData) {
	key := messages.MetadataKey{Kind: messages.MetadataStats, Tier: messages.Tier_MEMORY}
	d.ScanArgs(s.t, "ip", &key.PrivateIP)
	key.PublicIP = key.PrivateIP
	var accesses, hits uint64
	d.ScanArgs(s.t, "accesses", &accesses)
	d.ScanArgs(s.t, "hits", &hits)
	payload, err := messages.MetadataPayload(1, &messages.ServerThreadStatistics{
		Occupancy: 0.25, AccessCount: uint32(accesses), ValueCacheHitCount: hits, CacheMissCount: accesses - hits, KvsAvgLatency: 12})
	if err != nil {
		s.t.Fatal(err)
	}
	frame := messages.AppendKeyRequest(nil, &messages.KeyRequest{Type: messages.RequestType_PUT, Tuples: []*messages.KeyTuple{
		{Key: key.String(), LatticeType: messages.LatticeType_LWW, Payload: payload},
		{Key: "ANNA_METADATA|nonsense", LatticeType: messages.LatticeType_LWW, Payload: payload},
	}})
	if err := s.net.Node(userIP).Send(s.address(monitorIP, messages.MonitorStatistics), frame); err != nil {
		s.t.Fatal(err)
	}
}

func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := newStory(t, strings.Contains(path, "policy"))
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return s.run(d) })
		if len(s.host.Panics) > 0 {
			t.Fatal(s.host.Panics[0])
		}
	})
}
