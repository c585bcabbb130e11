package messages

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// Gets is a request for keys and, once it is filled in, its answer: KeyRequest and KeyResponse for the one case that decides
// what a KN can do, reads that the cache answers. It is read in one pass over the frame, and written from where the values
// lie to where they are sent from, without a message in between. One Gets serves request after request; its slices alias
// the frame and the values.
//
// BenchmarkServeGet shows what it saves. The generated code is its oracle: FuzzParseGets.
type Gets struct {
	Type   RequestType
	To, ID []byte // the response address and the request's id
	Tuples []Get
	most   int // tuples since the last Release
}

// Get is one key of a Gets: Key and Known are the request's, the others are the answer's, for whoever parsed it to set.
type Get struct {
	Key        []byte
	Known      uint32 // how many addresses the client knows for the key (address_cache_size)
	Lattice    LatticeType
	Payload    []byte
	Invalidate bool

	bytes int // of the answer's tuple
}

// Tags of the fields that ParseGets takes and MarshalToSizedBufferVT writes: number << 3 | wire type.
const (
	varintField = 0
	bytesField  = 2

	tagType       = 1<<3 + varintField
	tagTuple      = 2<<3 + bytesField
	tagTo         = 3<<3 + bytesField // of a request
	tagID         = 4<<3 + bytesField // of a request
	tagAnswerID   = 3<<3 + bytesField
	tagKey        = 1<<3 + bytesField
	tagLattice    = 2<<3 + varintField
	tagPayload    = 4<<3 + bytesField
	tagKnown      = 5<<3 + varintField
	tagInvalidate = 6<<3 + varintField

	oneByteVarint = 0x80 // below it a varint is one byte
)

// ParseGets reads a frame that is a GET or READ with nothing out of the ordinary: no field but those that ask for keys, no
// empty, oversized or metadata key, no more of anything than the limits allow. For every other frame it returns false, and
// DecodeKeyRequest says what to make of it; for one that it takes, DecodeKeyRequest would find the same keys, address and id, and
// refuse nothing.
func (c *Codec) ParseGets(frame []byte, g *Gets) bool {
	g.Type, g.To, g.ID, g.Tuples = 0, nil, nil, g.Tuples[:0]
	for i := 0; i < len(frame); {
		tag := frame[i]
		if tag == tagType {
			if i+1 >= len(frame) || frame[i+1] >= oneByteVarint {
				return false
			}
			g.Type = RequestType(frame[i+1])
			i += 2
			continue
		}
		content := []byte(nil)
		if end := shortEnd(frame, i+1); end >= 0 {
			content, i = frame[i+2:end:end], end
		} else if content, i = lengthPrefixed(frame, i+1); i < 0 {
			return false
		}
		switch tag {
		case tagTuple:
			if !c.parseGet(content, g) {
				return false
			}
		case tagTo:
			g.To = content
		case tagID:
			g.ID = content
		default:
			return false
		}
	}
	return g.Type.IsGet() && len(g.Tuples) > 0 && len(g.Tuples) <= c.limits.MaxTuples &&
		len(g.To) > 0 && len(g.To) <= MaxAddressBytes && len(g.ID) <= c.limits.MaxRequestIDBytes
}

// parseGet adds the tuple that b holds.
func (c *Codec) parseGet(b []byte, g *Gets) bool {
	n := len(g.Tuples)
	if n < cap(g.Tuples) {
		g.Tuples = g.Tuples[:n+1]
	} else if n < c.limits.MaxTuples {
		g.Tuples = append(g.Tuples, Get{})
	} else {
		return false
	}
	g.most = max(g.most, n+1)
	var key []byte
	known := uint64(0)
	for i := 0; i < len(b); {
		switch b[i] {
		case tagKey:
			if end := shortEnd(b, i+1); end >= 0 {
				key, i = b[i+2:end:end], end
			} else if key, i = lengthPrefixed(b, i+1); i < 0 {
				return false
			}
		case tagKnown:
			if i+1 < len(b) && b[i+1] < oneByteVarint {
				known, i = uint64(b[i+1]), i+2
			} else if known, i = varint(b, i+1); i < 0 || known > math.MaxUint32 {
				return false
			}
		case tagLattice: // means nothing in a get
			if _, i = varint(b, i+1); i < 0 {
				return false
			}
		default:
			return false
		}
	}
	g.Tuples[n].Key, g.Tuples[n].Known = key, uint32(known)
	return len(key) > 0 && len(key) <= c.limits.MaxKeyBytes && !isMetadataKey(key)
}

