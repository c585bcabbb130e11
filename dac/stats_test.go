package dac

import (
	"encoding/binary"
	"math"
	"testing"
)

// The cost of a miss is a moving average of what misses of this cache took: it follows them, it
// is not another cache's, and one that was given stays.
func TestMissCostIsMeasured(t *testing.T) {
	a, b, given := newCache(t, Options{BudgetBytes: 1 << 20}), newCache(t, Options{BudgetBytes: 1 << 20}), newCache(t, Options{BudgetBytes: 1 << 20, MissCost: 5})
	n := uint64(0)
	misses := func(c *Cache, count int, roundTrips func(i int) int) {
		for i := range count {
			n++
			c.InsertAfterMiss(binary.BigEndian.AppendUint64(nil, n), n*0x9e3779b97f4a7c15, []byte("value"), 0, n, roundTrips(i))
		}
	}
	want := func(c *Cache, cost, within float64) {
		t.Helper()
		if got := c.Stats().MissRoundTrips; math.Abs(got-cost) > within {
			t.Errorf("a miss takes %.3f round trips, want %.3f", got, cost)
		}
	}
	want(a, defaultMissCost, 0)
	misses(a, 100, func(i int) int { return 2 + i%2 })
	want(a, 2.5, 1e-9)
	misses(a, 10*missWindow, func(int) int { return 4 })
	want(a, 4, 0.01)
	a.Reset()
	want(a, 4, 0.01)
	want(b, defaultMissCost, 0)
	misses(given, 100, func(int) int { return 2 })
	want(given, 5, 0)
}
