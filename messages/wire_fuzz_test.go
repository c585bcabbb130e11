package messages

import (
	"bytes"
	"errors"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// seedRequests are frames of the request plane, whole and broken.
func seedRequests(f *testing.F) {
	for _, m := range []Message{&KeyRequest{}, &KeyResponse{}, &KeyAddressRequest{}, &KeyAddressResponse{}} {
		wire, err := Marshal(fill(m, 1))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
		f.Add(wire[:len(wire)/2])
	}
	f.Add(benchRequest(2, 8, RequestType_PUT))
	f.Add(benchRequest(2, 0, RequestType_GET))
	f.Add([]byte{})
	f.Add([]byte("\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f"))                                                               // A tuple of 2^63 bytes.
	f.Add([]byte("\x82\x80\x80\x80\x80\x02\x00"))                                                                           // Field 2^33: the generated decoder would read 0.
	f.Add([]byte("\x0a\x06\x43\x30\x30\x24\x30\x30"))                                                                       // In an item, a group that another field's end closes.
	f.Add([]byte("\x12\x08\x8a\x80\x80\x80\x80\x01\x01a\x1a\x01a"))                                                         // In an item, field 2^32+1: the generated decoder would read 1.
	f.Add(append(bytes.Repeat([]byte{0x2b}, 200), bytes.Repeat([]byte{0x2c}, 200)...))                                      // Nested groups.
	f.Add(append([]byte("\x12\x05\x0a\x03abc"), []byte("\x1a\x14tcp://127.0.0.1:6800\x12\x04\x22\x02\x0a\x00\x08\x02")...)) // Fields out of order.
}

// checkDecode compares a decode of the request plane with the standard code's: what is taken here is taken there, but for strings that
// are not UTF-8, which only the standard code minds, and for items (field of that number; 0 where they are strings) that are not sound.
func checkDecode(t *testing.T, frame []byte, items protowire.Number, got, want Message, again []byte, normalise func()) {
	t.Helper()
	if err := Unmarshal(frame, want); err != nil {
		if utf8.Valid(frame) && soundItems(frame, items) {
			t.Fatalf("%x is taken, but not by the standard code: %v", frame, err)
		}
		return
	}
	normalise()
	if !Equal(got, want) {
		t.Fatalf("%x\ngives %s\nwant  %s", frame, Text(got), Text(want))
	}
	if wire, err := Marshal(want); err != nil || !bytes.Equal(wire, again) {
		t.Fatalf("%s\nis written as %x\nwant %x, %v", Text(got), again, wire, err)
	}
}

// soundItems says whether tuples and the like are messages through and through. The generated code skips a group that another field's
// end closes, and cuts field numbers to 32 bits. scan refuses that of a frame; within an item it harms nobody but who sent it, and a
// look at each would cost every tuple some 50 ns.
func soundItems(frame []byte, items protowire.Number) bool {
	for len(frame) > 0 {
		number, kind, n := protowire.ConsumeTag(frame)
		if number == items && kind == protowire.BytesType {
			content, _ := protowire.ConsumeBytes(frame[n:])
			if _, err := scan(content, layout{}); err != nil {
				return false
			}
		}
		frame = frame[n+protowire.ConsumeFieldValue(number, kind, frame[n:]):]
	}
	return true
}

// checkRefusal fails unless err is one that a caller is told to expect.
func checkRefusal(t *testing.T, isNil bool, err error) {
	t.Helper()
	if isNil != errors.Is(err, ErrMalformed) {
		t.Fatalf("a nil message (%v) with error %v", isNil, err)
	}
	if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrInvalidRequest) && !errors.Is(err, ErrTooLarge) {
		t.Fatalf("unexpected error %v", err)
	}
}

