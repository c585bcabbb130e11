package dpm

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/index"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/dpm/remote"
	"github.com/dinomo-kv/dinomo/internal/random"
)

// newVolatile is a pool without workers on plain memory.
func newVolatile(t testing.TB, shape format.Shape) (*Pool, *localDialer) {
	t.Helper()
	l, err := format.NewLayout(shape, 0)
	if err != nil {
		t.Fatal(err)
	}
	region, err := pmem.NewVolatile(l.TotalBytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { region.Close() })
	p := mustOpen(t, testOptions(region, shape))
	return p, &localDialer{pool: p, breakAfter: -1}
}

// putOr puts and commits one key, letting the pool work while it is busy, and returns what put says in the end.
func putOr(t testing.TB, p *Pool, th *remote.Thread, key, value string) error {
	t.Helper()
	var err error
	for range 200 {
		if _, err = th.Put([]byte(key), []byte(value), latticeLWW, 0); err == nil {
			commit(t, th)
			return nil
		}
		if !errors.Is(err, remote.ErrBusy) {
			return err
		}
		work(t, p)
	}
	return err
}

// work lets a pool without workers do a little, with time passing.
func work(t testing.TB, p *Pool) {
	t.Helper()
	if _, err := p.Step(); err != nil {
		t.Fatal(err)
	}
	if c, ok := p.o.Clock.(interface{ Advance(d time.Duration) }); ok {
		c.Advance(recountEvery)
	}
}

func TestFullPoolRefusesPutsServesTheRestAndRecovers(t *testing.T) {
	p, d := newVolatile(t, smallShape(20))
	th := mustThread(t, mustSession(t, d, "kn"), 0, remote.AppenderOptions{})
	n := 0
	var err error
	for ; ; n++ {
		if err = putOr(t, p, th, fmt.Sprint("k", n), value(n, 3000)); err != nil {
			break
		}
	}
	if !errors.Is(err, remote.ErrNoSpace) {
		t.Fatalf("after %d keys: %v", n, err)
	}
	if used := float64(n*3000) / float64(20*(64<<10)); used < 0.5 {
		t.Errorf("full with %.0f%% of its bytes in use", 100*used)
	}
	settle(t, p)
	for i := range n { // reads go on
		if got := read(t, th, fmt.Sprint("k", i)); got != value(i, 3000) {
			t.Fatalf("k%d = %.20q", i, got)
		}
	}
	for i := 0; i < n; i += 2 { // deletes work, and stay
		if _, err := th.Delete([]byte(fmt.Sprint("k", i)), 0); err != nil {
			t.Fatalf("delete k%d in a full pool: %v", i, err)
		}
		commit(t, th)
		if i%20 == 0 {
			work(t, p)
		}
	}
	settle(t, p)
	for i := range n / 3 { // puts work again
		if err := putOr(t, p, th, fmt.Sprint("n", i), value(i, 3000)); err != nil {
			t.Fatalf("put %d of %d after deletes: %v\n%s", i, n/3, err, p.Stats())
		}
	}
	settle(t, p)
	for i := range n {
		want := "-"
		if i%2 == 1 {
			want = value(i, 3000)
		}
		if got := read(t, th, fmt.Sprint("k", i)); got != want {
			t.Fatalf("k%d = %.20q, want %.20q", i, got, want)
		}
	}
	if problems := p.Audit(); len(problems) > 0 {
		t.Error(problems)
	}
}

func TestEverythingDeletedGivesEverythingBack(t *testing.T) {
	p, d := newVolatile(t, smallShape(40))
	th := mustThread(t, mustSession(t, d, "kn"), 0, remote.AppenderOptions{})
	for round := range 5 {
		for i := range 400 {
			if err := putOr(t, p, th, fmt.Sprint("k", i), value(i, 2000)); err != nil {
				t.Fatal(round, i, err)
			}
		}
		for i := range 400 {
			if _, err := th.Delete([]byte(fmt.Sprint("k", i)), 0); err != nil {
				t.Fatal(err)
			}
			commit(t, th)
		}
		if err := th.Seal(); err != nil {
			t.Fatal(err)
		}
		settle(t, p)
		st := p.Stats()
		if used := st.Segments - st.FreeSegments - st.IndexSegments - st.OverflowSegments; used > 2 || st.LiveBytes != 0 {
			t.Fatalf("round %d: nothing is live, and yet:\n%s", round, st)
		}
	}
}

// spaceLoad is a load of updates under which the pool's use of space is watched.
type spaceLoad struct {
	name     string
	segments uint32
	threads  int
	// next returns a write; at counts the pool-fuls written.
	next func(rng *rand.Rand, at float64) (key string, valueBytes int, deleted bool)
}

