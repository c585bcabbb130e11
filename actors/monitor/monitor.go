package monitor

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dinomo-kv/dinomo/actors/monitor/coordinator"
	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/messages"
)

// Names of the node's sockets as the actor sees them.
const (
	socketControl    = "control"
	socketNotify     = "notify"
	socketResponse   = "response"
	socketDepartDone = "depart done"
	socketFeedback   = "feedback"
	socketStatistics = "statistics"
)

// monitor is the node's actor.
type monitor struct {
	o           *Options
	coordinator *coordinator.Coordinator
	collector   *collector
	routes      map[string]time.Time       // control address -> last hello
	noticed     map[string]messages.Notice // last notice of each private IP, to log each once
	pool        *messages.PoolState
	poolAt      time.Time
	summedAt    time.Time
	events      []EventRecord // since the last summary
	policy      policyState
	scratch     coordinator.Outbox
	codec       *messages.Codec

	counters struct{ malformed, ignored, notices, feedback, statistics, summaries uint64 }
}

// newMonitor makes the actor. o is valid, so that neither part can refuse its options.
func newMonitor(o *Options) (*monitor, error) {
	c, err := coordinator.New(o.Coordinator, uint64(o.Clock.Now().UnixNano()))
	if err != nil {
		return nil, err
	}
	codec, err := messages.NewCodec(messages.Limits{})
	if err != nil {
		return nil, err
	}
	return &monitor{
		o: o, coordinator: c, codec: codec, collector: newCollector(o.MaxReporters, o.ReporterMemory), routes: map[string]time.Time{},
		noticed: map[string]messages.Notice{},
	}, nil
}

// Step implements runtime.Actor.
func (m *monitor) Step(now time.Time, in runtime.Message, out *runtime.Outbox) {
	switch in.Kind {
	case runtime.KindStarted:
		m.summedAt = now
	case runtime.KindTick:
		m.tick(now, out)
	case runtime.KindFrame:
		m.frame(now, in, out)
	}
}

func (m *monitor) frame(now time.Time, in runtime.Message, out *runtime.Outbox) {
	switch in.Socket {
	case socketControl:
		m.control(now, in.Frame, out)
	case socketNotify:
		m.notice(string(in.Frame))
	case socketDepartDone:
		m.departDone(string(in.Frame), out)
	case socketFeedback:
		var f messages.UserFeedback
		if err := messages.Unmarshal(in.Frame, &f); err != nil {
			m.counters.malformed++
			return
		}
		m.counters.feedback++
		m.collector.feedback(now, &f)
	case socketStatistics:
		m.annaStatistics(now, in.Frame)
	default:
		m.counters.ignored++ // answers to questions for metadata keys, which this node never asks
	}
}

// annaStatistics takes a KN's statistics in Anna's form: a put of metadata keys. Of these only the kind stats is of use here.
func (m *monitor) annaStatistics(now time.Time, frame []byte) {
	put, err := m.codec.DecodeGossip(frame)
	if err != nil {
		m.counters.malformed++
		messages.ReleaseKeyRequest(put)
		return
	}
	m.counters.statistics++
	for _, tuple := range put.Tuples {
		key, err := messages.ParseMetadataKey(tuple.Key)
		if err != nil || key.Kind != messages.MetadataStats || key.Tier != messages.Tier_MEMORY {
			continue
		}
		key.PublicIP, key.PrivateIP = strings.Clone(key.PublicIP), strings.Clone(key.PrivateIP) // they alias the frame
		var s messages.ServerThreadStatistics
		if _, err := messages.ParseMetadataPayload(tuple.Payload, &s); err != nil {
			m.counters.malformed++
			continue
		}
		m.collector.annaStatistics(now, key, &s)
	}
	messages.ReleaseKeyRequest(put)
}