func FuzzDecodeKeyRequest(f *testing.F) {
	seedRequests(f)
	c := newCodec(f, Limits{MaxTuples: 8, MaxKeyBytes: 64})
	f.Fuzz(func(t *testing.T, frame []byte) {
		r, err := c.DecodeKeyRequest(frame)
		if err != nil {
			checkRefusal(t, r == nil, err)
			ReleaseKeyRequest(r)
			return
		}
		if !r.Type.IsGet() && !r.Type.IsPut() && !r.Type.IsDelete() || r.ResponseAddress == "" {
			t.Fatalf("taken: %s", Text(r))
		}
		var want KeyRequest
		checkDecode(t, frame, keyRequestFields.items, r, &want, AppendKeyRequest(nil, r), func() {
			for i, tuple := range want.Tuples {
				if !r.Type.IsPut() {
					tuple.Payload = nil
				}
				tuple.Ips, tuple.Error = nil, r.Tuples[i].Error
			}
		})
		ReleaseKeyRequest(r)
	})
}

// FuzzParseGets holds the quick way to read gets and to answer them against the generated code.
func FuzzParseGets(f *testing.F) {
	seedRequests(f)
	f.Add(benchRequest(8, 0, RequestType_READ))
	f.Add([]byte("\x08\x01\x12\x02\x0a\x00\x1a\x01a"))                            // An empty key.
	f.Add([]byte("\x08\x01\x12\x10\x0a\x0eANNA_METADATA|\x1a\x01a"))              // The system's own.
	f.Add([]byte("\x12\x0b\x0a\x01a\x0a\x82\x00bc\x28\xff\x01\x1a\x01a\x08\x03")) // A key twice, in a length too long; type last.
	c := newCodec(f, Limits{MaxTuples: 8, MaxKeyBytes: 64, MaxRequestIDBytes: 32})
	var g Gets
	f.Fuzz(func(t *testing.T, frame []byte) {
		g.Release()
		if !c.ParseGets(frame, &g) {
			return
		}
		r, err := c.DecodeKeyRequest(frame)
		if err != nil || len(r.Tuples) != len(g.Tuples) || r.Type != g.Type || r.ResponseAddress != string(g.To) || r.RequestId != string(g.ID) {
			t.Fatalf("%x is taken as %+v, and read as %s, %v", frame, g, Text(r), err)
		}
		answer := AnswerKeyRequest(r)
		for i, want := range r.Tuples {
			got := &g.Tuples[i]
			if want.Error != AnnaError_NO_ERROR || want.Key != string(got.Key) || want.AddressCacheSize != got.Known || IsMetadataKey(want.Key) {
				t.Fatalf("%x: tuple %d is %+v, want %s", frame, i, got, Text(want))
			}
			got.Lattice, got.Payload, got.Invalidate = LatticeType(got.Known&7), frame[:int(got.Known)%(len(frame)+1)], got.Known&8 != 0
			out := answer.AddTuple()
			out.Key, out.LatticeType, out.Payload, out.Invalidate = want.Key, got.Lattice, got.Payload, got.Invalidate
		}
		want := AppendKeyResponse(nil, answer)
		if wire := appendFast(nil, &g); !bytes.Equal(wire, want) {
			t.Fatalf("%+v\nis answered with %x\nwant            %x", g, wire, want)
		}
		if own := g.Response(); !bytes.Equal(AppendKeyResponse(nil, own), want) {
			t.Fatalf("%+v\nas a message is %s", g, Text(own))
		}
		ReleaseKeyResponse(answer)
		ReleaseKeyRequest(r)
	})
}

func FuzzDecodeGossip(f *testing.F) {
	seedRequests(f)
	c := newCodec(f, Limits{MaxTuples: 8})
	f.Fuzz(func(t *testing.T, frame []byte) {
		r, err := c.DecodeGossip(frame)
		if err != nil {
			checkRefusal(t, r == nil, err)
		}
		ReleaseKeyRequest(r)
	})
}

