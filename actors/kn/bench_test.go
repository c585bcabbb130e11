package kn

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/internal/latency"
	"github.com/dinomo-kv/dinomo/messages"
)

// load is what the benchmarks send: gets of cached 256-byte values, and the answers that they get.
type load struct {
	requests [][]byte
	answer   []byte
	tuples   int
}

func newLoad(keys []string, tuplesEach int, address string) load {
	l := load{tuples: tuplesEach}
	for i := range len(keys) / tuplesEach {
		r := get(keys[i*tuplesEach : (i+1)*tuplesEach]...)
		r.ResponseAddress, r.RequestId = address, fmt.Sprintf("127.0.0.1:0_%d", i)
		l.requests = append(l.requests, messages.AppendKeyRequest(nil, r))
		if l.answer == nil {
			p := put()
			for _, k := range keys[:tuplesEach] {
				p.Tuples = append(p.Tuples, put(k, strings.Repeat("v", 256)).Tuples[0])
			}
			l.answer = messages.AppendKeyResponse(nil, &messages.KeyResponse{Type: r.Type, Tuples: p.Tuples, ResponseId: r.RequestId})
		}
	}
	return l
}

// drive keeps requests outstanding until n have been answered, and returns the time it took and, every 16th, how long
// one took.
func (c *client) drive(to string, l load, outstanding, n int) (time.Duration, *latency.Histogram) {
	push, err := c.peers.Get(to)
	if err != nil {
		c.t.Fatal(err)
	}
	h := latency.New()
	sent, answered := 0, 0
	sentAt := make([]time.Time, outstanding)
	send := func() {
		if sent%16 == 0 {
			sentAt[sent%outstanding] = time.Now()
		}
		if err := push.AppendBytes(l.requests[sent%len(l.requests)]); err != nil {
			c.t.Fatal(err)
		}
		sent++
	}
	began := time.Now()
	for sent < min(outstanding, n) {
		send()
	}
	push.Flush()
	for answered < n {
		b := <-c.pull.Batches()
		for _, frame := range b.Frames {
			answer, err := c.codec.DecodeKeyResponse(frame) // as any client has to
			if err != nil || len(answer.Tuples) != l.tuples {
				c.t.Fatalf("answer of %d bytes: %v", len(frame), err)
			}
			messages.ReleaseKeyResponse(answer)
			if answered%16 == 0 {
				h.Record(time.Since(sentAt[answered%outstanding]))
			}
			answered++
			if sent < n {
				send()
			}
		}
		b.Release()
		push.Flush()
	}
	return time.Since(began), h
}

// echo answers every frame with the same bytes: what the transport alone can do.
type echo struct {
	pull  *runtime.Pull
	peers *runtime.Peers
	done  chan struct{}
}

func newEcho(t testing.TB, at, to string, answer []byte) *echo {
	pull, err := runtime.ListenPull(at, runtime.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	e := &echo{pull: pull, peers: runtime.NewPeers(runtime.PeersOptions{}), done: make(chan struct{})}
	go func() {
		defer close(e.done)
		for b := range pull.Batches() {
			push, err := e.peers.Get(to)
			if err != nil {
				panic(err)
			}
			for range b.Frames {
				if err := push.AppendBytes(answer); err != nil {
					panic(err)
				}
			}
			e.peers.FlushDirty()
			b.Release()
		}
	}()
	t.Cleanup(func() {
		_ = pull.Close()
		<-e.done
		e.peers.Close(0)
	})
	return e
}

// cpuSeconds is the processor time that the process has taken: on a machine that others use, too, it says more than the clock.
func cpuSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// BenchmarkKNCachedGet measures a KN thread that serves cached gets against a bare echo of the same bytes over the same
// transport, in turns, and reports the ratio. Goal: 0.6.
func BenchmarkKNCachedGet(b *testing.B) {
	for _, c := range []struct{ outstanding, tuples int }{{64, 1}, {256, 1}, {64, 16}} {
		b.Run(fmt.Sprintf("outstanding=%d/tuples=%d", c.outstanding, c.tuples), func(b *testing.B) {
			r := newRig(b, "shm")
			r.logs = false
			o := r.nodeOptions(0)
			o.Threads, o.Cache.BudgetBytes = 1, 16<<20
			n := r.start(o)
			m := r.swap(r.spec(n))
			cl := r.client()
			keys := keysOf(m, hashring.Rank(n.session.Rank()), 0, 1024)
			at := owner(b, m, keys[0])
			value := strings.Repeat("v", 256)
			cl.until("ok", at, func() *messages.KeyRequest { return put(keys[0], value) })
			for _, k := range keys {
				cl.ask(at, put(k, value))
			}
			l := newLoad(keys, c.tuples, cl.address)
			e := newEcho(b, "tcp://"+r.ip(50)+":0", cl.address, l.answer)
			cl.drive(at, l, c.outstanding, 5000)
			cl.drive(e.pull.Address(), l, c.outstanding, 5000)
			b.ReportAllocs()
			b.ResetTimer()
			var kn, bare time.Duration
			var knCPU, bareCPU float64
			all := latency.New()
			const slice = 20000
			for left := b.N; left > 0; left -= slice {
				before := cpuSeconds()
				took, h := cl.drive(at, l, c.outstanding, min(slice, left))
				kn += took
				between := cpuSeconds()
				knCPU += between - before
				all.Merge(h)
				took, _ = cl.drive(e.pull.Address(), l, c.outstanding, min(slice, left))
				bare += took
				bareCPU += cpuSeconds() - between
			}
			b.ReportMetric(float64(b.N*c.tuples)/kn.Seconds(), "kn-tuples/s")
			b.ReportMetric(float64(b.N*c.tuples)/bare.Seconds(), "echo-tuples/s")
			b.ReportMetric(knCPU*1e9/float64(b.N*c.tuples), "kn-cpu-ns/tuple")
			b.ReportMetric(bareCPU*1e9/float64(b.N*c.tuples), "echo-cpu-ns/tuple")
			b.ReportMetric(bare.Seconds()/kn.Seconds(), "ratio")
			b.ReportMetric(all.Summary().P99, "p99-us")
			if hits := n.threads[0].engine.Counters().ValueHits; hits < uint64(b.N*c.tuples) {
				b.Fatalf("%d value hits for %d gets", hits, b.N*c.tuples)
			}
		})
	}
}
