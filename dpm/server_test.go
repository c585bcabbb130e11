package dpm

import (
	"errors"
	"strings"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/call"
	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/remote"
)

// ask sends one request of a thread and returns the reply.
func ask(t testing.TB, p *Pool, s fabric.Session, thread uint16, r call.Request) call.Reply {
	t.Helper()
	var reply call.Reply
	if err := call.DecodeReply(p.Service(false).Call(s, thread, call.AppendRequest(nil, &r), nil), &reply); err != nil {
		t.Fatal(err)
	}
	return reply
}

func TestAllocIsBoundedByTheUnmergedSegments(t *testing.T) {
	p, _ := newVolatile(t, smallShape(24))
	s, err := p.Service(false).Admit(fabric.Hello{Identity: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if r := ask(t, p, s, 0, call.Request{Op: call.Attach}); r.Status != call.OK || r.UnmergedLimit != 6 || r.LeaseMicros != 1e6 {
		t.Fatalf("attach: %+v", r)
	}
	if r := ask(t, p, s, 0, call.Request{Op: call.Alloc, Count: 100}); r.Status != call.OK || len(r.Segments) != 6 || r.Segments[0].Order != 1 || r.Segments[5].Order != 6 {
		t.Fatalf("100 segments asked for: %+v", r)
	}
	if r := ask(t, p, s, 0, call.Request{Op: call.Alloc, Count: 1}); r.Status != call.Busy || r.Unmerged != 6 || !strings.Contains(r.Text, "6 unmerged") {
		t.Fatalf("one more: %+v", r)
	}
	if r := ask(t, p, s, 0, call.Request{Op: call.Seal}); r.Status != call.OK || r.Unmerged != 0 {
		t.Fatalf("given back: %+v", r)
	}
	settle(t, p)
	if got := p.Stats().FreeSegments; got != 23 {
		t.Errorf("%d segments free after all were given back empty, want 23", got)
	}
}

func TestCallsThatCannotBe(t *testing.T) {
	p, _ := newVolatile(t, smallShape(24))
	s, err := p.Service(false).Admit(fabric.Hello{Identity: "a"})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		thread uint16
		r      call.Request
		want   call.Status
	}{
		"log call of a node":          {nodeThread, call.Request{Op: call.Alloc, Count: 1}, call.Failed},
		"drain beyond the log's end":  {0, call.Request{Op: call.Drain, Through: 1 << 60}, call.OK},
		"install of no key":           {0, call.Request{Op: call.Install}, call.Failed},
		"long metadata name":          {0, call.Request{Op: call.MetaCAS, Name: make([]byte, 100)}, call.TooLarge},
		"long metadata":               {0, call.Request{Op: call.MetaCAS, Name: []byte("m"), Bytes: make([]byte, 600)}, call.TooLarge},
		"no metadata":                 {0, call.Request{Op: call.MetaGet, Name: []byte("m")}, call.NotFound},
		"metadata of another version": {0, call.Request{Op: call.MetaCAS, Name: []byte("m"), Expect: 3}, call.Conflict},
		"remove of an unknown key":    {0, call.Request{Op: call.Remove, Key: []byte("k")}, call.OK},
	} {
		if r := ask(t, p, s, c.thread, c.r); r.Status != c.want {
			t.Errorf("%s: %v %q, want %v", name, r.Status, r.Text, c.want)
		}
	}
	if err := p.Fence(s.Rank, s.Incarnation); err != nil {
		t.Fatal(err)
	}
	for _, op := range []call.Op{call.Attach, call.Alloc, call.Progress, call.Drain, call.Seal} {
		if r := ask(t, p, s, 0, call.Request{Op: op}); r.Status != call.Fenced {
			t.Errorf("%v of a fenced node: %v %q", op, r.Status, r.Text)
		}
	}
}

func TestStatsSurviveTheCall(t *testing.T) {
	p, d := newVolatile(t, smallShape(24))
	s := mustSession(t, d, "a")
	put(t, mustThread(t, s, 0, remote.AppenderOptions{}), "k", "v")
	counts, err := s.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, want := StatsOf(counts), p.Stats()
	want.Calls = got.Calls
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	names := map[string]bool{}
	for _, f := range got.figures() {
		if names[f.name] || f.name == "" {
			t.Errorf("figure %q twice", f.name)
		}
		names[f.name] = true
	}
	if list := p.Segments(); len(list) == 0 || list[0].Header.State == format.SegmentFree {
		t.Errorf("segments: %+v", list)
	}
}

func TestTooSmallPoolsAreRefused(t *testing.T) {
	shape := smallShape(4)
	fake := newFake(t, shape)
	if _, err := Open(testOptions(fake, shape)); err == nil || !strings.Contains(err.Error(), "larger pool") {
		t.Errorf("a pool of reserve only: %v", err)
	}
	for _, o := range []Options{{}, {Path: "x", Workers: 65}, {Path: "x", MergeBatchBytes: 1}, {Path: "x", UnmergedSegments: 1},
		{Path: "x", ReserveSegments: 2}, {Path: "x", SpaceFactor: 1}, {Path: "x", LeaseLength: 1}, {Path: "x", LeaseMargin: -1}} {
		if _, err := Open(o); err == nil || !strings.Contains(err.Error(), "pool options") {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if _, err := Open(Options{Path: t.TempDir() + "/none", MustExist: true}); !errors.Is(err, ErrNoPool) {
		t.Errorf("no pool: %v", err)
	}
}

// FuzzCalls sends arbitrary requests, several in a row, to a pool that has something in it.
func FuzzCalls(f *testing.F) {
	for _, r := range []call.Request{{Op: call.Attach}, {Op: call.Alloc, Count: 2}, {Op: call.Seal}, {Op: call.Drain}, {Op: call.Root}, {Op: call.Install, Key: []byte("k")}, {Op: call.MetaCAS, Name: []byte("m")}} {
		f.Add(call.AppendRequest(nil, &r), call.AppendRequest(nil, &call.Request{Op: call.Alloc, Count: 1 << 31, DeletesOnly: true, Settled: 1 << 63}), uint16(0))
	}
	p, d := newVolatile(f, smallShape(24))
	th := mustThread(f, mustSession(f, d, "a"), 7, remote.AppenderOptions{})
	put(f, th, "k", "v")
	commit(f, th)
	s, err := p.Service(false).Admit(fabric.Hello{Identity: "b"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, first, second []byte, thread uint16) {
		var reply call.Reply
		for _, m := range [][]byte{first, second} {
			if err := call.DecodeReply(p.Service(false).Call(s, thread, m, nil), &reply); err != nil {
				t.Fatalf("%x is answered by what is no reply: %v", m, err)
			}
		}
		if _, err := p.Step(); err != nil {
			t.Fatal(err)
		}
		if got := read(t, th, "k"); got != "v" {
			t.Fatalf("k = %q", got)
		}
	})
}
