package dpm

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/remote"
	"github.com/dinomo-kv/dinomo/internal/random"
)

// TestMixedUpdatesSettleAtHalfMoreThanTheLiveData is the bound on space under what uniform updates do not show: a tenth of the
// keys gets nine tenths of the writes, so that cold entries lie among dead ones; values of all sizes; deletes; a working set
// that grows and shrinks; two threads with logs of their own. SPACE_POOLFULS=n writes n times the pool's size.
func TestMixedUpdatesSettleAtHalfMoreThanTheLiveData(t *testing.T) {
	poolFuls := 4.0
	if s := os.Getenv("SPACE_POOLFULS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("SPACE_POOLFULS=%q: want a number", s)
		}
		poolFuls = float64(n)
	} else if testing.Short() {
		poolFuls = 1.5
	}
	const segments = 120
	p, d := newVolatile(t, smallShape(segments))
	s := mustSession(t, d, "kn")
	threads := []*remote.Thread{mustThread(t, s, 0, remote.AppenderOptions{}), mustThread(t, s, 1, remote.AppenderOptions{})}
	rng := random.New(random.Seed(t))
	const capacity = float64(segments * (64 << 10))
	worst, written, next := 0.0, 0.0, 0.0
	for written < poolFuls*capacity {
		// The keys beyond a shrunken working set stay, and go cold.
		keys := 3500 + int(2000*written/capacity)%3500
		for range 16 {
			k := rng.IntN(keys)
			if rng.IntN(10) > 0 {
				k = rng.IntN(keys/10) * 10
			}
			th, key := threads[k%2], fmt.Sprint("k", k)
			if rng.IntN(12) == 0 {
				if _, err := th.Delete([]byte(key), 0); err != nil {
					t.Fatal(err)
				}
				commit(t, th)
				written += float64(format.EntryBytes(len(key), 0))
				continue
			}
			length := rng.IntN(300)
			if rng.IntN(4) == 0 {
				length = rng.IntN(6000)
			}
			if err := putOr(t, p, th, key, value(1, length)); err != nil {
				t.Fatalf("after %.1f pool-fuls: %v\n%s", written/capacity, err, p.Stats())
			}
			written += float64(format.EntryBytes(len(key), length))
		}
		work(t, p)
		if written < next*capacity {
			continue
		}
		st := p.Stats()
		used := st.Segments - st.FreeSegments - st.IndexSegments - st.OverflowSegments
		// What the two threads have open and unmerged, and what is being copied into.
		const fixed = 8
		if next >= 1 {
			worst = max(worst, (float64(used)-fixed)*float64(st.SegmentBytes)/float64(st.LiveBytes))
		}
		t.Logf("%5.2f pool-fuls: %3d segments in use, live data fills %5.1f", written/capacity, used, float64(st.LiveBytes)/float64(st.SegmentBytes))
		next += 0.5
	}
	t.Logf("at most %.2f x live, write amplification %.2f", worst, 1+float64(p.Stats().MovedBytes)/written)
	if worst > 1.5 {
		t.Errorf("%.2f times the live data plus 8 segments, want at most 1.5", worst)
	}
	if problems := p.Audit(); len(problems) > 0 {
		t.Error(problems)
	}
}
