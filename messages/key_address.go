package messages

import "fmt"

// DecodeKeyAddressRequest decodes a question for keys' owners into a pooled message whose strings alias the frame;
// give it back with ReleaseKeyAddressRequest while the frame still stands. As with DecodeKeyRequest, a nil request
// cannot be answered (ErrMalformed), and a request with an error (ErrInvalidRequest, ErrTooLarge) is to be answered with
// RefuseKeyAddressRequest. No keys at all is a valid question with an empty answer.
func (c *Codec) DecodeKeyAddressRequest(frame []byte) (*KeyAddressRequest, error) {
	s, err := scan(frame, keyAddressRequestFields)
	if err == nil {
		err = c.checkSender(s)
	}
	if err != nil {
		return nil, fmt.Errorf("decode KeyAddressRequest: %w", err)
	}
	r := AcquireKeyAddressRequest()
	if s.items > c.limits.MaxTuples {
		r.ResponseAddress, r.RequestId = string(s.address), string(s.id)
		return r, fmt.Errorf("%w: %d keys, the limit is %d", ErrInvalidRequest, s.items, c.limits.MaxTuples)
	}
	if err := r.UnmarshalVTUnsafe(frame); err != nil {
		ReleaseKeyAddressRequest(r)
		return nil, fmt.Errorf("decode KeyAddressRequest: %w: %w", ErrMalformed, err)
	}
	r.unknownFields = nil
	for _, key := range r.Keys {
		switch {
		case len(key) == 0:
			return r, fmt.Errorf("%w: an empty key", ErrInvalidRequest)
		case len(key) > c.limits.MaxKeyBytes:
			return r, fmt.Errorf("%w: a key of %d bytes, the limit is %d", ErrTooLarge, len(key), c.limits.MaxKeyBytes)
		}
	}
	return r, nil
}

// AnswerKeyAddressRequest returns a pooled response with r's id and no addresses. It shares r's strings.
func AnswerKeyAddressRequest(r *KeyAddressRequest) *KeyAddressResponse {
	out := AcquireKeyAddressResponse()
	out.ResponseId = r.RequestId
	return out
}

// RefuseKeyAddressRequest returns a pooled response with err's code and an entry without addresses for each key.
func RefuseKeyAddressRequest(r *KeyAddressRequest, err error) *KeyAddressResponse {
	out := AnswerKeyAddressRequest(r)
	out.Error = CodeOf(err)
	for _, key := range r.Keys {
		out.AddAddress().Key = key
	}
	return out
}

// DecodeKeyAddressResponse decodes a routing thread's answer into a pooled message whose strings alias the frame; give
// it back with ReleaseKeyAddressResponse while the frame still stands.
func (c *Codec) DecodeKeyAddressResponse(frame []byte) (*KeyAddressResponse, error) {
	s, err := scan(frame, keyAddressResponseFields)
	if err == nil {
		err = c.checkCounts(s)
	}
	if err != nil {
		return nil, fmt.Errorf("decode KeyAddressResponse: %w", err)
	}
	r := AcquireKeyAddressResponse()
	if err := r.UnmarshalVTUnsafe(frame); err != nil {
		ReleaseKeyAddressResponse(r)
		return nil, fmt.Errorf("decode KeyAddressResponse: %w: %w", ErrMalformed, err)
	}
	r.unknownFields = nil
	for _, a := range r.Addresses {
		a.unknownFields = nil
		if len(a.Ips) > c.limits.MaxOwners {
			err = fmt.Errorf("decode KeyAddressResponse: %w: %d addresses for one key, the limit is %d", ErrMalformed, len(a.Ips), c.limits.MaxOwners)
		}
	}
	if err != nil {
		ReleaseKeyAddressResponse(r)
		return nil, err
	}
	return r, nil
}

// AppendKeyAddressRequest appends r's bytes to dst.
func AppendKeyAddressRequest(dst []byte, r *KeyAddressRequest) []byte { return appendFast(dst, r) }

// AppendKeyAddressResponse appends r's bytes to dst.
func AppendKeyAddressResponse(dst []byte, r *KeyAddressResponse) []byte { return appendFast(dst, r) }
