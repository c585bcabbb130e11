package messages

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/dinomo-kv/dinomo/internal/invariant"
	"github.com/dinomo-kv/dinomo/internal/random"
)

func newCodec(t testing.TB, l Limits) *Codec {
	t.Helper()
	c, err := NewCodec(l)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustHex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatalf("hex %q: %v", s, err)
	}
	return b
}

// lww is the payload of a value, written with the generated code.
func lww(timestamp uint64, value string) []byte {
	b, err := (&LWWValue{Timestamp: timestamp, Value: []byte(value)}).MarshalVT()
	if err != nil {
		panic(err)
	}
	return b
}

const (
	annaUser  = "tcp://127.0.0.1:6800"
	annaReply = "127.0.0.1:0_1"
)

// TestAnnaCaptures decodes bytes that Anna itself sent, and encodes them again.
func TestAnnaCaptures(t *testing.T) {
	c := newCodec(t, Limits{})
	request := func(b []byte) (Message, []byte, error) {
		m, err := c.DecodeKeyRequest(b)
		return m, AppendKeyRequest(nil, m), err
	}
	response := func(b []byte) (Message, []byte, error) {
		m, err := c.DecodeKeyResponse(b)
		return m, AppendKeyResponse(nil, m), err
	}
	addresses := func(b []byte) (Message, []byte, error) {
		m, err := c.DecodeKeyAddressResponse(b)
		return m, AppendKeyAddressResponse(nil, m), err
	}
	for _, x := range []struct {
		name, hex string
		decode    func([]byte) (Message, []byte, error)
		want      Message
	}{
		{"KeyAddressResponse", "0a1b0a03666f6f12147463703a2f2f3132372e302e302e313a363230301a0132", addresses,
			&KeyAddressResponse{Addresses: []*KeyAddress{{Key: "foo", Ips: []string{"tcp://127.0.0.1:6200"}}}, ResponseId: "2"}},
		{"metadata GET", "080112210a1d414e4e415f4d455441444154417c7265706c69636174696f6e7c666f6f10011a147463703a2f2f3132372e302e302e313a36353030", request,
			&KeyRequest{Type: RequestType_GET, ResponseAddress: "tcp://127.0.0.1:6500",
				Tuples: []*KeyTuple{{Key: "ANNA_METADATA|replication|foo", LatticeType: LatticeType_LWW}}}},
		{"PUT", "0802120e0a016b10012205080712017628011a147463703a2f2f3132372e302e302e313a36383030220d3132372e302e302e313a305f31", request,
			&KeyRequest{Type: RequestType_PUT, ResponseAddress: annaUser, RequestId: annaReply,
				Tuples: []*KeyTuple{{Key: "k", LatticeType: LatticeType_LWW, Payload: lww(7, "v"), AddressCacheSize: 1}}}},
		{"answer to PUT", "080212050a016b10011a0d3132372e302e302e313a305f31", response,
			&KeyResponse{Type: RequestType_PUT, ResponseId: annaReply, Tuples: []*KeyTuple{{Key: "k", LatticeType: LatticeType_LWW}}}},
		{"GET", "080112050a016b28011a147463703a2f2f3132372e302e302e313a36383030220d3132372e302e302e313a305f33", request,
			&KeyRequest{Type: RequestType_GET, ResponseAddress: annaUser, RequestId: "127.0.0.1:0_3",
				Tuples: []*KeyTuple{{Key: "k", AddressCacheSize: 1}}}},
		{"answer to GET", "0801120c0a016b1001220508071201761a0d3132372e302e302e313a305f33", response,
			&KeyResponse{Type: RequestType_GET, ResponseId: "127.0.0.1:0_3",
				Tuples: []*KeyTuple{{Key: "k", LatticeType: LatticeType_LWW, Payload: lww(7, "v")}}}},
	} {
		wire := mustHex(t, x.hex)
		got, again, err := x.decode(wire)
		if err != nil || !Equal(got, x.want) {
			t.Errorf("%s: got %v, %v, want %v", x.name, got, err, x.want)
		}
		if !bytes.Equal(again, wire) {
			t.Errorf("%s: encoded as %x, want %x", x.name, again, wire)
		}
		if std, err := Marshal(x.want); err != nil || !bytes.Equal(std, wire) {
			t.Errorf("%s: the standard code writes %x, %v", x.name, std, err)
		}
	}
}