func FuzzDecodeKeyResponse(f *testing.F) {
	seedRequests(f)
	c := newCodec(f, Limits{MaxTuples: 8})
	f.Fuzz(func(t *testing.T, frame []byte) {
		r, err := c.DecodeKeyResponse(frame)
		if err != nil {
			checkRefusal(t, r == nil, err)
			return
		}
		checkDecode(t, frame, keyResponseFields.items, r, &KeyResponse{}, AppendKeyResponse(nil, r), func() {})
		ReleaseKeyResponse(r)
	})
}

func FuzzDecodeKeyAddressRequest(f *testing.F) {
	seedRequests(f)
	c := newCodec(f, Limits{MaxTuples: 8})
	f.Fuzz(func(t *testing.T, frame []byte) {
		r, err := c.DecodeKeyAddressRequest(frame)
		if err != nil {
			checkRefusal(t, r == nil, err)
			ReleaseKeyAddressRequest(r)
			return
		}
		checkDecode(t, frame, 0, r, &KeyAddressRequest{}, AppendKeyAddressRequest(nil, r), func() {})
		ReleaseKeyAddressRequest(r)
	})
}

func FuzzDecodeKeyAddressResponse(f *testing.F) {
	seedRequests(f)
	c := newCodec(f, Limits{MaxTuples: 8})
	f.Fuzz(func(t *testing.T, frame []byte) {
		r, err := c.DecodeKeyAddressResponse(frame)
		if err != nil {
			checkRefusal(t, r == nil, err)
			return
		}
		checkDecode(t, frame, keyAddressResponseFields.items, r, &KeyAddressResponse{}, AppendKeyAddressResponse(nil, r), func() {})
		ReleaseKeyAddressResponse(r)
	})
}

// FuzzUnmarshal feeds every other message: whatever is taken is written back and read again as the same.
func FuzzUnmarshal(f *testing.F) {
	var all []protoreflect.FullName
	for _, file := range files() {
		for i := range file.Messages().Len() {
			all = append(all, file.Messages().Get(i).FullName())
		}
	}
	for i, name := range all {
		for _, sample := range samples(newMessage(name)) {
			wire, err := Marshal(sample)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(uint8(i), wire)
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		name := all[int(which)%len(all)]
		m, again := newMessage(name), newMessage(name)
		if err := Unmarshal(b, m); err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("%v does not wrap ErrMalformed", err)
			}
			return
		}
		wire, err := Marshal(m)
		if err != nil {
			t.Fatalf("%x was taken and cannot be written: %v", b, err)
		}
		if err := Unmarshal(wire, again); err != nil || !Equal(m, again) {
			t.Fatalf("%x becomes %x, which is something else: %v", b, wire, err)
		}
	})
}

// FuzzParseMetadataPayload: a metadata payload that is taken is made again from what was taken.
func FuzzParseMetadataPayload(f *testing.F) {
	for _, m := range []Message{&ReplicationFactor{Key: "a"}, &ServerThreadStatistics{Epoch: 3}} {
		payload, err := MetadataPayload(7, m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload)
	}
	f.Add([]byte{})
	f.Add([]byte{0xff})
	f.Fuzz(func(t *testing.T, payload []byte) {
		for _, kind := range []func() Message{func() Message { return &ReplicationFactor{} }, func() Message { return &ServerThreadStatistics{} }} {
			m := kind()
			timestamp, err := ParseMetadataPayload(payload, m)
			if err != nil {
				if !errors.Is(err, ErrMalformed) {
					t.Errorf("%v wraps no sentinel", err)
				}
				continue
			}
			made, err := MetadataPayload(timestamp, m)
			if err != nil {
				t.Fatal(err)
			}
			again := kind()
			if stamp, err := ParseMetadataPayload(made, again); err != nil || stamp != timestamp || !proto.Equal(m, again) {
				t.Errorf("%v at %d became %v at %d (%v)", m, timestamp, again, stamp, err)
			}
		}
	})
}
