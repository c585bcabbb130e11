package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
)

// Sizes of the fixed parts of requests and answers.
const (
	HeaderBytes     = 16
	DescriptorBytes = 32
	TrailerBytes    = 8
)

// Op is what a frame is.
type Op uint8

// The frames.
const (
	OpBatch Op = 1
	OpCall  Op = 2
)

// Header starts every request and every answer.
type Header struct {
	Op       Op
	Status   Status // answers
	Count    uint16 // batch request: verbs; batch answer: verbs executed
	Sequence uint32
	Bytes    uint64 // batch request: WRITE payload; call: request or reply
}

// Put encodes the header into b[:HeaderBytes].
func (h Header) Put(b []byte) {
	_ = b[HeaderBytes-1]
	b[0], b[1] = byte(h.Op), byte(h.Status)
	binary.LittleEndian.PutUint16(b[2:], h.Count)
	binary.LittleEndian.PutUint32(b[4:], h.Sequence)
	binary.LittleEndian.PutUint64(b[8:], h.Bytes)
}

// ParseHeader decodes b[:HeaderBytes] and checks what holds for every frame.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderBytes {
		return Header{}, fmt.Errorf("header of %d bytes: %w", len(b), ErrBadFrame)
	}
	h := Header{
		Op:       Op(b[0]),
		Status:   Status(b[1]),
		Count:    binary.LittleEndian.Uint16(b[2:]),
		Sequence: binary.LittleEndian.Uint32(b[4:]),
		Bytes:    binary.LittleEndian.Uint64(b[8:]),
	}
	switch {
	case h.Op != OpBatch && h.Op != OpCall:
		return h, fmt.Errorf("frame of kind %d: %w", h.Op, ErrBadFrame)
	case h.Status >= statuses:
		return h, fmt.Errorf("frame with status %d: %w", h.Status, ErrBadFrame)
	case h.Op == OpBatch && (h.Count > fabric.MaxBatch || h.Bytes > fabric.MaxBatchBytes):
		return h, fmt.Errorf("batch of %d verbs and %d bytes: %w", h.Count, h.Bytes, ErrBadFrame)
	case h.Op == OpCall && (h.Count != 0 || h.Bytes > fabric.MaxCallBytes):
		return h, fmt.Errorf("call of %d bytes: %w", h.Bytes, ErrBadFrame)
	}
	return h, nil
}

// Descriptor is a verb without its payload.
type Descriptor struct {
	Kind    fabric.Kind
	Address uint64
	A, B    uint64 // see the package comment
}

// Describe returns the descriptor of a verb that fabric.Prefix has let through.
func Describe(v *fabric.Verb) Descriptor {
	d := Descriptor{Kind: v.Kind, Address: v.Address}
	switch v.Kind {
	case fabric.Read, fabric.Write:
		d.A = uint64(len(v.Buffer))
	case fabric.CAS:
		d.A, d.B = v.Expect, v.Swap
	case fabric.FetchAdd:
		d.A = v.Swap
	case fabric.Flush:
		d.A = v.Length
	}
	return d
}

// Put encodes the descriptor into b[:DescriptorBytes].
func (d Descriptor) Put(b []byte) {
	_ = b[DescriptorBytes-1]
	binary.LittleEndian.PutUint64(b, uint64(d.Kind))
	binary.LittleEndian.PutUint64(b[8:], d.Address)
	binary.LittleEndian.PutUint64(b[16:], d.A)
	binary.LittleEndian.PutUint64(b[24:], d.B)
}

// ParseDescriptors decodes count descriptors into dst[:0] and checks them against the frame: the
// WRITEs' lengths add up to payload, and everything read stays below MaxBatchBytes. It returns the decoded
// verbs; whether each may be executed is for fabric.Check.
func ParseDescriptors(dst []Descriptor, b []byte, count int, payload uint64) ([]Descriptor, error) {
	dst = dst[:0]
	if count > fabric.MaxBatch || len(b) != count*DescriptorBytes {
		return dst, fmt.Errorf("%d bytes for %d descriptors: %w", len(b), count, ErrBadFrame)
	}
	var written, total uint64
	for ; len(b) > 0; b = b[DescriptorBytes:] {
		kind := binary.LittleEndian.Uint64(b)
		d := Descriptor{
			Kind:    fabric.Kind(kind),
			Address: binary.LittleEndian.Uint64(b[8:]),
			A:       binary.LittleEndian.Uint64(b[16:]),
			B:       binary.LittleEndian.Uint64(b[24:]),
		}
		if kind > 0xff {
			return dst, fmt.Errorf("descriptor with reserved bytes set: %w", ErrBadFrame)
		}
		if d.Kind == fabric.Read || d.Kind == fabric.Write {
			if d.A > fabric.MaxVerbBytes {
				return dst, fmt.Errorf("%s of %d bytes: %w", d.Kind, d.A, ErrBadFrame)
			}
			total += d.A // no overflow: MaxBatch * MaxVerbBytes fits
			if d.Kind == fabric.Write {
				written += d.A
			}
		}
		dst = append(dst, d)
	}
	if written != payload || total > fabric.MaxBatchBytes {
		return dst, fmt.Errorf("batch announces %d bytes of payload, its verbs carry %d of %d: %w", payload, written, total, ErrBadFrame)
	}
	return dst, nil
}

// PutTrailer encodes the end of a batch answer into b[:TrailerBytes].
func PutTrailer(b []byte, sequence uint32) {
	binary.LittleEndian.PutUint64(b, uint64(^uint32(0))<<32|uint64(sequence))
}

// IsTrailer reports whether b is the end of the answer to batch sequence.
func IsTrailer(b []byte, sequence uint32) bool {
	return binary.LittleEndian.Uint64(b) == uint64(^uint32(0))<<32|uint64(sequence)
}
