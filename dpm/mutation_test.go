package dpm

import (
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/internal/random"
)

// TestCrashTestsBite takes away one flush or fence of the pool's code at a time, all of them in turn, and expects the crash worlds to notice.
func TestCrashTestsBite(t *testing.T) {
	if testing.Short() || os.Getenv("CRASH_SEEDS") == "" && os.Getenv("CRASH_MUTATIONS") == "" {
		t.Skip("takes minutes: make crash, or CRASH_MUTATIONS=1, runs it")
	}
	base := random.Seed(t)
	sites := map[pmem.Site]bool{}
	for n := range uint64(20) {
		w, broken := crashRun(base+n, true, pmem.Site{}, 20)
		if broken != "" {
			t.Fatalf("seed %d, nothing skipped: %s", base+n, broken)
		}
		for s := range w.sites {
			sites[s] = true
		}
	}
	var list []pmem.Site
	for s := range sites {
		if strings.HasPrefix(s.Function, "dpm.") { // dpm/index has a check of its own, with keys that collide
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b pmem.Site) int { return strings.Compare(a.String(), b.String()) })
	const tries = 150
	work := make(chan pmem.Site)
	var group sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for site := range work {
				biteOne(t, base, site, tries)
			}
		})
	}
	for _, site := range list {
		work <- site
	}
	close(work)
	group.Wait()
}

func biteOne(t *testing.T, base uint64, site pmem.Site, tries int) {
	points := 0
	for n := range uint64(tries) {
		w, broken := crashRun(base+1000+n, true, site, 20)
		points += w.crashes
		if broken != "" {
			t.Logf("%v: noticed after %d crashes: %.150s", site, points, broken)
			return
		}
	}
	t.Errorf("%v: %d crashes without it, and nobody noticed", site, points)
}
