package kn

import (
	"time"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/messages"
)

// failovers are the questions of Dinomo's failover socket: "has the log of that rank been merged?" The pool merges it,
// and knows; the answer is held back until it says so.
type failovers struct {
	open []failover
	at   time.Time
}

type failover struct {
	rank        uint32
	incarnation uint64 // 0: not known yet
	to          runtime.ReplyTo
	until       time.Time
}

// Bounds of failovers. Longer than failoverPatience nobody waits: the client's connection is closed by then.
const (
	maxFailovers     = 64
	failoverPatience = 60 * time.Second
	failoverID       = "failover"
)

func (f *failovers) ask(c *control, in runtime.Message, out *runtime.Outbox) {
	question, err := messages.ParseFailover(string(in.Frame))
	if err == nil && question.Rank == uint32(c.self.rank) {
		out.Reply(in.ReplyTo, []byte("this node is alive"))
		return
	}
	if err != nil || len(f.open) >= maxFailovers {
		c.unknown++
		out.Reply(in.ReplyTo, []byte("refused: want <TIER>:<rank of the failed node>, and not too many at once"))
		return
	}
	f.open = append(f.open, failover{rank: question.Rank, to: in.ReplyTo})
	f.at = time.Time{}
}

func (f *failovers) tick(c *control, now time.Time, out *runtime.Outbox) {
	if len(f.open) == 0 || now.Sub(f.at) < tickPeriod {
		return
	}
	f.at = now
	kept, unknown := f.open[:0], false
	for _, o := range f.open {
		if o.until.IsZero() {
			o.until = now.Add(failoverPatience)
		}
		if now.After(o.until) {
			continue
		}
		if unknown = unknown || o.incarnation == 0; o.incarnation != 0 {
			c.send(c.o.DPMControl, messages.Envelope(c.o.PrivateIP, &messages.RankDrain{
				ResponseAddress: c.address, RequestId: failoverID, Rank: o.rank, Incarnation: o.incarnation,
			}), out)
		}
		kept = append(kept, o)
	}
	clear(f.open[len(kept):])
	f.open = kept
	if unknown {
		c.send(c.o.DPMControl, messages.Envelope(c.o.PrivateIP, &messages.PoolQuery{ResponseAddress: c.address, RequestId: failoverID}), out)
	}
}

// pool takes the ranks' incarnations. A rank that the pool does not know has nothing to merge.
func (f *failovers) pool(_ *control, s *messages.PoolState, out *runtime.Outbox) {
	known := make(map[uint32]uint64, len(s.GetRanks()))
	for _, r := range s.GetRanks() {
		known[r.GetRank()] = r.GetIncarnation()
	}
	for i := range f.open {
		if f.open[i].incarnation == 0 {
			f.open[i].incarnation = known[f.open[i].rank]
		}
	}
	f.answer(out, func(o *failover) bool { _, ok := known[o.rank]; return !ok })
}

func (f *failovers) state(_ *control, s *messages.RankState, out *runtime.Outbox) {
	if s.GetRequestId() == failoverID && s.GetDrained() {
		f.answer(out, func(o *failover) bool { return o.rank == s.GetRank() })
	}
}

// answer replies to the questions that are settled.
func (f *failovers) answer(out *runtime.Outbox, settled func(*failover) bool) {
	kept := f.open[:0]
	for i := range f.open {
		if settled(&f.open[i]) {
			out.Reply(f.open[i].to, []byte{})
		} else {
			kept = append(kept, f.open[i])
		}
	}
	clear(f.open[len(kept):])
	f.open = kept
}
