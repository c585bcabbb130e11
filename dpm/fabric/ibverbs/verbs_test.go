//go:build rdma && rdmatest && linux && cgo

package ibverbs

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/conformance"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
)

// DeviceAddress returns an IP address of the first card, without which there is nothing to test.
func DeviceAddress(t testing.TB) netip.Addr {
	t.Helper()
	if err := Available(); err != nil {
		if os.Getenv("RDMA_REQUIRED") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	_, p, err := choosePath(Options{}, netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	return netip.AddrFrom16(p.gid).Unmap()
}

// anyPort is an address of the first card to listen on.
func anyPort(t testing.TB) string { return netip.AddrPortFrom(DeviceAddress(t), 0).String() }

// testOptions poll little and are patient: under emulation whoever polls takes the processor from who works, and on a busy
// host half a second without a turn is nothing.
func testOptions(s Setup) Options { return Options{Setup: s, Polls: 20, AckTimeout: 16} }

func backendOf(t testing.TB, s Setup) conformance.Backend {
	o := testOptions(s)
	return conformance.Backend{
		Listen: func(region pmem.Region, service fabric.Service, lo fabric.ListenOptions) (fabric.Listener, error) {
			return Listen(region, service, lo, o)
		},
		Dialer:  Dialer{o},
		Address: netip.AddrPortFrom(DeviceAddress(t), 0).String(),
		Scale:   10,
	}
}

func TestConformanceCM(t *testing.T)     { conformance.Run(t, backendOf(t, RDMACM)) }
func TestConformanceSocket(t *testing.T) { conformance.Run(t, backendOf(t, Socket)) }

// host admits everybody.
type host struct{}

func (host) Admit(h fabric.Hello) (fabric.Session, error) {
	return fabric.Session{Rank: max(h.Rank, 1), Incarnation: max(h.Incarnation, 1), Pool: fabric.PoolID{7}}, nil
}
func (host) Call(_ fabric.Session, _ uint16, request, reply []byte) []byte {
	return append(reply, request...)
}
func (host) Gone(fabric.Session, uint16) {}

const poolBytes = 1 << 20

// serve starts a listener that ends with the test.
func serve(t testing.TB, s Setup, change ...func(*fabric.ListenOptions)) (fabric.Listener, *pmem.File) {
	t.Helper()
	region, err := pmem.NewVolatile(poolBytes)
	if err != nil {
		t.Fatal(err)
	}
	lo := fabric.ListenOptions{Address: netip.AddrPortFrom(DeviceAddress(t), 0).String(), Logf: t.Logf}
	for _, c := range change {
		c(&lo)
	}
	l, err := Listen(region, host{}, lo, testOptions(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(l.Close(), region.Close()); err != nil {
			t.Error(err)
		}
	})
	return l, region
}

func dial(t testing.TB, s Setup, address string, h fabric.Hello) (*QP, error) {
	t.Helper()
	qp, err := Dialer{testOptions(s)}.Dial(context.Background(), address, fabric.DialOptions{Hello: h, DialTimeout: time.Minute, Timeout: time.Minute})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = qp.Close() })
	return qp.(*QP), nil
}

func mustDial(t testing.TB, s Setup, address string, h fabric.Hello) *QP {
	t.Helper()
	qp, err := dial(t, s, address, h)
	if err != nil {
		t.Fatal(err)
	}
	return qp
}

func bothSetups(t *testing.T, run func(t *testing.T, s Setup)) {
	for _, s := range []Setup{RDMACM, Socket} {
		t.Run(string(s), func(t *testing.T) { run(t, s) })
	}
}

// TestRefusedEarly: peers of another pool, version or a fenced rank are turned away before there is a queue pair. Guards IB-2.
func TestRefusedEarly(t *testing.T) {
	bothSetups(t, func(t *testing.T, s Setup) {
		l, _ := serve(t, s, func(o *fabric.ListenOptions) { o.Pool = fabric.PoolID{7} })
		if err := l.Fence(5, 3); err != nil {
			t.Fatal(err)
		}
		if _, err := dial(t, s, l.Address(), fabric.Hello{Pool: fabric.PoolID{8}}); !errors.Is(err, fabric.ErrWrongPool) {
			t.Errorf("another pool: %v, want %v", err, fabric.ErrWrongPool)
		}
		old := testOptions(s)
		old.private.version = 99
		if _, err := (Dialer{old}).Dial(t.Context(), l.Address(), fabric.DialOptions{DialTimeout: time.Minute}); !errors.Is(err, fabric.ErrWrongPool) || !strings.Contains(err.Error(), "protocol 99") {
			t.Errorf("another version: %v, want %v", err, fabric.ErrWrongPool)
		}
		if _, err := dial(t, s, l.Address(), fabric.Hello{Rank: 5, Incarnation: 3}); !errors.Is(err, fabric.ErrFenced) {
			t.Errorf("a fenced rank: %v, want %v", err, fabric.ErrFenced)
		}
		mustDial(t, s, l.Address(), fabric.Hello{Pool: fabric.PoolID{7}, Rank: 5, Incarnation: 4})
		if m := l.Metrics(); m.Admitted != 1 {
			t.Errorf("metrics: %s", m)
		}
	})
}

