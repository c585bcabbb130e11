package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
)

// Every sentinel has one status and comes back from it; every status up to the last has a sentinel.
func TestStatusTable(t *testing.T) {
	for s := OK + 1; s < statuses; s++ {
		if s.Err() == nil {
			t.Errorf("status %d has no sentinel", s)
		}
		if got := StatusOf(fmt.Errorf("wrapped: %w", s.Err())); got != s {
			t.Errorf("status %d travels as %d", s, got)
		}
	}
	if StatusOf(nil) != OK || OK.Err() != nil || StatusOf(errors.New("other")) != Refused {
		t.Error("nil is OK, and unknown errors are refusals")
	}
	if !errors.Is(statuses.Err(), ErrBadFrame) {
		t.Errorf("a number that is no status: %v", statuses.Err())
	}
}

var (
	someHello = fabric.Hello{
		Rank: 5, Incarnation: 6, Thread: 7, Access: fabric.ReadOnly, Pool: fabric.PoolID{8, 9},
		Identity: "10.0.0.1", PID: 10, PIDStart: 11,
	}
	someSession = fabric.Session{
		Pool: fabric.PoolID{1, 2}, PoolBytes: 3, Rank: 4, Incarnation: 5, ServerEpoch: 6, Durability: pmem.Fsync, Path: "/tmp/pool",
	}
)

// golden pins the bytes: a change here is a new Version.
func TestGolden(t *testing.T) {
	hello, err := AppendHello(Preamble{Version: Version, Backend: TCP, BodyBytes: 0x0102}.Append(nil), someHello, []byte("xyz"))
	if err != nil {
		t.Fatal(err)
	}
	session, err := AppendSession(nil, someSession, []byte("q"))
	if err != nil {
		t.Fatal(err)
	}
	frame := make([]byte, HeaderBytes+DescriptorBytes+TrailerBytes)
	Header{Op: OpBatch, Status: Bounds, Count: 2, Sequence: 3, Bytes: 4}.Put(frame)
	Descriptor{Kind: fabric.CAS, Address: 0x1122334455667788, A: 5, B: 6}.Put(frame[HeaderBytes:])
	PutTrailer(frame[HeaderBytes+DescriptorBytes:], 3)
	for _, test := range []struct {
		name string
		got  []byte
		want string
	}{
		{"hello", hello, "444e4d46 0100 01 00 02010000" +
			"05000000 06000000 0700 01 08 08090000000000000000000000000000 0a000000 0b00000000000000 0000000000000000 31302e302e302e31 0300 78797a"},
		{"session", session, "01020000000000000000000000000000 0300000000000000 04000000 05000000 0600000000000000 03 00 0900 0000000000000000" +
			"2f746d702f706f6f6c 0100 71"},
		{"frame", frame, "01 04 0200 03000000 0400000000000000" +
			"0300000000000000 8877665544332211 0500000000000000 0600000000000000 03000000ffffffff"},
	} {
		if got := hex.EncodeToString(test.got); got != strings.ReplaceAll(test.want, " ", "") {
			t.Errorf("%s: %s", test.name, got)
		}
	}
}

func TestGreetingRoundTrip(t *testing.T) {
	for _, identity := range []string{"", "kn-1", strings.Repeat("x", fabric.MaxIdentityBytes)} {
		for _, extra := range []string{"", "abc", strings.Repeat("y", MaxExtraBytes)} {
			h := someHello
			h.Identity = identity
			b, err := AppendHello(nil, h, []byte(extra))
			if err != nil {
				t.Fatal(err)
			}
			got, gotExtra, err := ParseHello(b)
			if err != nil || got != h || string(gotExtra) != extra {
				t.Errorf("hello %+v comes back as %+v, %q, %v", h, got, gotExtra, err)
			}
			for cut := range len(b) {
				if _, _, err := ParseHello(b[:cut]); !errors.Is(err, ErrBadFrame) {
					t.Fatalf("hello cut to %d of %d bytes: %v", cut, len(b), err)
				}
			}
			s := someSession
			s.Path = strings.Repeat("/", len(identity)*16)
			if b, err = AppendSession(nil, s, []byte(extra)); err != nil {
				t.Fatal(err)
			}
			gotSession, gotExtra, err := ParseSession(b)
			if err != nil || gotSession != s || string(gotExtra) != extra {
				t.Errorf("session comes back as %+v, %q, %v", gotSession, gotExtra, err)
			}
		}
	}
	if _, err := AppendHello(nil, someHello, make([]byte, MaxExtraBytes+1)); !errors.Is(err, fabric.ErrTooLong) {
		t.Errorf("extra too long: %v", err)
	}
}

