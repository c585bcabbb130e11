package call

import (
	"encoding/binary"
	"fmt"
	"math"
)

// AppendRequest appends the encoding of r to dst.
func AppendRequest(dst []byte, r *Request) []byte {
	dst = append(dst, byte(r.Op), Version)
	switch r.Op {
	case Alloc:
		dst = binary.LittleEndian.AppendUint32(dst, r.Count)
		dst = appendBool(dst, r.DeletesOnly)
		dst = binary.LittleEndian.AppendUint64(dst, r.Table)
		dst = binary.LittleEndian.AppendUint64(dst, r.Settled)
	case Progress:
		dst = binary.LittleEndian.AppendUint64(dst, r.Table)
		dst = binary.LittleEndian.AppendUint64(dst, r.Settled)
	case Drain:
		dst = binary.LittleEndian.AppendUint64(dst, r.Settled)
		dst = binary.LittleEndian.AppendUint64(dst, r.Through)
	case Root:
		dst = binary.LittleEndian.AppendUint64(dst, r.Table)
	case MetaGet:
		dst = appendBytes(dst, r.Name)
	case MetaCAS:
		dst = appendBytes(dst, r.Name)
		dst = binary.LittleEndian.AppendUint64(dst, r.Expect)
		dst = appendBytes(dst, r.Bytes)
	case Install, Remove:
		dst = appendBytes(dst, r.Key)
	}
	return dst
}

// DecodeRequest fills r from message. Its byte strings alias message. The error wraps ErrMalformed.
func DecodeRequest(message []byte, r *Request) error {
	d := decoder{rest: message}
	*r = Request{Op: Op(d.u8())}
	version := d.u8()
	switch {
	case d.failed || !r.Op.Valid():
		return fmt.Errorf("%w: no such operation", ErrMalformed)
	case version != Version:
		return fmt.Errorf("%w: protocol version %d, want %d", ErrMalformed, version, Version)
	}
	switch r.Op {
	case Alloc:
		r.Count, r.DeletesOnly, r.Table, r.Settled = d.u32(), d.bool(), d.u64(), d.u64()
	case Progress:
		r.Table, r.Settled = d.u64(), d.u64()
	case Drain:
		r.Settled, r.Through = d.u64(), d.u64()
	case Root:
		r.Table = d.u64()
	case MetaGet:
		r.Name = d.bytes()
	case MetaCAS:
		r.Name, r.Expect, r.Bytes = d.bytes(), d.u64(), d.bytes()
	case Install, Remove:
		r.Key = d.bytes()
	}
	return d.end(r.Op)
}

// carriesFields says whether a reply of this operation and status has its fields.
func carriesFields(op Op, s Status) bool {
	return s == OK || op == Alloc && (s == NoSpace || s == Busy) || op == MetaCAS && s == Conflict
}

// AppendReply appends the encoding of r to dst. Text is cut at 65,535 bytes.
func AppendReply(dst []byte, r *Reply) []byte {
	text := r.Text[:min(len(r.Text), math.MaxUint16)]
	dst = append(dst, byte(r.Status), byte(r.Op))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(text)))
	dst = append(dst, text...)
	if !carriesFields(r.Op, r.Status) {
		return dst
	}
	switch r.Op {
	case Attach:
		dst = appendProgress(dst, r)
		dst = binary.LittleEndian.AppendUint64(dst, r.NextSequence)
		dst = binary.LittleEndian.AppendUint32(dst, r.UnmergedLimit)
		dst = binary.LittleEndian.AppendUint64(dst, r.ServerEpoch)
		dst = binary.LittleEndian.AppendUint64(dst, r.LeaseMicros)
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(r.Tails)))
		for _, t := range r.Tails {
			dst = appendSegment(dst, t.Segment)
			dst = binary.LittleEndian.AppendUint64(dst, t.Tail)
			dst = binary.LittleEndian.AppendUint64(dst, t.NextSequence)
		}
	case Alloc:
		dst = appendProgress(dst, r)
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(r.Segments)))
		for _, s := range r.Segments {
			dst = appendSegment(dst, s)
		}
	case Progress, Seal:
		dst = appendProgress(dst, r)
	case Drain:
		dst = appendProgress(dst, r)
		dst = appendBool(dst, r.Done)
	case Root:
		dst = binary.LittleEndian.AppendUint64(dst, r.Table)
		dst = appendBytes(dst, r.Bytes)
	case MetaGet, MetaCAS:
		dst = binary.LittleEndian.AppendUint64(dst, r.Record)
		dst = appendBytes(dst, r.Bytes)
	case Install:
		dst = binary.LittleEndian.AppendUint64(dst, r.Pointer)
	case Stats:
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(r.Counts)))
		for _, n := range r.Counts {
			dst = binary.LittleEndian.AppendUint64(dst, n)
		}
	}
	return dst
}