func TestVerdicts(t *testing.T) {
	c := newCodec(t, Limits{MaxKeyBytes: 4, MaxPayloadBytes: 32})
	tuple := func(key string, l LatticeType, payload []byte) *KeyTuple {
		return &KeyTuple{Key: key, LatticeType: l, Payload: payload, Error: AnnaError_KEY_DNE}
	}
	for _, x := range []struct {
		name  string
		op    RequestType
		tuple *KeyTuple
		want  AnnaError
	}{
		{"put", RequestType_PUT, tuple("k", LatticeType_LWW, lww(1, "v")), AnnaError_NO_ERROR},
		{"insert", RequestType_INSERT, tuple("k", LatticeType_LWW, lww(1, "v")), AnnaError_NO_ERROR},
		{"update of an empty value", RequestType_UPDATE, tuple("k", LatticeType_LWW, nil), AnnaError_NO_ERROR},
		{"put without a key", RequestType_PUT, tuple("", LatticeType_LWW, lww(1, "v")), AnnaError_INVALID_REQUEST},
		{"put of a long key", RequestType_PUT, tuple("kkkkk", LatticeType_LWW, lww(1, "v")), AnnaError_TOO_LARGE},
		{"put of a long value", RequestType_PUT, tuple("k", LatticeType_LWW, lww(1, strings.Repeat("v", 32))), AnnaError_TOO_LARGE},
		{"put without a type", RequestType_PUT, tuple("k", LatticeType_NONE, lww(1, "v")), AnnaError_INVALID_REQUEST},
		{"put of an unknown type", RequestType_PUT, tuple("k", 7, lww(1, "v")), AnnaError_INVALID_REQUEST},
		{"put of a negative type", RequestType_PUT, tuple("k", -255, lww(1, "v")), AnnaError_INVALID_REQUEST},
		{"put of a payload that is none", RequestType_PUT, tuple("k", LatticeType_LWW, []byte{0xff}), AnnaError_INVALID_REQUEST},
		{"put of a set's payload as LWW", RequestType_PUT, tuple("k", LatticeType_LWW, []byte{0x0a, 1, 'v'}), AnnaError_INVALID_REQUEST},
		{"put of a set", RequestType_PUT, tuple("k", LatticeType_SET, []byte{0x0a, 1, 'v'}), AnnaError_NO_ERROR},
		{"get", RequestType_GET, tuple("k", LatticeType_NONE, nil), AnnaError_NO_ERROR},
		{"read", RequestType_READ, tuple("k", LatticeType_NONE, nil), AnnaError_NO_ERROR},
		{"get with a useless payload", RequestType_GET, tuple("k", LatticeType_NONE, make([]byte, 100)), AnnaError_NO_ERROR},
		{"get without a key", RequestType_GET, tuple("", LatticeType_LWW, nil), AnnaError_INVALID_REQUEST},
		{"get of a long key", RequestType_GET, tuple("kkkkk", LatticeType_LWW, nil), AnnaError_TOO_LARGE},
		{"delete", RequestType_DELETE, tuple("k", LatticeType_NONE, nil), AnnaError_NO_ERROR},
	} {
		frame := AppendKeyRequest(nil, &KeyRequest{Type: x.op, ResponseAddress: annaUser, Tuples: []*KeyTuple{x.tuple}})
		r, err := c.DecodeKeyRequest(frame)
		if err != nil {
			t.Errorf("%s: %v", x.name, err)
			continue
		}
		if got := r.Tuples[0].Error; got != x.want {
			t.Errorf("%s: %s, want %s", x.name, got, x.want)
		}
		if !x.op.IsPut() && r.Tuples[0].Payload != nil {
			t.Errorf("%s: keeps a payload", x.name)
		}
		ReleaseKeyRequest(r)
	}
}

