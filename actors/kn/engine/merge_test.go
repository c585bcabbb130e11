package engine

import (
	"fmt"
	"testing"

	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// mergingPayloads are two payloads of every type that is merged on put, the second of which changes what the first made.
func mergingPayloads() map[lattice.Type][2][]byte {
	clock := func(name string) lattice.Clock { return lattice.Clock{{Name: name, Counter: 1}} }
	causal := func(t lattice.Type, name string) []byte {
		return lattice.CausalValue{Type: t, Clock: clock(name), Values: [][]byte{[]byte(name)}}.Append([]byte{})
	}
	return map[lattice.Type][2][]byte{
		lattice.Set:          {set("1"), set("2")},
		lattice.OrderedSet:   {set("1"), set("2")},
		lattice.SingleCausal: {causal(lattice.SingleCausal, "x"), causal(lattice.SingleCausal, "y")},
		lattice.MultiCausal:  {causal(lattice.MultiCausal, "x"), causal(lattice.MultiCausal, "y")},
		lattice.Priority: {lattice.PriorityValue{Priority: 2, Value: []byte("second")}.Append([]byte{}),
			lattice.PriorityValue{Priority: 1, Value: []byte("first")}.Append([]byte{})},
		lattice.LWW: {lattice.LWWValue{Timestamp: 1, Value: []byte("old")}.Append([]byte{}), lattice.LWWValue{Timestamp: 2, Value: []byte("new")}.Append([]byte{})},
	}
}

// TestMergingPutCostsAMissAndItsWrite: a put that has to know what is there, LWW by timestamp included, waits at most as long as a
// get that misses (two round trips, one where there is no such key) and then a write (one), in counts and on the queue pair; a
// batch of them waits as long as one; and where the value is cached it is the write alone.
func TestMergingPutCostsAMissAndItsWrite(t *testing.T) {
	r := newRig(t, "tcp", smallPool())
	thread := uint16(0)
	open := func(o Options) *Engine {
		o.ProgressEvery, o.Lattice.Mode = 1<<40, lattice.Timestamp // no other waits
		e := r.engine(thread, o)
		thread++
		mustBe(t, e.put1(fmt.Sprint("first ", thread), "v"), "ok") // has a segment now, and the lattice filter
		return e
	}
	writer, bare, cached := open(Options{}), open(Options{Cache: noCache}), open(Options{})
	for kind, payloads := range mergingPayloads() {
		key := "k-" + kind.String()
		put := func(e *Engine, most uint64, what string, keys []string, payload []byte) {
			t.Helper()
			before, trips := e.Counters(), e.Verbs().RoundTrips
			b := e.batch()
			var ops []int
			for _, key := range keys {
				ops = append(ops, b.merge(key, kind, payload))
			}
			e.Run()
			for _, i := range ops {
				mustBe(t, e.show(i), "ok")
			}
			if got := e.Verbs().RoundTrips - trips; got > most {
				t.Errorf("%s, %s: the queue pair waited %d times, want at most %d", kind, what, got, most)
			}
			if got := e.Counters().minus(before).RoundTripsWrite; len(keys) == 1 && got > most {
				t.Errorf("%s, %s: %d round trips counted, want at most %d", kind, what, got, most)
			}
		}
		put(writer, 2, "no such key", []string{key}, payloads[0])
		var keys []string
		for i := range 10 {
			keys = append(keys, fmt.Sprint(key, i))
		}
		put(writer, 2, "ten keys that there are not", keys, payloads[0])
		r.drain(writer)
		put(bare, 3, "merged, not cached", []string{key}, payloads[1])
		put(bare, 3, "ten, merged, not cached", keys, payloads[1])
		r.drain(bare)

		mine := "mine-" + key
		put(cached, 2, "no such key", []string{mine}, payloads[0])
		put(cached, 1, "cached", []string{mine}, payloads[1])
	}
}