// DecodeReply fills r from message. Bytes aliases message; the lists reuse r's own memory. The
// error wraps ErrMalformed.
func DecodeReply(message []byte, r *Reply) error {
	tails, segments, counts := r.Tails[:0], r.Segments[:0], r.Counts[:0]
	d := decoder{rest: message}
	*r = Reply{Status: Status(d.u8()), Op: Op(d.u8())}
	if text := d.take(int(d.u16())); len(text) > 0 {
		r.Text = string(text)
	}
	if d.failed || !r.Op.Valid() || r.Status >= statuses {
		return fmt.Errorf("%w: no such operation or status", ErrMalformed)
	}
	r.Tails, r.Segments, r.Counts = tails, segments, counts
	if carriesFields(r.Op, r.Status) {
		d.fields(r)
	}
	return d.end(r.Op)
}

// fields reads what follows the text.
func (d *decoder) fields(r *Reply) {
	switch r.Op {
	case Attach:
		d.progress(r)
		r.NextSequence, r.UnmergedLimit, r.ServerEpoch, r.LeaseMicros = d.u64(), d.u32(), d.u64(), d.u64()
		for range d.count(32) {
			r.Tails = append(r.Tails, SegmentTail{d.segment(), d.u64(), d.u64()})
		}
	case Alloc:
		d.progress(r)
		for range d.count(16) {
			r.Segments = append(r.Segments, d.segment())
		}
	case Progress, Seal:
		d.progress(r)
	case Drain:
		d.progress(r)
		r.Done = d.bool()
	case Root:
		r.Table, r.Bytes = d.u64(), d.bytes()
	case MetaGet, MetaCAS:
		r.Record, r.Bytes = d.u64(), d.bytes()
	case Install:
		r.Pointer = d.u64()
	case Stats:
		for range d.count(8) {
			r.Counts = append(r.Counts, d.u64())
		}
	}
}

func appendBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, 1)
	}
	return append(dst, 0)
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(dst, uint32(len(b))), b...)
}

func appendSegment(dst []byte, s Segment) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, s.ID)
	dst = binary.LittleEndian.AppendUint32(dst, s.Generation)
	return binary.LittleEndian.AppendUint64(dst, s.Order)
}

func appendProgress(dst []byte, r *Reply) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, r.Table)
	dst = binary.LittleEndian.AppendUint64(dst, r.Merged)
	return binary.LittleEndian.AppendUint32(dst, r.Unmerged)
}

// decoder takes fields off a message; after the first one that is not there it yields zeros.
type decoder struct {
	rest   []byte
	failed bool
}

func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.rest) {
		d.failed, d.rest = true, nil
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) u8() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) bool() bool {
	b := d.u8()
	d.failed = d.failed || b > 1
	return b == 1
}

func (d *decoder) u16() uint16 {
	if b := d.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (d *decoder) u32() uint32 {
	if b := d.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if b := d.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) bytes() []byte { return d.take(int(d.u32())) }

// count reads a list's length and refuses one that the rest of the message cannot hold.
func (d *decoder) count(elementBytes int) int {
	n := int(d.u32())
	if n > len(d.rest)/elementBytes {
		d.failed, d.rest = true, nil
		return 0
	}
	return n
}

func (d *decoder) segment() Segment { return Segment{d.u32(), d.u32(), d.u64()} }

func (d *decoder) progress(r *Reply) { r.Table, r.Merged, r.Unmerged = d.u64(), d.u64(), d.u32() }

// end says whether the message held exactly what its operation wants.
func (d *decoder) end(op Op) error {
	switch {
	case d.failed:
		return fmt.Errorf("%w: %s is cut short or holds an impossible value", ErrMalformed, op)
	case len(d.rest) > 0:
		return fmt.Errorf("%w: %d bytes too many after %s", ErrMalformed, len(d.rest), op)
	}
	return nil
}
