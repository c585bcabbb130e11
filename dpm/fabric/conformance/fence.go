package conformance

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
)

func testAdmission(t *testing.T, b *Backend) {
	f := start(t, b)
	for _, test := range []struct {
		name  string
		hello fabric.Hello
		want  error
		text  string
	}{
		{"another pool", fabric.Hello{Pool: fabric.PoolID{1}}, fabric.ErrWrongPool, poolID.String()},
		{"no free rank", fabric.Hello{Identity: refusedIdentity}, fabric.ErrRefused, "all 3 ranks are taken"},
		{"fenced", fabric.Hello{Identity: fencedIdentity}, fabric.ErrFenced, "rank 9 died"},
		{"identity too long", fabric.Hello{Identity: strings.Repeat("x", fabric.MaxIdentityBytes+1)}, fabric.ErrTooLong, "256"},
	} {
		qp, err := f.tryDial(withHello(test.hello))
		if err == nil {
			_ = qp.Close()
		}
		if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: %v, want %v with %q", test.name, err, test.want, test.text)
		}
	}
	f.dial(withHello(fabric.Hello{Pool: poolID, Identity: strings.Repeat("x", fabric.MaxIdentityBytes)}))
	m := f.listener.Metrics()
	if m.Refused[fabric.RefusedWrongPool] != 1 || m.Refused[fabric.RefusedOther] != 1 || m.Refused[fabric.RefusedFenced] != 1 || m.Admitted != 1 || m.Connections != 1 {
		t.Errorf("metrics: %s", m)
	}
}

func testFull(t *testing.T, b *Backend) {
	f := start(t, b, func(o *fabric.ListenOptions) { o.MaxConnections = 2 })
	f.dial()
	second := f.dial()
	if _, err := f.tryDial(); !errors.Is(err, fabric.ErrRefused) {
		t.Errorf("third queue pair of two: %v, want %v", err, fabric.ErrRefused)
	}
	if m := f.listener.Metrics(); m.Refused[fabric.RefusedFull] != 1 {
		t.Errorf("metrics: %s", m)
	}
	_ = second.Close()
	eventually(t, "room for another queue pair", func() bool {
		qp, err := f.tryDial()
		if err != nil {
			return false
		}
		_ = qp.Close()
		return true
	})
}

func hello(rank fabric.Rank, incarnation fabric.Incarnation) func(*fabric.DialOptions) {
	return withHello(fabric.Hello{Rank: rank, Incarnation: incarnation, Identity: "conformance"})
}

func testFence(t *testing.T, b *Backend) {
	f := start(t, b)
	old, older := f.dial(hello(5, 2)), f.dial(hello(5, 1))
	newer, other := f.dial(hello(5, 3)), f.dial(hello(6, 1))
	for _, qp := range []fabric.QP{old, older, newer, other} {
		must(t, qp, fabric.Verb{Kind: fabric.FetchAdd, Swap: 1})
	}
	for range 2 { // fencing twice is as good as once
		if err := f.listener.Fence(5, 2); err != nil {
			t.Fatal(err)
		}
	}
	for _, qp := range []fabric.QP{old, older} {
		eventually(t, "fenced queue pair breaks", func() bool {
			return qp.Post([]fabric.Verb{{Kind: fabric.FetchAdd, Address: 64}}) != nil
		})
		dead(t, qp, fabric.ErrBroken)
	}
	must(t, newer, fabric.Verb{Kind: fabric.FetchAdd, Swap: 1})
	must(t, other, fabric.Verb{Kind: fabric.FetchAdd, Swap: 1})
	for _, incarnation := range []fabric.Incarnation{1, 2} {
		if _, err := f.tryDial(hello(5, incarnation)); !errors.Is(err, fabric.ErrFenced) {
			t.Errorf("incarnation %d dials again: %v, want %v", incarnation, err, fabric.ErrFenced)
		}
	}
	must(t, f.dial(hello(5, 3)), fabric.Verb{Kind: fabric.FetchAdd, Swap: 1})
	if err := f.listener.Fence(5, 1); err != nil { // takes nothing back
		t.Fatal(err)
	}
	if _, err := f.tryDial(hello(5, 2)); !errors.Is(err, fabric.ErrFenced) {
		t.Errorf("incarnation 2 after a fence of 1: %v", err)
	}
	if err := f.listener.Fence(fabric.MaxRanks, 1); err == nil {
		t.Error("a rank that does not exist was fenced")
	}
	if m := f.listener.Metrics(); m.FencedOff != 2 || m.Refused[fabric.RefusedFenced] != 3 {
		t.Errorf("metrics: %s", m)
	}
}

