package index

import (
	"errors"
	"fmt"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/format"
)

// Every flipped bit in a bucket word that means something is found by Check or refused by Open, with an
// address near it, and no lookup ever answers with another key's entry because of it.
func TestFlippedBitsInBuckets(t *testing.T) {
	r := volatileRig(t, 16, crowdedHash(3))
	var keys []string
	for i := range 40 {
		key := fmt.Sprint("key", i)
		keys = append(keys, key)
		r.put(t, key, "v")
	}
	table := r.index.Table()
	flips := 0
	for b := range table.Buckets() {
		var chain []uint64
		must(t, r.index.walkChain(table, b, func(offset uint64, bucket *format.Bucket) error {
			if chain = append(chain, offset); occupied(bucket) == 0 && len(chain) == 1 {
				chain = nil
			}
			return nil
		}))
		for _, offset := range chain {
			for at := uint64(0); at < format.BucketBytes; at += 8 {
				word := r.region.Load64(offset + at)
				if slot := at - format.BucketHashOffset; at != 0 && at < format.BucketOverflowOffset && slot%format.SlotBytes == 0 && r.region.Load64(offset+at+8) == 0 {
					continue // the hash of an empty slot means nothing
				}
				for bit := range 64 {
					if word == 0 && at != 0 && at < format.BucketOverflowOffset && bit%16 != 0 {
						continue // empty slots: a sample will do
					}
					r.region.Store64(offset+at, word^1<<bit)
					flips++
					r.expectFound(t, offset+at, bit, keys)
				}
				r.region.Store64(offset+at, word)
			}
		}
	}
	r.check(t)
	t.Logf("%d flips", flips)
}

// expectFound fails the test unless the damage is found, and lookups stay truthful.
func (r *rig) expectFound(t *testing.T, at uint64, bit int, keys []string) {
	t.Helper()
	found := false
	r.index.Check(func(Problem) bool {
		found = true
		return false
	})
	if !found {
		_, err := Open(r.options(), nil)
		found = errors.Is(err, format.ErrDamaged)
	}
	if !found {
		t.Errorf("flipped bit %d of the word at %#x goes unnoticed", bit, at)
	}
	for _, key := range keys {
		p, err := r.index.Get(r.hashOf([]byte(key)), []byte(key))
		if err != nil || p == 0 {
			continue
		}
		if got, err := r.keyAt(p); err != nil || string(got) != key {
			t.Errorf("flipped bit %d of the word at %#x: key %q gets %q, %v", bit, at, key, got, err)
		}
	}
}

// A damaged bucket stops a writer with its address, and a damaged entry is healed by the next write of its key.
func TestApplyMeetsDamage(t *testing.T) {
	r := volatileRig(t, 8, KeyHash)
	old, _ := r.put(t, "a", "1")
	at := r.index.Table().BucketOf(KeyHash([]byte("a")))
	header := r.region.Load64(at)
	r.region.Store64(at, header^1<<20)
	var word *format.WordError
	n, err := r.index.Apply([]Mutation{{Hash: KeyHash([]byte("a")), Key: []byte("a")}}, make([]Result, 1))
	if !errors.As(err, &word) || word.Offset != at || n != 0 {
		t.Fatalf("applied %d, %v; want an error that names %#x", n, err, at)
	}
	r.region.Store64(at, header)

	r.region.Store64(old.Offset()+24, 0)
	if _, err := r.index.Get(KeyHash([]byte("a")), []byte("a")); !errors.Is(err, format.ErrDamaged) {
		t.Fatalf("get of a damaged entry: %v", err)
	}
	fresh, res := r.put(t, "a", "2")
	if res != (Result{Replaced, old}) || r.get(t, "a") != fresh || r.index.Stats().DamagedEntries == 0 {
		t.Errorf("put over a damaged entry: %v %v", res.Outcome, res.Old)
	}
	r.check(t)
}

// A chain that leads into itself ends with an error, for readers and writers.
func TestCycle(t *testing.T) {
	r := volatileRig(t, 8, func([]byte) uint64 { return 9 })
	for i := range 6 {
		r.put(t, fmt.Sprint(i), "v")
	}
	first := r.index.Table().BucketOf(9)
	second, ok := format.OpenOverflow(r.region.Load64(first + format.BucketOverflowOffset))
	if !ok || second == 0 {
		t.Fatal("no overflow bucket")
	}
	r.region.Store64(second+format.BucketOverflowOffset, format.OverflowWord(first))
	if _, err := r.index.Get(9, []byte("absent")); !errors.Is(err, ErrChain) {
		t.Errorf("get: %v", err)
	}
	if _, err := r.index.Apply([]Mutation{{Hash: 9, Key: []byte("absent")}}, make([]Result, 1)); !errors.Is(err, ErrChain) {
		t.Errorf("apply: %v", err)
	}
	if _, err := Open(r.options(), nil); !errors.Is(err, ErrChain) {
		t.Errorf("open: %v", err)
	}
}

func FuzzProbe(f *testing.F) {
	l := smallLayout(f, 4)
	table := makeTable(&l, format.Root{Table: 3, BucketsLog2: 10, Extents: 1}, []format.SegmentID{1})
	b := format.Bucket{Tag: 3, Hash: [3]uint64{1, 2, 1}, Pointer: [3]format.Pointer{5, 0, 7}, Overflow: l.SegmentOffset(2)}
	var buf [format.BucketBytes]byte
	b.Encode(&buf)
	f.Add(buf[:], uint64(1))
	b.Flags = format.BucketMoved
	b.Encode(&buf)
	f.Add(buf[:], uint64(2))
	f.Fuzz(func(t *testing.T, bytes []byte, hash uint64) {
		var buf [format.BucketBytes]byte
		copy(buf[:], bytes)
		var p Probe
		if err := table.Probe(&buf, 64, hash, &p); err == nil && (p.Count > 3 || p.Next%format.BucketBytes != 0 || p.Next != 0 && !table.inSegments(p.Next)) {
			t.Errorf("accepted %+v", p)
		}
	})
}

func FuzzDecodeTable(f *testing.F) {
	l := smallLayout(f, 8)
	f.Add(makeTable(&l, format.Root{Table: 3, BucketsLog2: 11, Extents: 2, DirectoryCRC: 0}, []format.SegmentID{1, 5}).AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		table, err := DecodeTable(&l, b)
		if err == nil && (len(table.Extents) != int(table.Root.Extents) || table.BucketOf(1)+64 > l.TotalBytes) {
			t.Errorf("accepted %+v", table)
		}
	})
}
