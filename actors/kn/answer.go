package kn

import (
	"errors"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/messages"
)

// finish answers a pending request. lapsed: the lease ended while the round ran, so no write may be acknowledged, nor shown
// by a get.
func (t *thread) finish(p *pending, lapsed bool) {
	r := &t.round
	defer messages.ReleaseKeyRequest(p.request)
	if len(t.watched) > 0 && !lapsed {
		t.tellCaches(p)
	}
	if p.mute {
		return
	}
	answer := r.answer
	answer.Type, answer.ResponseId = p.request.Type, p.request.RequestId
	get := p.request.Type.IsGet()
	for i, tuple := range p.request.Tuples {
		s := &r.slots[p.first+i]
		out := answer.AddTuple()
		out.Key = tuple.Key
		if s.op != noOp {
			result := t.engine.Result(s.op)
			s.code, s.value = result.Code, result.Value
			if result.Code == messages.AnnaError_NO_ERROR && get {
				s.lattice = result.Lattice
			}
			if lapsed && (!get || result.Written) && s.code <= messages.AnnaError_KEY_DNE {
				s.code = messages.AnnaError_TIMEOUT
			}
		}
		t.fill(out, s)
	}
	t.send(p.request.ResponseAddress, answer)
	t.clearAnswer()
}

// fill writes what became of a tuple into its answer.
func (t *thread) fill(out *messages.KeyTuple, s *slot) {
	out.Error, out.LatticeType, out.Invalidate = s.code, messages.LatticeType(s.lattice), s.invalidate
	switch s.code {
	case messages.AnnaError_NO_ERROR:
		out.Payload = s.value
		return
	case messages.AnnaError_WRONG_THREAD:
		out.Invalidate = true
		if t.view.addresses != nil && s.key != nil {
			out.Ips = t.view.addresses.Of(s.key, s.hash, t.round.owners, out.Ips[:0])
		}
	}
	t.report.failed(s.code)
}

// clearAnswer empties the answer for the next one, without keeping references to frames or cached values.
func (t *thread) clearAnswer() {
	a := t.round.answer
	a.ResponseId, a.Error = "", 0
	for _, out := range a.Tuples {
		clear(out.Ips)
		out.Key, out.LatticeType, out.Error, out.Payload, out.Invalidate, out.Ips = "", 0, 0, nil, false, out.Ips[:0]
	}
	a.Tuples = a.Tuples[:0]
}

// refuse answers a request as a whole.
func (t *thread) refuse(request *messages.KeyRequest, why error) {
	answer := messages.RefuseKeyRequest(request, why)
	for range answer.Tuples {
		t.report.failed(answer.Error)
	}
	t.send(request.ResponseAddress, answer)
	messages.ReleaseKeyResponse(answer)
}

// refuseUnleased answers while the node must not serve: the client had better ask who does. While the pool cannot be reached
// nobody may know, and asking again at once would not help.
func (t *thread) refuseUnleased(request *messages.KeyRequest) {
	if t.lease.away.Load() || !t.engine.Up() {
		t.refuse(request, messages.ErrTimeout)
		return
	}
	answer := messages.RefuseKeyRequest(request, messages.ErrWrongThread)
	for _, tuple := range answer.Tuples {
		tuple.Invalidate = true
		t.report.failed(messages.AnnaError_WRONG_THREAD)
	}
	t.send(request.ResponseAddress, answer)
	messages.ReleaseKeyResponse(answer)
}

// send queues an answer. Where nobody takes answers they are dropped and counted.
func (t *thread) send(address string, answer *messages.KeyResponse) {
	push, err := t.peers.Get(address)
	if err == nil {
		err = push.Append(answer)
	}
	if errors.Is(err, runtime.ErrFrameTooLarge) { // the values asked for do not fit one answer
		for _, out := range answer.Tuples {
			out.Payload, out.Error = nil, messages.AnnaError_TOO_LARGE
			t.report.failed(out.Error)
		}
		err = push.Append(answer)
	}
	if err != nil {
		t.report.dropped++
	}
}