func TestRefusedRequests(t *testing.T) {
	c := newCodec(t, Limits{MaxTuples: 2, MaxRequestIDBytes: 8})
	three := []*KeyTuple{{Key: "a"}, {Key: "b"}, {Key: "c"}}
	for _, x := range []struct {
		name   string
		r      *KeyRequest
		want   error
		answer string
	}{
		{"no response address", &KeyRequest{Type: RequestType_GET, Tuples: three[:1]}, ErrMalformed, ""},
		{"a long response address", &KeyRequest{Type: RequestType_GET, ResponseAddress: strings.Repeat("x", 99)}, ErrMalformed, ""},
		{"a long id", &KeyRequest{Type: RequestType_GET, ResponseAddress: annaUser, RequestId: "123456789"}, ErrMalformed, ""},
		{"no type", &KeyRequest{ResponseAddress: annaUser, RequestId: "7", Tuples: three[:2]}, ErrInvalidRequest, "7 INVALID_REQUEST a:INVALID_REQUEST b:INVALID_REQUEST"},
		{"an unknown type", &KeyRequest{Type: 99, ResponseAddress: annaUser, Tuples: three[:1]}, ErrInvalidRequest, " INVALID_REQUEST a:INVALID_REQUEST"},
		{"too many tuples", &KeyRequest{Type: RequestType_GET, ResponseAddress: annaUser, RequestId: "8", Tuples: three}, ErrInvalidRequest, "8 INVALID_REQUEST"},
	} {
		r, err := c.DecodeKeyRequest(AppendKeyRequest(nil, x.r))
		if !errors.Is(err, x.want) {
			t.Errorf("%s: %v, want %v", x.name, err, x.want)
		}
		if (r == nil) != errors.Is(x.want, ErrMalformed) {
			t.Errorf("%s: request %v", x.name, r)
		}
		if r == nil {
			continue
		}
		if r.ResponseAddress != x.r.ResponseAddress {
			t.Errorf("%s: response address %q", x.name, r.ResponseAddress)
		}
		answer := RefuseKeyRequest(r, err)
		got := fmt.Sprintf("%s %s", answer.ResponseId, answer.Error)
		for _, tuple := range answer.Tuples {
			got += fmt.Sprintf(" %s:%s", tuple.Key, tuple.Error)
		}
		if got != x.answer {
			t.Errorf("%s: answered %q, want %q", x.name, got, x.answer)
		}
		ReleaseKeyResponse(answer)
		ReleaseKeyRequest(r)
	}
	if r, err := c.DecodeGossip(AppendKeyRequest(nil, &KeyRequest{Type: RequestType_PUT, Tuples: three[:1]})); err != nil || r.Tuples[0].Error != AnnaError_INVALID_REQUEST {
		t.Errorf("gossip without an address: %v, %v", r, err)
	}
}

func TestAnswersWithTooMany(t *testing.T) {
	c := newCodec(t, Limits{MaxTuples: 2, MaxOwners: 2})
	tuples := []*KeyTuple{{Key: "a"}, {Key: "b"}, {Key: "c"}}
	if _, err := c.DecodeKeyResponse(AppendKeyResponse(nil, &KeyResponse{Tuples: tuples})); !errors.Is(err, ErrMalformed) {
		t.Errorf("3 tuples: %v", err)
	}
	ips := []string{"x", "y", "z"}
	if _, err := c.DecodeKeyResponse(AppendKeyResponse(nil, &KeyResponse{Tuples: []*KeyTuple{{Ips: ips}}})); !errors.Is(err, ErrMalformed) {
		t.Errorf("3 owners: %v", err)
	}
	if _, err := c.DecodeKeyAddressResponse(AppendKeyAddressResponse(nil, &KeyAddressResponse{Addresses: []*KeyAddress{{Ips: ips}}})); !errors.Is(err, ErrMalformed) {
		t.Errorf("3 owners of an address response: %v", err)
	}
	if _, err := c.DecodeKeyAddressResponse(AppendKeyAddressResponse(nil, &KeyAddressResponse{Addresses: []*KeyAddress{{}, {}, {}}})); !errors.Is(err, ErrMalformed) {
		t.Errorf("3 addresses: %v", err)
	}
}

