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

// unneeded lists the flushes and fences whose loss no crash can show, each with the reason why it is there all the same.
var unneeded = map[string]string{
	"fence at dpm.(*Pool).format":               "the next fence covers it; it is there because the file gets its name in between, which the fake knows nothing of",
	"fence at dpm.(*Pool).strikeOut":            "recovery strikes out again; it is there so that a flipped bit cannot bring an older version back",
	"flush at dpm.(*Pool).compactSegment.func1": "it matters when a damaged segment is given up in the middle, and no world has damage",
}

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
	name, _, _ := strings.Cut(site.String(), ":")
	if why := unneeded[name]; why != "" {
		t.Logf("%v: not noticed, as expected: %s", site, why)
		return
	}
	t.Errorf("%v: %d crashes without it, and nobody noticed", site, points)
}