// TestNobodyThere: dialling an address without a listener ends with an error.
func TestNobodyThere(t *testing.T) {
	bothSetups(t, func(t *testing.T, s Setup) {
		l, _ := serve(t, s)
		address := l.Address()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := dial(t, s, address, fabric.Hello{}); err == nil {
			t.Error("a closed listener admits")
		} else {
			t.Log(err)
		}
	})
}

// raw posts one work request without the checks that Post makes: what a peer with a bug, or a bad one, could do.
func (q *QP) raw(wr cWorkRequest) error {
	q.add(wr)
	return q.endpoint.run(time.Minute)
}

// TestCardRefuses: the permission is the card's, not the dialler's good will. Guards IB-1.
func TestCardRefuses(t *testing.T) {
	bothSetups(t, func(t *testing.T, s Setup) {
		l, region := serve(t, s)
		inside := func(q *QP, at uint64) uint64 { return q.grant.base + at }
		for _, test := range []struct {
			name   string
			access fabric.Access
			wr     func(q *QP) cWorkRequest
		}{
			{"write by a reader", fabric.ReadOnly, func(q *QP) cWorkRequest { return rawWrite(q, inside(q, 64)) }},
			{"atomic by a reader", fabric.ReadOnly, func(q *QP) cWorkRequest { return rawFetchAdd(q, inside(q, 64)) }},
			{"write past the end", fabric.ReadWrite, func(q *QP) cWorkRequest { return rawWrite(q, inside(q, poolBytes)) }},
			{"write before the start", fabric.ReadWrite, func(q *QP) cWorkRequest { return rawWrite(q, inside(q, 0)-8) }},
			{"wrong key", fabric.ReadWrite, func(q *QP) cWorkRequest {
				q.endpoint.c.rkey ^= 0x55
				return rawWrite(q, inside(q, 64))
			}},
		} {
			q := mustDial(t, s, l.Address(), fabric.Hello{Access: test.access, Thread: fabric.SharedThread})
			// A failed completion, or already the listener's end of a connection whose peer broke the rules.
			var completion errCompletion
			if err := q.raw(test.wr(q)); !errors.As(err, &completion) && !errors.Is(err, io.EOF) {
				t.Errorf("%s: %v, want a failed completion", test.name, err)
			}
			if w := region.Load64(64); w != 0 {
				t.Errorf("%s: the pool holds %#x", test.name, w)
			}
			// The queue pair is dead now, and its owner dials another one.
			if err := q.Post([]fabric.Verb{{Kind: fabric.Read, Buffer: make([]byte, 8)}}); !errors.Is(err, fabric.ErrBroken) {
				t.Errorf("%s: and then %v, want %v", test.name, err, fabric.ErrBroken)
			}
			again := mustDial(t, s, l.Address(), fabric.Hello{Access: test.access, Thread: fabric.SharedThread})
			if err := again.Post([]fabric.Verb{{Kind: fabric.Read, Buffer: make([]byte, 8)}}); err != nil {
				t.Errorf("%s: the next queue pair: %v", test.name, err)
			}
		}
	})
}

// deafen makes a dialler overlook that its peer has gone: its queue pair stays as it is, and goes on sending.
func (q *QP) deafen() {
	q.endpoint.mu.Lock()
	defer q.endpoint.mu.Unlock()
	q.endpoint.deaf = true
}

// TestFencedCannotWrite: after Fence not even raw work requests with the right key change anything, of a peer that does not care that it was
// disconnected: its packets go out, and the listener's card answers to none of them. Guards DPM-6 and IB-1.
func TestFencedCannotWrite(t *testing.T) {
	bothSetups(t, func(t *testing.T, s Setup) {
		l, region := serve(t, s)
		q := mustDial(t, s, l.Address(), fabric.Hello{Rank: 3, Incarnation: 1})
		if err := q.raw(rawWrite(q, q.grant.base+64)); err != nil || region.Load64(64) == 0 {
			t.Fatalf("before: %v, the pool holds %#x", err, region.Load64(64))
		}
		region.Store64(64, 0)
		late := rawWrite(q, q.grant.base+64)
		q.deafen()
		if err := l.Fence(3, 1); err != nil {
			t.Fatal(err)
		}
		var completion errCompletion
		if err := q.raw(late); !errors.As(err, &completion) || region.Load64(64) != 0 {
			t.Errorf("after: %v, the pool holds %#x", err, region.Load64(64))
		} else {
			t.Log(err)
		}
	})
}

