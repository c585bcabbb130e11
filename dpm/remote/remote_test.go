package remote_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/dpm"
	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/shm"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/index"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/dpm/remote"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/internal/invariant"
)

const lww = 1

// rig is a pool in memory, served over shared memory, with one node.
type rig struct {
	pool    *dpm.Pool
	address string
	session *remote.Session
	clock   *clock.Manual
}

func newRig(t testing.TB, o dpm.Options) *rig {
	t.Helper()
	o.Durability = pmem.Volatile
	if o.Shape.Segments == 0 {
		o.Shape = format.Shape{SegmentBytes: 256 << 10, Segments: 64, FilterBytes: 4096}
	}
	p, err := dpm.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	l, err := shm.Listen(p.Region(), p.Service(true), fabric.ListenOptions{Address: "127.0.0.1:0", Path: p.Path()})
	if err != nil {
		t.Fatal(err)
	}
	p.Listen(l)
	r := &rig{pool: p, address: l.Address(), clock: clock.NewManual(time.Unix(1e9, 0))}
	r.session = r.attach(t, "10.0.0.1")
	return r
}

func (r *rig) attach(t testing.TB, identity string) *remote.Session {
	t.Helper()
	pid := uint32(os.Getpid())
	s, err := remote.Dial(t.Context(), remote.Options{Dialer: shm.Dialer{}, Address: r.address, Identity: identity,
		PID: pid, PIDStart: dpm.ProcessStart(pid), Clock: r.clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func (r *rig) thread(t testing.TB, number uint16, o remote.AppenderOptions) *remote.Thread {
	t.Helper()
	th, err := r.session.Thread(t.Context(), number, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { th.Close() })
	return th
}

// load puts keys k0 to k(n-1) with values of that many bytes and merges them.
func load(t testing.TB, th *remote.Thread, n, valueBytes int) []format.Pointer {
	t.Helper()
	var pointers []format.Pointer
	for i := range n {
		pointers = append(pointers, mustPut(t, th, key(i), fill(i, valueBytes)))
		if i%100 == 99 || i == n-1 {
			if err := th.Commit(); err != nil {
				t.Fatal(err)
			}
		}
	}
	drain(t, th)
	return pointers
}

func mustPut(t testing.TB, th *remote.Thread, key, value []byte) format.Pointer {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Microsecond) {
		p, err := th.Put(key, value, lww, 0)
		if err == nil {
			return p
		}
		if !errors.Is(err, remote.ErrBusy) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func drain(t testing.TB, th *remote.Thread) {
	t.Helper()
	for {
		if done, err := th.Drain(0); err != nil {
			t.Fatal(err)
		} else if done {
			return
		}
	}
}

func key(i int) []byte { return []byte(fmt.Sprintf("key-%06d", i)) }

func fill(i, n int) []byte { return bytes.Repeat([]byte{byte(i), byte(i >> 8), 7}, n/3+1)[:n] }

func get(k []byte) remote.Get { return remote.Get{Hash: index.KeyHash(k), Key: k} }

func TestRoundTripBudget(t *testing.T) {
	r := newRig(t, dpm.Options{})
	th := r.thread(t, 0, remote.AppenderOptions{})
	pointers := load(t, th, 500, 100)
	trips := func() uint64 { return th.QP().Counters().RoundTrips }

	before := trips()
	for i := range 50 {
		mustPut(t, th, key(i), fill(i, 90))
	}
	if err := th.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := trips() - before; got != 1 {
		t.Errorf("a batch of 50 writes: %d round trips, want 1", got)
	}
	overflow := 0
	for i := 100; i < 500; i++ {
		before, deeper := trips(), th.Reader.Counters().OverflowReads
		g, err := th.Get(index.KeyHash(key(i)), key(i), 0)
		if err != nil || !bytes.Equal(g.Value, fill(i, 100)) || g.Lattice != lww || g.Pointer != pointers[i] {
			t.Fatalf("key %d: %+v, %v", i, g, err)
		}
		extra := int(th.Reader.Counters().OverflowReads - deeper)
		overflow += extra
		if got := int(trips() - before); got != 2+extra || g.RoundTrips != got {
			t.Errorf("a miss: %d round trips, says %d, %d overflow buckets", got, g.RoundTrips, extra)
		}
	}
	t.Logf("%d overflow buckets in 400 misses", overflow)
	before = trips()
	if g, err := th.Get(index.KeyHash(key(200)), key(200), pointers[200]); err != nil || !g.Shortcut || g.RoundTrips != 1 {
		t.Errorf("through a shortcut: %+v, %v", g, err)
	}
	if _, err := th.Get(index.KeyHash([]byte("nobody")), []byte("nobody"), 0); !errors.Is(err, remote.ErrNotFound) {
		t.Errorf("a key that is not there: %v", err)
	}
	if got := trips() - before; got != 2 {
		t.Errorf("a shortcut and a key that is not there: %d round trips, want 2", got)
	}
	before = trips()
	gets := make([]remote.Get, 300)
	for i := range gets {
		gets[i] = get(key(100 + i))
	}
	th.Run(gets)
	for i := range gets {
		if gets[i].Err != nil || !bytes.Equal(gets[i].Value, fill(100+i, 100)) {
			t.Fatalf("get %d of many: %+v", i, gets[i])
		}
	}
	if got := trips() - before; got > 4 {
		t.Errorf("300 misses together: %d round trips, want 2 and what overflow buckets take", got)
	}
}

func TestSteadyPathsDoNotAllocate(t *testing.T) {
	r := newRig(t, dpm.Options{Workers: 1})
	for _, c := range []remote.Compression{remote.CompressNone, remote.CompressS2, remote.CompressZstd} {
		if c != remote.CompressNone && invariant.Enabled {
			continue // the race detector empties the codecs' pools now and then
		}
		th := r.thread(t, uint16(c), remote.AppenderOptions{Compression: c})
		load(t, th, 200, 1000)
		k, v, h := key(7), fill(7, 1000), index.KeyHash(key(7))
		write := func() {
			for range 8 {
				if _, err := th.Put(k, v, lww, 0); err != nil {
					return // busy merging: as good as any other outcome here
				}
			}
			if err := th.Commit(); err != nil {
				t.Fatal(err)
			}
		}
		write()
		if n := testing.AllocsPerRun(20, write); n > 0 {
			t.Errorf("%v: %v allocations a batch", c, n)
		}
		drain(t, th)
		read := func() {
			if g, err := th.Get(h, k, 0); err != nil || !bytes.Equal(g.Value, v) {
				t.Fatal(err)
			}
		}
		read()
		if n := testing.AllocsPerRun(50, read); n > 0 {
			t.Errorf("%v: %v allocations a miss", c, n)
		}
	}
}

func TestCompressionIsKeptOnlyWhenItSaves(t *testing.T) {
	r := newRig(t, dpm.Options{})
	for _, c := range []remote.Compression{remote.CompressS2, remote.CompressZstd} {
		th := r.thread(t, uint16(c), remote.AppenderOptions{Compression: c, CompressAbove: 100})
		var noise []byte
		for i := range 300 {
			noise = append(noise, byte(index.KeyHash([]byte{byte(i), byte(i >> 8)})))
		}
		values := map[string][]byte{"small": []byte(strings.Repeat("a", 99)), "soft": []byte(strings.Repeat("abc", 500)), "hard": noise, "empty": {}}
		for name, v := range values {
			mustPut(t, th, []byte(c.String()+name), v)
		}
		if err := th.Commit(); err != nil {
			t.Fatal(err)
		}
		drain(t, th)
		for name, v := range values {
			k := []byte(c.String() + name)
			g, err := th.Get(index.KeyHash(k), k, 0)
			if err != nil || !bytes.Equal(g.Value, v) {
				t.Errorf("%v %s: %d bytes, %v; want %d", c, name, len(g.Value), err, len(v))
			}
			if soft := g.Pointer.Size() < uint64(len(v)); soft != (name == "soft") {
				t.Errorf("%v %s: %d bytes take %d", c, name, len(v), g.Pointer.Size())
			}
		}
		if got := th.CompressCounters(); got.Tried != 2 || got.Kept != 1 || got.BytesTried != 1800 || got.BytesStored >= 1500 {
			t.Errorf("%v: %+v", c, got)
		}
	}
}

func TestLimits(t *testing.T) {
	r := newRig(t, dpm.Options{})
	th := r.thread(t, 0, remote.AppenderOptions{BatchBytes: 4096, BatchEntries: 3})
	for name, c := range map[string]struct {
		key, value []byte
		want       error
	}{
		"no key":     {nil, nil, remote.ErrTooLarge},
		"long key":   {make([]byte, format.MaxKeyBytes+1), nil, remote.ErrTooLarge},
		"long value": {[]byte("k"), make([]byte, 256<<10), remote.ErrTooLarge},
		"largest":    {[]byte("k"), make([]byte, 256<<10-format.EntryHeaderBytes-8), nil},
	} {
		if _, err := th.Put(c.key, c.value, lww, 0); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, err := th.Put([]byte("k"), nil, lww, 0); !errors.Is(err, remote.ErrBatchFull) {
		t.Errorf("beyond BatchBytes: %v", err)
	}
	if err := th.Commit(); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		if _, err := th.Put(key(i), nil, lww, 0); (i == 3) != errors.Is(err, remote.ErrBatchFull) {
			t.Errorf("entry %d of at most 3: %v", i, err)
		}
	}
	th.Abandon()
	if th.Len() != 0 || th.Commit() != nil {
		t.Error("an abandoned batch is still there")
	}
	for _, o := range []remote.AppenderOptions{{BatchBytes: 9 << 20}, {BatchEntries: -1}, {Prealloc: 17}, {CompressAbove: -1}, {Compression: 9}} {
		if _, err := r.session.Thread(t.Context(), 5, o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

func TestLeaseCountsFromBeforeTheRenewal(t *testing.T) {
	r := newRig(t, dpm.Options{LeaseLength: time.Second})
	l, err := r.session.Lease(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if l.HeldAt(r.clock.Now()) {
		t.Error("held before the first renewal")
	}
	if err := l.Renew(); err != nil {
		t.Fatal(err)
	}
	r.clock.Advance(999 * time.Millisecond)
	if !l.HeldAt(r.clock.Now()) {
		t.Error("not held within its length")
	}
	r.clock.Advance(time.Millisecond)
	if l.HeldAt(r.clock.Now()) {
		t.Error("held at its end")
	}
	before := r.pool.Ranks()[0]
	if err := l.Renew(); err != nil {
		t.Fatal(err)
	}
	if after := r.pool.Ranks()[0]; after.Lease != before.Lease+1 {
		t.Errorf("lease word %d after a renewal, was %d", after.Lease, before.Lease)
	}
	if err := r.pool.Fence(r.session.Rank(), r.session.Incarnation()); err != nil {
		t.Fatal(err)
	}
	held := l.HeldAt(r.clock.Now())
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if err = l.Renew(); err != nil || time.Now().After(deadline) {
			break
		}
	}
	if err == nil || !held {
		t.Errorf("renewal by a fenced node: %v (held until then: %v)", err, held)
	}
	if l.Drop(); l.HeldAt(r.clock.Now()) {
		t.Error("held after Drop")
	}
}

func TestMetadata(t *testing.T) {
	r := newRig(t, dpm.Options{})
	ctx := t.Context()
	if _, _, err := r.session.MetaGet(ctx, "map"); !errors.Is(err, remote.ErrNoRecord) {
		t.Errorf("no record: %v", err)
	}
	if _, v, err := r.session.MetaCAS(ctx, "map", 0, []byte("one")); err != nil || v != 1 {
		t.Fatal(v, err)
	}
	other := r.attach(t, "10.0.0.2")
	if _, v, err := other.MetaCAS(ctx, "map", 1, []byte("two")); err != nil || v != 2 {
		t.Fatal(v, err)
	}
	if present, v, err := r.session.MetaCAS(ctx, "map", 1, []byte("three")); !errors.Is(err, remote.ErrConflict) || v != 2 || string(present) != "two" {
		t.Errorf("a lost race: %q, version %d, %v", present, v, err)
	}
	if record, v, err := r.session.MetaGet(ctx, "map"); err != nil || v != 2 || string(record) != "two" {
		t.Errorf("%q, version %d, %v", record, v, err)
	}
	if _, _, err := r.session.MetaCAS(ctx, strings.Repeat("n", 65), 0, nil); !errors.Is(err, remote.ErrTooLarge) {
		t.Errorf("long name: %v", err)
	}
	if counts, err := r.session.Stats(ctx); err != nil || dpm.StatsOf(counts).MetadataRecords != 1 {
		t.Errorf("stats: %v, %v", dpm.StatsOf(counts), err)
	}
}

func TestLatticeFilterKnowsOtherTypes(t *testing.T) {
	const set = 2
	r := newRig(t, dpm.Options{})
	th := r.thread(t, 0, remote.AppenderOptions{})
	var f remote.LatticeFilter
	if !f.MayHold(1) {
		t.Error("a filter that was not fetched excludes a key")
	}
	for i := range 50 {
		if _, err := th.Put(key(i), nil, uint8(lww+i%2), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := th.Commit(); err != nil {
		t.Fatal(err)
	}
	drain(t, th)
	if err := th.FetchFilter(&f); err != nil {
		t.Fatal(err)
	}
	wrong := 0
	for i := range 50 {
		h := index.KeyHash(key(i))
		one, err := th.MayHoldLattice(h)
		if err != nil || one != f.MayHold(h) {
			t.Fatalf("one word says %v, the whole filter %v: %v", one, f.MayHold(h), err)
		}
		switch {
		case i%2 == 1 && !one:
			t.Errorf("key %d of type %d is not in the filter", i, set)
		case i%2 == 0 && one:
			wrong++
		}
	}
	if wrong > 5 {
		t.Errorf("%d of 25 LWW keys are in the filter of 4,096 bytes", wrong)
	}
}

func TestReplicatedKeyWrittenByTwoNodes(t *testing.T) {
	r := newRig(t, dpm.Options{})
	a := r.thread(t, 0, remote.AppenderOptions{})
	s := r.attach(t, "10.0.0.2")
	b, err := s.Thread(t.Context(), 0, remote.AppenderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	k := []byte("hot")
	mustPut(t, a, k, []byte("plain"))
	if err := a.Commit(); err != nil {
		t.Fatal(err)
	}
	drain(t, a)
	indirect, err := a.Install(k)
	if err != nil || !indirect.Indirect() {
		t.Fatal(indirect, err)
	}
	if again, err := b.Install(k); err != nil || again != indirect {
		t.Errorf("installed again: %v, %v", again, err)
	}
	read := func(th *remote.Thread) string {
		g, err := th.Get(index.KeyHash(k), k, 0)
		if errors.Is(err, remote.ErrNotFound) {
			return "-"
		}
		if err != nil || g.Indirect != indirect {
			t.Fatalf("%+v, %v", g, err)
		}
		return string(g.Value)
	}
	if got := read(b); got != "plain" {
		t.Errorf("after install: %q", got)
	}
	before := a.QP().Counters().RoundTrips
	word := make([]byte, 8)
	p, err := a.Put(k, []byte("by a"), lww, format.FlagReplicated)
	if err != nil {
		t.Fatal(err)
	}
	sequence := a.Next() - 1
	v, err := a.ReadPointerWord(indirect, word)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Commit(v); err != nil {
		t.Fatal(err)
	}
	was := remote.PointerWord(a.Extra()[0].Buffer)
	if found, err := a.CASPointer(indirect, was, p); err != nil || found != was {
		t.Fatal(found, err)
	}
	a.Settle(sequence)
	if got := a.QP().Counters().RoundTrips - before; got != 2 {
		t.Errorf("a replicated put: %d round trips, want 2", got)
	}
	if got := read(b); got != "by a" {
		t.Errorf("after a's put b reads %q", got)
	}
	if found, err := b.CASPointer(indirect, was, was); err != nil || found != p {
		t.Errorf("a swap that comes too late: found %v, %v; want %v", found, err, p)
	}
	if loaded, err := b.LoadPointer(indirect); err != nil || loaded != p || b.FlushPointer(indirect) != nil {
		t.Errorf("word: %v, %v", loaded, err)
	}
	drain(t, a)
	if err := a.Remove(k); err != nil {
		t.Fatal(err)
	}
	if g, err := b.Get(index.KeyHash(k), k, indirect); err != nil || g.Indirect != 0 || string(g.Value) != "by a" {
		t.Errorf("through a word that is gone: %+v, %v", g, err)
	}
	if _, err := b.LoadPointer(p); !errors.Is(err, remote.ErrStale) {
		t.Errorf("a direct pointer taken for an indirect one: %v", err)
	}
}

func TestDialSaysWhatIsWrong(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	told := 0
	_, err := remote.Dial(ctx, remote.Options{Dialer: shm.Dialer{}, Address: "127.0.0.1:1", Identity: "a", Waiting: func(error) { told++; cancel() }})
	if !errors.Is(err, context.Canceled) || told != 1 {
		t.Errorf("nobody there: %v, told %d times", err, told)
	}
	if _, err := remote.Dial(ctx, remote.Options{Address: "x", Identity: "a"}); err == nil {
		t.Error("no dialer, and no error")
	}
	if _, err := remote.Dial(ctx, remote.Options{Dialer: shm.Dialer{}, Address: "x"}); err == nil {
		t.Error("no identity, and no error")
	}
}
