package coordinator

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/dinomo-kv/dinomo/actors/ownership"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/messages"
)

// phase is how far a change is.
type phase uint8

const (
	clearing phase = iota
	installing
	swapping
	spreading
)

// change is one step from an epoch to the next.
type change struct {
	id        string
	reason    string
	fromEpoch hashring.Epoch
	next      *hashring.Map
	record    []byte
	phase     phase

	prepare map[hashring.Rank]hashring.Member // asked to prepare, not answered
	asked   map[hashring.Rank]hashring.Member // everyone who was ever asked, to be told of an abort
	fence   map[hashring.Rank]verdict         // dead, not fenced yet
	drain   map[hashring.Rank]hashring.Member // fenced, not drained yet
	install [][]byte                          // keys that get an indirect pointer before the swap
	remove  [][]byte                          // keys that lose it after the swap
	spread  map[string]bool                   // KN and RN addresses that have not acknowledged

	mistaken string // why a member that was to be fenced is alive after all

	begunAt, sentAt, swappedAt time.Time
}

// newChange prepares a change to next; who must be asked follows from what moves.
func (c *Coordinator) newChange(next *hashring.Map, reason string) *change {
	c.requests++
	ch := &change{
		id:     fmt.Sprintf("%s/%x/%d/%d", c.o.Name, c.run, next.Epoch(), c.requests),
		reason: reason, fromEpoch: next.Epoch() - 1, next: next,
		prepare: map[hashring.Rank]hashring.Member{}, asked: map[hashring.Rank]hashring.Member{},
		fence: map[hashring.Rank]verdict{}, drain: map[hashring.Rank]hashring.Member{},
	}
	if c.current == nil {
		return ch
	}
	moves := hashring.Moves(c.current, next)
	for _, m := range c.current.Members() {
		if !moves.HeldBy(m.Rank).Empty() {
			ch.prepare[m.Rank] = m
		}
	}
	return ch
}

// bury makes the change fence and drain dead members instead of asking them. Keys that a dead member owned together with others
// get their pointers installed again: a process that only seems dead may be stopped right before it moves one, and where the
// memory cannot be taken away from it, the pool gives the key another word (DPM-6). Their other owners hold the keys
// back meanwhile, as their owners change.
func (ch *change) bury(from *hashring.Map, dead []verdict) {
	for _, v := range dead {
		delete(ch.prepare, v.member.Rank)
		ch.fence[v.member.Rank] = v
	}
	buried := func(o hashring.Owner) bool {
		_, dead := ch.fence[o.Rank]
		return dead
	}
	for key := range from.Replicated() {
		if ch.next.Replication([]byte(key)) != hashring.Single && slices.ContainsFunc(from.OwnersOf([]byte(key), nil), buried) {
			ch.install = append(ch.install, []byte(key))
		}
	}
	slices.SortFunc(ch.install, bytes.Compare)
}

// waitsFor lists the members whose answer is awaited.
func (ch *change) waitsFor() []hashring.Member {
	var all []hashring.Member
	for _, rank := range slices.Sorted(maps.Keys(ch.prepare)) {
		all = append(all, ch.prepare[rank])
	}
	return all
}

func (c *Coordinator) start(now time.Time, ch *change, out *Outbox) {
	record, err := ownership.Encode(ch.next, c.o.Name+"#"+ch.id)
	if err != nil {
		out.event("refused", "%s: %v", ch.reason, err)
		return
	}
	ch.record, ch.begunAt = record, now
	c.change = ch
	out.event("change-begin", "epoch %d to %d: %s; asks %d KNs, buries %d, installs %d pointers",
		ch.fromEpoch, ch.next.Epoch(), ch.reason, len(ch.prepare), len(ch.fence), len(ch.install))
	c.drive(now, out)
}

