package index

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/internal/invariant"
)

// benchIndex is an index whose pointers spell their keys, in a file of the mode process (or in memory for
// other modes).
type benchIndex struct {
	ix     *Index
	layout format.Layout
	region pmem.Region
	next   format.SegmentID
	free   []format.SegmentID
}

func newBenchIndex(tb testing.TB, durability pmem.Durability, segments uint32, bucketsLog2 uint32) *benchIndex {
	tb.Helper()
	l, err := format.NewLayout(format.Shape{Segments: segments, MetadataRecords: 1, MetadataSlotBytes: 4096}, 1)
	must(tb, err)
	r := &benchIndex{layout: l}
	if durability == pmem.Volatile {
		r.region, err = pmem.NewVolatile(l.TotalBytes)
	} else {
		r.region, err = pmem.Create(l.TotalBytes, pmem.Options{Path: filepath.Join(tb.TempDir(), "pool"), Durability: durability, Sparse: true})
	}
	must(tb, err)
	tb.Cleanup(func() { must(tb, r.region.Close()) })
	var key [8]byte
	r.ix, err = Create(Options{
		Region: r.region, Layout: &r.layout, BucketsLog2: bucketsLog2,
		KeyAt: func(p format.Pointer) ([]byte, error) {
			binary.LittleEndian.PutUint64(key[:], keyOfPointer(p))
			return key[:], nil
		},
		Alloc: func(kind format.SegmentKind, table uint64) (format.SegmentID, error) {
			if n := len(r.free); n > 0 {
				id := r.free[n-1]
				r.free = r.free[:n-1]
				return id, nil
			}
			if uint32(r.next) == l.Segments {
				return 0, errTestFull
			}
			r.next++
			return r.next - 1, nil
		},
		Free:   func([]format.SegmentID) {},
		Retire: func(_ uint64, ids []format.SegmentID) { r.free = append(r.free, ids...) },
	})
	must(tb, err)
	return r
}

// pointerOfKey packs a key number and a version into a pointer; nothing lies behind it.
func pointerOfKey(key uint64, version uint32) format.Pointer {
	return format.PackPointer((key+1)*8, 64, version)
}

func keyOfPointer(p format.Pointer) uint64 { return p.Offset()/8 - 1 }

// fill makes batches of mutations for the keys [first, first+n).
func fill(batch []Mutation, keys []byte, first uint64, version uint32) {
	for i := range batch {
		key := keys[i*8 : i*8+8]
		binary.LittleEndian.PutUint64(key, first+uint64(i))
		batch[i] = Mutation{Hash: KeyHash(key), Key: key, New: pointerOfKey(first+uint64(i), version)}
	}
}

const benchBatch = 512

// BenchmarkApply inserts, then updates: keys a second on one goroutine, growth included.
func BenchmarkApply(b *testing.B) {
	keys := uint64(1 << 20)
	if s := os.Getenv("BENCH_KEYS"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		must(b, err)
		keys = n
	}
	for _, d := range []pmem.Durability{pmem.Process, pmem.Volatile} {
		for range b.N {
			r := newBenchIndex(b, d, uint32(keys*200/(8<<20)+8), 0)
			var c clock.Real
			batch, results, buf := make([]Mutation, benchBatch), make([]Result, benchBatch), make([]byte, 8*benchBatch)
			for version := uint32(0); version < 2; version++ {
				start := c.Now()
				var growing float64
				for first := uint64(0); first < keys; first += benchBatch {
					fill(batch, buf, first, version)
					if _, err := r.ix.Apply(batch, results); err != nil {
						b.Fatal(err)
					}
					if r.ix.ShouldGrow() {
						from := c.Now()
						must(b, r.ix.Grow())
						growing += c.Now().Sub(from).Seconds()
					}
				}
				must(b, r.region.Fence())
				name := [...]string{"inserts/s", "updates/s"}[version]
				b.ReportMetric(float64(keys)/c.Now().Sub(start).Seconds(), fmt.Sprintf("%v-%s", d, name))
				if version == 0 {
					b.ReportMetric(growing, fmt.Sprintf("%v-grow-s", d))
				}
			}
			s := r.ix.Stats()
			b.ReportMetric(s.BucketsPerLookup, "buckets/lookup")
			b.Log(s)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	r := newBenchIndex(b, pmem.Volatile, 40, 18)
	const keys = 1 << 18
	batch, results, buf := make([]Mutation, benchBatch), make([]Result, benchBatch), make([]byte, 8*benchBatch)
	for first := uint64(0); first < keys; first += benchBatch {
		fill(batch, buf, first, 0)
		if _, err := r.ix.Apply(batch, results); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	var key [8]byte
	for i := range b.N {
		n := uint64(i) * 0x9e3779b97f4a7c15 >> 46
		binary.LittleEndian.PutUint64(key[:], n)
		if p, err := r.ix.Get(KeyHash(key[:]), key[:]); err != nil || keyOfPointer(p) != n {
			b.Fatalf("key %d: %v, %v", n, p, err)
		}
	}
}

func BenchmarkProbe(b *testing.B) {
	r := newBenchIndex(b, pmem.Volatile, 4, 0)
	batch, buf := make([]Mutation, 2), make([]byte, 16)
	fill(batch, buf, 0, 0)
	if _, err := r.ix.Apply(batch, make([]Result, 2)); err != nil {
		b.Fatal(err)
	}
	t := r.ix.Table()
	var bucket [format.BucketBytes]byte
	var p Probe
	b.ReportAllocs()
	for range b.N {
		offset := t.BucketOf(batch[0].Hash)
		r.region.Read(offset, bucket[:])
		if err := t.Probe(&bucket, offset, batch[0].Hash, &p); err != nil || p.Count != 1 {
			b.Fatal(err)
		}
	}
}

// Neither a reader nor a writer in steady state allocates.
func TestNoAllocations(t *testing.T) {
	if invariant.Enabled {
		t.Skip("the race detector allocates, and drops pooled memory")
	}
	r := newBenchIndex(t, pmem.Volatile, 4, 0)
	batch, results, buf := make([]Mutation, 64), make([]Result, 64), make([]byte, 64*8)
	version := uint32(0)
	apply := func() {
		version++
		fill(batch, buf, 0, version)
		if _, err := r.ix.Apply(batch, results); err != nil {
			t.Fatal(err)
		}
	}
	apply()
	// A pooled scratch may be dropped by the collector, so not exactly 0 a batch of 64.
	if n := testing.AllocsPerRun(200, apply); n > 0.5 {
		t.Errorf("Apply allocates %v times a batch", n)
	}
	table := r.ix.Table()
	var p Probe
	var bucket [format.BucketBytes]byte
	if n := testing.AllocsPerRun(200, func() {
		if found, err := r.ix.Get(batch[3].Hash, batch[3].Key); err != nil || keyOfPointer(found) != 3 {
			t.Fatal(found, err)
		}
		offset := table.BucketOf(batch[3].Hash)
		r.region.Read(offset, bucket[:])
		if err := table.Probe(&bucket, offset, batch[3].Hash, &p); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("reading allocates %v times", n)
	}
}
