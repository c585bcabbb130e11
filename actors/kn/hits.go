package kn

import (
	"errors"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/dac"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/messages"
)

// serveHits answers the round's gets if the cache has all their values; this is the hot path. Otherwise it returns how many of
// them it has, and has counted: the rest of the request goes the general way, beginning with the round's last.
func (t *thread) serveHits() int {
	gets := &t.round.gets
	var r dac.Result
	for i := range gets.Tuples {
		g := &gets.Tuples[i]
		hash := hashring.KeyHash(g.Key)
		if !t.engine.Probe(g.Key, hash, &r) {
			t.round.last = looked{done: true, key: g.Key, hash: hash, result: r}
			return i
		}
		t.countHit(g.Key, hash, len(r.Value))
		g.Lattice, g.Payload, g.Invalidate = messages.LatticeType(r.Meta), r.Value, g.Known > 1
	}
	t.report.requests++
	t.round.reads += uint64(len(gets.Tuples))
	if err := t.sendGets(gets); errors.Is(err, runtime.ErrFrameTooLarge) {
		answer := gets.Response()
		t.send(string(gets.To), answer) // which knows what to say instead
		messages.ReleaseKeyResponse(answer)
	} else if err != nil {
		t.report.dropped++
	}
	return len(gets.Tuples)
}

// lastPeer is who the round sent to last: requests come in runs from one client, and a Push may be kept for a round, as only
// this thread's own calls of Peers close one.
type lastPeer struct {
	address string
	push    *runtime.Push
}

func (t *thread) sendGets(gets *messages.Gets) error {
	p := &t.round.peer
	if p.push == nil || string(gets.To) != p.address {
		push, err := t.peers.GetBytes(gets.To)
		if err != nil {
			return err
		}
		*p = lastPeer{push.Address(), push}
	}
	return p.push.Append(gets)
}
