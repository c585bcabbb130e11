package conformance

import (
	"bytes"
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
)

func testRefusedVerbs(t *testing.T, b *Backend) {
	qp := start(t, b).dial()
	bytes := qp.Session().PoolBytes
	eight := make([]byte, 8)
	for _, test := range []struct {
		name string
		verb fabric.Verb
		want error
	}{
		{"read past the end", fabric.Verb{Kind: fabric.Read, Address: bytes - 7, Buffer: eight}, fabric.ErrBounds},
		{"write past the end", fabric.Verb{Kind: fabric.Write, Address: bytes, Buffer: eight}, fabric.ErrBounds},
		{"address that overflows", fabric.Verb{Kind: fabric.Read, Address: math.MaxUint64 - 3, Buffer: eight}, fabric.ErrBounds},
		{"atomic past the end", fabric.Verb{Kind: fabric.CAS, Address: bytes}, fabric.ErrBounds},
		{"atomic that overflows", fabric.Verb{Kind: fabric.FetchAdd, Address: math.MaxUint64 - 7}, fabric.ErrBounds},
		{"flush past the end", fabric.Verb{Kind: fabric.Flush, Address: 8, Length: bytes}, fabric.ErrBounds},
		{"flush that overflows", fabric.Verb{Kind: fabric.Flush, Address: 8, Length: math.MaxUint64}, fabric.ErrBounds},
		{"misaligned CAS", fabric.Verb{Kind: fabric.CAS, Address: 4}, fabric.ErrMisaligned},
		{"misaligned FETCH_ADD", fabric.Verb{Kind: fabric.FetchAdd, Address: 1}, fabric.ErrMisaligned},
		{"read too long", fabric.Verb{Kind: fabric.Read, Buffer: make([]byte, fabric.MaxVerbBytes+1)}, fabric.ErrTooLong},
		{"write too long", fabric.Verb{Kind: fabric.Write, Buffer: make([]byte, fabric.MaxVerbBytes+1)}, fabric.ErrTooLong},
		{"no kind", fabric.Verb{}, fabric.ErrUnknownVerb},
		{"unknown kind", fabric.Verb{Kind: fabric.Kind(fabric.Kinds)}, fabric.ErrUnknownVerb},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := word(t, qp, 0)
			verbs := []fabric.Verb{{Kind: fabric.FetchAdd, Swap: 1}, test.verb, {Kind: fabric.FetchAdd, Swap: 100}}
			if err := qp.Post(verbs); !errors.Is(err, test.want) {
				t.Errorf("Post returned %v, want %v", err, test.want)
			}
			if verbs[0].Err != nil || verbs[1].Err != test.want || verbs[2].Err != fabric.ErrFlushed {
				t.Errorf("verbs carry %v, %v, %v", verbs[0].Err, verbs[1].Err, verbs[2].Err)
			}
			if now := word(t, qp, 0); now != before+1 {
				t.Errorf("the word went from %d to %d: only the verb before the failure may have run", before, now)
			}
		})
	}
	t.Run("too many verbs", func(t *testing.T) {
		before := word(t, qp, 0)
		verbs := make([]fabric.Verb, fabric.MaxBatch+1)
		for i := range verbs {
			verbs[i] = fabric.Verb{Kind: fabric.FetchAdd, Swap: 1}
		}
		if err := qp.Post(verbs); !errors.Is(err, fabric.ErrTooLong) || verbs[fabric.MaxBatch].Err != fabric.ErrFlushed {
			t.Errorf("Post returned %v, the last verb carries %v", err, verbs[fabric.MaxBatch].Err)
		}
		if now := word(t, qp, 0); now != before {
			t.Error("a part of the batch was executed")
		}
	})
	t.Run("too many bytes", func(t *testing.T) {
		buffer := make([]byte, fabric.MaxVerbBytes)
		verbs := []fabric.Verb{{Kind: fabric.Read, Buffer: buffer}, {Kind: fabric.Read, Buffer: buffer}, {Kind: fabric.Read, Buffer: buffer[:1]}}
		if err := qp.Post(verbs); !errors.Is(err, fabric.ErrTooLong) || verbs[1].Err != nil || verbs[2].Err != fabric.ErrTooLong {
			t.Errorf("Post returned %v", err)
		}
	})
	t.Run("nothing", func(t *testing.T) {
		before := qp.Counters()
		if err := qp.Post(nil); err != nil || qp.Counters() != before {
			t.Errorf("an empty batch: %v", err)
		}
		must(t, qp, fabric.Verb{Kind: fabric.Read, Address: bytes}, fabric.Verb{Kind: fabric.Write, Address: bytes}, fabric.Verb{Kind: fabric.Flush, Address: bytes})
	})
}

