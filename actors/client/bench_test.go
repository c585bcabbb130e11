package client_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/dinomo-kv/dinomo/actors/client"
	"github.com/dinomo-kv/dinomo/messages"
)

// BenchmarkSubmit keeps so many gets of 256-byte values outstanding against the fake cluster, which shares the process and
// costs about as much as the client does.
func BenchmarkSubmit(b *testing.B) {
	for _, shape := range []struct{ outstanding, tuples int }{{64, 1}, {256, 1}, {64, 16}, {1024, 16}} {
		b.Run(fmt.Sprintf("outstanding=%d/tuples=%d", shape.outstanding, shape.tuples), func(b *testing.B) {
			cluster, c := start(b, 1, client.Options{MaxTuplesPerRequest: shape.tuples})
			keys := make([]string, 1000)
			for i := range keys {
				keys[i] = fmt.Sprint("key", i)
				cluster.Load(keys[i], make([]byte, 256))
			}
			var started, ended atomic.Int64
			done := make(chan struct{})
			op := client.Operation{Type: messages.RequestType_GET}
			next := func() {
				if n := started.Add(1); n <= int64(b.N) {
					op := op
					op.Key = keys[n%1000]
					if err := c.Submit(op); err != nil {
						b.Error(err)
					}
				}
			}
			op.Done = func(r *client.Result) {
				if ended.Add(1) == int64(b.N) {
					close(done)
					return
				}
				next()
			}
			b.ReportAllocs()
			b.ResetTimer()
			for range shape.outstanding {
				next()
			}
			<-done
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
		})
	}
}

// BenchmarkGet is one synchronous caller.
func BenchmarkGet(b *testing.B) {
	cluster, c := start(b, 1, client.Options{})
	cluster.Load("a", make([]byte, 256))
	ctx := within(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Get(ctx, "a"); err != nil {
			b.Fatal(err)
		}
	}
}
