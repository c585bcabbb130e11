package lattice

import (
	"bytes"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// PriorityValue is a decoded PRIORITY payload. Value aliases the payload it was parsed from.
type PriorityValue struct {
	Priority float64
	Value    []byte
}

// ParsePriority decodes a PRIORITY payload. It refuses a priority that is not a number, which would be neither smaller
// nor larger than any other. Minus zero is read as zero.
func ParsePriority(payload []byte, opts Options) (PriorityValue, error) {
	if err := checkSize(payload, opts.EnsureDefaults()); err != nil {
		return PriorityValue{}, err
	}
	var v PriorityValue
	f := fields{rest: payload}
	for f.next() {
		switch f.number {
		case 1:
			v.Priority = math.Float64frombits(f.fixed64())
		case 2:
			v.Value = f.bytes()
		}
	}
	if f.err != nil {
		return PriorityValue{}, f.err
	}
	if math.IsNaN(v.Priority) {
		return PriorityValue{}, fmt.Errorf("%w: the priority is not a number", ErrMalformed)
	}
	if v.Priority == 0 {
		v.Priority = 0 // Drops the sign.
	}
	return v, nil
}

// Merge returns the value with the smaller priority; of two with one priority the bytewise smaller, so that the order of
// arrival does not matter.
func (v PriorityValue) Merge(other PriorityValue) PriorityValue {
	if other.Priority < v.Priority || other.Priority == v.Priority && bytes.Compare(other.Value, v.Value) < 0 {
		return other
	}
	return v
}

// Append appends the value's canonical payload to dst.
func (v PriorityValue) Append(dst []byte) []byte {
	if v.Priority != 0 {
		dst = protowire.AppendTag(dst, 1, protowire.Fixed64Type)
		dst = protowire.AppendFixed64(dst, math.Float64bits(v.Priority))
	}
	if len(v.Value) != 0 {
		dst = appendBytesField(dst, 2, v.Value)
	}
	return dst
}