func TestBadFrames(t *testing.T) {
	good := Preamble{Version: 1, Backend: TCP, BodyBytes: 5}.Append(nil)
	if _, err := ParsePreamble(good, 5); err != nil {
		t.Fatal(err)
	}
	if _, err := ParsePreamble(good, 4); !errors.Is(err, ErrBadFrame) {
		t.Errorf("body above the limit: %v", err)
	}
	if _, err := ParsePreamble([]byte("GET / HTTP/1"), 5); !errors.Is(err, ErrBadFrame) {
		t.Errorf("another protocol: %v", err)
	}
	for _, h := range []Header{
		{}, {Op: 3}, {Op: OpBatch, Status: statuses}, {Op: OpBatch, Count: fabric.MaxBatch + 1},
		{Op: OpBatch, Bytes: fabric.MaxBatchBytes + 1}, {Op: OpCall, Bytes: fabric.MaxCallBytes + 1}, {Op: OpCall, Count: 1},
		{Op: OpCall, Bytes: 1 << 62},
	} {
		b := make([]byte, HeaderBytes)
		h.Put(b)
		if _, err := ParseHeader(b); !errors.Is(err, ErrBadFrame) {
			t.Errorf("%+v: %v", h, err)
		}
	}
	for name, d := range map[string]Descriptor{
		"payload that was not announced": {Kind: fabric.Write, A: 9},
		"no payload":                     {Kind: fabric.Read, A: 8},
		"too long":                       {Kind: fabric.Write, A: fabric.MaxVerbBytes + 1},
		"overflowing":                    {Kind: fabric.Write, A: 1<<64 - 1},
	} {
		b := make([]byte, DescriptorBytes)
		d.Put(b)
		if _, err := ParseDescriptors(nil, b, 1, 8); !errors.Is(err, ErrBadFrame) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDescribe(t *testing.T) {
	for _, test := range []struct {
		verb fabric.Verb
		want Descriptor
	}{
		{fabric.Verb{Kind: fabric.Read, Address: 1, Buffer: make([]byte, 2)}, Descriptor{fabric.Read, 1, 2, 0}},
		{fabric.Verb{Kind: fabric.Write, Address: 1, Buffer: make([]byte, 3)}, Descriptor{fabric.Write, 1, 3, 0}},
		{fabric.Verb{Kind: fabric.CAS, Address: 8, Expect: 1, Swap: 2, Length: 9}, Descriptor{fabric.CAS, 8, 1, 2}},
		{fabric.Verb{Kind: fabric.FetchAdd, Address: 8, Expect: 1, Swap: 2}, Descriptor{fabric.FetchAdd, 8, 2, 0}},
		{fabric.Verb{Kind: fabric.Flush, Address: 8, Length: 77}, Descriptor{fabric.Flush, 8, 77, 0}},
	} {
		if got := Describe(&test.verb); got != test.want {
			t.Errorf("%+v is described as %+v", test.verb, got)
		}
	}
}

func FuzzHello(f *testing.F) {
	b, _ := AppendHello(nil, someHello, []byte("extra"))
	f.Add(b)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, extra, err := ParseHello(b)
		if err != nil {
			return
		}
		again, err := AppendHello(nil, h, extra)
		if err != nil || len(again) != len(b) {
			t.Fatalf("decoded %+v of %d bytes, encoding gives %d bytes, %v", h, len(b), len(again), err)
		}
		if second, _, err := ParseHello(again); err != nil || second != h {
			t.Fatalf("%+v, then %+v, %v", h, second, err)
		}
	})
}

func FuzzSession(f *testing.F) {
	b, _ := AppendSession(nil, someSession, []byte("extra"))
	f.Add(b)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, extra, err := ParseSession(b)
		if err != nil {
			return
		}
		again, err := AppendSession(nil, s, extra)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("decoded %+v, encoding gives % x, %v", s, again, err)
		}
	})
}

func FuzzPreamble(f *testing.F) {
	f.Add(Preamble{Version: 1, Backend: SHM, BodyBytes: 9}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePreamble(b, MaxAnswerBytes)
		if err == nil && (!bytes.Equal(p.Append(nil), b) || p.BodyBytes > MaxAnswerBytes) {
			t.Fatalf("% x is decoded as %+v", b, p)
		}
	})
}

// FuzzBatch decodes a whole batch request as the listener does.
func FuzzBatch(f *testing.F) {
	b := make([]byte, HeaderBytes+2*DescriptorBytes)
	Header{Op: OpBatch, Count: 2, Sequence: 1, Bytes: 8}.Put(b)
	Descriptor{Kind: fabric.Write, Address: 64, A: 8}.Put(b[HeaderBytes:])
	Descriptor{Kind: fabric.FetchAdd, Address: 64, A: 8}.Put(b[HeaderBytes+DescriptorBytes:])
	f.Add(b)
	f.Add(make([]byte, HeaderBytes))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHeader(b)
		if err != nil {
			return
		}
		again := make([]byte, HeaderBytes)
		h.Put(again)
		if !bytes.Equal(again, b[:HeaderBytes]) {
			t.Fatalf("header % x is decoded as %+v", b[:HeaderBytes], h)
		}
		ds, err := ParseDescriptors(nil, b[HeaderBytes:], int(h.Count), h.Bytes)
		if err != nil {
			return
		}
		var payload, total uint64
		encoded := make([]byte, 0, len(b))
		for _, d := range ds {
			var one [DescriptorBytes]byte
			d.Put(one[:])
			encoded = append(encoded, one[:]...)
			if d.Kind == fabric.Write {
				payload += d.A
			}
			if d.Kind == fabric.Write || d.Kind == fabric.Read {
				total += d.A
			}
		}
		if payload != h.Bytes || total > fabric.MaxBatchBytes || !reflect.DeepEqual(encoded, append([]byte{}, b[HeaderBytes:]...)) {
			t.Fatalf("%+v with %d descriptors is not what the bytes say", h, len(ds))
		}
	})
}
