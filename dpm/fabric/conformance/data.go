package conformance

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/internal/random"
)

func testSession(t *testing.T, b *Backend) {
	f := start(t, b)
	first := f.dial().Session()
	if first.Pool != poolID || first.PoolBytes != poolBytes || first.Rank == 0 || first.ServerEpoch != 7 || first.Durability != pmem.Volatile {
		t.Errorf("first session: %+v", first)
	}
	again := f.dial(withHello(fabric.Hello{Rank: first.Rank, Incarnation: first.Incarnation, Thread: 3, Pool: first.Pool, Identity: "conformance"})).Session()
	if again != first {
		t.Errorf("second queue pair of the rank: %+v, want %+v", again, first)
	}
}

// must posts verbs and wants all of them to succeed.
func must(t testing.TB, qp fabric.QP, verbs ...fabric.Verb) []fabric.Verb {
	t.Helper()
	if err := qp.Post(verbs); err != nil {
		t.Fatalf("post: %v", err)
	}
	for i := range verbs {
		if verbs[i].Err != nil {
			t.Fatalf("post succeeded, yet verb %d carries %v", i, verbs[i].Err)
		}
	}
	return verbs
}

func word(t testing.TB, qp fabric.QP, address uint64) uint64 {
	t.Helper()
	buffer := make([]byte, 8)
	must(t, qp, fabric.Verb{Kind: fabric.Read, Address: address, Buffer: buffer})
	return binary.LittleEndian.Uint64(buffer)
}

// model is the pool as a slice: the obvious version.
type model []byte

// apply executes verbs one after the other and returns what Post must leave in each.
func (m model) apply(verbs []fabric.Verb, access fabric.Access) (results []uint64, errs []error) {
	results, errs = make([]uint64, len(verbs)), make([]error, len(verbs))
	var failed bool
	for i := range verbs {
		v := &verbs[i]
		if failed {
			errs[i] = fabric.ErrFlushed
			continue
		}
		length := uint64(len(v.Buffer))
		switch v.Kind {
		case fabric.CAS, fabric.FetchAdd:
			length = 8
		case fabric.Flush:
			length = v.Length
		}
		switch {
		case (v.Kind == fabric.CAS || v.Kind == fabric.FetchAdd) && v.Address%8 != 0:
			errs[i] = fabric.ErrMisaligned
		case v.Address > uint64(len(m)) || uint64(len(m))-v.Address < length:
			errs[i] = fabric.ErrBounds
		}
		if failed = errs[i] != nil; failed {
			continue
		}
		at := m[v.Address : v.Address+length]
		switch v.Kind {
		case fabric.Read:
			copy(v.Buffer, at)
		case fabric.Write:
			copy(at, v.Buffer)
		case fabric.CAS:
			results[i] = binary.LittleEndian.Uint64(at)
			if results[i] == v.Expect {
				binary.LittleEndian.PutUint64(at, v.Swap)
			}
		case fabric.FetchAdd:
			results[i] = binary.LittleEndian.Uint64(at)
			binary.LittleEndian.PutUint64(at, results[i]+v.Swap)
		}
	}
	return results, errs
}

// randomVerb draws a verb; most fall into a small window so that they meet each other.
func randomVerb(r *rand.Rand, m model) fabric.Verb {
	const window = 4096
	v := fabric.Verb{Kind: fabric.Kind(1 + r.IntN(fabric.Kinds-1)), Address: r.Uint64N(window)}
	if r.IntN(8) == 0 {
		v.Address = uint64(len(m)) - r.Uint64N(window)
	}
	length := r.IntN(200)
	if r.IntN(20) == 0 {
		length = r.IntN(100_000)
	}
	switch v.Kind {
	case fabric.Read, fabric.Write:
		v.Buffer = make([]byte, length)
		for i := range v.Buffer {
			v.Buffer[i] = byte(r.Uint32())
		}
	case fabric.CAS, fabric.FetchAdd:
		if r.IntN(50) != 0 {
			v.Address &^= 7
		}
		v.Expect, v.Swap = r.Uint64(), r.Uint64()
		if v.Address <= uint64(len(m))-8 && r.IntN(2) == 0 {
			v.Expect = binary.LittleEndian.Uint64(m[v.Address:]) // true unless the batch changes it before
		}
	case fabric.Flush:
		v.Length = uint64(length)
	}
	if r.IntN(100) == 0 {
		v.Address = uint64(len(m)) + r.Uint64N(1<<40) // far outside
	}
	return v
}

