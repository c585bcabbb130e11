package runtime

import (
	"fmt"
	"testing"
)

// BenchmarkPushPull is the one-way rate, both ends in one process. Package runtimetest has the
// echo benchmark.
func BenchmarkPushPull(b *testing.B) {
	for _, size := range []int{64, 1024, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			pull := newPull(b, PullOptions{})
			push := NewPush(pull.Address(), PushOptions{Overflow: Wait, QueueBytes: 4 << 20})
			b.Cleanup(func() { push.Close(0) })
			frame := make([]byte, size)
			b.ReportAllocs()
			b.SetBytes(int64(size))
			done := make(chan struct{})
			b.ResetTimer()
			go func() {
				defer close(done)
				for got := 0; got < b.N; {
					batch := <-pull.Batches()
					got += len(batch.Frames)
					batch.Release()
				}
			}()
			for i := range b.N {
				if err := push.AppendBytes(frame); err != nil {
					b.Error(err)
					return
				}
				if i%256 == 255 {
					push.Flush()
				}
			}
			push.Flush()
			<-done
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}
