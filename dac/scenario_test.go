package dac

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/datadriven"
)

// scenario runs a file of testdata: a cache, the pool behind it, and what a reader sees.
//
//	new policy=NAME budget-kib=N miss-cost=N      a new, empty cache
//	get keys=FROM-TO size=N [times=N]             read keys as an engine does
//	put keys=FROM-TO size=N                       write keys
//	invalidate keys=FROM-TO
//	drop upper-half                               lose the hashes of the upper half
//	change                                        tell adaptive that popularity changed
//	stats
type scenario struct {
	cache    *Cache
	versions map[int]uint64
}

func (s *scenario) key(n int) ([]byte, uint64) {
	key := binary.BigEndian.AppendUint32(nil, uint32(n))
	return key, xxhash.Sum64(key)
}

func (s *scenario) get(n, size int) Kind {
	key, hash := s.key(n)
	value := make([]byte, size)
	r := s.cache.Lookup(key, hash)
	switch r.Kind {
	case Miss:
		s.cache.InsertAfterMiss(key, hash, value, 0, s.versions[n], 3)
	case Shortcut:
		s.cache.PromoteAfterShortcutHit(key, hash, value, 0, s.versions[n])
	}
	if r.Kind != Miss && r.Shortcut != s.versions[n] {
		panic(fmt.Sprintf("key %d: shortcut %d, want %d", n, r.Shortcut, s.versions[n]))
	}
	return r.Kind
}

func (s *scenario) run(t *testing.T, d *datadriven.TestData) string {
	from, to, size, times := 0, -1, 0, 1
	if d.HasArg("keys") {
		var span string
		d.ScanArgs(t, "keys", &span)
		if _, err := fmt.Sscanf(span, "%d-%d", &from, &to); err != nil {
			d.Fatalf(t, "keys=%s: %v", span, err)
		}
	}
	d.MaybeScanArgs(t, "size", &size)
	d.MaybeScanArgs(t, "times", &times)
	var kinds [3]int
	switch d.Cmd {
	case "new":
		var o Options
		d.ScanArgs(t, "policy", &o.Policy)
		d.ScanArgs(t, "budget-kib", &o.BudgetBytes)
		o.BudgetBytes <<= 10
		var cost int
		d.MaybeScanArgs(t, "miss-cost", &cost)
		o.MissCost = float64(cost)
		s.cache = newCache(t, o)
		s.versions = map[int]uint64{}
	case "get":
		for range times {
			for n := from; n <= to; n++ {
				kinds[s.get(n, size)]++
			}
		}
		s.verify(t, d)
		return fmt.Sprintf("value %d shortcut %d miss %d", kinds[Value], kinds[Shortcut], kinds[Miss])
	case "put", "invalidate":
		for n := from; n <= to; n++ {
			key, hash := s.key(n)
			if s.versions[n] += 1 << 32; d.Cmd == "put" {
				s.cache.Update(key, hash, make([]byte, size), 0, s.versions[n])
			} else {
				s.cache.Invalidate(key, hash)
			}
		}
	case "drop":
		return fmt.Sprintf("dropped %d", s.cache.DropIf(func(hash uint64) bool { return hash>>63 == 1 }))
	case "change":
		a := s.cache.adaptive
		a.epoch.age(minKeep)
		for a.epoch.passing {
			a.epoch.pass(s.cache, a)
		}
	case "stats":
	default:
		d.Fatalf(t, "unknown command %s", d.Cmd)
	}
	s.verify(t, d)
	return s.stats()
}

func (s *scenario) verify(t *testing.T, d *datadriven.TestData) {
	if err := s.cache.check(); err != nil {
		d.Fatalf(t, "%v", err)
	}
}

func (s *scenario) stats() string {
	st := s.cache.Stats()
	var b strings.Builder
	fmt.Fprintf(&b, "values %d shortcuts %d", st.Values, st.Shortcuts)
	for _, c := range []struct {
		name string
		n    uint64
	}{{"promoted", st.Promotions}, {"demoted", st.Demotions}, {"evicted-values", st.EvictedValues}, {"evicted-shortcuts", st.EvictedShortcuts}} {
		if c.n > 0 {
			fmt.Fprintf(&b, " %s %d", c.name, c.n)
		}
	}
	return b.String()
}

func TestPolicyScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata/policy", func(t *testing.T, path string) {
		s := &scenario{}
		datadriven.RunTest(t, path, s.run)
	})
}
