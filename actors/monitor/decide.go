package monitor

import (
	"fmt"
	"time"

	"github.com/dinomo-kv/dinomo/actors/monitor/policy"
	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/messages"
)

// policyState is what lasts from one decision to the next.
type policyState struct {
	state policy.State
	epoch hashring.Epoch // at the last decision
}

// decide asks the policy at the end of a period, and carries out what it decides. It returns the decisions with the figures that
// led to them.
func (m *monitor) decide(now time.Time, s *Summary, hot []HotKeyCount, out *runtime.Outbox) []string {
	o := &m.o.Policy
	current := m.coordinator.Map()
	if !o.Elasticity && !o.SelectiveReplication || current == nil {
		return nil
	}
	if current.Epoch() != m.policy.epoch {
		// Whatever changed the map, a failure for one, its figures are not those of the cluster to come (MON-1).
		m.policy.epoch = current.Epoch()
		m.policy.state.GraceUntil = now.Add(o.GracePeriod)
	}
	if len(s.KNs) < len(current.Members()) {
		return m.decided(now, policy.Decision{Reason: fmt.Sprintf("%d of %d KNs have reported", len(s.KNs), len(current.Members()))})
	}
	decisions, next := policy.Decide(*o, m.snapshot(now, s, hot, current), m.policy.state)
	m.policy.state = next
	for _, d := range decisions {
		m.carryOutDecision(d, current, out)
	}
	return m.decided(now, decisions...)
}

// decided logs decisions and returns their texts. Why nothing is done goes into the summary only.
func (m *monitor) decided(now time.Time, decisions ...policy.Decision) []string {
	var texts []string
	for _, d := range decisions {
		texts = append(texts, d.String())
		if d.Kind != policy.Nothing {
			m.o.Logf("decision: %s", d)
			m.events = append(m.events, EventRecord{Time: now.UTC(), Kind: "decision", Text: d.String()})
		}
	}
	return texts
}

// snapshot is the period as the policy sees it.
func (m *monitor) snapshot(now time.Time, s *Summary, hot []HotKeyCount, current *hashring.Map) policy.Snapshot {
	micros := func(us float64) time.Duration { return time.Duration(us * float64(time.Microsecond)) }
	p := policy.Snapshot{
		Now: now, Reports: s.Users.Reporters, LatencyMean: micros(s.Users.LatencyMeanMicros), LatencyP99: micros(s.Users.LatencyP99Micros),
		Changing: s.Busy,
	}
	for i := range s.KNs {
		k := &s.KNs[i]
		p.Nodes = append(p.Nodes, policy.NodeLoad{PrivateIP: k.PrivateIP, Threads: int(k.Counters.Threads), Occupancy: k.Busiest})
	}
	seen := make(map[string]bool, len(hot))
	for _, k := range hot {
		seen[k.Key] = true
		p.Keys = append(p.Keys, policy.KeyLoad{Key: k.Key, Accesses: k.Accesses, Replication: current.Replication([]byte(k.Key))})
	}
	for key, r := range current.Replicated() { // one that nobody asks for any more is in no report
		if !seen[key] {
			p.Keys = append(p.Keys, policy.KeyLoad{Key: key, Replication: r})
		}
	}
	return p
}

// carryOutDecision has a decision done: nodes are the management node's, ownership the coordinator's.
func (m *monitor) carryOutDecision(d policy.Decision, current *hashring.Map, out *runtime.Outbox) {
	switch d.Kind {
	case policy.AddNode:
		if m.o.Management == "" {
			m.o.Logf("no KN can be added: there is no management node")
			return
		}
		churn := messages.Churn{Action: messages.ChurnAdd, Count: d.Nodes, Kind: messages.KindMemory}
		out.Send(m.o.address(m.o.Management, messages.ManageChurn), []byte(churn.String()))
	case policy.RemoveNode:
		m.coordinator.Leave(d.Node, d.Reason)
	case policy.Replicate, policy.Dereplicate:
		m.replicate(d.Keys, current)
	}
}

// replicate passes wishes for keys' replication on, as many new ones as there is room for.
func (m *monitor) replicate(keys []policy.KeyChange, current *hashring.Map) {
	room := m.o.MaxReplicatedKeys
	for range current.Replicated() {
		room--
	}
	for _, k := range keys {
		if k.From == hashring.Single && k.To != hashring.Single {
			if room <= 0 {
				m.o.Logf("%q is not replicated: %d keys are already", k.Key, m.o.MaxReplicatedKeys)
				continue
			}
			room--
		}
		m.coordinator.Replicate([]byte(k.Key), k.To)
	}
}
