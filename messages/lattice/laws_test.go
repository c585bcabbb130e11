package lattice_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/dinomo-kv/dinomo/internal/random"
	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// merge is Merge with a failure for an error.
func merge(t *testing.T, typ lattice.Type, a, b []byte, mode lattice.Mode) []byte {
	t.Helper()
	out, changed, err := lattice.Merge(typ, a, b, lattice.Options{Mode: mode})
	if err != nil {
		t.Fatalf("%s: merge %x and %x: %v", typ, a, b, err)
	}
	if a != nil && changed == bytes.Equal(a, out) {
		t.Fatalf("%s: %x to %x: changed is %v", typ, a, out, changed)
	}
	return out
}

// randomPayload draws from few names, values and counters, so that ties, dominance and concurrency are all common.
// It is not canonical: members come in any order and repeat.
func randomPayload(t *testing.T, rng *rand.Rand, typ lattice.Type) []byte {
	values := make([][]byte, rng.IntN(4))
	for i := range values {
		values[i] = []byte{byte('a' + rng.IntN(4))}
	}
	clock := func() map[string]uint32 {
		c := make(map[string]uint32)
		for range rng.IntN(4) {
			c[string(rune('x'+rng.IntN(3)))] = rng.Uint32N(3)
		}
		return c
	}
	var one []byte
	if len(values) > 0 {
		one = values[0]
	}
	switch typ {
	case lattice.LWW:
		return marshal(t, &messages.LWWValue{Timestamp: rng.Uint64N(4), Value: one})
	case lattice.Set, lattice.OrderedSet:
		return marshal(t, &messages.SetValue{Values: values})
	case lattice.SingleCausal:
		return marshal(t, &messages.SingleKeyCausalValue{VectorClock: clock(), Values: values})
	case lattice.MultiCausal:
		m := &messages.MultiKeyCausalValue{VectorClock: clock(), Values: values}
		for range rng.IntN(3) {
			m.Dependencies = append(m.Dependencies, &messages.KeyVersion{Key: string(rune('k' + rng.IntN(2))), VectorClock: clock()})
		}
		return marshal(t, m)
	}
	return marshal(t, &messages.PriorityValue{Priority: float64(rng.IntN(4) - 1), Value: one})
}

// TestLaws checks LAT-1 and LAT-2 on random payloads.
func TestLaws(t *testing.T) {
	rng := random.New(random.Seed(t))
	associative := map[lattice.Type]bool{lattice.LWW: true, lattice.Set: true, lattice.OrderedSet: true, lattice.Priority: true}
	for typ := lattice.None + 1; typ < lattice.NumTypes; typ++ {
		for range 3000 {
			m := func(a, b []byte) []byte { return merge(t, typ, a, b, lattice.Timestamp) }
			a := m(nil, randomPayload(t, rng, typ))
			b := m(nil, randomPayload(t, rng, typ))
			c := m(nil, randomPayload(t, rng, typ))
			if got := m(a, a); !bytes.Equal(got, a) {
				t.Fatalf("%s: not idempotent: %x becomes %x", typ, a, got)
			}
			ab := m(a, b)
			if got := m(ab, b); !bytes.Equal(got, ab) {
				t.Fatalf("%s: merging %x again into %x changes it to %x", typ, b, ab, got)
			}
			if ba := m(b, a); typ != lattice.LWW && !bytes.Equal(ab, ba) {
				t.Fatalf("%s: not commutative: %x and %x give %x or %x", typ, a, b, ab, ba)
			}
			if l, r := m(ab, c), m(a, m(b, c)); associative[typ] && !bytes.Equal(l, r) {
				t.Fatalf("%s: not associative: %x, %x, %x give %x or %x", typ, a, b, c, l, r)
			}
		}
	}
}

// TestLWWCommutesButForTies: by timestamp, the order of arrival matters for equal timestamps only; by arrival the
// incoming value always wins.
func TestLWWCommutesButForTies(t *testing.T) {
	rng := random.New(random.Seed(t))
	for range 3000 {
		a, b := randomPayload(t, rng, lattice.LWW), randomPayload(t, rng, lattice.LWW)
		if got := merge(t, lattice.LWW, a, b, lattice.Arrival); !bytes.Equal(got, b) {
			t.Fatalf("by arrival %x after %x gives %x", b, a, got)
		}
		va, vb := must(lattice.ParseLWW(a, lattice.Options{})), must(lattice.ParseLWW(b, lattice.Options{}))
		ab, ba := merge(t, lattice.LWW, a, b, lattice.Timestamp), merge(t, lattice.LWW, b, a, lattice.Timestamp)
		switch {
		case va.Timestamp == vb.Timestamp:
			if !bytes.Equal(ab, b) || !bytes.Equal(ba, a) {
				t.Fatalf("tie of %x and %x gives %x and %x", a, b, ab, ba)
			}
		case !bytes.Equal(ab, ba):
			t.Fatalf("%x and %x give %x or %x", a, b, ab, ba)
		}
	}
}