func uniform(keys, valueBytes int) func(*rand.Rand, float64) (string, int, bool) {
	return func(rng *rand.Rand, _ float64) (string, int, bool) {
		return fmt.Sprint("k", rng.IntN(keys)), valueBytes, false
	}
}

// mixed is what uniform updates do not show: a tenth of the keys gets nine tenths of the writes, so that cold entries lie
// among dead ones; values of all sizes; deletes; a working set that grows and shrinks, and leaves what it had to go cold.
func mixed(rng *rand.Rand, at float64) (key string, valueBytes int, deleted bool) {
	keys := 3500 + int(2000*at)%3500
	k := rng.IntN(keys)
	if rng.IntN(10) > 0 {
		k = rng.IntN(keys/10) * 10
	}
	valueBytes = rng.IntN(300)
	if rng.IntN(4) == 0 {
		valueBytes = rng.IntN(6000)
	}
	return fmt.Sprint("k", k), valueBytes, rng.IntN(12) == 0
}

var spaceLoads = []spaceLoad{
	{"1000 keys of 3000 bytes", 100, 1, uniform(1000, 3000)},
	{"40000 keys of 30 bytes", 100, 1, uniform(40000, 30)},
	{"60 keys of 30000 bytes", 100, 1, uniform(60, 30000)},
	{"mixed", 120, 2, mixed},
}

// fixedSegments is what does not grow with the data: what the threads have open and unmerged, and what is copied into.
const fixedSegments = 8

// spaceCurve writes so many times the pool's size and returns the largest share of the segments in use, beyond
// fixedSegments, over those that the live entries would fill, measured once the pool had been filled once, and the write amplification.
func spaceCurve(t *testing.T, l *spaceLoad, poolFuls float64, report func(poolFul, live float64, st Stats)) (worst, amplification float64) {
	p, d := newVolatile(t, smallShape(l.segments))
	s := mustSession(t, d, "kn")
	var threads []*remote.Thread
	for i := range l.threads {
		threads = append(threads, mustThread(t, s, uint16(i), remote.AppenderOptions{}))
	}
	rng := random.New(random.Seed(t))
	capacity := float64(l.segments) * (64 << 10)
	written, next := 0.0, 0.0
	sizes, live := map[string]uint64{}, uint64(0) // the pool's own figure counts in whole units of 64 bytes
	for written < poolFuls*capacity {
		for range 16 {
			key, length, deleted := l.next(rng, written/capacity)
			th := threads[index.KeyHash([]byte(key))%uint64(l.threads)] // one writes a key
			if deleted {
				length = 0
				if _, err := th.Delete([]byte(key), 0); err != nil {
					t.Fatal(err)
				}
				commit(t, th)
			} else if err := putOr(t, p, th, key, value(1, length)); err != nil {
				t.Fatalf("after %.1f pool-fuls: %v\n%s", written/capacity, err, p.Stats())
			}
			size := format.EntryBytes(len(key), length)
			written += float64(size)
			if live -= sizes[key]; deleted {
				size = 0
			}
			sizes[key], live = size, live+size
		}
		work(t, p)
		if written < next*capacity {
			continue
		}
		st := p.Stats()
		fills := float64(live) / float64(st.SegmentBytes)
		report(next, fills, st)
		if next >= 1 {
			worst = max(worst, (float64(dataSegments(st))-fixedSegments)/fills)
		}
		next += 0.25
	}
	if problems := p.Audit(); len(problems) > 0 {
		t.Error(problems)
	}
	return worst, 1 + float64(p.Stats().MovedBytes)/written
}

// dataSegments counts the segments in use for entries.
func dataSegments(st Stats) uint64 {
	return st.Segments - st.FreeSegments - st.IndexSegments - st.OverflowSegments
}

// The pool settles at no more than half more than its live data and a fixed number of segments, however long it runs.
// SPACE_POOLFULS=n writes n times the pool's size and draws a curve: make space.
func TestUpdatesSettleAtHalfMoreThanTheLiveData(t *testing.T) {
	poolFuls, drawn := 4.0, false
	if s := os.Getenv("SPACE_POOLFULS"); s != "" {
		n, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Fatalf("SPACE_POOLFULS=%q: want a number", s)
		}
		poolFuls, drawn = n, true
	} else if testing.Short() {
		poolFuls = 1.5
	}
	for _, l := range spaceLoads {
		t.Run(l.name, func(t *testing.T) {
			worst, amplification := spaceCurve(t, &l, poolFuls, func(at, live float64, st Stats) {
				if used := float64(dataSegments(st)); drawn && at == float64(int(at)) {
					t.Logf("%3.0f pool-fuls: live %5.1f of %d segments, in use %3.0f = %4.2f x + %d  %s",
						at, live, st.Segments, used, max(used-fixedSegments, 0)/live, fixedSegments, bar(live, used))
				}
			})
			t.Logf("%.0f pool-fuls: at most %.2f x live data plus %d segments, write amplification %.2f", poolFuls, worst, fixedSegments, amplification)
			if worst > 1.5 {
				t.Errorf("%.2f times the live data plus %d segments, want at most 1.5", worst, fixedSegments)
			}
		})
	}
}

