package runtime

import (
	"fmt"
	"testing"
)

// benchPull is a Pull on a free port that ends with the test.
func benchPull(tb testing.TB, o PullOptions) *Pull {
	tb.Helper()
	p, err := ListenPull("tcp://127.0.0.1:0", o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { p.Close() })
	return p
}

// BenchmarkPushPull is the one-way rate, both ends in one process.
func BenchmarkPushPull(b *testing.B) {
	for _, size := range []int{64, 1024, 64 << 10} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			pull := benchPull(b, PullOptions{})
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

// benchEcho drives a server thread that answers each frame with itself, as a KN thread would:
// drain what arrived, answer, flush. What a KN reaches is compared with its rate.
func benchEcho(b *testing.B, outstanding, size int) {
	server := benchPull(b, PullOptions{})
	client := benchPull(b, PullOptions{})
	peers := NewPeers(PeersOptions{})
	b.Cleanup(func() { peers.Close(0) })
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		to := client.Address()
		for batch := range server.Batches() {
			for more := true; more; {
				push, err := peers.Get(to)
				if err != nil {
					b.Error(err)
					return
				}
				for _, f := range batch.Frames {
					if err := push.AppendBytes(f); err != nil {
						b.Error(err)
						return
					}
				}
				batch.Release()
				select {
				case batch, more = <-server.Batches():
				default:
					more = false
				}
			}
			peers.FlushDirty()
		}
	}()
	push := NewPush(server.Address(), PushOptions{})
	b.Cleanup(func() { push.Close(0) })
	frame := make([]byte, size)
	b.ReportAllocs()
	b.ResetTimer()
	sent, got := 0, 0
	for ; sent < min(outstanding, b.N); sent++ {
		if err := push.AppendBytes(frame); err != nil {
			b.Fatal(err)
		}
	}
	push.Flush()
	for got < b.N {
		batch := <-client.Batches()
		for range batch.Frames {
			got++
			if sent < b.N {
				sent++
				if err := push.AppendBytes(frame); err != nil {
					b.Fatal(err)
				}
			}
		}
		batch.Release()
		push.Flush()
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "echo/s")
	b.StopTimer()
	server.Close()
	<-stopped
}

// BenchmarkEcho is the bare transport under request and response.
func BenchmarkEcho(b *testing.B) {
	for _, outstanding := range []int{1, 64, 256} {
		for _, size := range []int{64, 300} {
			b.Run(fmt.Sprintf("outstanding=%d/%dB", outstanding, size), func(b *testing.B) {
				benchEcho(b, outstanding, size)
			})
		}
	}
}
