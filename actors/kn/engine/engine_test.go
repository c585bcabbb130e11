package engine

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/dinomo-kv/dinomo/dac"
	"github.com/dinomo-kv/dinomo/dpm"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/internal/random"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

func TestRoundTripBudget(t *testing.T) {
	for _, backend := range []string{"tcp", "shm"} {
		t.Run(backend, func(t *testing.T) {
			r := newRig(t, backend, smallPool())
			writer := r.engine(0, Options{})
			b := writer.batch()
			for i := range 100 {
				b.put(fmt.Sprint("k", i), "v")
			}
			trips := writer.Verbs().RoundTrips
			writer.Run()
			c := writer.Counters()
			// The first batch asks for its first segment and fetches the lattice filter.
			if c.Commits != 1 || c.RoundTripsWrite != 2 || c.RoundTripsOther != 1 {
				t.Errorf("first batch of 100 puts: %+v", c)
			}
			if got := writer.Verbs().RoundTrips - trips; got > 4 {
				t.Errorf("the first batch waited %d times", got)
			}
			expect := func(what string, e *Engine, want Counters, f func()) {
				t.Helper()
				before, trips := e.Counters(), e.Verbs().RoundTrips
				f()
				if got := e.Counters().minus(before); got != want {
					t.Errorf("%s: %+v, want %+v", what, got, want)
				}
				if got := e.Verbs().RoundTrips - trips; got != want.RoundTripsRead+want.RoundTripsWrite {
					t.Errorf("%s: the queue pair waited %d times", what, got)
				}
			}
			writer.o.ProgressEvery = 1 << 40 // no other waits from here on
			expect("batch of puts and deletes", writer, Counters{Writes: 60, Deletes: 10, RoundTripsWrite: 1, Commits: 1}, func() {
				b := writer.batch()
				for i := range 60 {
					b.put(fmt.Sprint("k", i), "w")
				}
				for i := range 10 {
					b.delete(fmt.Sprint("k", 60+i))
				}
				writer.Run()
			})
			expect("value hit", writer, Counters{Reads: 1, ValueHits: 1}, func() { mustBe(t, writer.get1("k1"), "=w") })
			expect("deleted, not merged", writer, Counters{Reads: 1, UnmergedHits: 1}, func() { mustBe(t, writer.get1("k60"), "KEY_DNE") })
			expect("put and get in one batch", writer, Counters{Reads: 1, Writes: 1, ValueHits: 1, RoundTripsWrite: 1, Commits: 1}, func() {
				b := writer.batch()
				b.put("k2", "x")
				i := b.get("k2")
				writer.Run()
				mustBe(t, writer.show(i), "=x")
			})

			bare := r.engine(1, Options{Cache: noCache, ProgressEvery: 1 << 40})
			mustBe(t, bare.put1("own", "1"), "ok")
			expect("own write, not merged, not cached", bare, Counters{Reads: 1, UnmergedHits: 1, RoundTripsRead: 1}, func() { mustBe(t, bare.get1("own"), "=1") })
			r.drain(writer)
			expect("miss", bare, Counters{Reads: 1, Misses: 1, RoundTripsRead: 2, RoundTripsMiss: 2}, func() { mustBe(t, bare.get1("k1"), "=w") })
			expect("miss of no key", bare, Counters{Reads: 1, Misses: 1, RoundTripsRead: 1, RoundTripsMiss: 1}, func() { mustBe(t, bare.get1("no"), "KEY_DNE") })

			short := r.engine(2, Options{Cache: dac.Options{Policy: dac.PolicyShortcutOnly, BudgetBytes: 1 << 20}})
			mustBe(t, short.get1("k1"), "=w")
			expect("shortcut", short, Counters{Reads: 1, ShortcutHits: 1, RoundTripsRead: 1}, func() { mustBe(t, short.get1("k1"), "=w") })
			expectShared(t, bare)
		})
	}
}

// expectShared: misses that are read together share their waits, though each counts its own round trips.
func expectShared(t *testing.T, e *Engine) {
	t.Helper()
	before, trips := e.Counters(), e.Verbs().RoundTrips
	b := e.batch()
	for i := range 10 {
		b.get(fmt.Sprint("k", i))
	}
	e.Run()
	if got := e.Counters().minus(before); got.Misses != 10 || got.RoundTripsMiss != 20 {
		t.Errorf("10 misses in a batch: %+v", got)
	}
	if got := e.Verbs().RoundTrips - trips; got != 2 {
		t.Errorf("10 misses in a batch: %d waits, want 2", got)
	}
}

