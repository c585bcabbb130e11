package lattice

import (
	"cmp"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// Dependency is a key, and the version of it, that a MULTI_CAUSAL value was written in the knowledge of.
type Dependency struct {
	Key   string
	Clock Clock
}

// CausalValue is a decoded SINGLE_CAUSAL or MULTI_CAUSAL payload. Values are sorted bytewise, each once, and alias the
// payload; more than one means that concurrent writes met. Dependencies are sorted by key, each key once.
type CausalValue struct {
	Type         Type // SingleCausal or MultiCausal.
	Clock        Clock
	Dependencies []Dependency // MultiCausal only.
	Values       [][]byte
}

// valuesField is the number of the values field, which the two schemas disagree on.
func valuesField(t Type) protowire.Number {
	if t == MultiCausal {
		return 3
	}
	return 2
}

// ParseCausal decodes a payload of type t, SingleCausal or MultiCausal.
func ParseCausal(t Type, payload []byte, opts Options) (CausalValue, error) {
	opts = opts.EnsureDefaults()
	if t != SingleCausal && t != MultiCausal {
		return CausalValue{}, fmt.Errorf("%w: %s is not causal", ErrType, t)
	}
	if err := checkSize(payload, opts); err != nil {
		return CausalValue{}, err
	}
	v := CausalValue{Type: t}
	var ticks []Tick
	f := fields{rest: payload}
	for f.next() {
		var err error
		switch {
		case f.number == 1:
			var tick Tick
			tick, err = parseTick(f.bytes())
			ticks = append(ticks, tick)
		case f.number == valuesField(t):
			v.Values = append(v.Values, f.bytes())
		case f.number == 2:
			var d Dependency
			d, err = parseDependency(f.bytes(), opts)
			v.Dependencies = append(v.Dependencies, d)
		}
		if err == nil {
			err = checkCount(max(len(ticks), len(v.Values), len(v.Dependencies)), "clock entries, values or dependencies", opts)
		}
		if err != nil {
			return CausalValue{}, err
		}
	}
	if f.err != nil {
		return CausalValue{}, f.err
	}
	v.Clock = NewClock(ticks)
	v.Values = newSet(v.Values)
	v.Dependencies = newDependencies(v.Dependencies)
	return v, nil
}

func parseDependency(raw []byte, opts Options) (Dependency, error) {
	var d Dependency
	var ticks []Tick
	f := fields{rest: raw}
	for f.next() {
		switch f.number {
		case 1:
			d.Key = f.text()
		case 2:
			tick, err := parseTick(f.bytes())
			if err != nil {
				return d, err
			}
			ticks = append(ticks, tick)
			if err := checkCount(len(ticks), "clock entries", opts); err != nil {
				return d, err
			}
		}
	}
	d.Clock = NewClock(ticks)
	return d, f.err
}

// newDependencies sorts by key, in place, and merges the clocks of repeated keys.
func newDependencies(ds []Dependency) []Dependency {
	slices.SortStableFunc(ds, func(a, b Dependency) int { return cmp.Compare(a.Key, b.Key) })
	out := ds[:0]
	for _, d := range ds {
		if n := len(out); n > 0 && out[n-1].Key == d.Key {
			out[n-1].Clock = out[n-1].Clock.Merge(d.Clock)
			continue
		}
		out = append(out, d)
	}
	return out
}

// Merge returns the value whose clock dominates; when neither does, all values of both under the merged clock, with the
// dependencies of both. Equal clocks count as concurrent: for writers that follow the rules they mean the same write, and
// for others this keeps both values rather than letting the order of arrival decide. (Anna lets the later one replace.)
func (v CausalValue) Merge(other CausalValue) CausalValue {
	switch v.Clock.Compare(other.Clock) {
	case After:
		return v
	case Before:
		return other
	}
	return CausalValue{
		Type:         v.Type,
		Clock:        v.Clock.Merge(other.Clock),
		Dependencies: newDependencies(slices.Concat(v.Dependencies, other.Dependencies)),
		Values:       union(v.Values, other.Values),
	}
}

// Append appends the value's canonical payload to dst.
func (v CausalValue) Append(dst []byte) []byte {
	dst = appendClock(dst, 1, v.Clock)
	for _, d := range v.Dependencies {
		body := []byte{}
		if d.Key != "" {
			body = appendBytesField(body, 1, []byte(d.Key))
		}
		dst = appendBytesField(dst, 2, appendClock(body, 2, d.Clock))
	}
	return appendValues(dst, valuesField(v.Type), v.Values)
}