func TestKeyAddressRequests(t *testing.T) {
	c := newCodec(t, Limits{MaxTuples: 2, MaxKeyBytes: 2})
	for _, x := range []struct {
		name   string
		r      *KeyAddressRequest
		want   error
		answer int
	}{
		{"two keys", &KeyAddressRequest{ResponseAddress: annaUser, RequestId: "1", Keys: []string{"a", "b"}}, nil, 2},
		{"no keys", &KeyAddressRequest{ResponseAddress: annaUser, RequestId: "1"}, nil, 0},
		{"nowhere to answer", &KeyAddressRequest{Keys: []string{"a"}}, ErrMalformed, 0},
		{"an empty key", &KeyAddressRequest{ResponseAddress: annaUser, RequestId: "1", Keys: []string{""}}, ErrInvalidRequest, 1},
		{"a long key", &KeyAddressRequest{ResponseAddress: annaUser, RequestId: "1", Keys: []string{"abc"}}, ErrTooLarge, 1},
		{"too many", &KeyAddressRequest{ResponseAddress: annaUser, RequestId: "1", Keys: []string{"a", "b", "c"}}, ErrInvalidRequest, 0},
	} {
		r, err := c.DecodeKeyAddressRequest(AppendKeyAddressRequest(nil, x.r))
		if !errors.Is(err, x.want) {
			t.Errorf("%s: %v, want %v", x.name, err, x.want)
		}
		if r == nil {
			continue
		}
		answer := RefuseKeyAddressRequest(r, err)
		if answer.ResponseId != "1" || len(answer.Addresses) != x.answer || answer.Error != CodeOf(x.want) {
			t.Errorf("%s: answered %v", x.name, answer)
		}
		ReleaseKeyAddressResponse(answer)
		ReleaseKeyAddressRequest(r)
	}
}

// TestHotPathAllocatesNothing: a received get, its answer, and a received put of 16 tuples.
func TestHotPathAllocatesNothing(t *testing.T) {
	if invariant.Enabled {
		t.Skip("the race detector makes pools forget")
	}
	c := newCodec(t, Limits{})
	value := lww(1, strings.Repeat("v", 256))
	gets, puts := &KeyRequest{Type: RequestType_GET}, &KeyRequest{Type: RequestType_PUT}
	for _, r := range []*KeyRequest{gets, puts} {
		r.ResponseAddress, r.RequestId = annaUser, annaReply
		for i := range 16 {
			tuple := r.AddTuple()
			tuple.Key, tuple.LatticeType = fmt.Sprint("key", i), LatticeType_LWW
			if r == puts {
				tuple.Payload = value
			}
		}
	}
	var out []byte
	for name, frame := range map[string][]byte{"get": AppendKeyRequest(nil, gets), "put": AppendKeyRequest(nil, puts)} {
		if n := testing.AllocsPerRun(200, func() { out = serve(t, c, frame, out[:0], value) }); n != 0 {
			t.Errorf("%s of 16 tuples: %v allocations", name, n)
		}
	}
}

