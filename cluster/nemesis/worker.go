package nemesis

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/dinomo-kv/dinomo/actors/client"
	"github.com/dinomo-kv/dinomo/actors/client/history"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/internal/random"
	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// worker is one client of the history: it has at most one operation, or several on different keys, under way.
type worker struct {
	number   int
	client   *client.Client
	recorder *history.Recorder
	keys     *keys
	rng      *rand.Rand
	pause    time.Duration // mean, between operations
	writes   int
}

func newWorker(number int, c *client.Client, r *history.Recorder, k *keys, seed uint64, pause time.Duration) *worker {
	return &worker{number: number, client: c, recorder: r, keys: k, rng: random.New(seed + uint64(number)*7919), pause: pause}
}

// run works until stop is closed. Operations under way are finished.
func (w *worker) run(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		w.once()
		clock.Real{}.Sleep(time.Duration(w.rng.ExpFloat64() * float64(w.pause)))
	}
}

// maxTogether is how many keys one multi-key operation has.
const maxTogether = 6

// once does one operation and records it.
func (w *worker) once() {
	switch p := w.rng.IntN(100); {
	case p < 45:
		w.do(history.Get, w.keys.choose(w.rng))
	case p < 82:
		w.do(history.Put, w.keys.choose(w.rng))
	case p < 89:
		w.do(history.Delete, w.keys.choose(w.rng))
	case p < 95:
		w.do(history.Get, w.keys.several(w.rng, 2+w.rng.IntN(maxTogether-1))...)
	default:
		w.do(history.Put, w.keys.several(w.rng, 2+w.rng.IntN(maxTogether-1))...)
	}
}

// operationPatience ends an operation's attempts.
const operationPatience = 5 * time.Second

// do sends operations of one kind together and records each.
func (w *worker) do(kind history.Kind, on ...string) []history.Operation {
	ops := make([]client.Operation, len(on))
	records := make([]history.Operation, len(on))
	for i, key := range on {
		records[i] = history.Operation{Client: w.number, Kind: kind, Key: key}
		ops[i] = client.Operation{Type: requestTypes[kind], Key: key}
		switch {
		case kind == history.Put && isSet(key):
			records[i].Kind, records[i].Value = history.Add, string('a'+rune(w.rng.IntN(setLetters)))
			ops[i].Lattice, ops[i].Payload = lattice.Set, lattice.SetValue{[]byte(records[i].Value)}.Append([]byte{})
		case kind == history.Put:
			w.writes++
			records[i].Value, ops[i].Value = makeValue(w.number, w.writes, w.padding())
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), operationPatience)
	defer cancel()
	call := w.recorder.Now()
	outcomes := w.client.Do(ctx, ops...)
	end := w.recorder.Now()
	for i := range records {
		records[i].Call, records[i].Return = call, end
		conclude(&records[i], &outcomes[i])
		w.recorder.Add(records[i])
		if isSet(records[i].Key) && records[i].Kind != history.Get && records[i].Outcome == history.Unknown {
			w.keys.retire(records[i].Key)
		}
	}
	return records
}

// setLetters is how many members a set may have: few, so that the checker sees few states, and enough for one that is lost not to be
// added again at once.
const setLetters = 26

// readUntilServed reads keys and returns those that were not served.
func (w *worker) readUntilServed(keys []string) (left []string) {
	for _, r := range w.do(history.Get, keys...) {
		if r.Outcome != history.OK {
			left = append(left, r.Key)
		}
	}
	return left
}

var requestTypes = map[history.Kind]messages.RequestType{
	history.Get: messages.RequestType_GET, history.Put: messages.RequestType_PUT, history.Delete: messages.RequestType_DELETE,
}

// padding is mostly small, so that values are cached, and now and then large, so that shortcuts are.
func (w *worker) padding() int {
	if w.rng.IntN(20) == 0 {
		return w.rng.IntN(8 << 10)
	}
	return w.rng.IntN(400)
}

// conclude turns what the client returned into what the history says (NEM-1).
func conclude(r *history.Operation, o *client.Outcome) {
	value, err := valueOf(r.Key, o)
	if r.Kind != history.Get {
		err = o.Err
	}
	r.Outcome = history.OK
	switch {
	case err == nil && r.Kind == history.Get:
		r.Value = value
	case err == nil:
	case r.Kind == history.Get && errors.Is(err, messages.ErrKeyDoesNotExist):
		r.Missing = true
	case r.Kind == history.Delete && errors.Is(err, messages.ErrKeyDoesNotExist):
		// There was nothing to delete, which is what a delete leaves.
	case r.Kind == history.Get && errors.Is(err, messages.ErrLattice):
		// A value of another type: nobody here wrote one.
		r.Value = "value of another lattice"
	case r.Kind == history.Get || !client.NothingHappened(err):
		r.Outcome, r.Note = history.Unknown, err.Error()
	default:
		r.Outcome, r.Note = history.Failed, err.Error()
	}
}

// valueOf returns what a get found, as a history has it.
func valueOf(key string, o *client.Outcome) (string, error) {
	if !isSet(key) {
		value, err := o.Value()
		if err != nil {
			return "", err
		}
		text, _ := parseValue(value)
		return text, nil
	}
	if o.Err != nil {
		return "", o.Err
	}
	if o.Lattice != lattice.Set {
		return "", messages.ErrLattice
	}
	members, err := lattice.ParseSet(o.Payload, lattice.Options{MaxPayloadBytes: 1 << 20, MaxElements: 1 << 10})
	if err != nil {
		return "damaged: " + err.Error(), nil
	}
	return string(bytes.Join(members, nil)), nil
}
