package index

import (
	"errors"
	"fmt"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/internal/random"
)

func volatileRig(t testing.TB, segments uint32, hashOf func([]byte) uint64) *rig {
	t.Helper()
	l := smallLayout(t, segments)
	region, err := pmem.NewVolatile(l.TotalBytes)
	must(t, err)
	t.Cleanup(func() { must(t, region.Close()) })
	return newRig(t, region, l, hashOf)
}

func TestOutcomes(t *testing.T) {
	r := volatileRig(t, 8, KeyHash)
	hash := KeyHash([]byte("a"))
	p1, res := r.put(t, "a", "1")
	expect := func(got, want Result) {
		t.Helper()
		if got != want {
			t.Errorf("got %v %v, want %v %v", got.Outcome, got.Old, want.Outcome, want.Old)
		}
	}
	expect(res, Result{Outcome: Inserted})
	p2, res := r.put(t, "a", "2")
	expect(res, Result{Replaced, p1})
	expect(r.apply(t, Mutation{Hash: hash, Key: []byte("a"), New: p2})[0], Result{Outcome: Unchanged})
	p3 := r.append(t, 0, "a", "3")
	expect(r.apply(t, Mutation{Hash: hash, New: p3, Conditional: true, If: p1})[0], Result{Outcome: Refused})
	expect(r.apply(t, Mutation{Hash: hash, New: p3, Conditional: true, If: p2})[0], Result{Replaced, p2})
	expect(r.apply(t, Mutation{Hash: hash, Key: []byte("a"), New: p1, Conditional: true})[0], Result{Outcome: Refused})
	if got := r.get(t, "a"); got != p3 {
		t.Errorf("get: %v, want %v", got, p3)
	}
	expect(r.apply(t, Mutation{Hash: hash, Key: []byte("a")})[0], Result{Removed, p3})
	expect(r.apply(t, Mutation{Hash: hash, Key: []byte("a")})[0], Result{Outcome: Absent})
	expect(r.apply(t, Mutation{Hash: hash, Key: []byte("a"), New: p1, Conditional: true})[0], Result{Outcome: Inserted})

	// One key several times in a batch: only the last shows.
	p4, p5 := r.append(t, 0, "a", "4"), r.append(t, 0, "a", "5")
	results := r.apply(t,
		Mutation{Hash: hash, Key: []byte("a"), New: p4},
		Mutation{Hash: hash, Key: []byte("a")},
		Mutation{Hash: hash, Key: []byte("a"), New: p5})
	expect(results[0], Result{Outcome: Overtaken})
	expect(results[1], Result{Outcome: Overtaken})
	expect(results[2], Result{Replaced, p1})
	if got := r.get(t, "b"); got != 0 {
		t.Errorf("absent key: %v", got)
	}
	r.check(t)
}

// Two keys with the same hash must both live, also when one batch inserts both.
func TestEqualHashes(t *testing.T) {
	r := volatileRig(t, 8, func([]byte) uint64 { return 42 })
	var batch []Mutation
	want := map[string]format.Pointer{}
	for i := range 20 {
		key := fmt.Sprint("key", i)
		want[key] = r.append(t, 0, key, "v")
		batch = append(batch, Mutation{Hash: 42, Key: []byte(key), New: want[key]})
	}
	r.apply(t, batch...)
	for key, p := range want {
		if got := r.get(t, key); got != p {
			t.Errorf("%s: %v, want %v", key, got, p)
		}
	}
	if s := r.index.Stats(); s.OverflowBuckets != 6 || s.SlotsUsed != 20 {
		t.Errorf("stats: %v", s)
	}
	r.check(t)
	for i := range batch {
		batch[i].New = 0
	}
	r.apply(t, batch...)
	if s := r.index.Stats(); s.OverflowBuckets-uint64(len(r.index.freed.take().buckets)) != 0 || s.SlotsUsed != 0 {
		t.Errorf("after deleting all: %v", s)
	}
}

// Without a segment for overflow buckets, deletes, replacements and inserts into empty slots go on.
func TestNoSpace(t *testing.T) {
	r := volatileRig(t, 2, func([]byte) uint64 { return 1 }) // one segment of buckets, one of log
	for i := range 3 {
		r.put(t, fmt.Sprint("k", i), "v")
	}
	mutation := func(key string) Mutation {
		return Mutation{Hash: 1, Key: []byte(key), New: r.append(t, 0, key, "w")}
	}
	batch := []Mutation{mutation("k0"), mutation("new"), mutation("k1"), {Hash: 1, Key: []byte("k2")}}
	results := make([]Result, len(batch))
	n, err := r.index.Apply(batch, results)
	if !errors.Is(err, errTestFull) || n != 1 {
		t.Fatalf("applied %d, %v; want 1, %v", n, err, errTestFull)
	}
	if results[1].Outcome != 0 || results[2].Outcome != Replaced || results[3].Outcome != Removed {
		t.Fatalf("results %v", results)
	}
	// The delete made room; it counts from the next fence on.
	must(t, r.region.Fence())
	results = r.apply(t, batch[n:]...)
	if results[0].Outcome != Inserted || results[1].Outcome != Unchanged || results[2].Outcome != Absent {
		t.Fatalf("results %v", results)
	}
	r.check(t)
}

