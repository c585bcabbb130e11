package dac

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/cespare/xxhash/v2"
)

// collect measures collections of Go's heap: the median of their pauses, and the processor time of
// each. On a busy machine values compare within one run at most.
func collect(b *testing.B) {
	runtime.GC()
	before := cpuSeconds()
	for b.Loop() {
		runtime.GC()
	}
	b.ReportMetric((cpuSeconds()-before)/float64(b.N)*1e6, "cpu-us/op")
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	last := uint32(min(b.N, len(m.PauseNs)))
	pauses := make([]uint64, 0, last)
	for i := range last {
		pauses = append(pauses, m.PauseNs[(m.NumGC-1-i)%uint32(len(m.PauseNs))])
	}
	slices.Sort(pauses)
	b.ReportMetric(float64(pauses[len(pauses)/2])/1e3, "pause-us")
}

// BenchmarkCollection: what a collection takes does not grow with the cache, as it does with the
// same entries in a map of Go's (an eighth of the cache, for such collections take long).
func BenchmarkCollection(b *testing.B) {
	const valueBytes = 256
	for _, budget := range []int{16 << 20, 1 << 30} {
		b.Run(fmt.Sprintf("cache=%dMiB", budget>>20), func(b *testing.B) {
			c := newCache(b, Options{BudgetBytes: budget})
			var key [8]byte
			value := make([]byte, valueBytes)
			for i := range budget / valueBytes {
				binary.BigEndian.PutUint64(key[:], uint64(i))
				c.InsertAfterMiss(key[:], xxhash.Sum64(key[:]), value, 0, uint64(i)+1, 2)
			}
			if c.BytesUsed() < budget*9/10 {
				b.Fatalf("%d of %d bytes are used", c.BytesUsed(), budget)
			}
			collect(b)
		})
		size := budget / 8
		b.Run(fmt.Sprintf("map=%dMiB", size>>20), func(b *testing.B) {
			m := map[string][]byte{}
			for i := range size / valueBytes {
				m[string(binary.BigEndian.AppendUint64(nil, uint64(i)))] = make([]byte, valueBytes)
			}
			collect(b)
			runtime.KeepAlive(m)
		})
	}
}