// serve is what a KN does with a request, but for looking the keys up.
func serve(t testing.TB, c *Codec, frame, out, value []byte) []byte {
	r, err := c.DecodeKeyRequest(frame)
	if err != nil {
		t.Fatal(err)
	}
	answer := AnswerKeyRequest(r)
	for _, in := range r.Tuples {
		tuple := answer.AddTuple()
		tuple.Key, tuple.LatticeType, tuple.Error = in.Key, in.LatticeType, in.Error
		if r.Type.IsGet() {
			tuple.Payload = value
		}
	}
	out = AppendKeyResponse(out, answer)
	ReleaseKeyResponse(answer)
	ReleaseKeyRequest(r)
	return out
}

// TestResetLeavesNothing fills every field of a tuple by reflection, so that a field added to the schema and
// forgotten in resetTuples fails here.
func TestResetLeavesNothing(t *testing.T) {
	tuple := fill(&KeyTuple{}, 1).(*KeyTuple)
	tuple.ProtoReflect().SetUnknown([]byte{0xf8, 0x3f, 1})
	ips := tuple.Ips
	resetTuples([]*KeyTuple{tuple})
	if !Equal(tuple, &KeyTuple{}) || tuple.Payload != nil || ips[0] != "" {
		t.Errorf("left after a reset: %s, payload %v, ips %q", Text(tuple), tuple.Payload, ips)
	}
}

// randomRequest makes a request of any shape, with reused tuples in mind: some fields are set in some tuples only.
func randomRequest(rng *rand.Rand) *KeyRequest {
	r := &KeyRequest{Type: RequestType(1 + rng.IntN(6)), ResponseAddress: annaUser, RequestId: fmt.Sprint(rng.IntN(1000))}
	for range rng.IntN(20) {
		tuple := &KeyTuple{Key: fmt.Sprint("key", rng.IntN(100))}
		if r.Type.IsPut() {
			tuple.LatticeType, tuple.Payload = LatticeType_LWW, lww(rng.Uint64N(10), strings.Repeat("v", rng.IntN(300)))
		}
		if rng.IntN(2) == 0 {
			tuple.AddressCacheSize, tuple.Invalidate = rng.Uint32N(5), true
		}
		r.Tuples = append(r.Tuples, tuple)
	}
	return r
}

// TestPooledDecodingAgainstFresh decodes many requests through the pool, several in use at a time, and compares each
// with a fresh decode by the standard code; and what was taken out of one stays whole while others are decoded.
func TestPooledDecodingAgainstFresh(t *testing.T) {
	rng := random.New(random.Seed(t))
	c := newCodec(t, Limits{})
	type inUse struct {
		frame, before []byte
		r             *KeyRequest
	}
	var held []inUse
	for range 3000 {
		frame := AppendKeyRequest(nil, randomRequest(rng))
		var want KeyRequest
		if err := Unmarshal(frame, &want); err != nil {
			t.Fatal(err)
		}
		r, err := c.DecodeKeyRequest(frame)
		if err != nil || !Equal(r, &want) {
			t.Fatalf("pooled %v, %v; fresh %v", r, err, &want)
		}
		held = append(held, inUse{frame, bytes.Clone(frame), r})
		if len(held) > 4 {
			i := rng.IntN(len(held))
			x := held[i]
			if !bytes.Equal(x.frame, x.before) {
				t.Fatal("a frame in use was overwritten")
			}
			if again := AppendKeyRequest(nil, x.r); !bytes.Equal(again, x.before) {
				t.Fatal("a request in use changed")
			}
			ReleaseKeyRequest(x.r)
			invariant.Mangle(x.frame)
			held[i] = held[len(held)-1]
			held = held[:len(held)-1]
		}
	}
}

func TestAppendKeepsWhatIsThere(t *testing.T) {
	r := &KeyResponse{ResponseId: "id", Tuples: []*KeyTuple{{Key: "k"}}}
	alone := AppendKeyResponse(nil, r)
	for _, room := range []int{0, 3, 100} {
		dst := append(make([]byte, 0, 3+room), "abc"...)
		if got := AppendKeyResponse(dst, r); string(got) != "abc"+string(alone) {
			t.Errorf("with room for %d: %q", room, got)
		}
	}
}