func testReadOnly(t *testing.T, b *Backend) {
	f := start(t, b)
	must(t, f.dial(), fabric.Verb{Kind: fabric.Write, Buffer: []byte("12345678")})
	qp := f.dial(func(o *fabric.DialOptions) { o.Hello.Access = fabric.ReadOnly })
	buffer := make([]byte, 8)
	for _, v := range []fabric.Verb{
		{Kind: fabric.Write, Buffer: []byte("x")},
		{Kind: fabric.CAS, Swap: 1},
		{Kind: fabric.FetchAdd, Swap: 1},
		{Kind: fabric.Flush, Length: 8},
	} {
		verbs := []fabric.Verb{{Kind: fabric.Read, Buffer: buffer}, v}
		if err := qp.Post(verbs); !errors.Is(err, fabric.ErrPermission) || verbs[0].Err != nil || verbs[1].Err != fabric.ErrPermission {
			t.Errorf("%s by a reader: %v", v.Kind, err)
		}
	}
	must(t, qp, fabric.Verb{Kind: fabric.Read, Buffer: buffer})
	if string(buffer) != "12345678" {
		t.Errorf("the pool holds %q", buffer)
	}
	if _, err := qp.Call([]byte{callEcho}, nil); err != nil {
		t.Errorf("call by a reader: %v", err)
	}
}

// fsync makes the pool one whose FLUSHes the DPM must serve.
func (f *fixture) fsync() { f.region.durability.Store(uint32(pmem.Fsync)) }

func testFlush(t *testing.T, b *Backend) {
	f := start(t, b)
	f.fsync()
	qp := f.dial()
	before := qp.Counters().RoundTrips
	must(t, qp,
		fabric.Verb{Kind: fabric.Write, Address: 64, Buffer: make([]byte, 200)},
		fabric.Verb{Kind: fabric.Flush, Address: 64, Length: 200},
		fabric.Verb{Kind: fabric.Flush, Address: 4096, Length: 8},
		fabric.Verb{Kind: fabric.FetchAdd, Address: 8, Swap: 2},
		fabric.Verb{Kind: fabric.Flush, Address: 8, Length: 8},
	)
	if fences, flushes := f.region.fences.Load(), f.region.flushes.Load(); fences != 2 || flushes != 3 {
		t.Errorf("three FLUSHes in two runs made %d flushes and %d fences of the region, want 3 and 2", flushes, fences)
	}
	if n := qp.Counters().RoundTrips - before; n != 1 {
		t.Errorf("the batch took %d round trips", n)
	}
	if c := qp.Counters(); c.Verbs[fabric.Flush] != 3 {
		t.Errorf("%d FLUSHes counted", c.Verbs[fabric.Flush])
	}
}

func testFlushFails(t *testing.T, b *Backend) {
	f := start(t, b)
	f.fsync()
	qp := f.dial()
	f.region.failing.Store(true)
	verbs := []fabric.Verb{
		{Kind: fabric.FetchAdd, Swap: 1},
		{Kind: fabric.Flush, Length: 8},
		{Kind: fabric.Flush, Length: 16},
		{Kind: fabric.FetchAdd, Swap: 10},
		{Kind: fabric.Write, Address: 64, Buffer: make([]byte, 100_000)},
	}
	if err := qp.Post(verbs); !errors.Is(err, pmem.ErrReadOnly) {
		t.Errorf("Post returned %v, want %v", err, pmem.ErrReadOnly)
	}
	for i, want := range []error{nil, pmem.ErrReadOnly, fabric.ErrFlushed, fabric.ErrFlushed, fabric.ErrFlushed} {
		if verbs[i].Err != want {
			t.Errorf("verb %d carries %v, want %v", i, verbs[i].Err, want)
		}
	}
	if got := word(t, qp, 0); got != 1 {
		t.Errorf("the word is %d: what follows a failed FLUSH must not run", got)
	}
	f.region.failing.Store(false)
	must(t, qp, fabric.Verb{Kind: fabric.Flush, Length: 8})
}

// dead wants a queue pair that is of no use any more, for one of these reasons.
func dead(t *testing.T, qp fabric.QP, want ...error) {
	t.Helper()
	is := func(err error) bool {
		for _, w := range want {
			if errors.Is(err, w) {
				return true
			}
		}
		return false
	}
	verbs := []fabric.Verb{{Kind: fabric.Read, Buffer: make([]byte, 8)}, {Kind: fabric.FetchAdd}}
	if err := qp.Post(verbs); !is(err) || !is(verbs[0].Err) || !is(verbs[1].Err) {
		t.Errorf("post on a dead queue pair: %v (verbs carry %v, %v), want %v", err, verbs[0].Err, verbs[1].Err, want)
	}
	if _, err := qp.Call([]byte{callEcho}, nil); !is(err) {
		t.Errorf("call on a dead queue pair: %v, want %v", err, want)
	}
}

