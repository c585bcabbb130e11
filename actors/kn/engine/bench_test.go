package engine

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dinomo-kv/dinomo/dac"
	"github.com/dinomo-kv/dinomo/dpm"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/internal/random"
	"github.com/dinomo-kv/dinomo/internal/zipf"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

const benchKeys = 20_000

// benchRig has a pool of the default proportions with benchKeys values of 1 KiB in it.
func benchRig(b *testing.B, backend string, o Options) (*Engine, [][]byte, []uint64) {
	b.Helper()
	r := newRig(b, backend, dpm.Options{Shape: format.Shape{Segments: 64}, Sparse: true})
	o.Logf = func(string, ...any) {}
	e := r.engine(0, o)
	keys, hashes := make([][]byte, benchKeys), make([]uint64, benchKeys)
	payload := lattice.LWWValue{Value: []byte(strings.Repeat("v", 1006))}.Append(nil)
	for i := range keys {
		keys[i] = fmt.Append(nil, i)
		hashes[i] = hashring.KeyHash(keys[i])
		if i%100 == 0 {
			e.Run()
			e.Begin(e.o.Clock.Now())
		}
		e.AddPut(keys[i], hashes[i], lattice.LWW, payload)
	}
	e.Run()
	r.drain(e)
	return e, keys, hashes
}

func newZipf(b *testing.B) *zipf.Sampler {
	b.Helper()
	z, err := zipf.NewSampler(benchKeys, 0.99)
	if err != nil {
		b.Fatal(err)
	}
	return z
}

// BenchmarkEngineGet reads by a Zipf law, in batches as a thread would form them.
func BenchmarkEngineGet(b *testing.B) {
	for _, backend := range []string{"shm", "tcp"} {
		for _, c := range []struct {
			name   string
			policy string
			bytes  int
		}{{"cached", dac.PolicyValueOnly, 64 << 20}, {"paper-1/32", dac.PolicyPaper, benchKeys * 1100 / 32}, {"shortcuts", dac.PolicyShortcutOnly, 4 << 20}, {"none", dac.PolicyNone, 0}} {
			for _, batch := range []int{1, 32} {
				b.Run(fmt.Sprintf("%s/%s/batch=%d", backend, c.name, batch), func(b *testing.B) {
					e, keys, hashes := benchRig(b, backend, Options{Cache: dac.Options{Policy: c.policy, BudgetBytes: c.bytes}})
					z := newZipf(b)
					rng := random.New(1)
					var p dac.Result
					read := func(n int) {
						for ; n > 0; n -= batch {
							e.Begin(e.now)
							for range batch {
								k := z.Next(rng)
								if !e.Probe(keys[k], hashes[k], &p) {
									e.AddGet(keys[k], hashes[k], p)
								}
							}
							e.Run()
						}
					}
					for i := range keys { // also those that nobody happens to ask for
						e.Begin(e.now)
						if !e.Probe(keys[i], hashes[i], &p) {
							e.AddGet(keys[i], hashes[i], p)
						}
						e.Run()
					}
					read(4 * benchKeys)
					before := e.Counters()
					b.ReportAllocs()
					b.ResetTimer()
					read(b.N)
					got := e.Counters().minus(before)
					b.ReportMetric(float64(got.RoundTripsRead)/float64(got.Reads), "round-trips/get")
					b.ReportMetric(float64(got.ValueHits)/float64(got.Reads), "value-hits")
				})
			}
		}
	}
}

// BenchmarkEnginePut updates by a Zipf law, with group commits of several sizes.
func BenchmarkEnginePut(b *testing.B) {
	for _, backend := range []string{"shm", "tcp"} {
		for _, batch := range []int{1, 32} {
			b.Run(fmt.Sprintf("%s/batch=%d", backend, batch), func(b *testing.B) {
				e, keys, hashes := benchRig(b, backend, Options{Cache: dac.Options{BudgetBytes: benchKeys * 1100 / 32}})
				z := newZipf(b)
				rng := random.New(1)
				payload := lattice.LWWValue{Value: []byte(strings.Repeat("w", 1006))}.Append(nil)
				before := e.Counters()
				b.SetBytes(int64(len(payload)))
				b.ReportAllocs()
				b.ResetTimer()
				for n := b.N; n > 0; n -= batch {
					e.Begin(e.o.Clock.Now())
					for range batch {
						k := z.Next(rng)
						e.AddPut(keys[k], hashes[k], lattice.LWW, payload)
					}
					e.Run()
					for i := range e.ops {
						if e.ops[i].code != 0 {
							b.Fatal(e.ops[i].code)
						}
					}
				}
				got := e.Counters().minus(before)
				b.ReportMetric(float64(got.RoundTripsWrite)/float64(got.Writes), "round-trips/put")
				b.ReportMetric(float64(got.WriteWaits), "waits")
			})
		}
	}
}
