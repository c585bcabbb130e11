package dpm

import (
	"errors"
	"fmt"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/index"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/dpm/remote"
	"github.com/dinomo-kv/dinomo/internal/clock"
)

// Damage to entries that are merged does not take those along that are not: they were acknowledged.
func TestDamageBeforeTheWatermarkCostsNothingAfterIt(t *testing.T) {
	for _, damaged := range []int{0, 7, 18, 19} { // of 20 that are merged
		for _, entryBytes := range []int{500, 3200} { // what follows lies in the same segment, or begins the next
			t.Run(fmt.Sprintf("entry %d of %d bytes", damaged, entryBytes), func(t *testing.T) {
				shape := smallShape(16)
				fake := newFake(t, shape)
				o := testOptions(fake, shape)
				p := mustOpen(t, o)
				th := mustThread(t, mustSession(t, &localDialer{pool: p, breakAfter: -1}, "kn"), 0, remote.AppenderOptions{})
				var pointers []format.Pointer
				for i := range 20 {
					pointers = append(pointers, put(t, th, fmt.Sprint("merged", i), value(i, entryBytes)))
				}
				commit(t, th)
				settle(t, p)
				for i := range 10 {
					put(t, th, fmt.Sprint("fresh", i), value(i, entryBytes))
				}
				commit(t, th)
				image := pmem.NewFakeFrom(fake.StrictImage(), pmem.Fsync)
				at := pointers[damaged].Offset() + 40
				image.Store64(at, image.Load64(at)^1<<9)
				again, err := Open(testOptions(image, shape))
				if err != nil {
					t.Fatal(err)
				}
				defer again.Close()
				reader := mustThread(t, mustSession(t, &localDialer{pool: again, breakAfter: -1}, "kn2"), 0, remote.AppenderOptions{})
				for i := range 10 {
					if got := read(t, reader, fmt.Sprint("fresh", i)); got != value(i, entryBytes) {
						t.Errorf("fresh%d = %.20q", i, got)
					}
				}
				if again.Recovery().MergedEntries != 10 {
					t.Errorf("%v", again.Recovery())
				}
			})
		}
	}
}

// The DPM knows the server epoch, and puts it right when it is damaged: for who dials, and sooner or later in any case. A sound
// word it leaves alone.
func TestDamagedServerEpochIsMended(t *testing.T) {
	shape := smallShape(16)
	fake := newFake(t, shape)
	p := mustOpen(t, testOptions(fake, shape))
	d := &localDialer{pool: p, breakAfter: -1}
	right := format.ServerEpochWord(p.ServerEpoch())
	for name, meet := range map[string]func(){
		"housekeeping": func() { settle(t, p) },
		"dialling":     func() { mustSession(t, d, "kn") },
	} {
		fake.Store64(epochAt, right^1<<13)
		found := p.Stats().Damage
		meet()
		if got := fake.Load64(epochAt); got != right || p.Stats().Damage != found+1 {
			t.Errorf("%s: the word is %#x, was %#x; damage was found %d times", name, got, right, p.Stats().Damage-found)
		}
		if durable := pmem.NewFakeFrom(fake.StrictImage(), pmem.Fsync).Load64(epochAt); durable != right {
			t.Errorf("%s: %#x is durable, want %#x", name, durable, right)
		}
	}
	successor := format.ServerEpochWord(p.ServerEpoch() + 1)
	fake.Store64(epochAt, successor)
	settle(t, p)
	if got := fake.Load64(epochAt); got != successor {
		t.Errorf("a successor's word %#x became %#x", successor, got)
	}
}

// A segment with a damaged entry is not compacted, but it is given back like any other when nothing in it is live.
func TestDamagedSegmentIsFreedWhenItIsDead(t *testing.T) {
	p, d := newVolatile(t, smallShape(32))
	th := mustThread(t, mustSession(t, d, "kn"), 0, remote.AppenderOptions{})
	var damaged format.Pointer
	for i := range 20 * 10 {
		key := fmt.Sprint("k", i)
		if i%5 > 0 {
			key = "hot" // most of each segment is dead soon
		}
		if pointer := put(t, th, key, value(i, 3000)); i == 1 {
			damaged = pointer
		}
		commit(t, th)
		if i == 30 {
			at := damaged.Offset() + 40
			p.region.Store64(at, p.region.Load64(at)^1<<9)
		}
		work(t, p)
	}
	settle(t, p)
	id, _ := p.layout.SegmentOf(damaged.Offset())
	if !p.segments[id].damaged {
		t.Fatalf("compaction has not met the damage in segment %d: %v", id, &p.segments[id].header)
	}
	for i := 0; i < 20*10; i += 5 {
		if got := read(t, th, fmt.Sprint("k", i)); got != value(i, 3000) {
			t.Fatalf("k%d = %.20q", i, got)
		}
		if _, err := th.Delete([]byte(fmt.Sprint("k", i)), 0); err != nil {
			t.Fatal(err)
		}
		commit(t, th)
	}
	settle(t, p)
	if s := &p.segments[id]; s.header.State != format.SegmentFree && s.header.Generation == damaged.Generation() {
		t.Errorf("nothing in segment %d is live, and it is %v", id, &s.header)
	}
	if problems := p.Audit(); len(problems) > 0 {
		t.Error(problems)
	}
}

// fillIndex puts keys until the index is about to grow, and returns them with the pointers to their entries.
func fillIndex(t *testing.T, p *Pool, th *remote.Thread) map[string]format.Pointer {
	t.Helper()
	pointers := map[string]format.Pointer{}
	for i := 0; !p.index.ShouldGrow(); i++ {
		key := fmt.Sprint("k", i)
		pointers[key] = put(t, th, key, value(i, 40))
		if i%50 > 0 {
			continue
		}
		commit(t, th)
		if done, err := th.Drain(0); err != nil || !done {
			t.Fatal(done, err)
		}
	}
	return pointers
}

