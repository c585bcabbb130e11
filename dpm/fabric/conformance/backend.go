package conformance

import (
	"context"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/internal/clock"
)

// Backend is what the suite must know of a backend.
type Backend struct {
	Listen func(region pmem.Region, service fabric.Service, o fabric.ListenOptions) (fabric.Listener, error)
	Dialer fabric.Dialer
	// Address to listen on; default "127.0.0.1:0".
	Address string
	// Scale divides the lengths of the loops, for backends that run under emulation; default 1.
	Scale int
	// Allocates says that Post may allocate (a simulation).
	Allocates bool
	// Remote is the address of a listener that Serve runs in another process or on another machine. The tests that
	// look into the listener are left out then.
	Remote string
	// Single says that calls and flushes cannot be held up, because everything runs on the caller's goroutine.
	Single bool
}

// Sizes of the suite's pools: room for the longest verb, and for the longest batches; both with an odd end.
const (
	poolBytes     = fabric.MaxVerbBytes + 4096
	longPoolBytes = 2*fabric.MaxBatchBytes + 4096
)

// Run runs the suite.
func Run(t *testing.T, b Backend) {
	if b.Address == "" {
		b.Address = "127.0.0.1:0"
	}
	if b.Scale == 0 {
		b.Scale = 1
	}
	for _, test := range []struct {
		name string
		run  func(t *testing.T, b *Backend)
		// remote says that the test needs nothing but queue pairs.
		remote bool
	}{
		{"Session", testSession, false},
		{"Model", testModel, true},
		{"OrderWithinBatch", testOrderWithinBatch, true},
		{"Atomics", testAtomics, true},
		{"LongBatches", testLongBatches, true},
		{"ConcurrentFetchAdd", testConcurrentFetchAdd, true},
		{"ConcurrentCAS", testConcurrentCAS, true},
		{"NoTornWords", testNoTornWords, true},
		{"NeighboursSurvive", testNeighboursSurvive, true},
		{"RefusedVerbs", testRefusedVerbs, true},
		{"ReadOnly", testReadOnly, true},
		{"Flush", testFlush, false},
		{"FlushFails", testFlushFails, false},
		{"FlushTimeout", testFlushTimeout, false},
		{"Calls", testCalls, true},
		{"ConcurrentCalls", testConcurrentCalls, true},
		{"CallLimits", testCallLimits, true},
		{"CallTimeout", testCallTimeout, false},
		{"CallSeesWrites", testCallSeesWrites, false},
		{"BlockedCallBlocksNobodyElse", testBlockedCall, false},
		{"ListenerCloses", testListenerCloses, false},
		{"Close", testClose, false},
		{"CloseBreaksWait", testCloseBreaksWait, false},
		{"Admission", testAdmission, false},
		{"Full", testFull, false},
		{"Fence", testFence, false},
		{"FenceStopsWriters", testFenceStopsWriters, false},
		{"FenceDuringAdmit", testFenceDuringAdmit, false},
		{"Replace", testReplace, false},
		{"Counters", testCounters, false},
		{"Metrics", testMetrics, false},
		{"NoAllocation", testNoAllocation, false},
	} {
		if b.Remote == "" || test.remote {
			t.Run(test.name, func(t *testing.T) { test.run(t, &b) })
		}
	}
}

// fixture is a listener on a fresh pool.
type fixture struct {
	t        testing.TB
	backend  *Backend
	region   *testRegion
	service  *service
	listener fabric.Listener
}

// start makes a pool and a listener that end with the test, or takes the remote one.
func start(t testing.TB, b *Backend, change ...func(*fabric.ListenOptions)) *fixture {
	t.Helper()
	return startOn(t, b, poolBytes, change...)
}

func startOn(t testing.TB, b *Backend, bytes uint64, change ...func(*fabric.ListenOptions)) *fixture {
	t.Helper()
	if b.Remote != "" {
		f := &fixture{t: t, backend: b}
		if _, err := f.dial().Call([]byte{callReset}, nil); err != nil {
			t.Fatalf("reset the remote pool: %v", err)
		}
		return f
	}
	memory, err := pmem.NewVolatile(bytes)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, backend: b, region: newTestRegion(memory), service: newService()}
	o := fabric.ListenOptions{Address: b.Address, Path: memory.Path(), Logf: t.Logf}
	for _, c := range change {
		c(&o)
	}
	f.listener, err = b.Listen(f.region, f.service, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.service.openGate()
		f.region.openGate()
		if err := f.listener.Close(); err != nil {
			t.Errorf("close the listener: %v", err)
		}
		if admitted, gone := f.service.balance(); admitted != gone {
			t.Errorf("%d queue pairs were admitted, %d are gone", admitted, gone)
		}
		if err := memory.Close(); err != nil {
			t.Errorf("close the region: %v", err)
		}
	})
	return f
}

// dialOptions are those of the suite: patient, because the machine may be loaded.
func dialOptions(change ...func(*fabric.DialOptions)) fabric.DialOptions {
	o := fabric.DialOptions{Hello: fabric.Hello{Identity: "conformance"}, DialTimeout: time.Minute, Timeout: time.Minute}
	for _, c := range change {
		c(&o)
	}
	return o
}

func (f *fixture) tryDial(change ...func(*fabric.DialOptions)) (fabric.QP, error) {
	address := f.backend.Remote
	if address == "" {
		address = f.listener.Address()
	}
	return f.backend.Dialer.Dial(context.Background(), address, dialOptions(change...))
}

// dial makes a queue pair that ends with the test.
func (f *fixture) dial(change ...func(*fabric.DialOptions)) fabric.QP {
	f.t.Helper()
	qp, err := f.tryDial(change...)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		if err := qp.Close(); err != nil {
			f.t.Errorf("close a queue pair: %v", err)
		}
	})
	return qp
}

func withTimeout(d time.Duration) func(*fabric.DialOptions) {
	return func(o *fabric.DialOptions) { o.Timeout = d }
}

func withHello(h fabric.Hello) func(*fabric.DialOptions) {
	return func(o *fabric.DialOptions) { o.Hello = h }
}

// patience is how long the suite waits for what must happen at some time.
const patience = 30 * time.Second

func now() time.Time { return clock.Real{}.Now() }

func sleep(d time.Duration) { clock.Real{}.Sleep(d) }

func after(d time.Duration) <-chan time.Time { return clock.Real{}.NewTimer(d).C }

// eventually polls until done.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := now().Add(patience); !done(); sleep(time.Millisecond) {
		if now().After(end) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}