// drive moves the change on as far as it goes and repeats what is unanswered.
func (c *Coordinator) drive(now time.Time, out *Outbox) {
	ch := c.change
	if ch.phase == clearing && len(ch.prepare)+len(ch.fence)+len(ch.drain) == 0 {
		ch.phase, ch.sentAt = installing, time.Time{}
	}
	if ch.phase == installing && len(ch.install) == 0 {
		ch.phase, ch.sentAt = swapping, time.Time{}
	}
	if ch.mistaken != "" {
		c.abort(out, ch.mistaken)
		return
	}
	if ch.phase < swapping && now.Sub(ch.begunAt) > c.o.PrepareTimeout {
		c.abort(out, fmt.Sprintf("not cleared within %v", c.o.PrepareTimeout))
		return
	}
	if ch.phase == spreading && (len(ch.spread)+len(ch.remove) == 0 || now.Sub(ch.swappedAt) > c.o.SpreadTimeout) {
		out.event("change-done", "epoch %d: %s; %v in all, %v after the swap; not acknowledged by %d",
			ch.next.Epoch(), ch.reason, now.Sub(ch.begunAt), now.Sub(ch.swappedAt), len(ch.spread))
		c.change = nil
		return
	}
	if !ch.sentAt.IsZero() && now.Sub(ch.sentAt) < c.retryAfter() {
		return
	}
	ch.sentAt = now
	switch ch.phase {
	case clearing:
		c.sendClearing(out)
	case installing:
		c.tell(out, c.o.DPM, &messages.PointersChange{
			ResponseAddress: c.o.Reply, RequestId: ch.id, Install: true, Keys: ch.install,
		})
	case swapping:
		c.tell(out, c.o.DPM, &messages.MetaSwap{
			ResponseAddress: c.o.Reply, RequestId: ch.id, Name: ownership.RecordName,
			ExpectedVersion: uint64(ch.fromEpoch), Value: ch.record,
		})
	case spreading:
		c.sendSpreading(out)
	}
}

// retryAfter is the time until the next repetition. While nothing but drains is missing the questions are how the
// coordinator learns that a merge has ended, so they come thicker.
func (c *Coordinator) retryAfter() time.Duration {
	if ch := c.change; ch.phase == clearing && len(ch.prepare)+len(ch.fence) == 0 {
		return min(c.o.Retry, c.o.DrainPoll)
	}
	return c.o.Retry
}

// sendClearing asks losers to prepare and the DPM to fence and drain the dead.
func (c *Coordinator) sendClearing(out *Outbox) {
	ch := c.change
	for _, m := range ch.waitsFor() {
		to, err := c.kn(m)
		if err != nil {
			out.event("refused", "%v", err)
			continue
		}
		ch.asked[m.Rank] = m
		c.tell(out, to, &messages.OwnershipPrepare{
			EpochFrom: uint64(ch.fromEpoch), Next: ownership.ToWire(ch.next, c.o.Name),
			ResponseAddress: c.o.Reply, RequestId: ch.id, Reason: ch.reason,
		})
	}
	for _, rank := range slices.Sorted(maps.Keys(ch.fence)) {
		v := ch.fence[rank]
		c.tell(out, c.o.DPM, &messages.RankFence{
			ResponseAddress: c.o.Reply, RequestId: ch.id, Rank: uint32(rank), UptoIncarnation: v.member.Incarnation,
			ProcessGone: v.processGone, OnlyIfUnchanged: v.suspected, LeaseWord: v.leaseWord,
		})
	}
	for _, rank := range slices.Sorted(maps.Keys(ch.drain)) {
		c.tell(out, c.o.DPM, &messages.RankDrain{
			ResponseAddress: c.o.Reply, RequestId: ch.id, Rank: uint32(rank), Incarnation: ch.drain[rank].Incarnation,
		})
	}
}

func (c *Coordinator) sendSpreading(out *Outbox) {
	ch := c.change
	for _, to := range slices.Sorted(maps.Keys(ch.spread)) {
		c.tell(out, to, &messages.OwnershipCommit{
			Map: ownership.ToWire(ch.next, c.o.Name), ResponseAddress: c.o.Reply, RequestId: ch.id,
		})
	}
	if len(ch.spread) == 0 && len(ch.remove) > 0 {
		// Only once every owner has let go: the pointer words are the DPM's alone then.
		c.tell(out, c.o.DPM, &messages.PointersChange{
			ResponseAddress: c.o.Reply, RequestId: ch.id, Install: false, Keys: ch.remove,
		})
	}
}

