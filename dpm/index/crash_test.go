package index

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/internal/invariant"
	"github.com/dinomo-kv/dinomo/internal/random"
)

// The crash tests run a random workload on a pmem.Fake as the pool would (log, Apply, fence,
// watermark), crash it at a fence, recover from an image that such a crash may leave, compare with what
// the log says, and go on, to crash again; recovery is crashed too.

// violation is what a broken promise panics with, so that the mutation check can catch it.
type violation string

// panicking is a testing.TB whose failures are violations.
type panicking struct{ testing.TB }

func (panicking) Helper()                        {}
func (panicking) Fatal(args ...any)              { panic(violation(fmt.Sprint(args...))) }
func (panicking) Fatalf(f string, args ...any)   { panic(violation(fmt.Sprintf(f, args...))) }
func (p panicking) Errorf(f string, args ...any) { p.Fatalf(f, args...) }

// logged is an entry of the log, as the harness remembers it.
type logged struct {
	key     string
	deleted bool
	pointer format.Pointer
}

// world is a pool under test. What survives a crash of it: fake, and what the harness knows.
type world struct {
	t     testing.TB
	rng   *rand.Rand
	fake  *pmem.Fake
	rig   *rig
	log   []logged
	acked int // entries whose durability was fenced
	skip  pmem.Site
	sites map[pmem.Site]bool
}

// watermarkAt holds how many log entries are in the index durably: an indirect-pointer word that nothing else uses.
func (w *world) watermarkAt() uint64 { return w.rig.layout.IndirectOffset }

var crowded = crowdedHash(3)

func newWorld(rng *rand.Rand, skip pmem.Site) *world {
	w := &world{t: panicking{}, rng: rng, skip: skip, sites: map[pmem.Site]bool{}}
	l := smallLayout(w.t, 14)
	w.fake = pmem.NewFake(l.TotalBytes, pmem.Fsync)
	w.fake.Skip(skip)
	w.rig = newRig(w.t, w.fake, l, crowded)
	w.rig.alone = true
	return w
}

func (w *world) write(t testing.TB, key string, deleted bool) {
	w.rig.logOp = format.OpPut
	if deleted {
		w.rig.logOp = format.OpDelete
	}
	p := w.rig.append(t, uint64(len(w.log)+1), key, "v")
	w.log = append(w.log, logged{key, deleted, p})
}

// merge applies the log from entry first on, in batches of at most most.
func (w *world) merge(first, most int) {
	for first < len(w.log) {
		n := min(len(w.log)-first, 1+w.rng.IntN(most))
		batch := make([]Mutation, n)
		for i, e := range w.log[first : first+n] {
			batch[i] = Mutation{Hash: w.rig.hashOf([]byte(e.key)), Key: []byte(e.key)}
			if !e.deleted {
				batch[i].New = e.pointer
			}
		}
		if _, err := w.rig.index.Apply(batch, make([]Result, n)); err != nil {
			w.t.Fatalf("apply: %v", err)
		}
		must(w.t, w.fake.Fence())
		first += n
		w.acked = max(w.acked, first)
		w.fake.Store64(w.watermarkAt(), uint64(first))
		w.fake.Flush(w.watermarkAt(), 8)
	}
}

// work runs some steps of the workload.
func (w *world) work(steps int) {
	for range steps {
		if w.rng.IntN(12) == 0 && w.rig.index.Table().Root.BucketsLog2 < StripesLog2+2 {
			w.grow()
		}
		first := len(w.log)
		shrinking := w.rng.IntN(3) == 0
		for range 1 + w.rng.IntN(12) {
			w.write(w.t, fmt.Sprint(w.rng.IntN(60)), shrinking == (w.rng.IntN(5) > 0))
		}
		if w.rng.IntN(2) == 0 {
			must(w.t, w.fake.Fence())
			w.acked = len(w.log)
		}
		w.merge(first, 12)
	}
}

// grow doubles the table, often with a crash in the middle.
func (w *world) grow() {
	if w.rng.IntN(2) == 0 {
		w.fake.CrashAtFence(1+w.rng.IntN(9), true)
	}
	before := w.rig.index.live.Load().which
	must(w.t, w.rig.index.Grow())
	if at := format.RootsOffset + format.RootOffset(before); w.rng.IntN(4) == 0 &&
		!bytes.Equal(w.fake.StrictImage()[at:at+format.RootBytes], make([]byte, format.RootBytes)) {
		w.t.Fatalf("the old root may outlive its table")
	}
	w.rig.free(w.rig.retired)
	w.rig.retired = nil
}