// bar draws live and other segments, one character for two.
func bar(live, used float64) string {
	return strings.Repeat("#", int(live/2)) + strings.Repeat("-", max(0, int(used/2)-int(live/2)))
}

func TestStalePointersNeverReadAnotherEntry(t *testing.T) {
	p, d := newVolatile(t, smallShape(12))
	th := mustThread(t, mustSession(t, d, "kn"), 0, remote.AppenderOptions{})
	type old struct {
		key     string
		pointer format.Pointer
	}
	var olds []old
	latest := map[string]string{}
	for i := range 2000 {
		key, v := fmt.Sprint("k", i%50), value(i, 2000)
		var pointer format.Pointer
		for {
			var err error
			if pointer, err = th.Put([]byte(key), []byte(v), latticeLWW, 0); err == nil {
				break
			}
			work(t, p)
		}
		commit(t, th)
		work(t, p)
		olds, latest[key] = append(olds, old{key, pointer}), v
	}
	settle(t, p)
	stale := 0
	for _, o := range olds {
		// An entry that was superseded but not overwritten yet still reads as it was; nobody keeps a pointer
		// to it. What must not happen is another key's value, or no value.
		g, err := th.Get(index.KeyHash([]byte(o.key)), []byte(o.key), o.pointer)
		if err != nil {
			t.Fatalf("%s through %v: %v", o.key, o.pointer, err)
		}
		if !g.Shortcut {
			stale++
			if string(g.Value) != latest[o.key] {
				t.Fatalf("%s looked up again = %.20q, want %.20q", o.key, g.Value, latest[o.key])
			}
		}
	}
	if stale < 1000 {
		t.Errorf("only %d of %d pointers were stale: segments are not reused", stale, len(olds))
	}
}

// deleteInFull deletes a key, letting a full pool work while it is busy.
func deleteInFull(t *testing.T, p *Pool, th *remote.Thread, key string) {
	t.Helper()
	_, err := th.Delete([]byte(key), 0)
	for tries := 0; tries < 100 && (errors.Is(err, remote.ErrBatchFull) || errors.Is(err, remote.ErrBusy)); tries++ {
		commit(t, th)
		work(t, p)
		_, err = th.Delete([]byte(key), 0)
	}
	if err != nil {
		t.Fatalf("delete %s in a full pool: %v\n%s", key, err, p.Stats())
	}
}

// However many threads there are and however much they delete, of what is there or not, a full pool takes it: each has a
// segment in the reserve, and gets it back when it is full of deletes.
func TestEveryThreadDeletesInAFullPool(t *testing.T) {
	const threads = 5
	p, d := newVolatile(t, smallShape(32))
	s := mustSession(t, d, "kn")
	var all []*remote.Thread
	for i := range threads {
		all = append(all, mustThread(t, s, uint16(i), remote.AppenderOptions{}))
	}
	n := fill(t, p, all[0], 3000)
	for _, th := range all[1:] {
		if err := putOr(t, p, th, "more", value(1, 40000)); !errors.Is(err, remote.ErrNoSpace) {
			t.Fatalf("a put in a full pool: %v", err)
		}
	}
	settle(t, p)
	live := p.Stats().LiveBytes
	for i := range 3 * (64 << 10) / 40 { // three segments of deletes for each
		for k, th := range all {
			deleteInFull(t, p, th, fmt.Sprint("no", i, ".", k))
			if i%7 == k {
				commit(t, th)
			}
		}
	}
	for _, th := range all {
		commit(t, th)
	}
	settle(t, p)
	if st := p.Stats(); st.LiveBytes != live {
		t.Errorf("%d bytes were live, %d are", live, st.LiveBytes)
	}
	for i := range n {
		if got := read(t, all[i%threads], fmt.Sprint("k", i)); got != value(i, 3000) {
			t.Fatalf("k%d = %.20q", i, got)
		}
	}
	if problems := p.Audit(); len(problems) > 0 {
		t.Error(problems)
	}
}

