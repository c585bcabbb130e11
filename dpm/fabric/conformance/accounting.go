package conformance

import (
	"errors"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/internal/invariant"
)

func testCounters(t *testing.T, b *Backend) {
	qp := start(t, b).dial()
	if c := qp.Counters(); c != (fabric.Counters{}) {
		t.Errorf("fresh queue pair: %+v", c)
	}
	buffer := make([]byte, 100)
	must(t, qp,
		fabric.Verb{Kind: fabric.Write, Buffer: buffer},
		fabric.Verb{Kind: fabric.Write, Buffer: buffer[:28]},
		fabric.Verb{Kind: fabric.Flush, Length: 100},
		fabric.Verb{Kind: fabric.Read, Buffer: buffer[:50]},
		fabric.Verb{Kind: fabric.CAS, Swap: 1},
		fabric.Verb{Kind: fabric.FetchAdd, Swap: 1},
	)
	must(t, qp, fabric.Verb{Kind: fabric.Read, Buffer: buffer[:7]})
	if _, err := qp.Call([]byte{callEcho, 1, 2, 3}, nil); err != nil {
		t.Fatal(err)
	}
	want := fabric.Counters{RoundTrips: 3, Calls: 1, BytesRead: 50 + 7 + 3, BytesWritten: 128 + 4}
	want.Verbs[fabric.Read], want.Verbs[fabric.Write], want.Verbs[fabric.Flush] = 2, 2, 1
	want.Verbs[fabric.CAS], want.Verbs[fabric.FetchAdd] = 1, 1
	if c := qp.Counters(); c != want {
		t.Errorf("counters\n%+v, want\n%+v", c, want)
	}
	// A refused first verb costs no round trip; a refused later one does, for what came before.
	bad := fabric.Verb{Kind: fabric.CAS, Address: 1}
	if err := qp.Post([]fabric.Verb{bad}); !errors.Is(err, fabric.ErrMisaligned) {
		t.Fatal(err)
	}
	if err := qp.Post([]fabric.Verb{{Kind: fabric.FetchAdd}, bad, {Kind: fabric.FetchAdd}}); !errors.Is(err, fabric.ErrMisaligned) {
		t.Fatal(err)
	}
	want.RoundTrips, want.Failures = 4, 2
	want.Verbs[fabric.FetchAdd] = 2
	if c := qp.Counters(); c != want {
		t.Errorf("counters\n%+v, want\n%+v", c, want)
	}
}

func testMetrics(t *testing.T, b *Backend) {
	f := start(t, b)
	qp := f.dial()
	f.dial()
	if _, err := qp.Call([]byte{callEcho, 1, 2, 3}, nil); err != nil {
		t.Fatal(err)
	}
	m := f.listener.Metrics()
	if m.Connections != 2 || m.Admitted != 2 || m.Calls != 1 {
		t.Errorf("metrics: %s", m)
	}
	_ = qp.Close()
	eventually(t, "the listener notices", func() bool { return f.listener.Metrics().Connections == 1 })
}

func testNoAllocation(t *testing.T, b *Backend) {
	if invariant.Enabled || b.Allocates {
		t.Skip("not where the checks themselves allocate")
	}
	f := start(t, b)
	f.fsync()
	qp := f.dial()
	small, long, huge := make([]byte, 256), make([]byte, 20<<10), make([]byte, 512<<10)
	for name, verbs := range map[string][]fabric.Verb{
		"read":  {{Kind: fabric.Read, Address: 64, Buffer: small}},
		"write": {{Kind: fabric.Write, Address: 64, Buffer: small}},
		"group commit": {
			{Kind: fabric.Write, Address: 64, Buffer: small}, {Kind: fabric.Write, Address: 4096, Buffer: long},
			{Kind: fabric.Flush, Address: 64, Length: 8192}},
		"atomics": {{Kind: fabric.CAS, Swap: 1}, {Kind: fabric.FetchAdd, Swap: 1}},
		"long":    {{Kind: fabric.Read, Buffer: huge}, {Kind: fabric.Write, Address: 1 << 20, Buffer: huge}},
	} {
		post := func() {
			if err := qp.Post(verbs); err != nil {
				t.Fatal(err)
			}
		}
		post()
		if n := testing.AllocsPerRun(100/b.Scale, post); n != 0 {
			t.Errorf("%s: %v allocations a Post", name, n)
		}
	}
	reply := make([]byte, 0, 64)
	request := []byte{callEcho, 1, 2, 3}
	if n := testing.AllocsPerRun(100/b.Scale, func() {
		if _, err := qp.Call(request, reply); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("call: %v allocations", n)
	}
}