func clone(verbs []fabric.Verb) []fabric.Verb {
	c := append([]fabric.Verb(nil), verbs...)
	for i := range c {
		c[i].Buffer = bytes.Clone(c[i].Buffer)
	}
	return c
}

// testModel posts random batches, good and bad ones, and compares every outcome with the model's.
func testModel(t *testing.T, b *Backend) {
	f := start(t, b)
	qp := f.dial()
	r := random.New(random.Seed(t))
	m := make(model, qp.Session().PoolBytes)
	for round := range 1500 / b.Scale {
		verbs := make([]fabric.Verb, 1+r.IntN(12))
		for i := range verbs {
			verbs[i] = randomVerb(r, m)
			verbs[i].Err = errors.New("stale") // Post must overwrite it
		}
		want := clone(verbs)
		results, errs := m.apply(want, fabric.ReadWrite)
		err := qp.Post(verbs)
		var first error
		for i := range verbs {
			if verbs[i].Err != errs[i] {
				t.Fatalf("round %d verb %d of %d (%s at %#x): error %v, want %v", round, i, len(verbs), verbs[i].Kind, verbs[i].Address, verbs[i].Err, errs[i])
			}
			if first == nil {
				first = errs[i]
			}
			if errs[i] != nil {
				continue
			}
			if k := verbs[i].Kind; (k == fabric.CAS || k == fabric.FetchAdd) && verbs[i].Result != results[i] {
				t.Fatalf("round %d verb %d (%s): result %#x, want %#x", round, i, k, verbs[i].Result, results[i])
			}
			if !bytes.Equal(verbs[i].Buffer, want[i].Buffer) {
				t.Fatalf("round %d verb %d (%s of %d bytes at %#x): wrong bytes", round, i, verbs[i].Kind, len(verbs[i].Buffer), verbs[i].Address)
			}
		}
		if !errors.Is(err, first) {
			t.Fatalf("round %d: Post returned %v, want %v", round, err, first)
		}
	}
	compareMemory(t, qp, m)
}

// compareMemory reads the ends of the pool, where the model test works.
func compareMemory(t *testing.T, qp fabric.QP, m model) {
	t.Helper()
	const span = 256 << 10
	for _, address := range []uint64{0, uint64(len(m)) - span} {
		got := make([]byte, span)
		must(t, qp, fabric.Verb{Kind: fabric.Read, Address: address, Buffer: got})
		if !bytes.Equal(got, m[address:address+span]) {
			t.Errorf("pool memory at %#x differs from the model", address)
		}
	}
}

func testOrderWithinBatch(t *testing.T, b *Backend) {
	qp := start(t, b).dial()
	old, now := make([]byte, 8), make([]byte, 8)
	after := make([]byte, 8)
	for i := range uint64(200 / b.Scale) {
		binary.LittleEndian.PutUint64(now, i+1)
		verbs := must(t, qp,
			fabric.Verb{Kind: fabric.Read, Address: 64, Buffer: old},
			fabric.Verb{Kind: fabric.Write, Address: 64, Buffer: now},
			fabric.Verb{Kind: fabric.FetchAdd, Address: 64, Swap: 1000},
			fabric.Verb{Kind: fabric.CAS, Address: 64, Expect: i + 1001, Swap: i + 1},
			fabric.Verb{Kind: fabric.Read, Address: 64, Buffer: after},
			fabric.Verb{Kind: fabric.Write, Address: 64, Buffer: now},
		)
		if got := binary.LittleEndian.Uint64(old); got != i {
			t.Fatalf("a READ before the WRITE sees %d, want %d", got, i)
		}
		if verbs[2].Result != i+1 || verbs[3].Result != i+1001 || binary.LittleEndian.Uint64(after) != i+1 {
			t.Fatalf("after WRITE %d: FETCH_ADD before %d, CAS before %d, READ %d", i+1, verbs[2].Result, verbs[3].Result, binary.LittleEndian.Uint64(after))
		}
	}
}