// TestEveryDevice: each card of this machine is found by its address, serves there with either set-up, and is refused under another
// name; options that fit none are refused with what there is.
func TestEveryDevice(t *testing.T) {
	DeviceAddress(t)
	ports, err := allPorts()
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for i := range ports {
		p, err := ports[i].path(Options{}, netip.Addr{})
		if err != nil {
			t.Log(ports[i].String(), err)
			continue
		}
		tried++
		t.Log(p.String())
		address := netip.AddrFrom16(p.gid).Unmap()
		if _, got, err := choosePath(Options{}, address); err != nil || got.device != p.device || got.gidIndex != p.gidIndex {
			t.Errorf("%s leads to %s, GID %d: %v", address, got.device, got.gidIndex, err)
		}
		for _, o := range []Options{testOptions(RDMACM), testOptions(Socket), {Setup: Socket, Device: p.device, Port: p.number, GID: p.gidIndex + 1}} {
			serveOn(t, address, p.device, o)
		}
		o := testOptions(RDMACM)
		o.Device = "mlx5_77"
		if l, err := Listen(nil, host{}, fabric.ListenOptions{Address: netip.AddrPortFrom(address, 0).String()}, o); !errors.Is(err, ErrNoDevice) || !strings.Contains(err.Error(), p.device) {
			t.Errorf("%s as %s: %v, %v", p.device, o.Device, l, err)
		}
	}
	if tried == 0 {
		t.Error("no port can be used")
	}
	if want := os.Getenv("RDMA_DEVICES"); want != "" && want != strconv.Itoa(tried) {
		t.Errorf("%d ports can be used, want %s", tried, want)
	}
	for name, o := range map[string]Options{"device": {Device: "mlx5_77"}, "port": {Port: 9}, "gid": {GID: 200}} {
		if _, _, err := choosePath(o, netip.Addr{}); !errors.Is(err, ErrNoDevice) || !strings.Contains(err.Error(), ports[0].device) {
			t.Errorf("a %s that is not there: %v", name, err)
		}
	}
	for _, f := range Probe(Options{}) {
		t.Log(f.Level, f.Detail, f.Hint)
		if f.Level == LevelBad {
			t.Errorf("the probe says: %s", f.Detail)
		}
	}
	if _, err := Listen(nil, host{}, fabric.ListenOptions{Address: "127.0.0.1:0"}, Options{}); !errors.Is(err, ErrNoDevice) || !strings.Contains(err.Error(), DeviceAddress(t).String()) {
		t.Errorf("rdma_cm listens on 127.0.0.1: %v", err)
	}
}

// serveOn does some work through the card that has an address, and wants it to be done by that device.
func serveOn(t *testing.T, address netip.Addr, device string, o Options) {
	t.Helper()
	region, err := pmem.NewVolatile(poolBytes)
	if err != nil {
		t.Fatal(err)
	}
	defer region.Close()
	l, err := Listen(region, host{}, fabric.ListenOptions{Address: netip.AddrPortFrom(address, 0).String(), Logf: t.Logf}, o)
	if err != nil {
		t.Errorf("listen on %s with %+v: %v", address, o, err)
		return
	}
	defer l.Close()
	if got := l.(*Listener).setup.card().name(); got != device {
		t.Errorf("%s is served by %s, want %s", address, got, device)
	}
	qp, err := Dialer{o}.Dial(t.Context(), l.Address(), fabric.DialOptions{DialTimeout: time.Minute, Timeout: time.Minute})
	if err != nil {
		t.Errorf("dial %s with %+v: %v", address, o, err)
		return
	}
	defer qp.Close()
	if err := qp.Post([]fabric.Verb{{Kind: fabric.Write, Address: 64, Buffer: []byte("by card!")}, {Kind: fabric.Flush, Address: 64, Length: 8}}); err != nil {
		t.Errorf("work on %s: %v", address, err)
	}
	if got := string(region.View(64, 8)); got != "by card!" {
		t.Errorf("%s: the pool holds %q", address, got)
	}
}

// TestHalfOpen: peers that ask for a queue pair and then say no more leave nothing behind. Guards IB-5.
func TestHalfOpen(t *testing.T) {
	l, _ := serve(t, RDMACM)
	s := l.(*Listener).setup.(*cmSetup)
	count := func() (pending, all int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.mu.pending), len(s.mu.endpoints)
	}
	for range 3 {
		if err := halfDial(t.Context(), l.Address(), testOptions(RDMACM), func() {
			for pending, _ := count(); pending == 0; pending, _ = count() {
				time.Sleep(time.Millisecond)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		pending, all := count()
		if all == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d queue pairs are left, %d of them half open", all, pending)
		}
	}
	if err := mustDial(t, RDMACM, l.Address(), fabric.Hello{}).Post([]fabric.Verb{{Kind: fabric.FetchAdd, Swap: 1}}); err != nil {
		t.Error(err)
	}
}