func TestLimits(t *testing.T) {
	if _, err := NewCodec(Limits{MaxKeyBytes: -1}); err == nil {
		t.Error("a negative limit is accepted")
	}
	defaults := reflect.ValueOf(newCodec(t, Limits{}).Limits())
	for i := range defaults.NumField() {
		if defaults.Field(i).Int() <= 0 {
			t.Errorf("%s has no default", defaults.Type().Field(i).Name)
		}
		l := Limits{}
		reflect.ValueOf(&l).Elem().Field(i).SetInt(-1)
		if l.Validate() == nil {
			t.Errorf("a negative %s is accepted", defaults.Type().Field(i).Name)
		}
	}
}

// TestCostOfHostileFramesIsBounded: the cheapest frame full of tuples costs no more than the limit's worth of them.
func TestCostOfHostileFramesIsBounded(t *testing.T) {
	c := newCodec(t, Limits{})
	frame := bytes.Repeat([]byte{0x12, 0x00}, 1<<20)
	frame = append(frame, 0x1a, 1, 'x')
	n := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			r, err := c.DecodeKeyRequest(frame)
			if r == nil || !errors.Is(err, ErrInvalidRequest) {
				b.Fatal(r, err)
			}
			ReleaseKeyRequest(r)
		}
	}).AllocedBytesPerOp()
	if n > 4096 {
		t.Errorf("2 MiB of empty tuples cost %d bytes", n)
	}
}

// benchRequest is one of the shapes that are measured.
func benchRequest(tuples, valueBytes int, op RequestType) []byte {
	r := &KeyRequest{Type: op, ResponseAddress: annaUser, RequestId: annaReply}
	for i := range tuples {
		tuple := r.AddTuple()
		tuple.Key, tuple.LatticeType, tuple.AddressCacheSize = fmt.Sprintf("key%05d", i), LatticeType_LWW, 1
		if op.IsPut() {
			tuple.Payload = lww(1, strings.Repeat("v", valueBytes))
		}
	}
	return AppendKeyRequest(nil, r)
}

func BenchmarkDecodeKeyRequest(b *testing.B) {
	c := newCodec(b, Limits{})
	for _, shape := range []struct{ tuples, bytes int }{{1, 256}, {16, 1024}} {
		frame := benchRequest(shape.tuples, shape.bytes, RequestType_PUT)
		b.Run(fmt.Sprintf("codec/tuples=%d/value=%d", shape.tuples, shape.bytes), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r, err := c.DecodeKeyRequest(frame)
				if err != nil {
					b.Fatal(err)
				}
				ReleaseKeyRequest(r)
			}
		})
		b.Run(fmt.Sprintf("standard/tuples=%d/value=%d", shape.tuples, shape.bytes), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var r KeyRequest
				if err := proto.Unmarshal(frame, &r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkServeGet(b *testing.B) {
	c := newCodec(b, Limits{})
	value := lww(1, strings.Repeat("v", 256))
	for _, tuples := range []int{1, 16} {
		frame := benchRequest(tuples, 0, RequestType_GET)
		b.Run(fmt.Sprintf("generated/tuples=%d", tuples), func(b *testing.B) {
			b.ReportAllocs()
			var out []byte
			for b.Loop() {
				out = serve(b, c, frame, out[:0], value)
			}
		})
		b.Run(fmt.Sprintf("gets/tuples=%d", tuples), func(b *testing.B) {
			b.ReportAllocs()
			var g Gets
			var out []byte
			for b.Loop() {
				if !c.ParseGets(frame, &g) {
					b.Fatal("not taken")
				}
				for i := range g.Tuples {
					g.Tuples[i].Lattice, g.Tuples[i].Payload = LatticeType_LWW, value
				}
				out = appendFast(out[:0], &g)
			}
		})
	}
}
