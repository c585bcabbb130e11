package kn

import (
	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// watches says which caches' update sockets want to hear of a key. It is not changed once a thread has it.
type watches map[string][]string

// receiveGossip takes puts that nobody answers: they are served like any other, or dropped and counted where they cannot
// be; whoever gossips does so again.
func (t *thread) receiveGossip(frame []byte) {
	request, err := t.codec.DecodeGossip(frame)
	if request == nil {
		t.report.malformed++
		return
	}
	if err != nil || !t.round.serving || !request.Type.IsPut() || len(t.holding.releases) > 0 && t.mustHold(request) {
		t.report.gossipDropped++
		messages.ReleaseKeyRequest(request)
		return
	}
	t.report.gossip++
	t.write(request)
	t.round.pending[len(t.round.pending)-1].mute = true
}

// tellCaches pushes what a request's puts have made of the keys that caches registered.
func (t *thread) tellCaches(p *pending) {
	if !p.request.Type.IsPut() {
		return
	}
	for i, tuple := range p.request.Tuples {
		caches := t.watched[tuple.Key]
		s := &t.round.slots[p.first+i]
		if len(caches) == 0 || s.op == noOp {
			continue
		}
		kind, value, ok := t.engine.Stored(s.op)
		if !ok {
			continue
		}
		t.tellCachesOf(caches, tuple.Key, kind, value)
	}
}

func (t *thread) tellCachesOf(caches []string, key string, kind lattice.Type, value []byte) {
	update := messages.AcquireKeyRequest()
	defer messages.ReleaseKeyRequest(update)
	update.Type = messages.RequestType_PUT
	out := update.AddTuple()
	out.Key, out.LatticeType, out.Payload = key, messages.LatticeType(kind), value
	for _, cache := range caches {
		push, err := t.peers.Get(cache)
		if err == nil {
			err = push.Append(update)
		}
		if err != nil {
			t.report.dropped++
			continue
		}
		t.report.cacheUpdates++
	}
}
