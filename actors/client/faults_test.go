package client

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/internal/random"
	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// faultyWorld is a core, a map that serves it, and a network between them that misbehaves.
type faultyWorld struct {
	*stage
	rng     *rand.Rand
	noRetry bool
	values  map[string]string
	applied map[string]int // how often each written value was
	owner   map[string]int // of each key, of 3 threads
	inbox   []func()       // on their way to the core or to a thread
	calls   map[uint64]int // callbacks by tag
	writes  map[uint64]string
	results map[uint64]error
	started uint64
}

func newFaultyWorld(t *testing.T, seed uint64) *faultyWorld {
	rng := random.New(seed)
	noRetry := rng.IntN(2) == 0
	return &faultyWorld{
		stage: newStage(t, Options{NoRetry: noRetry, MaxTuplesPerRequest: 1 + rng.IntN(5), AttemptTimeout: 100 * time.Millisecond}, seed),
		rng:   rng, noRetry: noRetry, values: map[string]string{}, applied: map[string]int{}, owner: map[string]int{},
		calls: map[uint64]int{}, writes: map[uint64]string{}, results: map[uint64]error{},
	}
}

func (w *faultyWorld) run() {
	for range 300 {
		switch p := w.rng.IntN(10); {
		case p < 4:
			w.startOne()
		case p < 6 && len(w.inbox) > 0:
			i := w.rng.IntN(len(w.inbox))
			f := w.inbox[i]
			w.inbox = append(w.inbox[:i], w.inbox[i+1:]...)
			f()
		case p < 7:
			w.owner[w.key()] = w.rng.IntN(3)
		case p < 8:
			w.net.full = w.rng.IntN(4) == 0
			if owner := thread(strconv.Itoa(w.rng.IntN(3))); w.rng.IntN(2) == 0 {
				w.net.cut(owner)
			} else {
				w.net.mend(owner)
			}
		default:
			w.now += time.Duration(w.rng.IntN(60)) * time.Millisecond
			w.tick(w.now)
		}
		w.settle()
	}
	// Let everything come to its end: the network is kind now, but time passes.
	w.net.full = false
	clear(w.net.down)
	for range 2000 {
		if w.live == 0 {
			break
		}
		for _, f := range w.inbox {
			f()
		}
		w.inbox = nil
		w.settle()
		w.now += 5 * time.Millisecond
		w.tick(w.now)
		w.settle()
	}
	for _, f := range w.inbox { // what is late may still be carried out
		f()
	}
	w.settle()
}

func (w *faultyWorld) key() string { return "k" + strconv.Itoa(w.rng.IntN(5)) }

func (w *faultyWorld) startOne() {
	w.started++
	tag := w.started
	in := Operation{Type: messages.RequestType_GET, Key: w.key(), Tag: tag, Done: func(r *Result) {
		w.calls[r.Tag]++
		w.results[r.Tag] = r.Err
		if v, err := r.Value(); err == nil && r.Type.IsGet() && w.applied[string(v)] == 0 {
			w.net.t.Errorf("read %s = %q, which nobody wrote", r.Key, v)
		}
	}}
	if w.rng.IntN(2) == 0 {
		w.writes[tag] = fmt.Sprintf("v%d", tag)
		in.Type, in.Value = messages.RequestType_PUT, []byte(w.writes[tag])
	}
	if _, err := w.submit(w.now, &in, w.now+time.Duration(50+w.rng.IntN(500))*time.Millisecond, 0); err != nil {
		w.net.t.Fatal(err)
	}
}

// settle sends what is queued, puts it on its way, and calls back.
func (w *faultyWorld) settle() {
	w.check()
	w.flush(w.now)
	w.check()
	for _, q := range w.net.questions {
		w.carry(func() { w.route(q) })
	}
	for _, r := range w.net.requests {
		if w.rng.IntN(12) > 0 { // lost or not, but never twice: the transport repeats nothing
			w.inbox = append(w.inbox, func() { w.serve(r) })
		}
	}
	w.net.questions, w.net.requests = nil, nil
	for _, o := range w.ended {
		o.done(&o.Result)
		w.release(o)
	}
	w.ended = w.ended[:0]
	w.check()
}

// carry puts an answer or a question on its way; now and then it gets lost or comes twice.
func (w *faultyWorld) carry(f func()) {
	switch w.rng.IntN(12) {
	case 0:
	case 1:
		w.inbox = append(w.inbox, f, f)
	default:
		w.inbox = append(w.inbox, f)
	}
}

func (w *faultyWorld) route(q *messages.KeyAddressRequest) {
	m := &messages.KeyAddressResponse{ResponseId: q.RequestId}
	if w.rng.IntN(10) == 0 {
		m.Error = messages.AnnaError_NO_SERVERS
	}
	for _, key := range q.Keys {
		if w.rng.IntN(8) > 0 {
			m.Addresses = append(m.Addresses, &messages.KeyAddress{Key: key, Ips: []string{thread(strconv.Itoa(w.owner[key]))}})
		}
	}
	w.carry(func() { w.located(w.now, m) })
}

