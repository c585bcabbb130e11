package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/internal/random"
)

var errTestFull = errors.New("no free segment")

// rig is the least of a pool that an index needs: a segment table with durable hand-out, and one log
// whose entries the pointers lead to.
type rig struct {
	region  pmem.Region
	layout  format.Layout
	hashOf  func([]byte) uint64
	index   *Index
	retired []format.SegmentID
	alone   bool // nobody else uses the index while it grows

	logOp       format.Op // of what append writes; 0: put
	logSegments []format.SegmentID
	next        uint64 // where the next entry goes, 0: nowhere yet
	room        uint64
}

const logGeneration = 7

func smallLayout(t testing.TB, segments uint32) format.Layout {
	t.Helper()
	l, err := format.NewLayout(format.Shape{
		SegmentBytes: format.MinSegmentBytes, Segments: segments,
		MetadataRecords: 1, MetadataSlotBytes: 512, Ranks: 2, IndirectWords: 8, FilterBytes: 64,
	}, 0x5a17)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (r *rig) options() Options {
	o := Options{
		Region: r.region, Layout: &r.layout,
		KeyAt: r.keyAt, Alloc: r.alloc,
		Free:   r.free,
		Retire: func(_ uint64, ids []format.SegmentID) { r.retired = append(r.retired, ids...) },
	}
	o.private.hashOf = r.hashOf
	o.private.swapping = func() {
		if fake, ok := r.region.(*pmem.Fake); ok && r.alone && fake.AwaitingFence() > 0 {
			panic(violation(fmt.Sprintf("the pause of growth waits for %d words that could have been written back before it", fake.AwaitingFence())))
		}
	}
	return o
}

func newRig(t testing.TB, region pmem.Region, l format.Layout, hashOf func([]byte) uint64) *rig {
	t.Helper()
	r := &rig{region: region, layout: l, hashOf: hashOf}
	var err error
	if r.index, err = Create(r.options()); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) header(id format.SegmentID) (h format.SegmentHeader) {
	at := r.layout.SegmentHeaderOffset(id)
	if err := format.DecodeSegmentHeader((*[64]byte)(r.region.View(at, 64)), at, &h); err != nil {
		panic(err)
	}
	return h
}

func (r *rig) alloc(kind format.SegmentKind, table uint64) (format.SegmentID, error) {
	for id := range format.SegmentID(r.layout.Segments) {
		h := r.header(id)
		if h.State != format.SegmentFree {
			continue
		}
		h = format.SegmentHeader{Generation: h.Generation + 1, Table: table}
		h.State = format.SegmentFree
		var buf [64]byte
		h.Encode(&buf)
		at := r.layout.SegmentHeaderOffset(id)
		r.region.Write(at+8, buf[8:])
		r.region.Flush(at, 64)
		if err := r.region.Fence(); err != nil {
			return 0, err
		}
		h.State, h.Kind = format.SegmentOpen, kind
		r.region.Store64(at, h.Word())
		r.region.Flush(at, 8)
		return id, r.region.Fence()
	}
	return 0, errTestFull
}

func (r *rig) free(ids []format.SegmentID) {
	for _, id := range ids {
		at := r.layout.SegmentHeaderOffset(id)
		r.region.Store64(at, 0)
		r.region.Flush(at, 8)
	}
}

// append writes an entry to the log and flushes it, without a fence.
func (r *rig) append(t testing.TB, sequence uint64, key, value string) format.Pointer {
	op := r.logOp
	if op == 0 {
		op = format.OpPut
	}
	e := format.Entry{Op: op, Sequence: sequence, Generation: logGeneration, Key: []byte(key), Value: []byte(value)}
	if r.next == 0 || r.room < e.Bytes() {
		id, err := r.alloc(format.SegmentLog, 0)
		if err != nil {
			t.Fatal(err)
		}
		r.logSegments = append(r.logSegments, id)
		r.next, r.room = r.layout.SegmentOffset(id), r.layout.SegmentBytes
	}
	buf := make([]byte, e.Bytes())
	r.layout.Salt.EncodeEntry(buf, &e)
	p := format.PackPointer(r.next, e.Bytes(), e.Generation)
	r.region.Write(r.next, buf)
	r.region.Flush(r.next, e.Bytes())
	r.next, r.room = r.next+e.Bytes(), r.room-e.Bytes()
	return p
}

func (r *rig) entryAt(p format.Pointer, e *format.Entry) error {
	offset, length, ok := r.layout.EntryRange(p)
	if !ok {
		return fmt.Errorf("pointer %v leads nowhere", p)
	}
	if err := r.layout.Salt.DecodeEntry(r.region.View(offset, length), e); err != nil {
		return err
	}
	if format.PackPointer(offset, e.Bytes(), e.Generation) != p {
		return fmt.Errorf("pointer %v does not describe the entry: %w", p, format.ErrDamaged)
	}
	return nil
}

func (r *rig) keyAt(p format.Pointer) ([]byte, error) {
	var e format.Entry
	err := r.entryAt(p, &e)
	return e.Key, err
}

// put appends and applies one put, durably.
func (r *rig) put(t testing.TB, key, value string) (format.Pointer, Result) {
	t.Helper()
	p := r.append(t, 0, key, value)
	return p, r.apply(t, Mutation{Hash: r.hashOf([]byte(key)), Key: []byte(key), New: p})[0]
}

func (r *rig) apply(t testing.TB, batch ...Mutation) []Result {
	t.Helper()
	results := make([]Result, len(batch))
	if n, err := r.index.Apply(batch, results); err != nil || n != len(batch) {
		t.Fatalf("apply: %d of %d, %v", n, len(batch), err)
	}
	if err := r.region.Fence(); err != nil {
		t.Fatal(err)
	}
	return results
}

func (r *rig) get(t testing.TB, key string) format.Pointer {
	t.Helper()
	p, err := r.index.Get(r.hashOf([]byte(key)), []byte(key))
	if err != nil {
		t.Fatalf("get %q: %v", key, err)
	}
	return p
}

// check fails the test for every problem of the index, and when counters and contents differ.
func (r *rig) check(t testing.TB) {
	t.Helper()
	r.index.Check(func(p Problem) bool {
		t.Errorf("check: %v", p)
		return true
	})
	count := int64(0)
	must(t, r.index.Scan(func() { count = 0 }, func(uint64, format.Pointer) bool { count++; return true }))
	if used := r.index.used.Load(); count != used {
		t.Errorf("index counts %d slots, holds %d", used, count)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// crowdedHash sends all keys to few buckets (those that share a bucket still do after some doublings), and
// about one in eight keys to the same full hash as another.
func crowdedHash(buckets int) func([]byte) uint64 {
	rng := random.New(1)
	homes := make([][]uint64, buckets)
	for full := 0; full < buckets; {
		h := rng.Uint64()
		// A bucket of the 2^13-bucket table, so that chains stay long through three doublings; twins of
		// neighbours split early.
		b := format.BucketNumber(h, 13)
		home := int(b % 4096)
		if home >= 2*buckets || home%2 == 1 && rng.IntN(3) > 0 {
			continue
		}
		i := home / 2
		if len(homes[i]) < 24 {
			if homes[i] = append(homes[i], h); len(homes[i]) == 24 {
				full++
			}
		}
	}
	return func(key []byte) uint64 {
		x := binary.LittleEndian.Uint64(append(slices.Clone(key), 0, 0, 0, 0, 0, 0, 0, 0)[:8]) * 0x9e3779b97f4a7c15
		home := homes[x>>40%uint64(buckets)]
		return home[x>>20%uint64(len(home))]
	}
}
