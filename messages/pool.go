package messages

import (
	"sync"

	"github.com/dinomo-kv/dinomo/internal/invariant"
)

// The pools of request-plane messages. A message in a pool keeps its tuples (empty ones) so that the next decode or
// build allocates nothing; it keeps no reference to a frame or a value (WIRE-3). These are our own pools rather than
// the generated ones, whose reset keeps each payload's memory to decode into: here that memory is a frame or a
// cached value, and a recycled message would overwrite it.
var (
	keyRequests         = sync.Pool{New: func() any { return new(KeyRequest) }}
	keyResponses        = sync.Pool{New: func() any { return new(KeyResponse) }}
	keyAddressRequests  = sync.Pool{New: func() any { return new(KeyAddressRequest) }}
	keyAddressResponses = sync.Pool{New: func() any { return new(KeyAddressResponse) }}
)

// A message, or a tuple's list of addresses, that has grown larger is left to the collector, or one big batch would
// hold its memory for ever.
const (
	maxPooledTuples      = 1024
	maxPooledIPsPerTuple = 64
)

// AcquireKeyRequest returns an empty request from the pool.
func AcquireKeyRequest() *KeyRequest { return keyRequests.Get().(*KeyRequest) }

// ReleaseKeyRequest gives r back. Nothing of r may be used afterwards, nor its frame on r's account. nil is allowed.
func ReleaseKeyRequest(r *KeyRequest) {
	if r == nil {
		return
	}
	r.Type, r.ResponseAddress, r.RequestId, r.unknownFields = 0, "", "", nil
	if r.Tuples = resetTuples(r.Tuples); r.Tuples != nil {
		keyRequests.Put(r)
	}
}

// AcquireKeyResponse returns an empty response from the pool.
func AcquireKeyResponse() *KeyResponse { return keyResponses.Get().(*KeyResponse) }

// ReleaseKeyResponse gives r back. Nothing of r may be used afterwards. nil is allowed.
func ReleaseKeyResponse(r *KeyResponse) {
	if r == nil {
		return
	}
	r.Type, r.ResponseId, r.Error, r.unknownFields = 0, "", 0, nil
	if r.Tuples = resetTuples(r.Tuples); r.Tuples != nil {
		keyResponses.Put(r)
	}
}

// AcquireKeyAddressRequest returns an empty address request from the pool.
func AcquireKeyAddressRequest() *KeyAddressRequest {
	return keyAddressRequests.Get().(*KeyAddressRequest)
}

// ReleaseKeyAddressRequest gives r back, as ReleaseKeyRequest does.
func ReleaseKeyAddressRequest(r *KeyAddressRequest) {
	if r == nil || cap(r.Keys) > maxPooledTuples {
		return
	}
	r.ResponseAddress, r.RequestId, r.unknownFields = "", "", nil
	clear(r.Keys)
	r.Keys = r.Keys[:0]
	keyAddressRequests.Put(r)
}

// AcquireKeyAddressResponse returns an empty address response from the pool.
func AcquireKeyAddressResponse() *KeyAddressResponse {
	return keyAddressResponses.Get().(*KeyAddressResponse)
}

// ReleaseKeyAddressResponse gives r back, as ReleaseKeyRequest does.
func ReleaseKeyAddressResponse(r *KeyAddressResponse) {
	if r == nil || cap(r.Addresses) > maxPooledTuples {
		return
	}
	r.Error, r.ResponseId, r.unknownFields = 0, "", nil
	for _, a := range r.Addresses {
		a.Key, a.unknownFields = "", nil
		a.Ips = resetIPs(a.Ips)
	}
	r.Addresses = r.Addresses[:0]
	keyAddressResponses.Put(r)
}

// AddTuple adds an empty tuple and returns it for the caller to fill.
func (x *KeyRequest) AddTuple() *KeyTuple {
	x.Tuples = grow(x.Tuples)
	return x.Tuples[len(x.Tuples)-1]
}

// AddTuple adds an empty tuple and returns it for the caller to fill.
func (x *KeyResponse) AddTuple() *KeyTuple {
	x.Tuples = grow(x.Tuples)
	return x.Tuples[len(x.Tuples)-1]
}

// AddAddress adds an empty address and returns it for the caller to fill.
func (x *KeyAddressResponse) AddAddress() *KeyAddress {
	x.Addresses = grow(x.Addresses)
	return x.Addresses[len(x.Addresses)-1]
}

// grow lengthens s by one element, reusing the one that is there already when s was longer before.
func grow[T any](s []*T) []*T {
	if len(s) == cap(s) {
		return append(s, new(T))
	}
	s = s[:len(s)+1]
	if s[len(s)-1] == nil {
		s[len(s)-1] = new(T)
	}
	return s
}

// resetTuples empties the tuples and returns them at length 0, or nil when they are too many to keep. Tuples beyond
// the length must be empty already: whoever shortens the slice of a pooled message leaves dirt for the next user.
func resetTuples(tuples []*KeyTuple) []*KeyTuple {
	if cap(tuples) > maxPooledTuples {
		return nil
	}
	if tuples == nil {
		return []*KeyTuple{}
	}
	for _, t := range tuples {
		t.Key, t.LatticeType, t.Error, t.Payload, t.AddressCacheSize, t.Invalidate, t.unknownFields = "", 0, 0, nil, 0, false, nil
		t.Ips = resetIPs(t.Ips)
	}
	if invariant.Enabled {
		for _, t := range tuples[len(tuples):cap(tuples)] {
			invariant.Check(t == nil || t.Key == "" && t.Payload == nil && len(t.Ips) == 0,
				"WIRE-3: a pooled message's tuples were shortened while one was in use")
		}
	}
	return tuples[:0]
}

func resetIPs(ips []string) []string {
	if cap(ips) > maxPooledIPsPerTuple {
		return nil
	}
	clear(ips)
	return ips[:0]
}
