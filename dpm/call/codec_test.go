package call

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

func sampleRequests() []Request {
	return []Request{
		{Op: Attach},
		{Op: Alloc, Count: 3, DeletesOnly: true, Table: 7, Settled: 1 << 40},
		{Op: Seal},
		{Op: Progress, Table: 9, Settled: 5},
		{Op: Drain, Settled: 4, Through: 1<<63 + 1},
		{Op: Root, Table: 2},
		{Op: MetaGet, Name: []byte("ownership")},
		{Op: MetaCAS, Name: []byte("ownership"), Expect: 12, Bytes: []byte{0, 1, 2}},
		{Op: Stats},
		{Op: Install, Key: []byte("hot")},
		{Op: Remove, Key: []byte("hot")},
	}
}

func sampleReplies() []Reply {
	return []Reply{
		{Op: Attach, Table: 3, Merged: 10, Unmerged: 2, UnmergedLimit: 6, ServerEpoch: 4, LeaseMicros: 1e6, NextSequence: 11,
			Tails: []SegmentTail{{Segment{5, 6, 7}, 64, 128}, {Segment{8, 1, 8}, 0, 0}}},
		{Op: Alloc, Table: 3, Merged: 10, Unmerged: 2, Segments: []Segment{{1, 2, 3}}},
		{Op: Alloc, Status: NoSpace, Text: "pool is full", Table: 3, Merged: 10, Unmerged: 2},
		{Op: Alloc, Status: Busy, Merged: 1},
		{Op: Seal, Merged: 4},
		{Op: Progress, Table: 1, Merged: 99, Unmerged: 1},
		{Op: Drain, Merged: 99, Done: true},
		{Op: Root, Table: 5, Bytes: []byte("root and directory")},
		{Op: MetaGet, Record: 3, Bytes: []byte("map")},
		{Op: MetaGet, Status: NotFound, Text: "no record \"x\""},
		{Op: MetaCAS, Record: 4},
		{Op: MetaCAS, Status: Conflict, Record: 9, Bytes: []byte("other")},
		{Op: Stats, Counts: []uint64{1, 2, 1 << 60}},
		{Op: Install, Pointer: 1<<63 | 77},
		{Op: Remove},
		{Op: Remove, Status: Failed, Text: "pool is read-only"},
	}
}

func TestEveryOperationSurvivesTheCodec(t *testing.T) {
	requests, replies := map[Op]bool{}, map[Op]bool{}
	for _, want := range sampleRequests() {
		requests[want.Op] = true
		var got Request
		if err := DecodeRequest(AppendRequest(nil, &want), &got); err != nil {
			t.Fatalf("%s: %v", want.Op, err)
		}
		if normal(&got); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", want.Op, got, want)
		}
	}
	var got Reply // reused on purpose: nothing of one reply may show in the next
	for _, want := range sampleReplies() {
		replies[want.Op] = true
		encoded := AppendReply(nil, &want)
		if err := DecodeReply(encoded, &got); err != nil {
			t.Fatalf("%s %s: %v", want.Op, want.Status, err)
		}
		if again := AppendReply(nil, &got); !bytes.Equal(again, encoded) {
			t.Errorf("%s %s: %x became %x", want.Op, want.Status, encoded, again)
		}
		if got.Status != want.Status || got.Text != want.Text || got.Merged != want.Merged || len(got.Tails) != len(want.Tails) {
			t.Errorf("%s: got %+v, want %+v", want.Op, got, want)
		}
	}
	for op := Op(1); op < ops; op++ {
		if !requests[op] || !replies[op] {
			t.Errorf("%s has no sample", op)
		}
	}
}

// normal turns the empty slices of a decoded request into nil.
func normal(r *Request) {
	for _, b := range []*[]byte{&r.Name, &r.Bytes, &r.Key} {
		if len(*b) == 0 {
			*b = nil
		}
	}
}

func TestEveryCutAndEveryExtraByteIsRefused(t *testing.T) {
	for _, r := range sampleRequests() {
		m := AppendRequest(nil, &r)
		for cut := range m {
			if err := DecodeRequest(m[:cut], &Request{}); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s cut at %d: %v", r.Op, cut, err)
			}
		}
		if err := DecodeRequest(append(m, 0), &Request{}); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s with a byte more: %v", r.Op, err)
		}
	}
	for _, r := range sampleReplies() {
		m := AppendReply(nil, &r)
		for cut := range m {
			if err := DecodeReply(m[:cut], &Reply{}); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s cut at %d: %v", r.Op, cut, err)
			}
		}
	}
}

func TestHugeCountsAllocateNothing(t *testing.T) {
	m := AppendReply(nil, &Reply{Op: Stats, Counts: []uint64{1}})
	for i := 4; i < 8; i++ {
		m[i] = 0xff
	}
	r := &Reply{}
	if n := testing.AllocsPerRun(10, func() {
		d := decoder{rest: m[4:]}
		r.Op = Stats
		d.fields(r)
		if !d.failed {
			t.Fatal("a count of 2^32-1 was believed")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestSteadyCallsDoNotAllocate(t *testing.T) {
	request, reply := Request{Op: Progress, Table: 1}, Reply{Op: Alloc, Segments: []Segment{{1, 2, 3}}}
	var a, b []byte
	var rq Request
	var rp Reply
	step := func() {
		a, b = AppendRequest(a[:0], &request), AppendReply(b[:0], &reply)
		if DecodeRequest(a, &rq) != nil || DecodeReply(b, &rp) != nil {
			t.Fatal("own encoding refused")
		}
	}
	step()
	if n := testing.AllocsPerRun(100, step); n != 0 {
		t.Errorf("%v allocations a call", n)
	}
}

func FuzzDecodeRequest(f *testing.F) {
	for _, r := range sampleRequests() {
		f.Add(AppendRequest(nil, &r))
	}
	f.Fuzz(func(t *testing.T, m []byte) {
		var r Request
		if DecodeRequest(m, &r) == nil && !bytes.Equal(AppendRequest(nil, &r), m) {
			t.Errorf("%x decodes to %+v, which encodes to something else", m, r)
		}
	})
}

func FuzzDecodeReply(f *testing.F) {
	for _, r := range sampleReplies() {
		f.Add(AppendReply(nil, &r))
	}
	f.Fuzz(func(t *testing.T, m []byte) {
		var r Reply
		if DecodeReply(m, &r) == nil && !bytes.Equal(AppendReply(nil, &r), m) {
			t.Errorf("%x decodes to %+v, which encodes to something else", m, r)
		}
	})
}