func (c Counters) minus(o Counters) Counters {
	c.Reads, c.Writes, c.Deletes = c.Reads-o.Reads, c.Writes-o.Writes, c.Deletes-o.Deletes
	c.ValueHits, c.UnmergedHits, c.ShortcutHits = c.ValueHits-o.ValueHits, c.UnmergedHits-o.UnmergedHits, c.ShortcutHits-o.ShortcutHits
	c.Misses, c.Failed = c.Misses-o.Misses, c.Failed-o.Failed
	c.RoundTripsRead, c.RoundTripsMiss = c.RoundTripsRead-o.RoundTripsRead, c.RoundTripsMiss-o.RoundTripsMiss
	c.RoundTripsWrite, c.RoundTripsOther = c.RoundTripsWrite-o.RoundTripsWrite, c.RoundTripsOther-o.RoundTripsOther
	c.Commits, c.WriteWaits = c.Commits-o.Commits, c.WriteWaits-o.WriteWaits
	return c
}

func mustBe(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBatchesTakeEffectInOrder(t *testing.T) {
	r := newRig(t, "tcp", smallPool())
	e := r.engine(0, Options{})
	mustBe(t, e.put1("a", "0"), "ok")
	b := e.batch()
	got := []int{b.get("a"), b.put("a", "1"), b.get("a"), b.delete("a"), b.get("a"), b.put("a", "2"), b.get("a"), b.get("b"), b.put("b", "9"), b.get("b")}
	e.Run()
	var text []string
	for _, i := range got {
		text = append(text, e.show(i))
	}
	mustBe(t, strings.Join(text, " "), "=0 ok =1 ok KEY_DNE ok =2 KEY_DNE ok =9")
	mustBe(t, e.get1("a"), "=2")
	r.drain(e)
	fresh := r.engine(1, Options{Cache: noCache})
	mustBe(t, fresh.get1("a"), "=2")
	mustBe(t, fresh.get1("b"), "=9")
}

func set(members ...string) []byte {
	var s lattice.SetValue
	for _, m := range members {
		s = s.Merge(lattice.SetValue{[]byte(m)})
	}
	return s.Append([]byte{})
}

func TestTypesMergeAndStay(t *testing.T) {
	r := newRig(t, "tcp", smallPool())
	for n, name := range []string{"cached", "bare"} {
		number, o := uint16(2*n), Options{}
		if name == "bare" {
			o.Cache = noCache
		}
		e := r.engine(number, o)
		key := "set-" + name
		add := func(payload []byte) string {
			return e.one(func(b batch) int { return b.merge(key, lattice.Set, payload) })
		}
		mustBe(t, add(set("1", "2")), "ok")
		mustBe(t, add(set("2", "3")), "ok")
		want := fmt.Sprintf("SET %x", set("1", "2", "3"))
		mustBe(t, e.get1(key), want)
		commits := e.Counters().Commits
		mustBe(t, add(set("1")), "ok") // changes nothing
		if e.Counters().Commits != commits {
			t.Error("a put that changes nothing was written")
		}
		mustBe(t, e.put1(key, "x"), "LATTICE")
		r.drain(e)
		before := e.Counters()
		mustBe(t, add(set("4")), "ok")
		if trips := e.Counters().minus(before).RoundTripsWrite; trips > 3 {
			t.Errorf("a merging put took %d round trips, more than a miss and a write", trips)
		}
		mustBe(t, e.put1(key, "x"), "LATTICE")
		mustBe(t, e.get1(key), fmt.Sprintf("SET %x", set("1", "2", "3", "4")))

		// A fresh engine knows the type from the pool alone.
		r.drain(e)
		_ = e.Close()
		e = r.engine(number+1, o)
		mustBe(t, e.put1(key, "x"), "LATTICE")
		mustBe(t, e.put1("lww-"+name, "x"), "ok")
		mustBe(t, e.one(func(b batch) int { return b.merge("lww-"+name, lattice.Set, set("1")) }), "LATTICE")

		// Deleting frees the key for another type; in one batch, too.
		b := e.batch()
		ops := []int{b.delete(key), b.put(key, "now lww"), b.get(key), b.merge(key, lattice.Set, set("1"))}
		e.Run()
		for i, want := range []string{"ok", "ok", "=now lww", "LATTICE"} {
			mustBe(t, e.show(ops[i]), want)
		}
		_ = e.Close()
	}
}

func TestTimestampMode(t *testing.T) {
	r := newRig(t, "tcp", smallPool())
	e := r.engine(0, Options{Lattice: lattice.Options{Mode: lattice.Timestamp}})
	put := func(b batch, at uint64, v string) int {
		return b.merge("k", lattice.LWW, lattice.LWWValue{Timestamp: at, Value: []byte(v)}.Append([]byte{}))
	}
	mustBe(t, e.one(func(b batch) int { return put(b, 5, "five") }), "ok")
	mustBe(t, e.one(func(b batch) int { return put(b, 4, "four") }), "ok")
	mustBe(t, e.get1("k"), "=five")
	b := e.batch()
	put(b, 7, "seven")
	put(b, 6, "six")
	i := b.get("k")
	e.Run()
	mustBe(t, e.show(i), "=seven")
	mustBe(t, e.one(func(b batch) int { return put(b, 7, "equal") }), "ok")
	mustBe(t, e.get1("k"), "=equal")
}

// TestAgainstModel runs random batches over several caches and backends and compares each result with a map.
func TestAgainstModel(t *testing.T) {
	seed := random.Seed(t)
	rounds := 400
	if testing.Short() {
		rounds = 100
	}
	for _, backend := range []string{"shm", "tcp"} {
		for _, policy := range []string{dac.PolicyPaper, dac.PolicyNone, dac.PolicyShortcutOnly, dac.PolicyValueOnly} {
			t.Run(backend+"/"+policy, func(t *testing.T) {
				r := newRig(t, backend, smallPool())
				e := r.engine(0, Options{Cache: dac.Options{Policy: policy, BudgetBytes: dac.MinBudgetBytes}})
				m := &model{e: e, rng: random.New(seed), t: t, values: map[string]string{}}
				for range rounds {
					m.round()
				}
				r.drain(e)
				fresh := r.engine(1, Options{Cache: noCache})
				for i := range modelKeys {
					mustBe(t, fresh.get1(modelKey(i)), m.read(modelKey(i)))
				}
				c := e.Counters()
				if c.Reads != c.ValueHits+c.UnmergedHits+c.ShortcutHits+c.Misses+c.Failed {
					t.Errorf("reads do not add up: %+v", c)
				}
			})
		}
	}
}

const modelKeys = 500

func modelKey(i int) string { return fmt.Sprintf("key-%d", i) }

// model is the naive store that an engine is compared with.
type model struct {
	e      *Engine
	rng    *rand.Rand
	t      *testing.T
	values map[string]string
	serial int
}

func (m *model) read(key string) string {
	if v, ok := m.values[key]; ok {
		return "=" + v
	}
	return "KEY_DNE"
}

func (m *model) round() {
	b := m.e.batch()
	type check struct {
		i    int
		key  string
		want string
	}
	var checks []check
	for range 1 + m.rng.IntN(40) {
		key := modelKey(m.rng.IntN(1 + m.rng.IntN(modelKeys)))
		switch m.rng.IntN(10) {
		case 0:
			checks = append(checks, check{b.delete(key), key, "ok"})
			delete(m.values, key)
		case 1, 2, 3:
			m.serial++
			value := strings.Repeat(fmt.Sprint(m.serial, "."), 1+m.rng.IntN(100))
			checks = append(checks, check{b.put(key, value), key, "ok"})
			m.values[key] = value
		default:
			checks = append(checks, check{b.get(key), key, m.read(key)})
		}
	}
	m.e.Run()
	for _, c := range checks {
		if got := m.e.show(c.i); got != c.want {
			m.t.Fatalf("%s: got %.60q, want %.60q", c.key, got, c.want)
		}
	}
	if m.rng.IntN(5) == 0 {
		m.e.Idle(m.e.o.Clock.Now())
	}
}

func TestFullPool(t *testing.T) {
	o := dpm.Options{Shape: format.Shape{SegmentBytes: 64 << 10, Segments: 24, FilterBytes: 4096}, ReserveSegments: 6}
	r := newRig(t, "shm", o)
	e := r.engine(0, Options{})
	value := strings.Repeat("x", 4000)
	last := 0
	for i := 0; ; i++ {
		got := e.put1(fmt.Sprint("k", i), value)
		if got == "NO_SPACE" {
			last = i
			break
		}
		if got != "ok" {
			t.Fatalf("put %d: %s", i, got)
		}
		if i > 1000 {
			t.Fatal("the pool never fills")
		}
	}
	b := e.batch()
	ops := []int{b.put("k0", value), b.get("k0"), b.get(fmt.Sprint("k", last)), b.delete("k1"), b.get("k1")}
	e.Run()
	for i, want := range []string{"NO_SPACE", "=" + value, "KEY_DNE", "ok", "KEY_DNE"} {
		mustBe(t, e.show(ops[i]), want)
	}
	for i := range last {
		mustBe(t, e.delete1(fmt.Sprint("k", i)), "ok")
	}
	r.eventually("there is room again", func() bool {
		e.Idle(e.o.Clock.Now())
		return e.put1("again", value) == "ok"
	})
	mustBe(t, e.get1("again"), "="+value)
}

// Threads that join a full pool delete like any other, though its reserve has segments for few of them.
func TestThreadsThatJoinAFullPoolDelete(t *testing.T) {
	r := newRig(t, "shm", dpm.Options{Shape: format.Shape{SegmentBytes: 64 << 10, Segments: 24, FilterBytes: 4096}, ReserveSegments: 3})
	first := r.engine(0, Options{})
	value := strings.Repeat("x", 4000)
	n := 0
	for got := "ok"; got == "ok"; n++ {
		if got = first.put1(fmt.Sprint("k", n), value); got != "ok" && got != "NO_SPACE" {
			t.Fatalf("put %d: %s", n, got)
		}
	}
	r.drain(first)
	var late []*Engine
	for i := range uint16(5) {
		late = append(late, r.engine(1+i, Options{WriteWait: 1 << 40}))
	}
	for i := range n - 1 {
		e := late[i%len(late)]
		mustBe(t, e.delete1(fmt.Sprint("k", i)), "ok")
		e.Idle(e.o.Clock.Now())
	}
	for i := range n - 1 {
		mustBe(t, late[i%len(late)].get1(fmt.Sprint("k", i)), "KEY_DNE")
	}
}

// A thread that always has something to do gives what it holds of a full pool's reserve back all the same.
func TestBusyThreadGivesTheReserveBack(t *testing.T) {
	r := newRig(t, "shm", dpm.Options{Shape: format.Shape{SegmentBytes: 64 << 10, Segments: 24, FilterBytes: 4096}, ReserveSegments: 3})
	first := r.engine(0, Options{})
	for i, got := 0, "ok"; got == "ok"; i++ {
		got = first.put1(fmt.Sprint("k", i), strings.Repeat("x", 4000))
	}
	r.drain(first)
	busy := r.engine(1, Options{ProgressEvery: 1})
	mustBe(t, busy.delete1("absent"), "ok")
	mustBe(t, busy.get1("absent"), "KEY_DNE")
	if busy.link.thread.HoldsReserve() {
		t.Error("it has the segment still")
	}
	mustBe(t, r.engine(2, Options{WriteWait: 1 << 40}).delete1("absent"), "ok")
}

// When a write has waited in vain, those behind it in the batch do not wait again: reads wait for all of them.
func TestBatchWaitsInVainOnce(t *testing.T) {
	r := newRig(t, "shm", dpm.Options{Shape: format.Shape{SegmentBytes: 64 << 10, Segments: 24, FilterBytes: 4096}, ReserveSegments: 3})
	first := r.engine(0, Options{})
	value := strings.Repeat("x", 4000)
	for i, got := 0, "ok"; got == "ok"; i++ {
		got = first.put1(fmt.Sprint("k", i), value)
	}
	r.drain(first)
	holder, e := r.engine(1, Options{ProgressEvery: 1 << 40}), r.engine(2, Options{WriteWait: 1})
	mustBe(t, holder.delete1("absent"), "ok")
	b := e.batch()
	ops := []int{b.delete("a"), b.get("k0"), b.delete("b"), b.delete("c")}
	e.Run()
	for i, want := range []string{"OVERLOADED", "=" + value, "OVERLOADED", "OVERLOADED"} {
		mustBe(t, e.show(ops[i]), want)
	}
	if n := e.Counters().WriteWaits; n != 1 {
		t.Errorf("the batch waited %d times", n)
	}
	holder.Idle(holder.o.Clock.Now())
	r.eventually("the reserve is back", func() bool { return e.delete1("a") == "ok" })
}

func TestWritesWaitForMerging(t *testing.T) {
	o := smallPool()
	o.UnmergedSegments = 3
	r := newRig(t, "shm", o)
	e := r.engine(0, Options{WriteWait: 1 << 40})
	value := strings.Repeat("x", 16<<10)
	for i := range 400 {
		b := e.batch()
		for j := range 8 {
			b.put(fmt.Sprint("k", j), fmt.Sprint(i, j, value))
		}
		e.Run()
		for j := range 8 {
			mustBe(t, e.show(j), "ok")
		}
	}
	for j := range 8 {
		mustBe(t, e.get1(fmt.Sprint("k", j)), "="+fmt.Sprint(399, j, value))
	}
	if segments, limit := e.link.thread.Unmerged(); segments > limit {
		t.Errorf("%d unmerged segments, limit %d", segments, limit)
	}
}

func TestTooLarge(t *testing.T) {
	r := newRig(t, "tcp", smallPool())
	e := r.engine(0, Options{})
	mustBe(t, e.put1("k", strings.Repeat("x", 70<<10)), "TOO_LARGE")
	mustBe(t, e.put1("k", "fits"), "ok")
	mustBe(t, e.get1("k"), "=fits")
}

func TestHitsAllocateNothing(t *testing.T) {
	r := newRig(t, "shm", smallPool())
	e := r.engine(0, Options{})
	mustBe(t, e.put1("k", "v"), "ok")
	key := []byte("k")
	hash := hashring.KeyHash(key)
	var found dac.Result
	if n := testing.AllocsPerRun(1000, func() {
		e.Begin(e.now)
		if !e.Probe(key, hash, &found) || len(found.Value) != 3 {
			t.Fatal("no hit")
		}
	}); n != 0 {
		t.Errorf("a value hit allocates %v times", n)
	}
	payload := lattice.LWWValue{Value: []byte("v")}.Append(nil)
	if n := testing.AllocsPerRun(1000, func() {
		e.Begin(e.now)
		e.AddPut(key, hash, lattice.LWW, payload)
		e.Run()
	}); n != 0 {
		t.Errorf("a put allocates %v times", n)
	}
	bare := r.engine(1, Options{Cache: noCache})
	r.drain(e)
	if n := testing.AllocsPerRun(1000, func() {
		bare.Begin(e.now)
		bare.Probe(key, hash, &found)
		bare.AddGet(key, hash, found)
		bare.Run()
	}); n != 0 {
		t.Errorf("a miss allocates %v times", n)
	}
}

// TestBatchesHoldBoundedValues: a batch that is run when it is full reads everything; one that goes on regardless is refused
// what would take too much memory.
func TestBatchesHoldBoundedValues(t *testing.T) {
	r := newRig(t, "shm", smallPool())
	for n, cache := range []dac.Options{noCache, {BudgetBytes: 8 << 20}} {
		e := r.engine(uint16(n), Options{Cache: cache, ReadBytes: 1 << 20})
		value := strings.Repeat("v", 16<<10)
		const keys = 200
		for i := range keys {
			mustBe(t, e.put1(fmt.Sprint(n, "k", i), value), "ok")
		}
		count := func() (ok, refused int) {
			for i := range e.ops {
				switch e.show(i) {
				case "=" + value:
					ok++
				case "OVERLOADED":
					refused++
				}
			}
			return ok, refused
		}
		b := e.batch()
		for i := range keys {
			b.get(fmt.Sprint(n, "k", i))
		}
		e.Run()
		ok, refused := count()
		if ok+refused != keys || refused == 0 || ok < 1<<20/len(value) || ok > 3<<20/len(value) {
			t.Errorf("one batch: %d values of %d bytes and %d refusals", ok, len(value), refused)
		}
		total := 0
		b = e.batch()
		for i := range keys {
			b.get(fmt.Sprint(n, "k", i))
			if e.Full() || i == keys-1 {
				e.Run()
				ok, refused := count()
				total += ok
				if refused > 0 {
					t.Errorf("a batch of %d that was run when it was full: %d refusals", len(e.ops), refused)
				}
				b = e.batch()
			}
		}
		if total != keys {
			t.Errorf("%d of %d values in full batches", total, keys)
		}
	}
}