func testFlushTimeout(t *testing.T, b *Backend) {
	if b.Single {
		t.Skip("nothing can be held up here")
	}
	f := start(t, b)
	f.fsync()
	f.region.holding.Store(true)
	qp := f.dial(withTimeout(100 * time.Millisecond))
	verbs := []fabric.Verb{{Kind: fabric.FetchAdd, Swap: 1}, {Kind: fabric.Flush, Length: 8}}
	if err := qp.Post(verbs); !errors.Is(err, fabric.ErrTimeout) || !errors.Is(verbs[0].Err, fabric.ErrTimeout) || !errors.Is(verbs[1].Err, fabric.ErrTimeout) {
		t.Errorf("Post returned %v, verbs carry %v, %v", err, verbs[0].Err, verbs[1].Err)
	}
	dead(t, qp, fabric.ErrTimeout)
}

// testListenerCloses ends the listener under idle and busy queue pairs.
func testListenerCloses(t *testing.T, b *Backend) {
	f := start(t, b)
	idle, busy := f.dial(), f.dial()
	must(t, idle, fabric.Verb{Kind: fabric.FetchAdd, Swap: 1})
	broken := make(chan error, 1)
	go func() {
		v := []fabric.Verb{{Kind: fabric.FetchAdd, Address: 64, Swap: 1}}
		for {
			if err := busy.Post(v); err != nil {
				broken <- err
				return
			}
		}
	}()
	if err := f.listener.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-broken:
		if !errors.Is(err, fabric.ErrBroken) {
			t.Errorf("busy queue pair: %v, want %v", err, fabric.ErrBroken)
		}
	case <-after(patience):
		t.Fatal("a busy queue pair outlives its listener")
	}
	eventually(t, "idle queue pair breaks", func() bool {
		return idle.Post([]fabric.Verb{{Kind: fabric.FetchAdd, Address: 64}}) != nil
	})
	dead(t, idle, fabric.ErrBroken)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if qp, err := b.Dialer.Dial(ctx, f.listener.Address(), dialOptions(func(o *fabric.DialOptions) { o.DialTimeout = time.Second })); err == nil {
		_ = qp.Close()
		t.Error("a closed listener admits")
	}
}

func testClose(t *testing.T, b *Backend) {
	f := start(t, b)
	qp := f.dial()
	must(t, qp, fabric.Verb{Kind: fabric.FetchAdd, Swap: 1})
	for range 3 {
		if err := qp.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	dead(t, qp, fabric.ErrClosed)
	if err := qp.Post(nil); !errors.Is(err, fabric.ErrClosed) {
		t.Errorf("an empty batch after Close: %v", err)
	}
	eventually(t, "the service learns of it", func() bool { _, gone := f.service.balance(); return gone == 1 })
}

func testCloseBreaksWait(t *testing.T, b *Backend) {
	if b.Single {
		t.Skip("nobody waits here")
	}
	f := start(t, b)
	qp := f.dial()
	result := make(chan error, 1)
	go func() {
		_, err := qp.Call([]byte{callHold}, nil)
		result <- err
	}()
	eventually(t, "the call is being served", func() bool { return f.service.held.Load() == 1 })
	if err := qp.Close(); err != nil {
		t.Error(err)
	}
	select {
	case err := <-result:
		if !errors.Is(err, fabric.ErrClosed) {
			t.Errorf("the call ended with %v, want %v", err, fabric.ErrClosed)
		}
	case <-after(patience):
		t.Error("Close does not break the wait")
	}
	busy := f.dial()
	go func() {
		v := []fabric.Verb{{Kind: fabric.Write, Address: 64, Buffer: bytes.Repeat([]byte{1}, 4096)}}
		for {
			if err := busy.Post(v); err != nil {
				result <- err
				return
			}
		}
	}()
	probe := f.dial()
	eventually(t, "the writer writes", func() bool { return word(t, probe, 128) != 0 })
	if err := busy.Close(); err != nil {
		t.Error(err)
	}
	if err := <-result; !errors.Is(err, fabric.ErrClosed) {
		t.Errorf("the busy queue pair ended with %v, want %v", err, fabric.ErrClosed)
	}
}
