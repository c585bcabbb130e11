//go:build rdma && rdmatest && linux && cgo

package ibverbs

import (
	"errors"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
)

// pretender is memory that says of itself what a test wants.
type pretender struct {
	*pmem.File
	durability pmem.Durability
	fences     int
}

func (p *pretender) Durability() pmem.Durability { return p.durability }
func (p *pretender) Flush(uint64, uint64)        {}
func (p *pretender) Fence() error                { p.fences++; return nil }

// serveAs is serve with a pool of another durability and size.
func serveAs(t *testing.T, o Options, d pmem.Durability, bytes uint64) (fabric.Listener, *pretender) {
	t.Helper()
	file, err := pmem.NewVolatile(bytes)
	if err != nil {
		t.Fatal(err)
	}
	region := &pretender{File: file, durability: d}
	l, err := Listen(region, host{}, fabric.ListenOptions{Address: anyPort(t), Logf: t.Logf}, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(l.Close(), file.Close()); err != nil {
			t.Error(err)
		}
	})
	return l, region
}

func (c CardCounters) minus(b CardCounters) CardCounters {
	return CardCounters{c.Doorbells - b.Doorbells, c.WorkRequests - b.WorkRequests, c.Signalled - b.Signalled, c.Inlined - b.Inlined, c.Sleeps - b.Sleeps}
}

func repeat(n int, verbs ...fabric.Verb) (all []fabric.Verb) {
	for i := range n {
		for _, v := range verbs {
			v.Address += uint64(i) * 4096
			all = append(all, v)
		}
	}
	return all
}

// TestDoorbells: what is posted together goes out with one doorbell and one signalled work request, as far as it fits; short WRITEs are
// inline; and each Post is one round trip, however many doorbells it took. Guards IB-3 and IB-4.
func TestDoorbells(t *testing.T) {
	write := func(bytes int) fabric.Verb { return fabric.Verb{Kind: fabric.Write, Buffer: make([]byte, bytes)} }
	read := func(bytes int) fabric.Verb { return fabric.Verb{Kind: fabric.Read, Buffer: make([]byte, bytes)} }
	odd := write(16)
	odd.Address = 4
	flush := fabric.Verb{Kind: fabric.Flush, Length: 64}
	atomic := fabric.Verb{Kind: fabric.FetchAdd, Swap: 1}
	commit := append(repeat(16, write(64)), flush)
	for _, test := range []struct {
		name       string
		durability pmem.Durability
		persist    Persist
		verbs      []fabric.Verb
		want       CardCounters // Signalled is Doorbells
		fences     int
	}{
		{"one READ", pmem.Volatile, ByProcessor, repeat(1, read(64)), CardCounters{Doorbells: 1, WorkRequests: 1}, 0},
		{"READs posted together", pmem.Volatile, ByProcessor, repeat(16, read(1024)), CardCounters{Doorbells: 1, WorkRequests: 16}, 0},
		{"short WRITEs", pmem.Volatile, ByProcessor, repeat(16, write(64)), CardCounters{Doorbells: 1, WorkRequests: 16, Inlined: 16}, 0},
		{"a long WRITE among them", pmem.Volatile, ByProcessor, append(repeat(3, write(64)), write(4096)), CardCounters{Doorbells: 1, WorkRequests: 4, Inlined: 3}, 0},
		{"all kinds", pmem.Volatile, ByProcessor, repeat(4, write(8), read(8), atomic), CardCounters{Doorbells: 1, WorkRequests: 12, Inlined: 4}, 0},
		{"a WRITE that begins within a word", pmem.Volatile, ByProcessor, []fabric.Verb{odd}, CardCounters{Doorbells: 1, WorkRequests: 2, Inlined: 2}, 0},
		{"more than a chain takes", pmem.Volatile, ByProcessor, repeat(200, write(8)), CardCounters{Doorbells: 2, WorkRequests: 200, Inlined: 200}, 0},
		{"more than the payload's memory", pmem.Volatile, ByProcessor, repeat(1, write(3<<20)), CardCounters{Doorbells: 3, WorkRequests: 6}, 0},
		// A group commit: FLUSH is a READ of one word behind the WRITEs, or a message in the same chain.
		{"commit, volatile", pmem.Volatile, ByProcessor, commit, CardCounters{Doorbells: 1, WorkRequests: 17, Inlined: 16}, 0},
		{"commit, dax by READ", pmem.DAX, ByRead, commit, CardCounters{Doorbells: 1, WorkRequests: 17, Inlined: 16}, 0},
		{"commit, dax by the processor", pmem.DAX, ByProcessor, commit, CardCounters{Doorbells: 1, WorkRequests: 17, Inlined: 16}, 1},
		{"commit, fsync", pmem.Fsync, ByRead, commit, CardCounters{Doorbells: 1, WorkRequests: 17, Inlined: 16}, 1},
	} {
		o := testOptions(Socket)
		o.Persist = test.persist
		l, region := serveAs(t, o, test.durability, 4<<20)
		q := mustDial(t, Socket, l.Address(), fabric.Hello{})
		if q.endpoint.c.max_inline < 64 {
			t.Fatalf("this card takes only %d bytes inline", q.endpoint.c.max_inline)
		}
		before, trips := q.CardCounters(), q.Counters().RoundTrips
		if err := q.Post(test.verbs); err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		got := q.CardCounters().minus(before)
		got.Sleeps = 0
		test.want.Signalled = test.want.Doorbells
		if trips = q.Counters().RoundTrips - trips; got != test.want || trips != 1 {
			t.Errorf("%s: %+v in %d round trips, want %+v in 1", test.name, got, trips, test.want)
		}
		if region.fences != test.fences {
			t.Errorf("%s: the DPM's processor wrote back %d times, want %d", test.name, region.fences, test.fences)
		}
	}
}

// TestSpinThenSleep: a wait polls first and sleeps then.
func TestSpinThenSleep(t *testing.T) {
	l, _ := serveAs(t, testOptions(Socket), pmem.Volatile, 1<<20)
	o := testOptions(Socket)
	o.Polls = 1 << 30
	qp, err := Dialer{o}.Dial(t.Context(), l.Address(), fabric.DialOptions{DialTimeout: time.Minute, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer qp.Close()
	before := qp.(*QP).CardCounters()
	for range 10 {
		if err := qp.Post([]fabric.Verb{{Kind: fabric.Read, Buffer: make([]byte, 4096)}}); err != nil {
			t.Fatal(err)
		}
	}
	if n := qp.(*QP).CardCounters().minus(before).Sleeps; n != 0 {
		t.Errorf("a wait that may poll for long slept %d times", n)
	}
	// A completion that takes as long as the retries of a packet that nobody answers.
	q := mustDial(t, Socket, l.Address(), fabric.Hello{Rank: 3, Incarnation: 1})
	q.deafen()
	if err := l.Fence(3, 1); err != nil {
		t.Fatal(err)
	}
	before = q.CardCounters()
	var completion errCompletion
	if err := q.raw(rawWrite(q, q.grant.base)); !errors.As(err, &completion) {
		t.Errorf("a WRITE to nobody: %v", err)
	}
	if n := q.CardCounters().minus(before).Sleeps; n == 0 || n > 10 {
		t.Errorf("a wait of seconds slept %d times, want one or a few", n)
	}
}
