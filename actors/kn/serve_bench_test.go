package kn

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dinomo-kv/dinomo/messages"
)

// BenchmarkServe is what a thread itself spends on a request for cached keys, from the frame to the queued answer.
func BenchmarkServe(b *testing.B) {
	for _, each := range []int{1, 16} {
		b.Run(fmt.Sprint("tuples=", each), func(b *testing.B) {
			r := newRig(b, "shm")
			r.logs = false
			o := r.nodeOptions(0)
			o.Threads, o.Cache.BudgetBytes = 1, 16<<20
			n := r.start(o)
			m := r.swap(r.spec(n))
			c := r.client()
			c.ready(m)
			at := owner(b, m, "k")
			var frames [][]byte
			for i := range 1024 / each {
				var keys []string
				for j := range each {
					keys = append(keys, fmt.Sprint("k", i*each+j))
					c.ask(at, put(keys[j], strings.Repeat("v", 256)))
				}
				request := get(keys...)
				request.ResponseAddress, request.RequestId = c.address, "127.0.0.1:0_1"
				frames = append(frames, messages.AppendKeyRequest(nil, request))
			}
			go func() {
				for batch := range c.pull.Batches() {
					batch.Release()
				}
			}()
			th := n.threads[0]
			th.mailbox.put(stop{})
			n.serving.Wait()
			b.ReportAllocs()
			b.ResetTimer()
			th.begin()
			for i := range b.N {
				if i%32 == 0 {
					th.complete()
					th.begin()
				}
				th.receive(frames[i%len(frames)])
			}
			th.complete()
			b.StopTimer()
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*each), "ns/tuple")
		})
	}
}
