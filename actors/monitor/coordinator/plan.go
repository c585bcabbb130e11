package coordinator

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/messages"
)

// begin plans the most urgent change and starts it: the first map, then failures, joins, replication, leaves. A key that is on all
// KNs is taken back before one of them goes.
func (c *Coordinator) begin(now time.Time, out *Outbox) {
	if !c.read {
		return
	}
	if c.current == nil {
		c.firstMap(now, out)
		return
	}
	for _, plan := range []func(time.Time, *Outbox) *change{c.planFailures, c.planJoins, c.planReplication, c.planLeaves} {
		if ch := plan(now, out); ch != nil {
			c.start(now, ch, out)
			return
		}
	}
}

// firstMap swaps epoch 1 in once enough KNs are there.
func (c *Coordinator) firstMap(now time.Time, out *Outbox) {
	var oldest time.Time
	members := make([]hashring.Member, 0, len(c.nodes))
	for _, ip := range slices.Sorted(maps.Keys(c.nodes)) {
		n := c.nodes[ip]
		if !c.mayJoin(now, memberOf(n.hello)) {
			continue
		}
		if oldest.IsZero() || n.first.Before(oldest) {
			oldest = n.first
		}
		members = append(members, memberOf(n.hello))
	}
	if len(members) == 0 || len(members) < c.o.InitialKNs && now.Sub(oldest) < c.o.FirstMapWait {
		return
	}
	next, err := hashring.NewMap(hashring.Spec{Epoch: 1, Members: members, VirtualNodes: c.o.VirtualNodes})
	if err != nil {
		out.event("refused", "first map: %v", err)
		return
	}
	c.start(now, c.newChange(next, fmt.Sprintf("first map of %d KNs", len(members))), out)
}

// planFailures leaves dead members out.
func (c *Coordinator) planFailures(now time.Time, out *Outbox) *change {
	var dead []verdict
	var why []string
	for _, m := range c.current.Members() {
		if v, ok := c.watch.dead(now, m, c.o.Lease+c.o.LeaseMargin); ok {
			dead = append(dead, v)
			why = append(why, fmt.Sprintf("%s: %s", m.PrivateIP, v.why))
			out.event("rank-dead", "%s: %s", m, v.why)
		}
	}
	if len(dead) == 0 {
		return nil
	}
	ranks := make([]hashring.Rank, len(dead))
	for i, v := range dead {
		ranks[i] = v.member.Rank
	}
	next, err := c.current.Without(ranks...)
	if err != nil {
		out.event("refused", "failover: %v", err)
		return nil
	}
	ch := c.newChange(next, "failure of "+strings.Join(why, "; "))
	ch.bury(c.current, dead)
	return ch
}

// planJoins takes in every node that said hello and is not in the map as this run of itself.
func (c *Coordinator) planJoins(now time.Time, out *Outbox) *change {
	var joins []hashring.Member
	var names []string
	var replaced []verdict
	for _, ip := range slices.Sorted(maps.Keys(c.nodes)) {
		m := memberOf(c.nodes[ip].hello)
		if !c.mayJoin(now, m) {
			continue
		}
		old, in := memberAt(c.current, ip)
		switch {
		case in && old.Incarnation >= m.Incarnation && old.Rank == m.Rank:
			continue
		case in:
			replaced = append(replaced, c.watch.buried(old))
		}
		joins = append(joins, m)
		names = append(names, m.PrivateIP)
	}
	if len(joins) == 0 {
		return nil
	}
	next, err := c.current.With(joins...)
	if err != nil {
		out.event("refused", "join of %s: %v", strings.Join(names, ", "), err)
		return nil
	}
	ch := c.newChange(next, "join of "+strings.Join(names, ", "))
	ch.bury(c.current, replaced)
	return ch
}

// planLeaves lets members go that asked to.
func (c *Coordinator) planLeaves(_ time.Time, out *Outbox) *change {
	for _, ip := range slices.Sorted(maps.Keys(c.leaving)) {
		m, in := memberAt(c.current, ip)
		if !in || m.Incarnation > c.leaving[ip].incarnation {
			if n := c.nodes[ip]; n == nil || n.hello.GetIncarnation() > c.leaving[ip].incarnation {
				delete(c.leaving, ip) // that run is out, and says nothing more
			}
			continue
		}
		next, err := c.current.Without(m.Rank)
		if err != nil {
			out.event("refused", "leave of %s: %v", ip, err)
			delete(c.leaving, ip)
			continue
		}
		return c.newChange(next, fmt.Sprintf("leave of %s: %s", ip, c.leaving[ip].why))
	}
	return nil
}

// planReplication carries out all wishes at once.
func (c *Coordinator) planReplication(_ time.Time, out *Outbox) *change {
	changes := map[string]hashring.Replication{}
	var install [][]byte
	for _, key := range slices.Sorted(maps.Keys(c.wishes)) {
		want, have := c.wishes[key], c.current.Replication([]byte(key))
		if want.Global < 1 || want.Local < 1 {
			want = hashring.Single
		}
		if want == have {
			continue
		}
		changes[key] = want
		if have == hashring.Single {
			install = append(install, []byte(key))
		}
	}
	clear(c.wishes)
	if len(changes) == 0 {
		return nil
	}
	next, err := c.current.WithReplication(changes)
	if err != nil {
		out.event("refused", "replication change of %d keys: %v", len(changes), err)
		return nil
	}
	ch := c.newChange(next, fmt.Sprintf("replication of %d keys", len(changes)))
	ch.install = install
	for key, want := range changes {
		if want == hashring.Single {
			ch.remove = append(ch.remove, []byte(key))
		}
	}
	slices.SortFunc(ch.remove, func(a, b []byte) int { return strings.Compare(string(a), string(b)) })
	return ch
}

// mayJoin says whether a node that said hello may be taken into the map: the pool reports its rank as held by this run of it, it is not
// dead (a hello is remembered for longer than its sender may live), and it is not on its way out.
func (c *Coordinator) mayJoin(now time.Time, m hashring.Member) bool {
	if c.watch.state(m) == nil || m.Incarnation <= c.leaving[m.PrivateIP].incarnation {
		return false
	}
	_, dead := c.watch.dead(now, m, c.o.Lease+c.o.LeaseMargin)
	return !dead
}

func memberOf(h *messages.NodeHello) hashring.Member {
	return hashring.Member{
		Rank: hashring.Rank(h.GetRank()), PublicIP: h.GetPublicIp(), PrivateIP: h.GetPrivateIp(),
		Threads: int(h.GetThreads()), Incarnation: h.GetIncarnation(),
	}
}

func memberAt(m *hashring.Map, privateIP string) (hashring.Member, bool) {
	for _, member := range m.Members() {
		if member.PrivateIP == privateIP {
			return member, true
		}
	}
	return hashring.Member{}, false
}
