package runtimetest

import (
	"fmt"
	"testing"

	"github.com/dinomo-kv/dinomo/actors/runtime"
)

// bench runs total echoes of that size.
func bench(tb testing.TB, outstanding, size, total int) {
	tb.Helper()
	var pulls [2]*runtime.Pull
	for i := range pulls {
		p, err := runtime.ListenPull("tcp://127.0.0.1:0", runtime.PullOptions{})
		if err != nil {
			tb.Fatal(err)
		}
		defer p.Close()
		pulls[i] = p
	}
	server, client := pulls[0], pulls[1]
	peers := runtime.NewPeers(runtime.PeersOptions{})
	defer peers.Close(0)
	ended := make(chan error, 1)
	to := client.Address()
	go func() { ended <- Echo(server, peers, func([]byte) string { return to }) }()
	push := runtime.NewPush(server.Address(), runtime.PushOptions{})
	defer push.Close(0)
	frame := make([]byte, size)
	got := 0
	err := Drive(push, client, outstanding, total,
		func(push *runtime.Push, _ int) error { return push.AppendBytes(frame) },
		func(f []byte) error {
			got++
			if len(f) != size {
				return fmt.Errorf("%d bytes, want %d", len(f), size)
			}
			return nil
		})
	if err != nil || got != total {
		tb.Fatalf("%d of %d answers, %v", got, total, err)
	}
	server.Close()
	if err := <-ended; err != nil {
		tb.Fatal(err)
	}
}

func TestEcho(t *testing.T) {
	for _, outstanding := range []int{1, 7, 64, 5000} {
		bench(t, outstanding, 100, 3000)
	}
}

// BenchmarkEcho is the bare transport under request and response.
func BenchmarkEcho(b *testing.B) {
	for _, outstanding := range []int{1, 16, 64, 256} {
		for _, size := range []int{64, 300, 1100, 19000} {
			b.Run(fmt.Sprintf("outstanding=%d/size=%dB", outstanding, size), func(b *testing.B) {
				b.ReportAllocs()
				bench(b, outstanding, size, b.N)
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "echo/s")
			})
		}
	}
}