// muteSlot flips a bit in the hash of the slot that holds pointer, so that the hash belongs to another chain.
func muteSlot(t *testing.T, p *Pool, key string, pointer format.Pointer) (hashAt uint64) {
	t.Helper()
	table := p.index.Table()
	offset := table.BucketOf(index.KeyHash([]byte(key)))
	for offset != 0 {
		for slot := offset + format.BucketPointerOffset; slot < offset+format.BucketOverflowOffset; slot += format.SlotBytes {
			if format.Pointer(p.region.Load64(slot)) != pointer {
				continue
			}
			hashAt, hash := slot-(format.BucketPointerOffset-format.BucketHashOffset), index.KeyHash([]byte(key))
			bit := uint64(1)
			for format.BucketNumber(hash^bit, table.Root.BucketsLog2) == format.BucketNumber(hash, table.Root.BucketsLog2) {
				bit <<= 1
			}
			p.region.Store64(hashAt, hash^bit)
			return hashAt
		}
		offset, _ = format.OpenOverflow(p.region.Load64(offset + format.BucketOverflowOffset))
	}
	t.Fatalf("no slot holds %v", pointer)
	return 0
}

// A damaged hash word in the index does not keep it from growing: the table that follows has it right.
func TestIndexGrowsOverADamagedHash(t *testing.T) {
	p, d := newVolatile(t, smallShape(64))
	var damage []DamageInfo
	p.o.Events.Damage = func(i DamageInfo) { damage = append(damage, i) }
	th := mustThread(t, mustSession(t, d, "kn"), 0, remote.AppenderOptions{})
	pointers := fillIndex(t, p, th)
	at := muteSlot(t, p, "k7", pointers["k7"])
	if g, err := th.Get(index.KeyHash([]byte("k7")), []byte("k7"), 0); !errors.Is(err, format.ErrDamaged) {
		t.Fatalf("k7 before growth: %.20q, %v", g.Value, err)
	}
	settle(t, p)
	if p.Stats().IndexGrows == 0 || len(damage) != 1 || damage[0].Offset != at {
		t.Errorf("grown %d times; damage at %#x, told %v", p.Stats().IndexGrows, at, damage)
	}
	for i := range 20 {
		if got := read(t, th, fmt.Sprint("k", i)); got != value(i, 40) {
			t.Errorf("k%d after growth: %.20q", i, got)
		}
	}
	checkIndex(t, p)
}

// Where the index cannot grow because more is damaged, the pool says so once a minute, works on, and takes space back.
func TestPoolWorksWhereTheIndexCannotGrow(t *testing.T) {
	p, d := newVolatile(t, smallShape(64))
	var damage []DamageInfo
	p.o.Events.Damage = func(i DamageInfo) { damage = append(damage, i) }
	th := mustThread(t, mustSession(t, d, "kn"), 0, remote.AppenderOptions{})
	pointers := fillIndex(t, p, th)
	at := muteSlot(t, p, "k7", pointers["k7"])
	entry := pointers["k7"].Offset()
	magic := p.region.Load64(entry)
	p.region.Store64(entry, 0)
	settle(t, p)
	settle(t, p)
	if p.Stats().IndexGrows > 0 || len(damage) != 1 || damage[0].Offset != at {
		t.Fatalf("grown %d times; damage at %#x, told %v", p.Stats().IndexGrows, at, damage)
	}
	for i := range 2000 { // more than the pool holds
		if err := putOr(t, p, th, fmt.Sprint("hot", i%20), value(i, 3000)); err != nil {
			t.Fatalf("put %d: %v\n%s", i, err, p.Stats())
		}
		work(t, p)
	}
	p.region.Store64(entry, magic)
	p.o.Clock.(*clock.Manual).Advance(growPause)
	settle(t, p)
	if p.Stats().IndexGrows == 0 {
		t.Errorf("the entry is sound again, and the index has not grown: %v", damage)
	}
	if got := read(t, th, "k7"); got != value(7, 40) {
		t.Errorf("k7 = %.20q", got)
	}
}

// A damaged bucket keeps the pool from counting what is pinned in the segments that it concerns, and from nothing else.
func TestHousekeepingGoesOnPastADamagedBucket(t *testing.T) {
	p, d := newVolatile(t, smallShape(32))
	th := mustThread(t, mustSession(t, d, "kn"), 0, remote.AppenderOptions{})
	for i := range 60 { // three segments; of the first about half is dead
		key := fmt.Sprint("k", i)
		if i >= 30 {
			key = fmt.Sprint("k", i%30/2)
		}
		put(t, th, key, value(i, 3000))
	}
	commit(t, th)
	for done := false; !done; {
		var err error
		if done, err = th.Drain(0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Install([]byte("k18")); err != nil {
		t.Fatal(err)
	}
	p.region.Store64(p.index.Table().BucketOf(index.KeyHash([]byte("k19"))), 1)
	settle(t, p)
	before := p.Stats().FreedSegments
	for i := range 400 {
		if err := putOr(t, p, th, "hot", value(i, 3000)); err != nil {
			t.Fatal(err)
		}
		work(t, p)
	}
	if freed := p.Stats().FreedSegments - before; freed < 10 {
		t.Errorf("%d segments were freed", freed)
	}
	if got := read(t, th, "k18"); got != value(18, 3000) {
		t.Errorf("k18 = %.20q", got)
	}
}
