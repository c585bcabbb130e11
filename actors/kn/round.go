package kn

import (
	"time"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/dac"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/internal/invariant"
	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// round is the batch that a thread is serving: frames as they came, and the requests that need the engine's Run.
type round struct {
	batches []*runtime.Batch
	gossip  [][]byte // frames of puts that nobody answers

	began   time.Time
	serving bool // the lease held when the round began
	pending []pending
	slots   []slot // of all pending requests, one a tuple
	writes  int
	keys    keyArena
	answer  *messages.KeyResponse // reused for every answer but those of
	gets    messages.Gets         // requests that are served as hits
	peer    lastPeer
	owners  []hashring.Owner // room to work in
	last    looked

	reads, mutations uint64 // tuples of the round, for the latency sums
}

// pending is a request that is answered after the batch has run.
type pending struct {
	request *messages.KeyRequest
	first   int // of its slots; it has as many as tuples
	mute    bool
}

// slot is what becomes of one tuple.
type slot struct {
	op         int                // the engine's operation, -1 if there is none
	code       messages.AnnaError // without an operation
	lattice    lattice.Type
	value      []byte // without an operation
	key        []byte // set where the answer needs the key's owners
	hash       uint64
	invalidate bool
}

// noOp is the operation of a tuple that needs none.
const noOp = -1

// keyArena turns keys, which are strings in messages, into bytes that live as long as the round.
type keyArena struct{ block []byte }

func (a *keyArena) add(key string) []byte {
	start := len(a.block)
	if start+len(key) > cap(a.block) { // earlier keys live on in the old block
		a.block, start = make([]byte, 0, max(64<<10, len(key))), 0
	}
	a.block = append(a.block, key...)
	return a.block[start:len(a.block):len(a.block)]
}

// undo takes the key added last back.
func (a *keyArena) undo(key []byte) { a.block = a.block[:len(a.block)-len(key)] }

// serve answers everything that has been collected: as one round, or as several when it is much.
func (t *thread) serve() {
	r := &t.round
	t.begin()
	for _, b := range r.batches {
		for _, frame := range b.Frames {
			t.receive(frame)
			t.split()
		}
	}
	held := t.holding.released
	t.holding.released = nil
	for _, frame := range held {
		t.receive(frame)
		t.split()
	}
	for _, frame := range r.gossip {
		t.receiveGossip(frame)
		t.split()
	}
	t.complete()
	for i, b := range r.batches {
		b.Release()
		r.batches[i] = nil
	}
	clear(r.gossip)
	r.batches, r.gossip = r.batches[:0], r.gossip[:0]
}

// begin starts a round. Whether the node may serve is asked now, when all its requests have arrived: what is true of
// a key at this moment is a right answer to them, however long it takes to leave (OWN-1).
func (t *thread) begin() {
	t.round.began = t.o.Clock.Now()
	t.round.serving = t.lease.heldAt(t.round.began)
	t.engine.Begin(t.round.began)
}

// split ends the round and starts another when the engine has enough: a round's memory is bounded that way.
func (t *thread) split() {
	if t.engine.Full() {
		t.complete()
		t.begin()
	}
}

// complete runs what is pending and sends the round's answers.
func (t *thread) complete() {
	r := &t.round
	if len(r.pending) > 0 {
		t.engine.Run()
		lapsed := r.writes > 0 && !t.lease.heldAt(t.o.Clock.Now())
		for i := range r.pending {
			t.finish(&r.pending[i], lapsed)
		}
	}
	t.keepPace()
	t.peers.FlushDirty()
	t.report.served(r, r.began, t.o.Clock.Now())
	r.last, r.peer = looked{}, lastPeer{}
	r.gets.Release()
	clear(r.pending)
	clear(r.slots)
	r.pending, r.slots = r.pending[:0], r.slots[:0]
	r.keys.block = r.keys.block[:0]
	r.writes, r.reads, r.mutations = 0, 0, 0
}

// keepPace holds the round's answers back until the thread's limit, if it has one, allows for them.
func (t *thread) keepPace() {
	if t.pace.each == 0 {
		return
	}
	if wait := t.pace.served(t.round.began, t.o.Clock.Now(), t.round.reads+t.round.mutations); wait > 0 {
		t.o.Clock.Sleep(wait)
	}
}

// receive takes one request: it is answered, refused, held back, or left pending.
func (t *thread) receive(frame []byte) {
	known := 0
	t.round.last.done = false
	if t.round.serving && len(t.holding.releases) == 0 && t.codec.ParseGets(frame, &t.round.gets) {
		if known = t.serveHits(); known == len(t.round.gets.Tuples) {
			return
		}
	}
	request, err := t.codec.DecodeKeyRequest(frame)
	if request == nil {
		t.report.malformed++
		return
	}
	t.report.requests++
	switch {
	case err != nil:
		t.refuse(request, err)
	case !t.round.serving:
		t.refuseUnleased(request)
	case len(t.holding.releases) > 0 && t.mustHold(request):
		if t.holding.keep(frame, t.o) {
			messages.ReleaseKeyRequest(request)
			return
		}
		t.refuse(request, messages.ErrOverloaded)
	case request.Type.IsGet():
		if t.get(request, known) {
			break
		}
		return
	default:
		t.write(request)
		return
	}
	messages.ReleaseKeyRequest(request)
}

// mustHold says whether a key of the request is moving.
func (t *thread) mustHold(request *messages.KeyRequest) bool {
	for _, tuple := range request.Tuples {
		if messages.IsMetadataKey(tuple.Key) {
			continue
		}
		key := t.round.keys.add(tuple.Key)
		hash := hashring.KeyHash(key)
		held := t.view.serves(key, hash, t.self, t.number) && t.holding.has(key, hash)
		t.round.keys.undo(key)
		if held {
			return true
		}
	}
	return false
}

// get answers a request whose keys are all cached or refused, and says so; otherwise it leaves the request pending.
// serveHits has looked up the first known keys, and the one after them if that is in the round's last.
func (t *thread) get(request *messages.KeyRequest, known int) (answered bool) {
	answer := t.round.answer
	answer.Type, answer.ResponseId = request.Type, request.RequestId
	t.round.reads += uint64(len(request.Tuples))
	l := &t.round.last
	for i, tuple := range request.Tuples {
		out := answer.AddTuple()
		out.Key = tuple.Key
		switch {
		case i < known:
			hit := &t.round.gets.Tuples[i]
			out.LatticeType, out.Payload, out.Invalidate = hit.Lattice, hit.Payload, hit.Invalidate
			continue
		case i == known && l.done:
		case t.hit(tuple):
			out.LatticeType, out.Payload, out.Invalidate = messages.LatticeType(l.result.Meta), l.result.Value, tuple.AddressCacheSize > 1
			continue
		}
		s := t.missed(tuple)
		if s.wanted() {
			t.postpone(request, i, s)
			return false
		}
		t.fill(out, &s)
	}
	t.send(request.ResponseAddress, answer)
	t.clearAnswer()
	return true
}

// looked is what was found out last about a tuple of a get.
type looked struct {
	done   bool // the key was looked up
	key    []byte
	hash   uint64
	result dac.Result
}

// hit looks a tuple's key up in the cache and says whether its value is there, in the round's last.
func (t *thread) hit(tuple *messages.KeyTuple) bool {
	r := &t.round
	l := &r.last
	l.done = false
	if tuple.Error != messages.AnnaError_NO_ERROR || messages.IsMetadataKey(tuple.Key) {
		return false
	}
	l.key = r.keys.add(tuple.Key)
	l.hash = hashring.KeyHash(l.key)
	if !t.engine.Probe(l.key, l.hash, &l.result) {
		l.done = true
		return false
	}
	t.countHit(l.key, l.hash, len(l.result.Value))
	r.keys.undo(l.key)
	return true
}

// countHit counts a key that the cache answered for.
//
// What is cached as a value is ours, and ours alone: lost ranges have left the cache (DAC-2), and the values of replicated
// keys are not answered from it. So a hit need not ask the ring, which would cost as much as the hit.
func (t *thread) countHit(key []byte, hash uint64, valueBytes int) {
	if invariant.Enabled && !t.view.serves(key, hash, t.self, t.number) {
		invariant.Check(false, "DAC-2: key %q is cached by a thread that does not own it", key)
	}
	t.report.hot.add(key, hash, valueBytes)
}

// missed says what is to become of a tuple for which hit said no.
func (t *thread) missed(tuple *messages.KeyTuple) slot {
	l := &t.round.last
	s := slot{op: noOp, code: tuple.Error}
	switch {
	case s.code != messages.AnnaError_NO_ERROR:
	case !l.done:
		t.metadata(tuple, &s)
	case !t.view.serves(l.key, l.hash, t.self, t.number):
		s.code, s.key, s.hash = messages.AnnaError_WRONG_THREAD, l.key, l.hash
	default:
		s.key, s.hash = l.key, l.hash
		s.invalidate = tuple.AddressCacheSize > 0 && int(tuple.AddressCacheSize) != t.view.owners(l.key, l.hash, t.round.owners)
		t.report.hot.add(l.key, l.hash, 0)
	}
	return s
}

// wanted says whether the tuple's key is ours and has to be read.
func (s *slot) wanted() bool { return s.key != nil && s.code == messages.AnnaError_NO_ERROR }

// postpone leaves a get request pending from its i-th tuple on, whose slot is s: what the answer has so far is copied.
func (t *thread) postpone(request *messages.KeyRequest, i int, s slot) {
	r := &t.round
	p := pending{request: request, first: len(r.slots)}
	for j, out := range r.answer.Tuples[:i] {
		r.slots = append(r.slots, t.transfer(request.Tuples[j], out))
	}
	t.clearAnswer()
	s.op = t.engine.AddGet(s.key, s.hash, r.last.result)
	r.slots = append(r.slots, s)
	for _, tuple := range request.Tuples[i+1:] {
		var s slot
		if t.hit(tuple) {
			s = slot{op: t.engine.AddHit(r.last.result), invalidate: tuple.AddressCacheSize > 1}
		} else if s = t.missed(tuple); s.wanted() {
			s.op = t.engine.AddGet(s.key, s.hash, r.last.result)
		}
		r.slots = append(r.slots, s)
	}
	r.pending = append(r.pending, p)
}

// transfer turns a tuple that was answered from the cache into a slot.
func (t *thread) transfer(tuple, out *messages.KeyTuple) slot {
	s := slot{op: noOp, code: out.Error, lattice: lattice.Type(out.LatticeType), invalidate: out.Invalidate}
	switch {
	case out.Error == messages.AnnaError_WRONG_THREAD:
		s.key = t.round.keys.add(tuple.Key)
		s.hash = hashring.KeyHash(s.key)
	case out.Error == messages.AnnaError_NO_ERROR:
		// Of metadata, too: the engine keeps a copy.
		s.op = t.engine.AddHit(dac.Result{Kind: dac.Value, Meta: uint32(out.LatticeType), Value: out.Payload})
	}
	return s
}

// write adds a request's puts or deletes to the batch.
func (t *thread) write(request *messages.KeyRequest) {
	r := &t.round
	p := pending{request: request, first: len(r.slots)}
	r.mutations += uint64(len(request.Tuples))
	for _, tuple := range request.Tuples {
		s := slot{op: noOp, code: tuple.Error, lattice: lattice.Type(tuple.LatticeType)}
		if s.code == messages.AnnaError_NO_ERROR {
			t.writeOne(request.Type, tuple, &s)
		}
		r.slots = append(r.slots, s)
	}
	r.pending = append(r.pending, p)
}

func (t *thread) writeOne(kind messages.RequestType, tuple *messages.KeyTuple, s *slot) {
	r := &t.round
	if messages.IsMetadataKey(tuple.Key) {
		t.writeMetadata(kind, tuple, s)
		return
	}
	key := r.keys.add(tuple.Key)
	hash := hashring.KeyHash(key)
	if !t.view.serves(key, hash, t.self, t.number) {
		s.code, s.key, s.hash = messages.AnnaError_WRONG_THREAD, key, hash
		return
	}
	s.invalidate = tuple.AddressCacheSize > 0 && int(tuple.AddressCacheSize) != t.view.owners(key, hash, r.owners)
	t.report.hot.add(key, hash, len(tuple.Payload))
	r.writes++
	if kind.IsDelete() {
		s.op = t.engine.AddDelete(key, hash)
	} else {
		s.op = t.engine.AddPut(key, hash, s.lattice, tuple.Payload)
	}
}
