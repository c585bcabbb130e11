package conformance

import (
	"fmt"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
)

// Benchmark measures one queue pair at a time: every verb by payload, the engine's typical batches,
// and a call.
func Benchmark(b *testing.B, backend Backend) {
	if backend.Address == "" {
		backend.Address = "127.0.0.1:0"
	}
	for _, bytes := range []int{8, 64, 256, 1 << 10, 4 << 10, 64 << 10, 1 << 20} {
		for _, kind := range []fabric.Kind{fabric.Read, fabric.Write} {
			b.Run(fmt.Sprintf("%s/bytes=%d", kind, bytes), func(b *testing.B) {
				measure(b, &backend, []fabric.Verb{{Kind: kind, Address: 4096, Buffer: make([]byte, bytes)}})
			})
		}
	}
	for _, kind := range []fabric.Kind{fabric.CAS, fabric.FetchAdd} {
		b.Run(kind.String(), func(b *testing.B) { measure(b, &backend, []fabric.Verb{{Kind: kind, Address: 64, Swap: 1}}) })
	}
	// One group commit: the log's WRITE and its FLUSH.
	b.Run("COMMIT/bytes=4096", func(b *testing.B) {
		measure(b, &backend, []fabric.Verb{
			{Kind: fabric.Write, Address: 4096, Buffer: make([]byte, 4096)},
			{Kind: fabric.Flush, Address: 4096, Length: 4096},
		})
	})
	// Sixteen misses that are looked up together.
	b.Run("READ/bytes=64/batch=16", func(b *testing.B) {
		verbs := make([]fabric.Verb, 16)
		for i := range verbs {
			verbs[i] = fabric.Verb{Kind: fabric.Read, Address: uint64(i * 4096), Buffer: make([]byte, 64)}
		}
		measure(b, &backend, verbs)
	})
	b.Run("CALL/bytes=64", func(b *testing.B) {
		qp := start(b, &backend).dial()
		request, reply := make([]byte, 64), make([]byte, 0, 64)
		request[0] = callEcho
		b.ReportAllocs()
		for b.Loop() {
			if _, err := qp.Call(request, reply); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func measure(b *testing.B, backend *Backend, verbs []fabric.Verb) {
	qp := start(b, backend).dial()
	bytes := 0
	for i := range verbs {
		bytes += len(verbs[i].Buffer)
	}
	b.SetBytes(int64(bytes))
	b.ReportAllocs()
	for b.Loop() {
		if err := qp.Post(verbs); err != nil {
			b.Fatal(err)
		}
	}
}
