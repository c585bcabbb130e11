package lattice

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// LWWValue is a decoded LWW payload. Value aliases the payload it was parsed from.
type LWWValue struct {
	Timestamp uint64
	Value     []byte
}

// ParseLWW decodes an LWW payload without allocating. The empty payload is a value: timestamp 0 and no bytes.
func ParseLWW(payload []byte, opts Options) (LWWValue, error) {
	if err := checkSize(payload, opts.EnsureDefaults()); err != nil {
		return LWWValue{}, err
	}
	if v, ok := parseUsualLWW(payload); ok {
		return v, nil
	}
	return parseAnyLWW(payload)
}

// parseUsualLWW decodes the form that every known writer produces: each field once at most and in order. Every put is
// checked on the hot path, and this is a third of the cost of parseAnyLWW (BenchmarkValidateLWW). It only says yes where
// that one would.
func parseUsualLWW(p []byte) (LWWValue, bool) {
	var v LWWValue
	if len(p) > 0 && p[0] == 1<<3|byte(protowire.VarintType) {
		timestamp, n := binary.Uvarint(p[1:])
		if n <= 0 {
			return v, false
		}
		v.Timestamp, p = timestamp, p[1+n:]
	}
	if len(p) == 0 {
		return v, true
	}
	if p[0] != 2<<3|byte(protowire.BytesType) {
		return v, false
	}
	size, n := binary.Uvarint(p[1:])
	if n <= 0 || size != uint64(len(p)-1-n) {
		return v, false
	}
	v.Value = p[1+n:]
	return v, true
}

// parseAnyLWW decodes whatever protobuf allows.
func parseAnyLWW(payload []byte) (LWWValue, error) {
	var v LWWValue
	f := fields{rest: payload}
	for f.next() {
		switch f.number {
		case 1:
			v.Timestamp = f.varint()
		case 2:
			v.Value = f.bytes()
		}
	}
	return v, f.err
}

// Append appends the value's payload to dst. Only a nil dst and the zero value give nil.
func (v LWWValue) Append(dst []byte) []byte {
	if v.Timestamp != 0 {
		dst = protowire.AppendTag(dst, 1, protowire.VarintType)
		dst = protowire.AppendVarint(dst, v.Timestamp)
	}
	if len(v.Value) != 0 {
		dst = appendBytesField(dst, 2, v.Value)
	}
	return dst
}

// Size is the number of bytes that Append appends.
func (v LWWValue) Size() int {
	n := 0
	if v.Timestamp != 0 {
		n += 1 + protowire.SizeVarint(v.Timestamp)
	}
	if len(v.Value) != 0 {
		n += 1 + protowire.SizeBytes(len(v.Value))
	}
	return n
}

// Merge returns the value that wins by timestamp; next wins when they are equal.
func (v LWWValue) Merge(next LWWValue) LWWValue {
	if next.Timestamp < v.Timestamp {
		return v
	}
	return next
}

// mergeLWW keeps one of the two payloads as it is: the hot path copies nothing. By arrival it does not even look into
// current, which is gone either way.
func mergeLWW(current, incoming []byte, opts Options) ([]byte, bool, error) {
	next, err := ParseLWW(incoming, opts)
	if err != nil {
		return nil, false, fmt.Errorf("incoming: %w", err)
	}
	if incoming == nil {
		incoming = []byte{}
	}
	if current == nil {
		return incoming, true, nil
	}
	if opts.Mode == Timestamp {
		have, err := ParseLWW(current, opts)
		if err != nil {
			return nil, false, fmt.Errorf("current: %w", err)
		}
		if next.Timestamp < have.Timestamp {
			return current, false, nil
		}
	}
	return incoming, !bytes.Equal(current, incoming), nil
}
