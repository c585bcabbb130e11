package dpm

import (
	"errors"
	"fmt"
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

// spaceCurve overwrites random keys for so many times the pool's size and returns the largest share of segments in use
// over live ones, measured once the pool had been filled once, and the write amplification.
func spaceCurve(t testing.TB, segments uint32, keys, valueBytes int, poolFuls float64, report func(poolFul, factor float64)) (worst, amplification float64) {
	p, d := newVolatile(t, smallShape(segments))
	th := mustThread(t, mustSession(t, d, "kn"), 0, remote.AppenderOptions{})
	rng := random.New(random.Seed(t))
	capacity := float64(segments * (64 << 10))
	written, next := 0.0, 0.0
	for written < poolFuls*capacity {
		for range 16 {
			key := fmt.Sprint("k", rng.IntN(keys))
			if err := putOr(t, p, th, key, value(1, valueBytes)); err != nil {
				t.Fatalf("after %.1f pool-fuls: %v\n%s", written/capacity, err, p.Stats())
			}
			written += float64(format.EntryBytes(len(key), valueBytes))
		}
		work(t, p)
		if written < next*capacity {
			continue
		}
		st := p.Stats()
		used := float64(st.Segments-st.FreeSegments-st.IndexSegments-st.OverflowSegments) * float64(st.SegmentBytes)
		report(next, used/float64(st.LiveBytes))
		if next >= 1 {
			// A fixed number of segments is not the data's: what the thread has open and unmerged, and one for copying.
			const fixed = 8
			worst = max(worst, (used-fixed*float64(st.SegmentBytes))/float64(st.LiveBytes))
		}
		next += 0.25
	}
	if problems := p.Audit(); len(problems) > 0 {
		t.Error(problems)
	}
	return worst, 1 + float64(p.Stats().MovedBytes)/written
}

func TestSteadyUpdatesSettleAtHalfMoreThanTheLiveData(t *testing.T) {
	poolFuls := 4.0
	if testing.Short() {
		poolFuls = 1.5
	}
	for _, c := range []struct{ keys, valueBytes int }{{1000, 3000}, {40000, 30}, {60, 30000}} {
		worst, amplification := spaceCurve(t, 100, c.keys, c.valueBytes, poolFuls, func(float64, float64) {})
		t.Logf("%d keys of %d bytes: at most %.2f x live, write amplification %.2f", c.keys, c.valueBytes, worst, amplification)
		if worst > 1.5 {
			t.Errorf("%d keys of %d bytes: %.2f times the live data plus 8 segments, want at most 1.5", c.keys, c.valueBytes, worst)
		}
	}
}

// BenchmarkSpaceCurve shows the pool's use over 20 pool-fuls of random updates.
func BenchmarkSpaceCurve(b *testing.B) {
	for range b.N {
		worst, amplification := spaceCurve(b, 256, 4000, 2000, 20, func(at, factor float64) {
			if at == float64(int(at)) {
				b.Logf("after %4.1f pool-fuls: %.2f x live", at, factor)
			}
		})
		b.ReportMetric(worst, "x-live")
		b.ReportMetric(amplification, "write-amplification")
	}
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
