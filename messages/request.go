package messages

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/dinomo-kv/dinomo/internal/invariant"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// IsGet says whether t reads: GET or READ.
func (t RequestType) IsGet() bool { return t == RequestType_GET || t == RequestType_READ }

// IsPut says whether t writes a value: PUT, INSERT or UPDATE.
func (t RequestType) IsPut() bool {
	return t == RequestType_PUT || t == RequestType_INSERT || t == RequestType_UPDATE
}

// IsDelete says whether t removes keys.
func (t RequestType) IsDelete() bool { return t == RequestType_DELETE }

// DecodeKeyRequest decodes a request into a pooled message whose strings and payloads alias the frame; give it back
// with ReleaseKeyRequest while the frame still stands, and clone what has to live longer.
//
//   - A nil request: the frame is no request, or names no place to answer to. The error wraps ErrMalformed; all that
//     can be done is to count it.
//   - A request and an error (ErrInvalidRequest): refused as a whole; answer with RefuseKeyRequest. It may have lost its
//     tuples, when there were too many of them.
//   - A request and no error: its type is known, and each tuple's Error is the verdict on that tuple, NO_ERROR or why to
//     refuse it (INVALID_REQUEST, TOO_LARGE), whatever the peer had put there. A tuple without an error has a
//     key, and in a put a known lattice type and a payload that is well-formed for it. Gets and deletes have no payload.
//
// The response address is not parsed: look up the peer by its text first, and ParseAddress a new one.
func (c *Codec) DecodeKeyRequest(frame []byte) (*KeyRequest, error) {
	s, err := scan(frame, keyRequestFields)
	if err == nil {
		err = c.checkSender(s)
	}
	if err != nil {
		return nil, fmt.Errorf("decode KeyRequest: %w", err)
	}
	return c.decodeKeyRequest(frame, s)
}

// DecodeGossip decodes what one KN gossips to another, or to a cache node: a put that nobody answers. It is
// DecodeKeyRequest without the need for a response address.
func (c *Codec) DecodeGossip(frame []byte) (*KeyRequest, error) {
	s, err := scan(frame, keyRequestFields)
	if err != nil {
		return nil, fmt.Errorf("decode gossip: %w", err)
	}
	return c.decodeKeyRequest(frame, s)
}

func (c *Codec) decodeKeyRequest(frame []byte, s shape) (*KeyRequest, error) {
	r := AcquireKeyRequest()
	if s.items > c.limits.MaxTuples {
		r.ResponseAddress, r.RequestId = string(s.address), string(s.id)
		return r, fmt.Errorf("%w: %d tuples, the limit is %d", ErrInvalidRequest, s.items, c.limits.MaxTuples)
	}
	if err := r.UnmarshalVTUnsafe(frame); err != nil {
		ReleaseKeyRequest(r)
		return nil, fmt.Errorf("decode KeyRequest: %w: %w", ErrMalformed, err)
	}
	r.unknownFields = nil
	for _, t := range r.Tuples {
		t.Error = c.verdict(r.Type, t)
		t.Ips, t.unknownFields = nil, nil // Meaningless in a request.
	}
	if !r.Type.IsGet() && !r.Type.IsPut() && !r.Type.IsDelete() {
		return r, fmt.Errorf("%w: request type %s", ErrInvalidRequest, r.Type)
	}
	return r, nil
}

// verdict says why a tuple has to be refused, or NO_ERROR.
func (c *Codec) verdict(op RequestType, t *KeyTuple) AnnaError {
	if !op.IsPut() {
		t.Payload = nil
	}
	switch {
	case len(t.Key) == 0:
		return AnnaError_INVALID_REQUEST
	case len(t.Key) > c.limits.MaxKeyBytes || len(t.Payload) > c.limits.MaxPayloadBytes:
		return AnnaError_TOO_LARGE
	case !op.IsPut():
		return AnnaError_NO_ERROR
	case t.LatticeType <= LatticeType_NONE || t.LatticeType >= LatticeType(lattice.NumTypes):
		return AnnaError_INVALID_REQUEST
	}
	if err := lattice.Validate(lattice.Type(t.LatticeType), t.Payload, c.payload); err != nil {
		if errors.Is(err, lattice.ErrTooLarge) {
			return AnnaError_TOO_LARGE
		}
		return AnnaError_INVALID_REQUEST
	}
	return AnnaError_NO_ERROR
}

// AnswerKeyRequest returns a pooled response of r's type and id, without tuples. It shares r's strings.
func AnswerKeyRequest(r *KeyRequest) *KeyResponse {
	out := AcquireKeyResponse()
	out.Type, out.ResponseId = r.Type, r.RequestId
	return out
}

// RefuseKeyRequest returns a pooled response that answers every tuple of r, and the whole, with err's code.
func RefuseKeyRequest(r *KeyRequest, err error) *KeyResponse {
	code := CodeOf(err)
	out := AnswerKeyRequest(r)
	out.Error = code
	for _, t := range r.Tuples {
		answer := out.AddTuple()
		answer.Key, answer.LatticeType, answer.Error = t.Key, t.LatticeType, code
	}
	return out
}