// write is one write of a causal history: what it put, and the clock it put it with.
type write struct {
	clock lattice.Clock
	value string
}

// TestCausalLosesNothing checks LAT-3: writers that know their own writes and raise their own counter, merged in any
// order and grouping, never lose a value that no other write dominates, and never make one up; and the clocks agree
// whatever the order.
func TestCausalLosesNothing(t *testing.T) {
	rng := random.New(random.Seed(t))
	for _, typ := range []lattice.Type{lattice.SingleCausal, lattice.MultiCausal} {
		for range 1500 {
			history := causalHistory(rng, 2+rng.IntN(7))
			var clock lattice.Clock
			for round := range 4 {
				got := must(lattice.ParseCausal(typ, mergeShuffled(t, rng, typ, history), lattice.Options{}))
				if round > 0 && got.Clock.Compare(clock) != lattice.Equal {
					t.Fatalf("clocks differ by order: %v and %v for %v", clock, got.Clock, history)
				}
				clock = got.Clock
				checkCausal(t, history, got)
			}
		}
	}
}

func causalHistory(rng *rand.Rand, n int) []write {
	var history []write
	own := make(map[string]lattice.Clock) // What each writer wrote last, and so knows.
	for i := range n {
		writer := fmt.Sprintf("w%d", rng.IntN(3))
		known := own[writer]
		for _, w := range history {
			if rng.IntN(2) == 0 {
				known = known.Merge(w.clock)
			}
		}
		var counter uint32
		for _, tick := range known {
			if tick.Name == writer {
				counter = tick.Counter
			}
		}
		own[writer] = known.Merge(lattice.Clock{{Name: writer, Counter: counter + 1}})
		history = append(history, write{clock: own[writer], value: fmt.Sprintf("v%d", i)})
	}
	return history
}

// mergeShuffled merges the history's payloads pairwise in a random tree, some of them twice.
func mergeShuffled(t *testing.T, rng *rand.Rand, typ lattice.Type, history []write) []byte {
	var heap [][]byte
	for _, w := range history {
		p := lattice.CausalValue{Type: typ, Clock: w.clock, Values: [][]byte{[]byte(w.value)}}.Append(nil)
		for range 1 + rng.IntN(2) {
			heap = append(heap, p)
		}
	}
	for len(heap) > 1 {
		rng.Shuffle(len(heap), func(i, j int) { heap[i], heap[j] = heap[j], heap[i] })
		merged := merge(t, typ, heap[0], heap[1], lattice.Arrival)
		heap = append(heap[2:], merged)
	}
	return heap[0]
}

func checkCausal(t *testing.T, history []write, got lattice.CausalValue) {
	t.Helper()
	for _, w := range history {
		dominated := slices.ContainsFunc(history, func(o write) bool { return o.clock.Compare(w.clock) == lattice.After })
		kept := slices.ContainsFunc(got.Values, func(v []byte) bool { return string(v) == w.value })
		if !dominated && !kept {
			t.Fatalf("%s is lost: %q left of %v", w.value, got.Values, history)
		}
	}
	for _, v := range got.Values {
		if !slices.ContainsFunc(history, func(w write) bool { return w.value == string(v) }) {
			t.Fatalf("value %q was never written in %v", v, history)
		}
	}
}

// TestClockCompareAgainstTheObvious compares with a slow reading of the definition.
func TestClockCompareAgainstTheObvious(t *testing.T) {
	rng := random.New(random.Seed(t))
	draw := func() (map[string]uint32, lattice.Clock) {
		m := make(map[string]uint32)
		var ticks []lattice.Tick
		for range rng.IntN(5) {
			tick := lattice.Tick{Name: string(rune('a' + rng.IntN(4))), Counter: rng.Uint32N(3)}
			m[tick.Name] = tick.Counter
			ticks = append(ticks, tick)
		}
		return m, lattice.NewClock(ticks)
	}
	covers := func(a, b map[string]uint32) bool {
		for name, n := range b {
			if a[name] < n {
				return false
			}
		}
		return true
	}
	for range 5000 {
		ma, a := draw()
		mb, b := draw()
		want := lattice.Concurrent
		switch over, under := covers(ma, mb), covers(mb, ma); {
		case over && under:
			want = lattice.Equal
		case over:
			want = lattice.After
		case under:
			want = lattice.Before
		}
		if got := a.Compare(b); got != want {
			t.Fatalf("%v against %v: %s, want %s", a, b, got, want)
		}
	}
}