func (m *monitor) tick(now time.Time, out *runtime.Outbox) {
	maps.DeleteFunc(m.routes, func(_ string, last time.Time) bool { return now.Sub(last) > m.o.RouteMemory })
	m.coordinator.SetRoutes(slices.Sorted(maps.Keys(m.routes)))
	m.coordinator.Tick(now, &m.scratch)
	m.carryOut(now, out)
	if now.Sub(m.summedAt) >= m.o.SummaryPeriod {
		m.sumUp(now, out)
	}
}

// control takes one of our own messages: what is not about watching is the coordinator's.
func (m *monitor) control(now time.Time, frame []byte, out *runtime.Outbox) {
	var e messages.ControlEnvelope
	if err := messages.Unmarshal(frame, &e); err != nil {
		m.counters.malformed++
		return
	}
	switch b := messages.Unwrap(&e).(type) {
	case nil:
		m.counters.malformed++
		return
	case *messages.NodeHello:
		if b.GetTier() == uint32(messages.Tier_ROUTING) {
			m.routeHello(now, b)
			return
		}
	case *messages.KnStatistics:
		m.collector.statistics(now, b)
		return
	case *messages.StatisticsReport:
		for _, s := range b.GetThreads() {
			m.collector.statistics(now, s)
		}
		return
	case *messages.BenchReport:
		m.o.Logf("benchmark %s: %s: %d operations in %.1f s%s", b.GetUid(), b.GetPhase(), b.GetOperations(), b.GetSeconds(), errorText(b.GetErrors()))
		return
	case *messages.StatusQuery:
		if to := b.GetResponseAddress(); to != "" {
			m.send(out, to, m.status(b.GetRequestId()))
		}
		return
	case *messages.PoolState:
		m.pool, m.poolAt = b, now
	}
	m.coordinator.Receive(now, &e, &m.scratch)
	m.carryOut(now, out)
}

func (m *monitor) routeHello(now time.Time, h *messages.NodeHello) {
	address := m.o.address(h.GetPrivateIp(), messages.RouteControl)
	if address == "" || m.routes[address].IsZero() && len(m.routes) >= m.o.MaxReporters {
		m.counters.ignored++
		return
	}
	m.routes[address] = now
}

// notice takes Anna's word that a node joins or departs. A KN that joins says more in its hello; one that departs, or is
// made to by an outside script, gives its keys up first.
func (m *monitor) notice(text string) {
	n, err := messages.ParseNotice(text)
	if err != nil {
		m.counters.malformed++
		return
	}
	m.counters.notices++
	if n.Depart && n.Tier == messages.Tier_MEMORY {
		m.coordinator.Leave(n.PrivateIP, "a depart notice")
	}
	if m.noticed[n.PrivateIP] == n { // a node that joins says so until it is in the map
		return
	}
	if len(m.noticed) >= m.o.MaxReporters {
		clear(m.noticed)
	}
	m.noticed[n.PrivateIP] = n
	m.o.Logf("notice: %s", n)
}

// departDone takes a node's word that it has left as it was asked to: the management node need not look after it any more.
func (m *monitor) departDone(text string, out *runtime.Outbox) {
	d, err := messages.ParseDepartDone(text)
	if err != nil {
		m.counters.malformed++
		return
	}
	m.o.Logf("%s has left", d.Node)
	if m.o.Management != "" && d.Tier == messages.Tier_MEMORY {
		churn := messages.Churn{Action: messages.ChurnRemove, IP: d.PrivateIP, Kind: messages.KindMemory}
		out.Send(m.o.address(m.o.Management, messages.ManageChurn), []byte(churn.String()))
	}
}

// maxEvents bounds the events of one period's summary; the log has them all.
const maxEvents = 1000

// carryOut does what the coordinator wants done.
func (m *monitor) carryOut(now time.Time, out *runtime.Outbox) {
	for _, e := range m.scratch.Events {
		m.o.Logf("%s: %s", e.Kind, e.Text)
		m.o.Event(e)
		if len(m.events) < maxEvents {
			m.events = append(m.events, EventRecord{Time: now.UTC(), Kind: e.Kind, Text: e.Text})
		}
	}
	for _, s := range m.scratch.Sends {
		frame, err := messages.Marshal(s.Envelope)
		if err != nil { // a name that a peer sent is no UTF-8
			m.o.Logf("to %s: %v", s.To, err)
			continue
		}
		out.Send(s.To, frame)
	}
	clear(m.scratch.Events)
	clear(m.scratch.Sends)
	m.scratch.Events, m.scratch.Sends = m.scratch.Events[:0], m.scratch.Sends[:0]
}

