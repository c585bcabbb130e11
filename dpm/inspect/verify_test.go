package inspect

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm"
	"github.com/dinomo-kv/dinomo/dpm/dpmtest"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/look"
	"github.com/dinomo-kv/dinomo/dpm/remote"
	"github.com/dinomo-kv/dinomo/internal/random"
)

// A live pool that is written to, compacted and grown all the time is never called damaged (INS-1).
func TestVerifyOfABusyPool(t *testing.T) {
	seed := random.Seed(t)
	r := dpmtest.Start(t, dpm.Options{Shape: dpmtest.SmallShape(120)})
	var stop atomic.Bool
	var writers sync.WaitGroup
	for i := range 2 {
		th := r.Thread(uint16(i), remote.AppenderOptions{BatchBytes: 16 << 10})
		writers.Go(func() {
			rng := random.New(seed + uint64(i))
			for n := 0; !stop.Load(); n++ {
				// More and more keys for the index to grow, few of them often for entries to die fast.
				key := fmt.Appendf(nil, "%d-%d", i, rng.IntN(20+min(n/4, 4000)))
				r.Append(th, func() (err error) {
					if rng.IntN(8) == 0 {
						_, err = th.Delete(key, 0)
					} else {
						_, err = th.Put(key, make([]byte, rng.IntN(900)), dpmtest.LWW, 0)
					}
					return err
				})
				if n%8 == 7 {
					r.Commit(th)
				}
			}
		})
	}
	for n := 0; n < 12 && !t.Failed(); n++ {
		v := verify(t, r.Path)
		if v.Damaged > 0 || v.Suspect > 0 {
			t.Errorf("a busy pool: %v", v.Problems)
		}
		for _, subject := range []string{"segments", "index"} {
			if text := shown(t, r, subject, ""); strings.Contains(text, "DAMAGE") {
				t.Errorf("a busy pool:\n%s", text)
			}
		}
	}
	stop.Store(true)
	writers.Wait()
	st := r.Pool.Stats()
	t.Logf("meanwhile: %d entries merged, %d compactions, %d segments freed, %d times grown", st.MergedEntries, st.Compactions, st.FreedSegments, st.IndexGrows)
}

// unmerged makes a closed pool whose log holds keys that nobody has merged.
func unmerged(t *testing.T) (path string) {
	t.Helper()
	r := dpmtest.Start(t, dpm.Options{Shape: dpmtest.SmallShape(20), Workers: -1})
	th := r.Thread(0, remote.AppenderOptions{})
	for i := range 30 {
		r.Put(th, fmt.Sprint("key", i), dpmtest.Value(i, 400))
	}
	if err := r.Pool.Close(); err != nil {
		t.Fatal(err)
	}
	return r.Path
}

// In the middle of an unmerged log a damaged entry looks like a batch that was cut short: it is reported as what it may be.
func TestDamageInAnUnmergedLogIsSuspect(t *testing.T) {
	path := unmerged(t)
	v := wantSound(t, path)
	if v.Checked.UnmergedEntries != 30 {
		t.Fatalf("%d unmerged entries", v.Checked.UnmergedEntries)
	}
	p, err := look.Open(look.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	e, err := EntryOfKey(p, []byte("key17"))
	if err != nil || len(e.Tail) != 1 || e.Entry != nil || e.Index.Found {
		t.Fatalf("%+v, %v", e, err)
	}
	openPatch(t, path).flip(e.Tail[0].Offset+64, 5)
	v = verify(t, path)
	if v.Status() != StatusSuspect || v.Problems[0].Offset != e.Tail[0].Offset || v.Checked.UnmergedEntries != 17 {
		t.Errorf("status %d, %+v, %v", v.Status(), v.Checked, v.Problems)
	}
}

// eachMerged visits the merged entries of all logs.
func eachMerged(t *testing.T, p *look.Pool, visit func(*look.Placed)) {
	t.Helper()
	for i := range p.Layout().Segments {
		h, err := p.Segment(format.SegmentID(i))
		if err != nil {
			t.Fatal(err)
		}
		if h.Kind != format.SegmentLog {
			continue
		}
		p.Entries(&look.Segment{ID: format.SegmentID(i), SegmentHeader: h}, 0, h.Merged, 0, func(e *look.Placed) bool {
			visit(e)
			return true
		})
	}
}

// A slot that leads to an older entry of its key passes all checks of readers; the log knows better.
func TestPointerToAnOlderEntryIsFound(t *testing.T) {
	r, _, _ := filled(t)
	if err := r.Pool.Close(); err != nil {
		t.Fatal(err)
	}
	p, err := look.Open(look.Options{Path: r.Path})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var c look.Chain
	slot, err := p.Find([]byte("a42"), &c)
	if err != nil || slot.Pointer.Nil() {
		t.Fatal(slot, err)
	}
	var older format.Pointer
	eachMerged(t, p, func(e *look.Placed) {
		if string(e.Key) == "a42" && e.Pointer != slot.Pointer {
			older = e.Pointer
		}
	})
	if older.Nil() {
		t.Fatal("the key's older entry is gone")
	}
	openPatch(t, r.Path).store(slot.At, uint64(older))
	v := verify(t, r.Path)
	if v.Status() != StatusDamaged || v.Problems[0].Offset != slot.At || v.Problems[0].Area != areaOvertaken {
		t.Errorf("%v", v.Problems)
	}
}