// serve is a KN thread.
func (w *faultyWorld) serve(r sentRequest) {
	m := &messages.KeyResponse{Type: r.Type, ResponseId: r.RequestId}
	for _, t := range r.Tuples {
		a := &messages.KeyTuple{Key: t.Key}
		m.Tuples = append(m.Tuples, a)
		owner := thread(strconv.Itoa(w.owner[t.Key]))
		switch {
		case r.to != owner:
			a.Error, a.Invalidate, a.Ips = messages.AnnaError_WRONG_THREAD, true, []string{owner}
		case w.rng.IntN(15) == 0:
			a.Error = messages.AnnaError_OVERLOADED
		case r.Type.IsPut():
			w.put(t)
		case w.values[t.Key] == "":
			a.Error = messages.AnnaError_KEY_DNE
		default:
			a.LatticeType, a.Payload = messages.LatticeType_LWW, lattice.LWWValue{Value: []byte(w.values[t.Key])}.Append(nil)
		}
	}
	if w.rng.IntN(6) == 0 && len(m.Tuples) > 1 { // in two parts, as Anna does
		n := 1 + w.rng.IntN(len(m.Tuples)-1)
		rest := &messages.KeyResponse{Type: m.Type, ResponseId: m.ResponseId, Tuples: m.Tuples[n:]}
		m.Tuples = m.Tuples[:n]
		w.carry(func() { w.answered(w.now, rest) })
	}
	w.rng.Shuffle(len(m.Tuples), func(i, j int) { m.Tuples[i], m.Tuples[j] = m.Tuples[j], m.Tuples[i] })
	w.carry(func() { w.answered(w.now, m) })
}

func (w *faultyWorld) put(t *messages.KeyTuple) {
	v, err := lattice.ParseLWW(t.Payload, lattice.Options{})
	if err != nil {
		w.net.t.Fatal(err)
	}
	w.values[t.Key] = string(v.Value)
	w.applied[string(v.Value)]++
}

// judge compares what the callers were told with what happened.
func (w *faultyWorld) judge() {
	t := w.net.t
	if w.live != 0 {
		t.Errorf("%d operations never ended", w.live)
	}
	for tag := uint64(1); tag <= w.started; tag++ {
		if w.calls[tag] != 1 {
			t.Errorf("CLI-1: operation %d was called back %d times", tag, w.calls[tag])
		}
		value, write := w.writes[tag]
		if !write {
			continue
		}
		err, times := w.results[tag], w.applied[value]
		switch {
		case err == nil && times == 0:
			t.Errorf("write %d succeeded and was never carried out", tag)
		case err != nil && !OutcomeUnknown(err) && times > 0:
			t.Errorf("CLI-2: write %d was carried out and failed with %v", tag, err)
		case w.noRetry && times > 1:
			t.Errorf("write %d was carried out %d times in spite of NoRetry", tag, times)
		}
	}
}

func FuzzAnswers(f *testing.F) {
	good, _ := messages.Marshal(&messages.KeyResponse{Type: messages.RequestType_GET, ResponseId: "c_0",
		Tuples: []*messages.KeyTuple{{Key: "a", LatticeType: messages.LatticeType_LWW, Payload: []byte{0x12, 1, 'x'}}}})
	wrong, _ := messages.Marshal(&messages.KeyResponse{ResponseId: "c_0", Error: messages.AnnaError_NO_SERVERS,
		Tuples: []*messages.KeyTuple{{Key: "b", Error: messages.AnnaError_WRONG_THREAD, Ips: []string{"tcp://1.2.3.4:5", "x y"}}}})
	where, _ := messages.Marshal(&messages.KeyAddressResponse{ResponseId: "c_1",
		Addresses: []*messages.KeyAddress{{Key: "a", Ips: []string{"tcp://127.0.0.1:6400"}}}})
	f.Add(good, where)
	f.Add(wrong, where)
	f.Fuzz(func(t *testing.T, answer, names []byte) {
		s := newStage(t, Options{}, 1)
		for _, key := range []string{"a", "b", "a"} {
			in := Operation{Type: messages.RequestType_GET, Key: key, Done: func(*Result) {}}
			if _, err := s.submit(0, &in, time.Second, 0); err != nil {
				t.Fatal(err)
			}
		}
		s.flush(0)
		if m, err := s.net.codec.DecodeKeyAddressResponse(names); err == nil {
			s.located(0, m)
		}
		s.check()
		s.flush(0)
		if m, err := s.net.codec.DecodeKeyResponse(answer); err == nil {
			s.answered(0, m)
			s.answered(0, m)
		}
		s.check()
		s.flush(0)
		s.now = 2 * time.Second
		s.tick(s.now)
		s.check()
		if s.live != 0 {
			t.Fatalf("%d operations outlive their deadline", s.live)
		}
	})
}