// sumUp ends a period: it adds up what was reported, and asks the policy.
func (m *monitor) sumUp(now time.Time, out *runtime.Outbox) {
	m.collector.expire(now)
	s := Summary{
		Time: now.UTC(), Seconds: now.Sub(m.summedAt).Seconds(), Routes: len(m.routes), Busy: m.coordinator.Busy(),
		Users: m.collector.usersSince(),
	}
	if current := m.coordinator.Map(); current != nil {
		s.Epoch, s.Members = uint64(current.Epoch()), len(current.Members())
		members := map[string]bool{}
		for _, member := range current.Members() {
			members[member.PrivateIP] = true
		}
		m.collector.forget(func(ip string) bool { return members[ip] })
	}
	s.KNs = m.collector.nodes()
	s.Pool = m.poolSummary(now)
	hot := m.collector.hotKeys()
	s.Hot = hot[:min(len(hot), summaryHotKeys)]
	s.Decisions = m.decide(now, &s, hot, out)
	s.Events, m.events = m.events, nil
	m.summedAt = now
	m.counters.summaries++
	m.o.Summary(s)
}

// summaryHotKeys is how many of the hottest keys a summary names.
const summaryHotKeys = 10

func (m *monitor) poolSummary(now time.Time) *PoolSummary {
	if m.pool == nil {
		return nil
	}
	p := &PoolSummary{
		ServerEpoch: m.pool.GetServerEpoch(), Durability: m.pool.GetDurability(), OwnershipVersion: m.pool.GetOwnershipVersion(),
		Segments: m.pool.GetCounters()["segments"], FreeSegments: m.pool.GetCounters()["free_segments"],
		LiveBytes: m.pool.GetCounters()["live_bytes"], MillisecondsStale: now.Sub(m.poolAt).Milliseconds(),
	}
	for _, r := range m.pool.GetRanks() {
		p.UnmergedSegments += r.GetUnmergedSegments()
		if r.GetAttached() {
			p.RanksAttached++
		}
	}
	return p
}

// status is the answer to a StatusQuery.
func (m *monitor) status(id string) *messages.StatusReport {
	n := &m.counters
	r := &messages.StatusReport{
		RequestId: id, Role: "monitor",
		Counters: map[string]uint64{
			"malformed": n.malformed, "ignored": n.ignored, "notices": n.notices, "feedback": n.feedback,
			"anna_statistics": n.statistics, "summaries": n.summaries,
			"reporters_refused": m.collector.tooMany,
		},
		Gauges: map[string]float64{
			"routes": float64(len(m.routes)), "kn_threads": float64(len(m.collector.threads)), "users": float64(len(m.collector.users)),
			"reconfiguring": 0,
		},
		Facts: map[string]string{"ip": m.o.IP},
	}
	if m.coordinator.Busy() {
		r.Gauges["reconfiguring"] = 1
	}
	if current := m.coordinator.Map(); current != nil {
		r.Gauges["epoch"], r.Gauges["members"] = float64(current.Epoch()), float64(len(current.Members()))
		for _, member := range current.Members() {
			r.Facts["member "+member.PrivateIP] = fmt.Sprintf("rank %d, %d threads", member.Rank, member.Threads)
		}
	}
	return r
}

// send queues one of our control messages.
func (m *monitor) send(out *runtime.Outbox, to string, body messages.Message) {
	frame, err := messages.ControlFrame(m.o.IP, body)
	if err != nil {
		m.o.Logf("to %s: %v", to, err)
		return
	}
	out.Send(to, frame)
}