// receive takes an answer that a change waits for.
func (ch *change) receive(m messages.Message, out *Outbox) {
	switch m := m.(type) {
	case *messages.OwnershipPrepared:
		if m.GetRequestId() != ch.id || ch.phase != clearing {
			return
		}
		if !m.GetOk() {
			out.event("refused", "rank %d is not prepared: %s", m.GetRank(), m.GetDetail())
			return // it is asked again; a member that cannot for long makes the change time out
		}
		delete(ch.prepare, hashring.Rank(m.GetRank()))
	case *messages.RankState:
		ch.rankState(m, out)
	case *messages.PointersState:
		ch.pointersState(m, out)
	case *messages.OwnershipAck:
		if m.GetRequestId() == ch.id && ch.phase == spreading && m.GetEpoch() >= uint64(ch.next.Epoch()) {
			delete(ch.spread, m.GetAddress())
		}
	}
	if ch.phase < swapping && len(ch.prepare)+len(ch.fence) == 0 {
		ch.sentAt = time.Time{} // go on at once
	}
}

func (ch *change) rankState(m *messages.RankState, out *Outbox) {
	if m.GetRequestId() != ch.id || ch.phase != clearing {
		return
	}
	rank := hashring.Rank(m.GetRank())
	if m.GetError() != "" {
		out.event("refused", "rank %d: %s", rank, m.GetError())
		return
	}
	if dead, ok := ch.fence[rank]; ok && m.GetFenced() {
		delete(ch.fence, rank)
		ch.drain[rank] = dead.member
	} else if ok && dead.suspected {
		ch.mistaken = fmt.Sprintf("%s has renewed its lease", dead.member)
	}
	if m.GetDrained() && m.GetFenced() {
		delete(ch.drain, rank)
	}
}

func (ch *change) pointersState(m *messages.PointersState, out *Outbox) {
	if m.GetRequestId() != ch.id {
		return
	}
	if m.GetError() != "" {
		out.event("refused", "indirect pointers: %s", m.GetError())
		return
	}
	switch ch.phase {
	case installing:
		if int(m.GetDone()) == len(ch.install) {
			ch.install = nil
		}
	case spreading:
		ch.remove = nil
	}
}

// swapAnswered says whether s is the DPM's answer to this change's swap.
func (ch *change) swapAnswered(s *messages.MetaState) bool {
	return ch.phase == swapping && s.GetRequestId() == ch.id
}

// swapped takes the DPM's answer to the swap: ours, ours by an earlier copy of the message, or another's.
func (c *Coordinator) swapped(now time.Time, s *messages.MetaState, out *Outbox) {
	ch := c.change
	if s.GetError() != "" {
		out.event("refused", "swap to epoch %d: %s", ch.next.Epoch(), s.GetError())
		return // asked again: only a definite answer decides
	}
	ours := s.GetSwapped() || s.GetVersion() == uint64(ch.next.Epoch()) && bytes.Equal(s.GetValue(), ch.record)
	if !ours {
		out.event("change-lost", "epoch %d is another's: %s", s.GetVersion(), ch.reason)
		c.change = nil
		c.adopt(s.GetVersion(), s.GetValue(), out)
		return
	}
	ch.phase, ch.swappedAt, ch.sentAt = spreading, now, time.Time{}
	ch.spread = c.audience(ch, out)
	c.current = ch.next
	out.event("change-commit", "epoch %d in force after %v: %s", ch.next.Epoch(), now.Sub(ch.begunAt), ch.reason)
}

// audience is who must learn of the new map: members before and after that are not buried, and routing nodes.
func (c *Coordinator) audience(ch *change, out *Outbox) map[string]bool {
	spread := map[string]bool{}
	members := slices.Clone(ch.next.Members())
	for _, m := range ch.asked {
		members = append(members, m)
	}
	for _, m := range members {
		to, err := c.kn(m)
		if err != nil {
			out.event("refused", "%v", err)
			continue
		}
		spread[to] = true
	}
	for _, to := range c.o.Routes {
		spread[to] = true
	}
	return spread
}

// abort gives a change up before its swap was sent. Those who prepared may serve again.
func (c *Coordinator) abort(out *Outbox, why string) {
	ch := c.change
	out.event("change-abort", "epoch %d to %d: %s; waited for %v, %d to fence, %d to drain: %s",
		ch.fromEpoch, ch.next.Epoch(), why, ch.waitsFor(), len(ch.fence), len(ch.drain), ch.reason)
	for _, rank := range slices.Sorted(maps.Keys(ch.asked)) {
		if to, err := c.kn(ch.asked[rank]); err == nil {
			c.tell(out, to, &messages.OwnershipAbort{RequestId: ch.id, EpochFrom: uint64(ch.fromEpoch)})
		}
	}
	c.change = nil
}
