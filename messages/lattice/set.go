package lattice

import (
	"bytes"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// SetValue is a decoded SET or ORDERED_SET payload: its members sorted bytewise, each once. They alias the payload.
type SetValue [][]byte

// ParseSet decodes a SET or ORDERED_SET payload, whose members may come in any order and repeat.
func ParseSet(payload []byte, opts Options) (SetValue, error) {
	opts = opts.EnsureDefaults()
	if err := validateSet(payload, opts); err != nil {
		return nil, err
	}
	var s SetValue
	f := fields{rest: payload}
	for f.next() {
		if f.number == 1 {
			s = append(s, f.bytes())
		}
	}
	return newSet(s), nil
}

// validateSet checks a set's payload without building it.
func validateSet(payload []byte, opts Options) error {
	if err := checkSize(payload, opts); err != nil {
		return err
	}
	n := 0
	f := fields{rest: payload}
	for f.next() {
		if f.number == 1 {
			f.is(protowire.BytesType)
			n++
		}
	}
	if f.err != nil {
		return f.err
	}
	return checkCount(n, "members", opts)
}

// newSet sorts members in place and drops repetitions. What is stored is sorted already, which makes this one pass.
func newSet(members [][]byte) SetValue {
	if !slices.IsSortedFunc(members, bytes.Compare) {
		slices.SortFunc(members, bytes.Compare)
	}
	return slices.CompactFunc(members, bytes.Equal)
}

// Merge returns the union.
func (s SetValue) Merge(other SetValue) SetValue { return union(s, other) }

// Append appends the set's canonical payload to dst.
func (s SetValue) Append(dst []byte) []byte { return appendValues(dst, 1, s) }

// union merges two sorted sets of byte strings.
func union(a, b [][]byte) [][]byte {
	out := make([][]byte, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch c := bytes.Compare(a[0], b[0]); {
		case c < 0:
			out, a = append(out, a[0]), a[1:]
		case c > 0:
			out, b = append(out, b[0]), b[1:]
		default:
			out, a, b = append(out, a[0]), a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// appendValues appends a repeated bytes field.
func appendValues(dst []byte, number protowire.Number, values [][]byte) []byte {
	for _, v := range values {
		dst = appendBytesField(dst, number, v)
	}
	return dst
}