// DecodeKeyResponse decodes an answer into a pooled message whose strings and payloads alias the frame; give it back
// with ReleaseKeyResponse while the frame still stands.
func (c *Codec) DecodeKeyResponse(frame []byte) (*KeyResponse, error) {
	s, err := scan(frame, keyResponseFields)
	if err == nil {
		err = c.checkCounts(s)
	}
	if err != nil {
		return nil, fmt.Errorf("decode KeyResponse: %w", err)
	}
	r := AcquireKeyResponse()
	if err := r.UnmarshalVTUnsafe(frame); err != nil {
		ReleaseKeyResponse(r)
		return nil, fmt.Errorf("decode KeyResponse: %w: %w", ErrMalformed, err)
	}
	r.unknownFields = nil
	for _, t := range r.Tuples {
		t.unknownFields = nil
		if len(t.Ips) > c.limits.MaxOwners {
			err = fmt.Errorf("decode KeyResponse: %w: %d addresses for one key, the limit is %d", ErrMalformed, len(t.Ips), c.limits.MaxOwners)
		}
	}
	if err != nil {
		ReleaseKeyResponse(r)
		return nil, err
	}
	return r, nil
}

// AppendKeyRequest appends r's bytes to dst.
func AppendKeyRequest(dst []byte, r *KeyRequest) []byte { return appendFast(dst, r) }

// AppendKeyResponse appends r's bytes to dst.
func AppendKeyResponse(dst []byte, r *KeyResponse) []byte { return appendFast(dst, r) }

// fastMessage is a message of the request plane, whose generated code writes it from the back.
type fastMessage interface {
	SizeVT() int
	MarshalToSizedBufferVT([]byte) (int, error)
}

// appendFast appends m's bytes to dst, growing it at most once.
func appendFast[M fastMessage](dst []byte, m M) []byte {
	size := m.SizeVT()
	start := len(dst)
	if cap(dst)-start < size {
		dst = append(make([]byte, 0, max(start+size, 2*cap(dst))), dst...)
	}
	dst = dst[:start+size]
	n, err := m.MarshalToSizedBufferVT(dst[start:])
	if err != nil || n != size { // Not invariant.Check alone: boxing its arguments would allocate on the hot path.
		invariant.Check(false, "a message of %d bytes was written as %d: %v", size, n, err)
	}
	return dst
}

// layout says where a message of the request plane has what scan looks for; 0 is nowhere.
type layout struct{ items, address, id protowire.Number }

var (
	keyRequestFields         = layout{items: 2, address: 3, id: 4}
	keyResponseFields        = layout{items: 2, id: 3}
	keyAddressRequestFields  = layout{items: 2, address: 1, id: 3}
	keyAddressResponseFields = layout{items: 1, id: 3}
)

// shape is what scan found: how many tuples, keys or addresses, and where to answer.
type shape struct {
	items       int
	address, id []byte
}

// scan walks a message's top level before anything is allocated for it: what decoding costs is known, and refused,
// beforehand. It also keeps from the generated decoder the field numbers above 32 bits, which that one truncates.
func scan(frame []byte, l layout) (shape, error) {
	var s shape
	for len(frame) > 0 {
		number, kind, n := protowire.ConsumeTag(frame)
		if n < 0 || !number.IsValid() {
			return s, fmt.Errorf("%w: bad field tag", ErrMalformed)
		}
		size := protowire.ConsumeFieldValue(number, kind, frame[n:])
		if size < 0 {
			return s, fmt.Errorf("%w: field %d: %w", ErrMalformed, number, protowire.ParseError(size))
		}
		if kind == protowire.BytesType {
			content, _ := protowire.ConsumeBytes(frame[n : n+size])
			switch number {
			case l.items:
				s.items++
			case l.address:
				s.address = content
			case l.id:
				s.id = content
			}
		}
		frame = frame[n+size:]
	}
	return s, nil
}

// checkSender refuses a request that cannot be answered. Ids too long to echo are among those: cut short, they
// would be somebody else's.
func (c *Codec) checkSender(s shape) error {
	switch {
	case len(s.address) == 0:
		return fmt.Errorf("%w: no response address", ErrMalformed)
	case len(s.address) > MaxAddressBytes:
		return fmt.Errorf("%w: a response address of %d bytes, the limit is %d", ErrMalformed, len(s.address), MaxAddressBytes)
	case len(s.id) > c.limits.MaxRequestIDBytes:
		return fmt.Errorf("%w: a request id of %d bytes, the limit is %d", ErrMalformed, len(s.id), c.limits.MaxRequestIDBytes)
	}
	return nil
}

// checkCounts refuses an answer that is larger than any of our requests calls for.
func (c *Codec) checkCounts(s shape) error {
	if s.items > c.limits.MaxTuples {
		return fmt.Errorf("%w: %d tuples or addresses, the limit is %d", ErrMalformed, s.items, c.limits.MaxTuples)
	}
	return nil
}