// recover opens what the crash left and brings the index up to the log.
func (w *world) recover() {
	var err error
	w.rig.retired = nil
	if w.rig.index, err = Open(w.rig.options(), nil); err != nil {
		w.t.Fatalf("open: %v", err)
	}
	w.rig.index.MarkOrphans()
	must(w.t, w.fake.Fence())
	w.rig.free(w.rig.index.Orphans())
	must(w.t, w.fake.Fence())

	merged := int(w.fake.Load64(w.watermarkAt()))
	if merged > len(w.log) {
		w.t.Fatalf("watermark %d, only %d entries", merged, len(w.log))
	}
	end := merged
	for ; end < len(w.log); end++ {
		var e format.Entry
		if w.rig.entryAt(w.log[end].pointer, &e) != nil || e.Sequence != uint64(end+1) {
			break
		}
	}
	if end < w.acked {
		w.t.Fatalf("entry %d was acknowledged and is not in the log", end)
	}
	w.log = w.log[:end]
	w.merge(merged, 40)
}

// verify compares the index with the log, and reopening with going on.
func (w *world) verify() {
	model := map[string]format.Pointer{}
	for _, e := range w.log {
		if e.deleted {
			delete(model, e.key)
		} else {
			model[e.key] = e.pointer
		}
	}
	compareWithModel(w.t, w.rig, model)
	again, err := Open(w.rig.options(), nil)
	must(w.t, err)
	if again.used.Load() != w.rig.index.used.Load() || again.depths.Load() != w.rig.index.depths.Load() {
		w.t.Fatalf("reopened: %v, was %v", again.Stats(), w.rig.index.Stats())
	}
}

// reboot continues on an image of the crashed fake.
func (w *world) reboot() {
	for _, s := range w.fake.Sites() {
		w.sites[s] = true
	}
	image := w.fake.CrashImage(w.rng)
	w.fake = pmem.NewFakeFrom(image, pmem.Fsync)
	w.fake.Skip(w.skip)
	w.rig.region = w.fake
	// The log goes on in a fresh place: what the lost tail left behind is not written over.
	w.rig.next = 0
}

// crashRun runs one workload with crashes, and returns how many there were, and the violation if one came up.
func crashRun(seed uint64, skip pmem.Site, crashes int) (points int, sites map[pmem.Site]bool, broken string) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case violation:
			broken = string(p)
		default:
			if skip == (pmem.Site{}) {
				panic(p)
			}
			broken = fmt.Sprint(p) // a mutant may well trip an invariant
		}
	}()
	rng := random.New(seed)
	w := newWorld(rng, skip)
	sites = w.sites
	for range crashes {
		w.fake.CrashAtFence(1+rng.IntN(60), true)
		crashed := pmem.Crashes(func() { w.work(16) })
		if !crashed {
			w.fake.Crash()
		}
		for crashed = true; crashed; { // recovery may crash as well, again and again
			points++
			w.reboot()
			if rng.IntN(3) == 0 {
				w.fake.CrashAtFence(1+rng.IntN(6), true)
			}
			if crashed = pmem.Crashes(w.recover); !crashed {
				w.fake.CrashAtFence(0, false)
			}
		}
		w.verify()
	}
	return points, sites, ""
}

// TestCrash crashes CRASH_POINTS times (default 500).
func TestCrash(t *testing.T) {
	want := 500
	if s := os.Getenv("CRASH_POINTS"); s != "" {
		var err error
		want, err = strconv.Atoi(s)
		must(t, err)
	}
	seed := random.Seed(t)
	points := 0
	for points < want {
		n, _, broken := crashRun(seed, pmem.Site{}, 5)
		if broken != "" {
			t.Fatalf("TEST_SEED=%d: %s", seed, broken)
		}
		points += n
		seed++
	}
	t.Logf("%d crash points", points)
}

// TestCrashBites removes each flush and fence of the package in turn: the crash test must notice.
func TestCrashBites(t *testing.T) {
	if invariant.Enabled {
		t.Skip("one goroutine, many runs: nothing to see for the race detector")
	}
	seed := random.Seed(t)
	sites := map[pmem.Site]bool{}
	for i := range 4 {
		_, s, broken := crashRun(seed+uint64(i), pmem.Site{Line: -1}, 6)
		if broken != "" {
			t.Fatalf("TEST_SEED=%d: %s", seed, broken)
		}
		for site := range s {
			sites[site] = true
		}
	}
	checked := 0
	for site := range sites {
		if !strings.Contains(site.Function, "(*Index)") {
			continue
		}
		checked++
		noticed := ""
		runs := 0
		for ; runs < 1000 && noticed == ""; runs++ {
			_, _, noticed = crashRun(seed+uint64(runs), site, 6)
		}
		if noticed == "" {
			t.Errorf("without the %v no crash test failed", site)
		} else {
			t.Logf("without the %v: run %d: %.100s", site, runs, noticed)
		}
	}
	if checked < 10 {
		t.Errorf("only %d flushes and fences found", checked)
	}
}
