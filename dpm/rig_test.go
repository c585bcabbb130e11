package dpm

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/index"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/dpm/remote"
	"github.com/dinomo-kv/dinomo/internal/clock"
)

// localDialer makes queue pairs that act on a pool of the same process, in the caller's goroutine: no sockets, no
// concurrency, so that a crash test decides what happens when.
type localDialer struct {
	pool   *Pool
	mapped bool
	// breakAfter counts verbs down; the queue pair that executes the one that makes it 0 breaks after
	// it: the rest of the batch is lost. Negative: never.
	breakAfter int
}

type localQP struct {
	dialer  *localDialer
	pool    *Pool
	service fabric.Service
	session fabric.Session
	thread  uint16
	count   fabric.Counters
	dead    error
}

func (d *localDialer) Dial(_ context.Context, _ string, o fabric.DialOptions) (fabric.QP, error) {
	o.EnsureDefaults()
	if d.pool == nil {
		return nil, fabric.ErrBroken
	}
	service := d.pool.Service(d.mapped)
	session, err := service.Admit(o.Hello)
	if err != nil {
		return nil, err
	}
	return &localQP{dialer: d, pool: d.pool, service: service, session: session, thread: o.Hello.Thread}, nil
}

func (q *localQP) Post(verbs []fabric.Verb) error {
	if q.dead == nil && q.dialer.pool != q.pool {
		q.dead = fabric.ErrBroken
	}
	if q.dead != nil {
		return fabric.Abandon(verbs, q.dead)
	}
	r := q.pool.region
	done, failed := fabric.Prefix(verbs, r.Bytes(), fabric.ReadWrite)
	q.count.RoundTrips++
	for i := range verbs[:done] {
		v := &verbs[i]
		switch v.Kind {
		case fabric.Read:
			r.Read(v.Address, v.Buffer)
		case fabric.Write:
			r.Write(v.Address, v.Buffer)
		case fabric.CAS:
			v.Result, _ = r.CompareAndSwap64(v.Address, v.Expect, v.Swap)
		case fabric.FetchAdd:
			v.Result = r.Add64(v.Address, v.Swap)
		case fabric.Flush:
			r.Flush(v.Address, v.Length)
			if i+1 < done && verbs[i+1].Kind == fabric.Flush {
				break
			}
			if err := r.Fence(); err != nil {
				return fabric.Settle(verbs, i, err)
			}
		}
		if q.dialer.breakAfter--; q.dialer.breakAfter == 0 {
			q.dead = fabric.ErrBroken
			return fabric.Abandon(verbs, q.dead)
		}
	}
	q.count.Count(verbs[:done])
	return fabric.Settle(verbs, done, failed)
}

func (q *localQP) Call(request, reply []byte) ([]byte, error) {
	if q.dead == nil && q.dialer.pool != q.pool {
		q.dead = fabric.ErrBroken
	}
	if q.dead != nil {
		return nil, q.dead
	}
	q.count.RoundTrips++
	q.count.Calls++
	return q.service.Call(q.session, q.thread, request, reply), nil
}

func (q *localQP) Counters() fabric.Counters { return q.count }
func (q *localQP) Session() fabric.Session   { return q.session }
func (q *localQP) Close() error {
	if q.dead != fabric.ErrClosed {
		q.dead = fabric.ErrClosed
		q.service.Gone(q.session, q.thread)
	}
	return nil
}

// smallShape is a pool of few small segments, for tests.
func smallShape(segments uint32) format.Shape {
	return format.Shape{SegmentBytes: 64 << 10, Segments: segments, MetadataRecords: 4, MetadataSlotBytes: 512, Ranks: 8, IndirectWords: 64, FilterBytes: 1024}
}

// testOptions are those of a pool without workers on a fake region.
func testOptions(region pmem.Region, shape format.Shape) Options {
	o := Options{Workers: -1, Durability: region.Durability(), Shape: shape, MergeBatchBytes: 16 << 10, ReserveSegments: 3, LeaseLength: time.Second}
	o.private.region = region
	o.Clock = clock.NewManual(time.Unix(1_700_000_000, 0))
	return o
}

func newFake(t testing.TB, shape format.Shape) *pmem.Fake {
	t.Helper()
	l, err := format.NewLayout(shape, 0)
	if err != nil {
		t.Fatal(err)
	}
	return pmem.NewFake(l.TotalBytes, pmem.Fsync)
}

func mustOpen(t testing.TB, o Options) *Pool {
	t.Helper()
	p, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func mustSession(t testing.TB, d fabric.Dialer, identity string) *remote.Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s, err := remote.Dial(ctx, remote.Options{Dialer: d, Address: "local", Identity: identity})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustThread(t testing.TB, s *remote.Session, number uint16, o remote.AppenderOptions) *remote.Thread {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	th, err := s.Thread(ctx, number, o)
	if err != nil {
		t.Fatal(err)
	}
	return th
}

func put(t testing.TB, th *remote.Thread, key, value string) format.Pointer {
	t.Helper()
	pointer, err := th.Put([]byte(key), []byte(value), latticeLWW, 0)
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
	return pointer
}

func commit(t testing.TB, th *remote.Thread) {
	t.Helper()
	if err := th.Commit(); err != nil {
		t.Fatal(err)
	}
}

// settle runs a pool without workers until it has nothing to do.
func settle(t testing.TB, p *Pool) {
	t.Helper()
	for range 10000 {
		if progress, err := p.Step(); err != nil {
			t.Fatal(err)
		} else if !progress {
			return
		}
	}
	t.Fatal("pool never settles")
}

// read returns a key's value through the index, "-" when it is not there.
func read(t testing.TB, th *remote.Thread, key string) string {
	t.Helper()
	g, err := th.Get(index.KeyHash([]byte(key)), []byte(key), 0)
	if err == remote.ErrNotFound {
		return "-"
	}
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	return string(g.Value)
}

// checkIndex fails the test for everything that the index's own check finds.
func checkIndex(t testing.TB, p *Pool) {
	t.Helper()
	p.index.Check(func(problem index.Problem) bool {
		t.Error(problem)
		return true
	})
}

func value(seed, length int) string {
	return string(bytes.Repeat([]byte(fmt.Sprintf("%08d.", seed)), length/9+1)[:length])
}