func TestGrowKeepsAll(t *testing.T) {
	r := volatileRig(t, 64, KeyHash)
	want := map[string]format.Pointer{}
	for i := range 9000 {
		key := fmt.Sprint(i)
		p, _ := r.put(t, key, "v")
		want[key] = p
		if r.index.ShouldGrow() {
			must(t, r.index.Grow())
			r.free(r.retired)
			r.retired = nil
		}
	}
	if s := r.index.Stats(); s.Buckets != 8192 || s.Grows != 3 || s.BucketsPerLookup > 1.2 || s.LoadFactor > 0.6 {
		t.Errorf("stats: %v", s)
	}
	for key, p := range want {
		if got := r.get(t, key); got != p {
			t.Fatalf("%s: %v, want %v", key, got, p)
		}
	}
	r.check(t)
	reopened, err := Open(r.options(), nil)
	must(t, err)
	if a, b := reopened.Stats(), r.index.Stats(); a.SlotsUsed != b.SlotsUsed || a.OverflowBuckets != b.OverflowBuckets || a.BucketsPerLookup != b.BucketsPerLookup {
		t.Errorf("reopened: %v\n  before: %v", a, b)
	}
	if orphans := reopened.Orphans(); len(orphans) != 0 {
		t.Errorf("orphans: %v", orphans)
	}
}

// A reader that holds the old root must notice before it can miss anything.
func TestOldRootNotices(t *testing.T) {
	r := volatileRig(t, 16, KeyHash)
	r.put(t, "a", "1")
	old := r.index.Table()
	must(t, r.index.Grow())
	var p Probe
	for b := range old.Buckets() {
		offset := old.layout.BucketOffset(old.Extents, b)
		if err := old.Probe(r.index.view(offset), offset, 1, &p); !errors.Is(err, ErrMoved) || errors.Is(err, format.ErrDamaged) {
			t.Fatalf("bucket %d: %v", b, err)
		}
	}
	fresh, err := DecodeTable(&r.layout, r.index.Table().AppendTo(nil))
	must(t, err)
	offset := fresh.BucketOf(KeyHash([]byte("a")))
	must(t, fresh.Probe(r.index.view(offset), offset, KeyHash([]byte("a")), &p))
	if p.Count != 1 {
		t.Errorf("new table: %+v", p)
	}
}

// Random batches against a map, with chains, collisions and growth.
func TestModel(t *testing.T) {
	seed := random.Seed(t)
	rng := random.New(seed)
	r := volatileRig(t, 96, crowdedHash(12))
	model := map[string]format.Pointer{}
	grown := 0
	for round := range 600 {
		var batch []Mutation
		for range rng.IntN(24) {
			key := fmt.Sprint(rng.IntN(400))
			m := Mutation{Hash: r.hashOf([]byte(key)), Key: []byte(key)}
			switch rng.IntN(8) {
			case 0, 1, 2:
			case 3:
				m.Conditional, m.If = true, model[key]
				m.New = r.append(t, 0, key, "c")
			default:
				m.New = r.append(t, 0, key, fmt.Sprint(round))
			}
			batch = append(batch, m)
		}
		results := r.apply(t, batch...)
		applyToModel(t, model, batch, results)
		if rng.IntN(120) == 0 && grown < 3 {
			grown++
			must(t, r.index.Grow())
			r.free(r.retired)
			r.retired = nil
		}
		if rng.IntN(50) == 0 {
			r.check(t)
			var err error
			if r.index, err = Open(r.options(), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	compareWithModel(t, r, model)
	t.Log(r.index.Stats())
}

// applyToModel replays a batch on a map in the order of Apply's contract, and compares the outcomes.
func applyToModel(t testing.TB, model map[string]format.Pointer, batch []Mutation, results []Result) {
	t.Helper()
	before := map[string]format.Pointer{}
	for _, m := range batch {
		before[string(m.Key)] = model[string(m.Key)]
	}
	for i, m := range batch {
		key, r := string(m.Key), results[i]
		switch {
		case r.Outcome == Overtaken:
			continue
		case r.Outcome == 0:
			t.Fatalf("mutation %d of %q has no outcome", i, key)
		case m.Conditional && (r.Outcome == Refused) != (model[key] != m.If):
			// Conditional and other mutations of one key in one batch may be judged around those overtaken;
			// the pointer decides.
			if model[key] == m.If || before[key] == m.If {
				t.Fatalf("mutation %d of %q: %v with pointer %v, condition %v", i, key, r.Outcome, model[key], m.If)
			}
			continue
		case r.Outcome == Refused:
			continue
		}
		if r.Old != 0 && r.Old != model[key] {
			t.Fatalf("mutation %d of %q says it dereferenced %v, it was %v", i, key, r.Old, model[key])
		}
		if m.New == 0 {
			delete(model, key)
		} else {
			model[key] = m.New
		}
	}
}

func compareWithModel(t testing.TB, r *rig, model map[string]format.Pointer) {
	t.Helper()
	r.check(t)
	if used := int(r.index.used.Load()); used != len(model) {
		t.Errorf("index holds %d keys, want %d", used, len(model))
	}
	for key, p := range model {
		if got := r.get(t, key); got != p {
			t.Fatalf("key %q: %v, want %v", key, got, p)
		}
	}
}
