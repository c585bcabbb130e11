package dac

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sys/unix"

	"github.com/dinomo-kv/dinomo/internal/random"
	"github.com/dinomo-kv/dinomo/internal/zipf"
)

// benchKeys is a set of keys with their hashes, and a sequence of requests by Zipf 0.99. Each
// request has a copy of its key, as a KN has that was just received.
type benchKeys struct {
	keys     []benchKey
	requests []benchKey
	value    []byte
}

// cpuSeconds is the processor time of this process: on a machine that is busy with other things
// it says more than the clock does.
func cpuSeconds() float64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

// benchKey is a key with its hash.
type benchKey struct {
	hash uint64
	key  [8]byte
}

func newBenchKeys(b *testing.B, n, valueBytes int) *benchKeys {
	k := &benchKeys{keys: make([]benchKey, n), requests: make([]benchKey, benchRequests), value: make([]byte, valueBytes)}
	for i := range k.keys {
		binary.BigEndian.PutUint64(k.keys[i].key[:], uint64(i)*0x9e3779b97f4a7c15)
		k.keys[i].hash = xxhash.Sum64(k.keys[i].key[:])
	}
	z, err := zipf.NewSampler(uint64(n), 0.99)
	if err != nil {
		b.Fatal(err)
	}
	p, _ := zipf.NewPermutation(uint64(n), 1)
	rng := random.New(1)
	for i := range k.requests {
		k.requests[i] = k.keys[p.Of(z.Next(rng))]
	}
	return k
}

// benchRequests is how many requests there are before they come again.
const benchRequests = 1 << 20

// each calls do for one key after the other.
func (k *benchKeys) each(b *testing.B, do func(key []byte, hash uint64)) {
	b.ReportAllocs()
	i := 0
	before := cpuSeconds()
	for b.Loop() {
		key := &k.requests[i%benchRequests]
		do(key.key[:], key.hash)
		i++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mops/s")
	b.ReportMetric(float64(b.N)/(cpuSeconds()-before)/1e6, "Mops/cpu-s")
}

// fill stores every key and returns a cache that answers nearly all of them with kind.
func (k *benchKeys) fill(b *testing.B, policy string, kind Kind) *Cache {
	perEntry := 24
	if kind == Value {
		perEntry = 256
	}
	c := newCache(b, Options{Policy: policy, BudgetBytes: len(k.keys)*perEntry + 1<<20})
	for i := range k.keys {
		c.InsertAfterMiss(k.keys[i].key[:], k.keys[i].hash, k.value, 1, uint64(i), 2)
	}
	for i := range k.keys {
		key := &k.keys[i]
		if c.Lookup(key.key[:], key.hash).Kind == Miss {
			c.InsertAfterMiss(key.key[:], key.hash, k.value, 1, uint64(i), 2)
		}
	}
	return c
}

var benchSizes = []int{10_000, 100_000, 1_000_000}

func benchmarkHit(b *testing.B, policy string, n int, kind Kind) {
	b.Run(fmt.Sprintf("policy=%s/keys=%d", policy, n), func(b *testing.B) {
		k := newBenchKeys(b, n, 64)
		c := k.fill(b, policy, kind)
		other, all := 0, 0
		k.each(b, func(key []byte, hash uint64) {
			all++
			if r := c.Lookup(key, hash); r.Kind != kind {
				other++
			}
		})
		if other > all/100+10 {
			b.Errorf("%d of %d lookups were no %v hit", other, all, kind)
		}
	})
}

func BenchmarkValueHit(b *testing.B) {
	for _, policy := range []string{PolicyAdaptive, PolicyPaper} {
		for _, n := range benchSizes {
			benchmarkHit(b, policy, n, Value)
		}
	}
}

func BenchmarkShortcutHit(b *testing.B) {
	for _, n := range benchSizes {
		benchmarkHit(b, PolicyShortcutOnly, n, Shortcut)
	}
}

func BenchmarkUpdate(b *testing.B) {
	for _, policy := range []string{PolicyAdaptive, PolicyPaper} {
		for _, n := range benchSizes {
			b.Run(fmt.Sprintf("policy=%s/keys=%d", policy, n), func(b *testing.B) {
				k := newBenchKeys(b, n, 64)
				c := k.fill(b, policy, Value)
				s := uint64(n)
				k.each(b, func(key []byte, hash uint64) {
					s++
					c.Update(key, hash, k.value, 1, s)
				})
			})
		}
	}
}