// Threads that attach to a pool which is full already delete, too, though puts have left fewer segments than there are threads
// by then: one that has nothing to do gives its segment of the reserve back, as a KN thread has Maintain do.
func TestThreadsThatJoinAFullPoolDelete(t *testing.T) {
	const threads = 6
	p, d := newVolatile(t, smallShape(32))
	n := fill(t, p, mustThread(t, mustSession(t, d, "first"), 0, remote.AppenderOptions{}), 3000)
	settle(t, p)
	if free := p.Stats().FreeSegments; free >= threads+compactionKeeps {
		t.Fatalf("%d segments are free: %d threads do not run short", free, threads)
	}
	s := mustSession(t, d, "late")
	var late []*remote.Thread
	for i := range threads {
		late = append(late, mustThread(t, s, uint16(i), remote.AppenderOptions{}))
	}
	for i := range n { // each deletes in turn, and has nothing to do then
		th := late[i%threads]
		deleteInFull(t, p, th, fmt.Sprint("k", i))
		commit(t, th)
		if err := th.Maintain(); err != nil {
			t.Fatal(err)
		}
	}
	for _, th := range late {
		if err := th.Seal(); err != nil {
			t.Fatal(err)
		}
	}
	settle(t, p)
	if live := p.Stats().LiveBytes; live != 0 {
		t.Errorf("everything is deleted, and %d bytes are live", live)
	}
	if problems := p.Audit(); len(problems) > 0 {
		t.Error(problems)
	}
}

// While other threads have all of the reserve, a delete is told to try again, not that there is no space: they give it back.
func TestDeletesWaitForTheReserve(t *testing.T) {
	p, d := newVolatile(t, smallShape(32))
	fill(t, p, mustThread(t, mustSession(t, d, "first"), 0, remote.AppenderOptions{}), 3000)
	settle(t, p)
	s := mustSession(t, d, "late")
	var holders []*remote.Thread
	for i := uint16(0); ; i++ {
		th := mustThread(t, s, i, remote.AppenderOptions{})
		_, err := th.Delete([]byte("absent"), 0)
		if err == nil {
			holders = append(holders, th)
			continue
		}
		if !errors.Is(err, remote.ErrBusy) || len(holders) == 0 {
			t.Fatalf("%d threads hold the reserve; one more: %v", len(holders), err)
		}
		commit(t, holders[0])
		if err := holders[0].Maintain(); err != nil {
			t.Fatal(err)
		}
		settle(t, p)
		if _, err := th.Delete([]byte("absent"), 0); err != nil {
			t.Fatalf("a segment was given back: %v", err)
		}
		return
	}
}

// A segment that compaction has taken out of the reserve is one of those that are kept for it, not of those for deletes.
func TestDeletesWhileCompactionHasASegment(t *testing.T) {
	p, d := newVolatile(t, smallShape(32))
	th := mustThread(t, mustSession(t, d, "kn"), 0, remote.AppenderOptions{})
	n := fill(t, p, th, 3000)
	settle(t, p)
	p.compact.Lock()
	err := p.openCompaction()
	p.compact.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if free := p.Stats().FreeSegments; free != compactionKeeps {
		t.Fatalf("%d segments are free", free)
	}
	// Whatever room its last ordinary segment has, the thread needs another one for as many.
	for i := range n + 64<<10/format.EntryHeaderBytes {
		deleteInFull(t, p, th, fmt.Sprint("k", i))
	}
	commit(t, th)
}

// A pool says when it has too few segments for its threads, once for each number of them, and how many would do: with
// those, every thread can put.
func TestSmallPoolIsTold(t *testing.T) {
	const threads = 5
	attach := func(segments uint32) (told []SizeInfo, served int) {
		p, d := newVolatile(t, smallShape(segments))
		p.o.Events.SmallPool = func(i SizeInfo) { told = append(told, i) }
		s := mustSession(t, d, "kn")
		var all []*remote.Thread
		for i := range threads {
			all = append(all, mustThread(t, s, uint16(i), remote.AppenderOptions{}))
		}
		for i, th := range all {
			switch err := putOr(t, p, th, fmt.Sprint("k", i), value(i, 3000)); {
			case err == nil:
				served++
			case !errors.Is(err, remote.ErrNoSpace):
				t.Fatal(err)
			}
		}
		for _, th := range all { // the same again is no news
			if err := th.ReconnectOnce(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		return told, served
	}
	told, served := attach(12)
	if len(told) == 0 || served == threads {
		t.Fatalf("12 segments: %d of %d threads can put, told %+v", served, threads, told)
	}
	for i := 1; i < len(told); i++ {
		if told[i].Threads <= told[i-1].Threads {
			t.Errorf("told of %d threads after %d", told[i].Threads, told[i-1].Threads)
		}
	}
	last := told[len(told)-1]
	l, err := format.NewLayout(smallShape(uint32(last.WantedSegments)), 0)
	if err != nil || last.Threads != threads || last.Segments != 12 || last.WantedBytes != l.TotalBytes {
		t.Errorf("%+v; %d segments take %d bytes", last, last.WantedSegments, l.TotalBytes)
	}
	if told, served := attach(uint32(last.WantedSegments)); len(told) > 0 || served < threads {
		t.Errorf("%d segments: %d of %d threads can put, told %+v", last.WantedSegments, served, threads, told)
	}
}
