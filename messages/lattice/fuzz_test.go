package lattice_test

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// message returns the generated message of a type's payload.
func message(typ lattice.Type) messages.Message {
	switch typ {
	case lattice.LWW:
		return new(messages.LWWValue)
	case lattice.Set, lattice.OrderedSet:
		return new(messages.SetValue)
	case lattice.SingleCausal:
		return new(messages.SingleKeyCausalValue)
	case lattice.MultiCausal:
		return new(messages.MultiKeyCausalValue)
	}
	return new(messages.PriorityValue)
}

// FuzzValidate: what Validate accepts, the generated protobuf code decodes too, and merging it into nothing gives the
// same value in canonical form, which is stable.
func FuzzValidate(f *testing.F) {
	for typ := lattice.None + 1; typ < lattice.NumTypes; typ++ {
		for _, line := range []string{"ts=7 v", "p=-1.5 v", "b a a", "clock=a:1,b:2 x y", "clock=a:1 dep=k/a:1 dep=j/b:0 x", "raw=0a00", "raw=0b0c", "raw=f8ffffff0f01"} {
			f.Add(uint8(typ), payloadOf(&testing.T{}, typ, line))
		}
	}
	f.Fuzz(func(t *testing.T, n uint8, payload []byte) {
		typ := lattice.Type(n)
		err := lattice.Validate(typ, payload, lattice.Options{})
		merged, _, mergeErr := lattice.Merge(typ, nil, payload, lattice.Options{})
		if (err == nil) != (mergeErr == nil) {
			t.Fatalf("%s %x: Validate says %v, Merge says %v", typ, payload, err, mergeErr)
		}
		if err != nil {
			if !errors.Is(err, lattice.ErrMalformed) && !errors.Is(err, lattice.ErrType) && !errors.Is(err, lattice.ErrTooLarge) {
				t.Fatalf("%v wraps no sentinel", err)
			}
			return
		}
		want, got := message(typ), message(typ)
		if err := messages.Unmarshal(payload, want); err != nil {
			t.Fatalf("%s %x is valid here, and yet: %v", typ, payload, err)
		}
		unmarshal(t, merged, got)
		canonical(want)
		if !messages.Equal(want, got) {
			t.Fatalf("%s %x: want %s, merged %s", typ, payload, messages.Text(want), messages.Text(got))
		}
		again, changed, err := lattice.Merge(typ, merged, merged, lattice.Options{})
		if err != nil || changed || !bytes.Equal(again, merged) {
			t.Fatalf("%s %x is not stable: %x, %v, %v", typ, merged, again, changed, err)
		}
		if typ != lattice.LWW && !bytes.Equal(marshal(t, got), merged) {
			t.Fatalf("%s: %x is written otherwise than protobuf's %x", typ, merged, marshal(t, got))
		}
	})
}

// FuzzMerge: two hostile payloads, one of which was stored.
func FuzzMerge(f *testing.F) {
	for typ := lattice.None + 1; typ < lattice.NumTypes; typ++ {
		f.Add(uint8(typ), payloadOf(&testing.T{}, typ, "ts=1 p=2 clock=a:1 x"), payloadOf(&testing.T{}, typ, "ts=2 p=1 clock=b:1 y"))
	}
	f.Fuzz(func(t *testing.T, n uint8, a, b []byte) {
		typ := lattice.Type(n)
		opts := lattice.Options{Mode: lattice.Timestamp, MaxPayloadBytes: 1 << 16}
		ab, _, err := lattice.Merge(typ, a, b, opts)
		if err != nil {
			return
		}
		ba, _, err := lattice.Merge(typ, b, a, opts)
		if err != nil {
			t.Fatalf("%s: %x into %x works, the other way does not: %v", typ, b, a, err)
		}
		if typ != lattice.LWW && a != nil && b != nil && !bytes.Equal(ab, ba) {
			t.Fatalf("%s: %x and %x give %x or %x", typ, a, b, ab, ba)
		}
		if again, changed, err := lattice.Merge(typ, ab, b, opts); err != nil || changed {
			t.Fatalf("%s: %x again into %x: %x, %v", typ, b, ab, again, err)
		}
	})
}

// canonical is the obvious twin of what Merge does to a first value.
func canonical(m messages.Message) {
	sorted := func(values [][]byte) [][]byte {
		slices.SortFunc(values, bytes.Compare)
		return slices.CompactFunc(values, bytes.Equal)
	}
	clean := func(clock map[string]uint32) map[string]uint32 {
		for name, n := range clock {
			if n == 0 {
				delete(clock, name)
			}
		}
		return clock
	}
	switch m := m.(type) {
	case *messages.SetValue:
		m.Values = sorted(m.Values)
	case *messages.SingleKeyCausalValue:
		m.Values, m.VectorClock = sorted(m.Values), clean(m.VectorClock)
	case *messages.MultiKeyCausalValue:
		m.Values, m.VectorClock = sorted(m.Values), clean(m.VectorClock)
		var deps []*messages.KeyVersion
		slices.SortStableFunc(m.Dependencies, func(a, b *messages.KeyVersion) int { return bytes.Compare([]byte(a.Key), []byte(b.Key)) })
		for _, d := range m.Dependencies {
			if n := len(deps); n > 0 && deps[n-1].Key == d.Key {
				for name, c := range d.VectorClock {
					if deps[n-1].VectorClock == nil {
						deps[n-1].VectorClock = make(map[string]uint32)
					}
					deps[n-1].VectorClock[name] = max(deps[n-1].VectorClock[name], c)
				}
				continue
			}
			deps = append(deps, d)
		}
		for _, d := range deps {
			clean(d.VectorClock)
		}
		m.Dependencies = deps
	case *messages.PriorityValue:
		if m.Priority == 0 {
			m.Priority = math.Abs(m.Priority)
		}
	}
}
