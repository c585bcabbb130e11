package lattice

import (
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// fields walks the fields of a serialized message. A field of a known number but another wire type than the schema's
// is refused rather than skipped as unknown: no honest peer sends one.
type fields struct {
	rest []byte
	err  error

	number protowire.Number
	kind   protowire.Type
	raw    []byte
}

// next moves to the next field and says whether there is one; err says why not.
func (f *fields) next() bool {
	if f.err != nil || len(f.rest) == 0 {
		return false
	}
	number, kind, n := protowire.ConsumeTag(f.rest)
	if n < 0 {
		f.err = fmt.Errorf("%w: %w", ErrMalformed, protowire.ParseError(n))
		return false
	}
	if !number.IsValid() {
		f.err = fmt.Errorf("%w: field number %d", ErrMalformed, number)
		return false
	}
	size := protowire.ConsumeFieldValue(number, kind, f.rest[n:])
	if size < 0 {
		f.err = fmt.Errorf("%w: field %d: %w", ErrMalformed, number, protowire.ParseError(size))
		return false
	}
	f.number, f.kind, f.raw = number, kind, f.rest[n:n+size]
	f.rest = f.rest[n+size:]
	return true
}

// bytes returns the present field's content, which aliases the message.
func (f *fields) bytes() []byte {
	if !f.is(protowire.BytesType) {
		return nil
	}
	b, _ := protowire.ConsumeBytes(f.raw)
	return b
}

// varint returns the present field's number.
func (f *fields) varint() uint64 {
	if !f.is(protowire.VarintType) {
		return 0
	}
	v, _ := protowire.ConsumeVarint(f.raw)
	return v
}

// fixed64 returns the present field's eight bytes.
func (f *fields) fixed64() uint64 {
	if !f.is(protowire.Fixed64Type) {
		return 0
	}
	v, _ := protowire.ConsumeFixed64(f.raw)
	return v
}

// text returns the present field's content as a string, which proto3 wants to be UTF-8: a peer that checks would
// refuse the whole message in which we pass it on.
func (f *fields) text() string {
	b := f.bytes()
	if f.err == nil && !utf8.Valid(b) {
		f.err = fmt.Errorf("%w: field %d is not UTF-8", ErrMalformed, f.number)
	}
	return string(b)
}

func (f *fields) is(want protowire.Type) bool {
	if f.kind != want && f.err == nil {
		f.err = fmt.Errorf("%w: field %d has wire type %d, want %d", ErrMalformed, f.number, f.kind, want)
	}
	return f.kind == want
}

// checkSize refuses a payload above the limit before anything is made of it.
func checkSize(payload []byte, opts Options) error {
	if len(payload) > opts.MaxPayloadBytes {
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, len(payload), opts.MaxPayloadBytes)
	}
	return nil
}

// checkCount refuses more elements than the limit.
func checkCount(n int, what string, opts Options) error {
	if n > opts.MaxElements {
		return fmt.Errorf("%w: more than %d %s", ErrTooLarge, opts.MaxElements, what)
	}
	return nil
}

// appendBytesField appends one length-delimited field.
func appendBytesField(dst []byte, number protowire.Number, content []byte) []byte {
	dst = protowire.AppendTag(dst, number, protowire.BytesType)
	return protowire.AppendBytes(dst, content)
}
