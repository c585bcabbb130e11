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

// A damaged header is written again by the next writer. A damaged link, or a header of another table, stops it with the address. A
// damaged entry is healed by the next write of its key.
func TestApplyMeetsDamage(t *testing.T) {
	r := volatileRig(t, 8, KeyHash)
	old, _ := r.put(t, "a", "1")
	at := r.index.Table().BucketOf(KeyHash([]byte("a")))
	header, link := r.region.Load64(at), at+format.BucketOverflowOffset
	r.region.Store64(at, header^1<<20)
	if r.apply(t, Mutation{Hash: KeyHash([]byte("b")), Key: []byte("b")}); r.region.Load64(at) != header^1<<20 {
		t.Fatal("a writer of another chain wrote the header")
	}
	if got := r.apply(t, Mutation{Hash: KeyHash([]byte("a")), Key: []byte("a"), New: old})[0]; got.Outcome != Unchanged || r.region.Load64(at) != header {
		t.Fatalf("%v over a damaged header, which is %#x, want %#x", got.Outcome, r.region.Load64(at), header)
	}
	for bad, was := range map[uint64]uint64{at: format.BucketHeaderWord(99, 0), link: r.region.Load64(link) ^ 1<<20} {
		sound := r.region.Load64(bad)
		r.region.Store64(bad, was)
		var word *format.WordError
		n, err := r.index.Apply([]Mutation{{Hash: KeyHash([]byte("a")), Key: []byte("absent")}}, make([]Result, 1))
		if !errors.As(err, &word) || word.Offset != bad || n != 0 {
			t.Fatalf("applied %d, %v; want an error that names %#x", n, err, bad)
		}
		r.region.Store64(bad, sound)
	}

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

// slotOf returns the offset of the pointer word that holds p.
func (r *rig) slotOf(t *testing.T, p format.Pointer) (slot uint64) {
	t.Helper()
	table := r.index.Table()
	for b := range table.Buckets() {
		must(t, r.index.walkChain(table, b, func(offset uint64, bucket *format.Bucket) error {
			for i, held := range bucket.Pointer {
				if held == p {
					slot = offset + format.BucketPointerOffset + uint64(i)*format.SlotBytes
				}
			}
			return nil
		}))
	}
	if slot == 0 {
		t.Fatalf("no slot holds %v", p)
	}
	return slot
}

// mute flips a bit of the hash in front of a slot so that it belongs to another chain, and returns what puts it back.
func (r *rig) mute(t *testing.T, slot uint64) (undo func()) {
	t.Helper()
	at := slot - hashToPointer
	hash := r.region.Load64(at)
	for bit := range 64 {
		if !r.index.Table().sameChain(hash, hash^1<<bit) {
			r.region.Store64(at, hash^1<<bit)
			return func() { r.region.Store64(at, hash) }
		}
	}
	t.Fatal("no bit matters")
	return nil
}

// A write of a key whose hash word is damaged takes the key's slot and writes the hash again: the key gets no second slot, and
// a delete finds what it is to delete.
func TestWritesMendHashes(t *testing.T) {
	r := volatileRig(t, 16, crowdedHash(3))
	mended := 0
	r.index.o.Mended = func(*format.WordError) { mended++ }
	last := map[string]format.Pointer{}
	for i := range 40 {
		key := fmt.Sprint("key", i)
		last[key], _ = r.put(t, key, "v")
	}
	for key, old := range last {
		slot := r.slotOf(t, old)
		r.mute(t, slot)
		if got := r.get(t, key); got != old {
			t.Errorf("%s with a damaged hash: %v, want %v", key, got, old)
		}
		fresh, result := r.put(t, key, "w")
		if result != (Result{Replaced, old}) || r.slotOf(t, fresh) != slot {
			t.Errorf("put of %s over a damaged hash: %v of %v", key, result.Outcome, result.Old)
		}
		r.check(t)
		r.mute(t, slot)
		moved := r.append(t, 0, key, "w")
		if got := r.apply(t, Mutation{Hash: r.hashOf([]byte(key)), New: moved, Conditional: true, If: fresh})[0]; got != (Result{Replaced, fresh}) {
			t.Errorf("move of %s over a damaged hash: %v of %v", key, got.Outcome, got.Old)
		}
		r.check(t)
		r.mute(t, slot)
		if got := r.apply(t, Mutation{Hash: r.hashOf([]byte(key)), Key: []byte(key)})[0]; got != (Result{Removed, moved}) || r.get(t, key) != 0 {
			t.Errorf("delete of %s over a damaged hash: %v of %v", key, got.Outcome, got.Old)
		}
		r.check(t)
	}
	if mended != 3*len(last) {
		t.Errorf("%d hashes were mended, %d keys", mended, len(last))
	}
}

// Growth copies a slot with a damaged hash under the hash of its key. Where the slot's entry does not say which that is, it fails
// with the address, and the table serves on.
func TestGrowMendsHashes(t *testing.T) {
	r := volatileRig(t, 40, crowdedHash(3))
	last := map[string]format.Pointer{}
	for i := range 40 {
		key := fmt.Sprint("key", i)
		last[key], _ = r.put(t, key, "v")
		if i%3 == 0 {
			r.mute(t, r.slotOf(t, last[key]))
		}
	}
	must(t, r.index.Grow())
	r.check(t)
	for key, p := range last {
		if got := r.get(t, key); got != p {
			t.Errorf("%s after growth: %v, want %v", key, got, p)
		}
	}

	// A key that has another slot beside the damaged one, as an earlier program left it: that one counts.
	old, twin := last["key7"], "t0"
	for i := 1; !r.index.Table().sameChain(r.hashOf([]byte(twin)), r.hashOf([]byte("key7"))); i++ {
		twin = fmt.Sprint("t", i)
	}
	fresh, _ := r.put(t, "key7", "w")
	p, _ := r.put(t, twin, "makes room")
	slot := r.slotOf(t, p)
	r.mute(t, slot)
	r.region.Store64(slot, uint64(old))
	must(t, r.index.Grow())
	r.check(t)
	if got := r.get(t, "key7"); got != fresh {
		t.Errorf("key7 after growth: %v, want %v; its old value is %v", got, fresh, old)
	}

	table := r.index.TableID()
	slot = r.slotOf(t, last["key9"])
	undo := r.mute(t, slot)
	at := last["key9"].Offset() + 24
	sound := r.region.Load64(at)
	r.region.Store64(at, 0)
	var damage *format.WordError
	if err := r.index.Grow(); !errors.As(err, &damage) || damage.Offset != slot-8 {
		t.Errorf("growth over a slot whose entry is damaged as well: %v", err)
	}
	if r.index.TableID() != table || r.get(t, "key8") != last["key8"] {
		t.Error("the table does not serve on")
	}
	undo()
	r.region.Store64(at, sound)
	must(t, r.index.Grow())
	if got := r.get(t, "key9"); got != last["key9"] {
		t.Errorf("key9: %v, want %v", got, last["key9"])
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