func testAtomics(t *testing.T, b *Backend) {
	qp := start(t, b).dial()
	address := qp.Session().PoolBytes - 8
	for _, step := range []struct {
		kind         fabric.Kind
		expect, swap uint64
		before, now  uint64
	}{
		{fabric.FetchAdd, 0, 5, 0, 5},
		{fabric.FetchAdd, 0, ^uint64(0), 5, 4},
		{fabric.CAS, 4, 0xdeadbeefcafe, 4, 0xdeadbeefcafe},
		{fabric.CAS, 4, 1, 0xdeadbeefcafe, 0xdeadbeefcafe},
		{fabric.FetchAdd, 0, 1 << 63, 0xdeadbeefcafe, 1<<63 | 0xdeadbeefcafe},
		{fabric.FetchAdd, 0, 1 << 63, 1<<63 | 0xdeadbeefcafe, 0xdeadbeefcafe},
	} {
		v := must(t, qp, fabric.Verb{Kind: step.kind, Address: address, Expect: step.expect, Swap: step.swap})
		if v[0].Result != step.before {
			t.Errorf("%s(%#x, %#x): result %#x, want %#x", step.kind, step.expect, step.swap, v[0].Result, step.before)
		}
		if now := word(t, qp, address); now != step.now {
			t.Errorf("%s(%#x, %#x): the word is %#x, want %#x", step.kind, step.expect, step.swap, now, step.now)
		}
	}
}

// testLongBatches moves as much as the limits allow, both ways at once, which must not deadlock.
func testLongBatches(t *testing.T, b *Backend) {
	qp := startOn(t, b, longPoolBytes).dial()
	r := random.New(random.Seed(t))
	long := make([]byte, fabric.MaxVerbBytes)
	for i := 0; i < len(long); i += 8 {
		binary.LittleEndian.PutUint64(long[i:], r.Uint64())
	}
	back := make([]byte, len(long))
	must(t, qp, fabric.Verb{Kind: fabric.Write, Address: 3, Buffer: long})
	must(t, qp, fabric.Verb{Kind: fabric.Read, Address: 3, Buffer: back})
	if !bytes.Equal(long, back) {
		t.Error("16 MiB come back changed")
	}
	// Alternating READs and WRITEs: 16 MiB each way in one batch.
	const pieces = fabric.MaxBatch / 2
	const piece = fabric.MaxVerbBytes / pieces
	clear(back)
	verbs := make([]fabric.Verb, 0, fabric.MaxBatch)
	for i := range pieces {
		at := i * piece
		verbs = append(verbs,
			fabric.Verb{Kind: fabric.Read, Address: uint64(3 + at), Buffer: back[at : at+piece]},
			fabric.Verb{Kind: fabric.Write, Address: uint64(32<<20 + at), Buffer: long[at : at+piece]})
	}
	must(t, qp, verbs...)
	if !bytes.Equal(long, back) {
		t.Error("16 MiB read while 16 MiB are written: changed")
	}
	must(t, qp, fabric.Verb{Kind: fabric.Read, Address: 32 << 20, Buffer: back})
	if !bytes.Equal(long, back) {
		t.Error("16 MiB written while 16 MiB are read: changed")
	}
	if c := qp.Counters(); c.RoundTrips != 4 || c.BytesRead != 3<<24 || c.BytesWritten != 2<<24 {
		t.Errorf("counters %+v", c)
	}
}
