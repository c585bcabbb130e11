package coordinator

import (
	"fmt"
	"time"

	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/messages"
)

// leaseWatch judges which members are dead, from what the DPM reports of their leases and from who waited for their
// processes. A lease word counts as unchanged on this node's own clock, and only while reports keep coming: of a longer silence (the
// DPM stopped, a link cut, a busy machine) only as much counts as ordinary polling may take, as ranks may have had nowhere to
// renew. After a restart of the DPM every rank gets a full lease again, to connect and to be seen renewing. Neither is needed for
// safety, which rests on the fence being conditional on the word; both keep a cluster from evicting all KNs after an outage of the pool.
type leaseWatch struct {
	ranks       map[uint32]*rankSeen
	serverEpoch uint64
	lastReport  time.Time
	goneByIP    map[string]goneProcess
}

// rankSeen is the last report of a rank and since when its word has stood still.
type rankSeen struct {
	state *messages.RankState
	since time.Time
}

// goneProcess is a process that somebody waited for.
type goneProcess struct {
	pid, incarnation uint64
	detail           string
}

func newLeaseWatch() leaseWatch {
	return leaseWatch{ranks: map[uint32]*rankSeen{}, goneByIP: map[string]goneProcess{}}
}

func (w *leaseWatch) processGone(g *messages.NodeGone) {
	if len(w.goneByIP) >= hashring.MaxMembers {
		clear(w.goneByIP) // whoever waited says it again, or the lease runs out
	}
	w.goneByIP[g.GetPrivateIp()] = goneProcess{pid: g.GetPid(), incarnation: g.GetIncarnation(), detail: g.GetDetail()}
}

// observe takes a report of the pool; of the time since the last one at most gap counts.
func (w *leaseWatch) observe(now time.Time, s *messages.PoolState, gap time.Duration) {
	fresh := s.GetServerEpoch() != w.serverEpoch
	uncounted := max(0, now.Sub(w.lastReport)-gap)
	w.lastReport, w.serverEpoch = now, s.GetServerEpoch()
	seen := make(map[uint32]*rankSeen, len(s.GetRanks()))
	for _, r := range s.GetRanks() {
		n := &rankSeen{state: r, since: now}
		old := w.ranks[r.GetRank()]
		if !fresh && old != nil && old.state.GetLeaseWord() == r.GetLeaseWord() &&
			old.state.GetIncarnation() == r.GetIncarnation() {
			n.since = old.since.Add(uncounted)
		}
		seen[r.GetRank()] = n
	}
	w.ranks = seen
}

// state returns what the pool reports of a member, or nil when it reports nothing or another run of it.
func (w *leaseWatch) state(m hashring.Member) *messages.RankState {
	if r := w.ranks[uint32(m.Rank)]; r != nil && r.state.GetIncarnation() == m.Incarnation {
		return r.state
	}
	return nil
}

// verdict is the finding that a member is dead.
type verdict struct {
	member hashring.Member
	why    string
	// suspected: only its lease says so. It is fenced on condition that the word is still leaseWord.
	suspected   bool
	leaseWord   uint64
	processGone bool
}

// dead says whether a member may be fenced, and why. limit is the lease plus its margin.
func (w *leaseWatch) dead(now time.Time, m hashring.Member, limit time.Duration) (verdict, bool) {
	r := w.ranks[uint32(m.Rank)]
	if r == nil {
		return verdict{}, false
	}
	switch s := r.state; {
	case s.GetIncarnation() > m.Incarnation:
		return verdict{member: m, why: fmt.Sprintf("incarnation %d holds its rank now", s.GetIncarnation())}, true
	case s.GetIncarnation() < m.Incarnation:
		return verdict{}, false
	case s.GetFenced():
		return verdict{member: m, why: "it is fenced"}, true
	case s.GetProcessGone():
		return verdict{member: m, why: "its process is gone", processGone: true}, true
	}
	if w.waitedFor(m, r.state) {
		g := w.goneByIP[m.PrivateIP]
		return verdict{member: m, why: "its process ended: " + g.detail, processGone: true}, true
	}
	if still := now.Sub(r.since); still > limit {
		return verdict{
			member: m, why: fmt.Sprintf("its lease word has stood still for %v, more than %v", still, limit),
			suspected: true, leaseWord: r.state.GetLeaseWord(),
		}, true
	}
	return verdict{}, false
}

// buried is the verdict on a run of a node that another run has replaced.
func (w *leaseWatch) buried(m hashring.Member) verdict {
	g, ok := w.goneByIP[m.PrivateIP]
	return verdict{member: m, why: "a new run of it has joined", processGone: ok && g.incarnation == m.Incarnation}
}

// waitedFor says whether somebody waited for the very process that holds m's rank: told by its incarnation, or, by
// whoever does not know that, by its number.
func (w *leaseWatch) waitedFor(m hashring.Member, s *messages.RankState) bool {
	g, ok := w.goneByIP[m.PrivateIP]
	switch {
	case !ok:
		return false
	case g.incarnation != 0:
		return g.incarnation == m.Incarnation
	}
	return g.pid != 0 && g.pid == s.GetProcess()
}