// testFenceStopsWriters: once Fence has returned the fenced rank's words stand still. Guards DPM-6.
func testFenceStopsWriters(t *testing.T, b *Backend) {
	f := start(t, b)
	if !f.listener.Revocable() {
		t.Skip("this backend cannot take the memory away (Revocable is false)")
	}
	watcher := f.dial(hello(9, 1))
	const writers = 4
	var wg sync.WaitGroup
	for i := range writers {
		qp := f.dial(withHello(fabric.Hello{Rank: 3, Incarnation: 1, Thread: uint16(i)}))
		wg.Add(1)
		go func() {
			defer wg.Done()
			buffer := make([]byte, 64<<10)
			for n := 1; ; n++ {
				for j := range buffer {
					buffer[j] = byte(n)
				}
				verbs := []fabric.Verb{
					{Kind: fabric.Write, Address: uint64(i * len(buffer)), Buffer: buffer},
					{Kind: fabric.FetchAdd, Address: 1<<20 + uint64(i*8), Swap: 1},
				}
				if err := qp.Post(verbs); err != nil {
					if !errors.Is(err, fabric.ErrBroken) {
						t.Errorf("writer %d ended with %v", i, err)
					}
					return
				}
			}
		}()
	}
	for i := range writers {
		eventually(t, "the writers write", func() bool { return word(t, watcher, 1<<20+uint64(i*8)) > 3 })
	}
	if err := f.listener.Fence(3, 1); err != nil {
		t.Fatal(err)
	}
	look := func() string {
		b := make([]byte, 1<<20+64)
		must(t, watcher, fabric.Verb{Kind: fabric.Read, Buffer: b})
		return string(b)
	}
	before := look()
	wg.Wait()
	if look() != before {
		t.Error("a fenced rank changed the pool after Fence had returned")
	}
}

// testFenceDuringAdmit fences a rank while the service is admitting it.
func testFenceDuringAdmit(t *testing.T, b *Backend) {
	f := start(t, b)
	f.service.onAdmit = func(s fabric.Session) {
		if err := f.listener.Fence(s.Rank, s.Incarnation); err != nil {
			t.Error(err)
		}
	}
	if _, err := f.tryDial(hello(4, 4)); !errors.Is(err, fabric.ErrFenced) {
		t.Errorf("fenced while being admitted: %v, want %v", err, fabric.ErrFenced)
	}
	f.service.onAdmit = nil
	eventually(t, "the service learns of it", func() bool { _, gone := f.service.balance(); return gone == 1 })
}

// testReplace: a thread that dials again takes the place of its earlier queue pair. Guards that
// verbs of unknown outcome are not executed after the thread has asked what became of them.
func testReplace(t *testing.T, b *Backend) {
	f := start(t, b)
	watcher := f.dial(hello(9, 1))
	buffer := make([]byte, 1<<20)
	look := func() string {
		must(t, watcher, fabric.Verb{Kind: fabric.Read, Buffer: buffer})
		return string(buffer)
	}
	thread := withHello(fabric.Hello{Rank: 5, Incarnation: 1, Thread: 2})
	var wg sync.WaitGroup
	for round := range 1 + 20/b.Scale {
		qp := f.dial(thread)
		before := look()
		_, gone := f.service.balance()
		if int(gone) != round {
			t.Fatalf("round %d: %d queue pairs are gone when the next one is there", round, gone)
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			payload := bytes.Repeat([]byte{byte(round + 1)}, len(buffer))
			for {
				if err := qp.Post([]fabric.Verb{{Kind: fabric.Write, Buffer: payload}}); err != nil {
					if !errors.Is(err, fabric.ErrBroken) && !errors.Is(err, fabric.ErrClosed) {
						t.Errorf("round %d: replaced: %v", round, err)
					}
					return
				}
			}
		}()
		eventually(t, "the writer writes", func() bool { return look() != before })
	}
	last := f.dial(thread)
	if f.listener.Revocable() {
		before := look()
		wg.Wait()
		if look() != before {
			t.Error("a replaced queue pair changed the pool")
		}
	}
	wg.Wait()
	must(t, last, fabric.Verb{Kind: fabric.FetchAdd})
	shared := withHello(fabric.Hello{Rank: 5, Incarnation: 1, Thread: fabric.SharedThread})
	one, two := f.dial(shared), f.dial(shared)
	must(t, one, fabric.Verb{Kind: fabric.FetchAdd})
	must(t, two, fabric.Verb{Kind: fabric.FetchAdd})
}
