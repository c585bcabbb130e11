package lattice

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// Tick is one entry of a vector clock.
type Tick struct {
	Name    string
	Counter uint32
}

// Clock is a vector clock: ticks sorted by name, each name once, no counter zero (a missing name stands at zero).
type Clock []Tick

// Relation is how one clock stands to another.
type Relation uint8

// The relations of two clocks.
const (
	Equal Relation = iota
	Before
	After
	Concurrent
)

// String returns the relation's name.
func (r Relation) String() string {
	return [...]string{"equal", "before", "after", "concurrent"}[r]
}

// NewClock sorts ticks in place into a clock. Of several ticks of one name the last counts, as in a protobuf map.
func NewClock(ticks []Tick) Clock {
	slices.SortStableFunc(ticks, func(a, b Tick) int { return cmp.Compare(a.Name, b.Name) })
	out := ticks[:0]
	for i, t := range ticks {
		last := i+1 == len(ticks) || ticks[i+1].Name != t.Name
		if last && t.Counter != 0 {
			out = append(out, t)
		}
	}
	return out
}

// Compare returns After when c dominates other: it is nowhere behind and somewhere ahead.
func (c Clock) Compare(other Clock) Relation {
	ahead, behind := false, false
	eachTick(c, other, func(_ string, mine, theirs uint32) {
		ahead = ahead || mine > theirs
		behind = behind || mine < theirs
	})
	switch {
	case ahead && behind:
		return Concurrent
	case ahead:
		return After
	case behind:
		return Before
	}
	return Equal
}

// Merge returns the smallest clock that neither c nor other is ahead of.
func (c Clock) Merge(other Clock) Clock {
	out := make(Clock, 0, len(c)+len(other))
	eachTick(c, other, func(name string, mine, theirs uint32) {
		out = append(out, Tick{name, max(mine, theirs)})
	})
	return out
}

// eachTick visits the names of both clocks in order, with both counters.
func eachTick(a, b Clock, visit func(name string, a, b uint32)) {
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].Name < b[0].Name:
			visit(a[0].Name, a[0].Counter, 0)
			a = a[1:]
		case len(a) == 0 || b[0].Name < a[0].Name:
			visit(b[0].Name, 0, b[0].Counter)
			b = b[1:]
		default:
			visit(a[0].Name, a[0].Counter, b[0].Counter)
			a, b = a[1:], b[1:]
		}
	}
}

// parseTick decodes one entry of a map<string, uint32>.
func parseTick(entry []byte) (Tick, error) {
	var t Tick
	f := fields{rest: entry}
	for f.next() {
		switch f.number {
		case 1:
			t.Name = f.text()
		case 2:
			t.Counter = uint32(f.varint())
		}
	}
	return t, f.err
}

// appendClock appends c as the map field of the given number.
func appendClock(dst []byte, number protowire.Number, c Clock) []byte {
	for _, t := range c {
		dst = protowire.AppendTag(dst, number, protowire.BytesType)
		size := 2 + protowire.SizeBytes(len(t.Name)) + protowire.SizeVarint(uint64(t.Counter))
		dst = protowire.AppendVarint(dst, uint64(size))
		dst = protowire.AppendTag(dst, 1, protowire.BytesType)
		dst = protowire.AppendString(dst, t.Name)
		dst = protowire.AppendTag(dst, 2, protowire.VarintType)
		dst = protowire.AppendVarint(dst, uint64(t.Counter))
	}
	return dst
}