func isMetadataKey(key []byte) bool {
	return len(key) >= len(metadataPrefix) && string(key[:len(metadataPrefix)]) == metadataPrefix
}

// varint reads the varint at b[i] and returns where it ends, -1 when it does not.
func varint(b []byte, i int) (v uint64, next int) {
	if i >= len(b) {
		return 0, -1
	}
	v, n := binary.Uvarint(b[i:])
	if n <= 0 {
		return 0, -1
	}
	return v, i + n
}

// shortEnd returns where the bytes end whose length, below 128, is at b[i], or -1. It is small enough to be inlined.
func shortEnd(b []byte, i int) int {
	if i < len(b) && b[i] < oneByteVarint && int(b[i]) < len(b)-i {
		return i + 1 + int(b[i])
	}
	return -1
}

// lengthPrefixed returns the bytes behind the length at b[i] and where they end, -1 when they are not all there.
func lengthPrefixed(b []byte, i int) (content []byte, next int) {
	n, from := varint(b, i)
	if from < 0 || n > uint64(len(b)-from) {
		return nil, -1
	}
	next = from + int(n)
	return b[from:next:next], next
}

// Release drops the references to frames and values. Call it before these are gone.
func (g *Gets) Release() {
	clear(g.Tuples[:g.most])
	g.most, g.To, g.ID, g.Tuples = 0, nil, nil, g.Tuples[:0]
}

// SizeVT returns the size of the answer: a KeyResponse with these tuples and no errors.
func (g *Gets) SizeVT() int {
	size := 1 + varintBytes(uint64(g.Type))
	if len(g.ID) > 0 {
		size += prefixedBytes(len(g.ID))
	}
	for i := range g.Tuples {
		t := &g.Tuples[i]
		t.bytes = prefixedBytes(len(t.Key))
		if t.Lattice != 0 {
			t.bytes += 1 + varintBytes(uint64(t.Lattice))
		}
		if len(t.Payload) > 0 {
			t.bytes += prefixedBytes(len(t.Payload))
		}
		if t.Invalidate {
			t.bytes += 2
		}
		size += prefixedBytes(t.bytes)
	}
	return size
}

// MarshalToSizedBufferVT writes the answer into b, which has room for exactly SizeVT bytes; the name is that of the generated
// code, as whoever sends messages takes both.
func (g *Gets) MarshalToSizedBufferVT(b []byte) (int, error) {
	b[0] = tagType
	n := putVarint(b, 1, uint64(g.Type))
	for i := range g.Tuples {
		t := &g.Tuples[i]
		b[n] = tagTuple
		n = putVarint(b, n+1, uint64(t.bytes))
		n = putPrefixed(b, n, tagKey, t.Key)
		if t.Lattice != 0 {
			b[n] = tagLattice
			n = putVarint(b, n+1, uint64(t.Lattice))
		}
		if len(t.Payload) > 0 {
			n = putPrefixed(b, n, tagPayload, t.Payload)
		}
		if t.Invalidate {
			b[n], b[n+1] = tagInvalidate, 1
			n += 2
		}
	}
	if len(g.ID) > 0 {
		n = putPrefixed(b, n, tagAnswerID, g.ID)
	}
	return n, nil
}

// Response returns the answer as a message of its own, with strings and payloads of its own.
func (g *Gets) Response() *KeyResponse {
	r := AcquireKeyResponse()
	r.Type, r.ResponseId = g.Type, string(g.ID)
	for i := range g.Tuples {
		t := &g.Tuples[i]
		out := r.AddTuple()
		out.Key, out.LatticeType, out.Payload, out.Invalidate = string(t.Key), t.Lattice, append([]byte(nil), t.Payload...), t.Invalidate
	}
	return r
}

func varintBytes(v uint64) int { return (9*bits.Len64(v|1) + 64) / 64 }

// prefixedBytes is the size of a tag, a length and so many bytes.
func prefixedBytes(n int) int { return 1 + varintBytes(uint64(n)) + n }

func putVarint(b []byte, n int, v uint64) int {
	for v >= oneByteVarint {
		b[n] = byte(v) | oneByteVarint
		v >>= 7
		n++
	}
	b[n] = byte(v)
	return n + 1
}

func putPrefixed(b []byte, n int, tag byte, content []byte) int {
	b[n] = tag
	n = putVarint(b, n+1, uint64(len(content)))
	return n + copy(b[n:], content)
}
