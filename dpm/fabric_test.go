package dpm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/shm"
	"github.com/dinomo-kv/dinomo/dpm/fabric/tcp"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/index"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/dpm/remote"
	"github.com/dinomo-kv/dinomo/internal/random"
)

// backend is a way to serve a pool to other processes.
type backend struct {
	name   string
	mapped bool
	dialer fabric.Dialer
	listen func(p *Pool, address string) (fabric.Listener, error)
}

var backends = []backend{
	{"tcp", false, tcp.Dialer{}, func(p *Pool, address string) (fabric.Listener, error) {
		return tcp.Listen(p.Region(), p.Service(false), fabric.ListenOptions{Address: address})
	}},
	{"shm", true, shm.Dialer{}, func(p *Pool, address string) (fabric.Listener, error) {
		return shm.Listen(p.Region(), p.Service(true), fabric.ListenOptions{Address: address, Path: p.Path()})
	}},
}

// serve opens the pool and listens; address "" picks one.
func (b backend) serve(t testing.TB, o Options, address string) (*Pool, string) {
	t.Helper()
	p := mustOpen(t, o)
	if address == "" {
		address = "127.0.0.1:0"
	}
	l, err := b.listen(p, address)
	if err != nil {
		t.Fatal(err)
	}
	p.Listen(l)
	return p, l.Address()
}

// tryAttach makes one attempt.
func (b backend) tryAttach(address, identity string) (*remote.Session, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	pid := uint32(os.Getpid())
	return remote.Dial(ctx, remote.Options{Dialer: b.dialer, Address: address, Identity: identity, PID: pid, PIDStart: ProcessStart(pid),
		Waiting: func(error) { cancel() }})
}

func (b backend) attach(t testing.TB, address, identity string) *remote.Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	pid := uint32(os.Getpid())
	s, err := remote.Dial(ctx, remote.Options{Dialer: b.dialer, Address: address, Identity: identity, PID: pid, PIDStart: ProcessStart(pid)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestNextDPMEndsQueuePairsThatHearNothing: the link to the DPM is cut, so that its end and its successor's start are not heard, but
// the memory is shared. What a KN writes then lies behind the end that recovery found, and must not be acknowledged (KN-1).
func TestNextDPMEndsQueuePairsThatHearNothing(t *testing.T) {
	b := backends[1]
	o := Options{Path: filepath.Join(t.TempDir(), "pool"), Sparse: true, Shape: format.Shape{SegmentBytes: 64 << 10, Segments: 300, FilterBytes: 4096}}
	p, address := b.serve(t, o, "")
	defer p.Close()
	th := mustThread(t, b.attach(t, address, "10.0.0.1"), 0, remote.AppenderOptions{})
	put(t, th, "k", "before")
	commit(t, th)
	lease := th.QP()
	p.Region().Store64(format.RootsOffset+format.ServerEpochOffset, format.ServerEpochWord(p.ServerEpoch()+1)) // as the next DPM does first
	put(t, th, "k", "after")
	if err := th.Commit(); !errors.Is(err, fabric.ErrBroken) {
		t.Errorf("a write that the next DPM may not have seen: %v, want %v", err, fabric.ErrBroken)
	}
	word := make([]byte, format.WordBytes)
	if err := lease.Post([]fabric.Verb{{Kind: fabric.Read, Address: p.Layout().RankEntryOffset(1), Buffer: word}}); !errors.Is(err, fabric.ErrBroken) {
		t.Errorf("a READ under the next DPM: %v, want %v", err, fabric.ErrBroken)
	}
}

// TestThreadsAgainstTheirModels runs several KN threads at once over real listeners, with merging, compaction and index
// growth behind their backs, and compares what each reads of its own keys with a map.
func TestThreadsAgainstTheirModels(t *testing.T) {
	seed := random.Seed(t)
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			o := Options{Path: filepath.Join(t.TempDir(), "pool"), Sparse: true, Shape: format.Shape{SegmentBytes: 64 << 10, Segments: 300, FilterBytes: 4096}}
			p, address := b.serve(t, o, "")
			s := b.attach(t, address, "10.0.0.1")
			models := make([]map[string]string, 4)
			var work sync.WaitGroup
			for i := range models {
				th := mustThread(t, s, uint16(i), remote.AppenderOptions{BatchBytes: 32 << 10, Compression: remote.Compression(i % 3)})
				models[i] = map[string]string{}
				work.Go(func() { exercise(t, th, seed+uint64(i), fmt.Sprintf("t%d-", i), models[i], 400) })
			}
			work.Wait()
			if t.Failed() {
				return
			}
			t.Logf("%s", p.Stats())
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			p, _ = b.serve(t, o, address)
			th := mustThread(t, b.attach(t, address, "10.0.0.2"), 0, remote.AppenderOptions{})
			for i, model := range models {
				for n := range 300 {
					key := fmt.Sprintf("t%d-%d", i, n)
					want, ok := model[key]
					if !ok {
						want = "-"
					}
					if got := read(t, th, key); got != want {
						t.Fatalf("after reopening %s = %.20q, want %.20q", key, got, want)
					}
				}
			}
			checkIndex(t, p)
			t.Logf("%v", p.Recovery())
		})
	}
}

// exercise does random batches of puts and deletes on 300 keys, and checks reads against the model once they are merged.
func exercise(t *testing.T, th *remote.Thread, seed uint64, prefix string, model map[string]string, batches int) {
	rng := random.New(seed)
	for n := range batches {
		for range 1 + rng.IntN(20) {
			key := fmt.Sprintf("%s%d", prefix, rng.IntN(300))
			v := value(rng.IntN(1000), rng.IntN(3000))
			del := rng.IntN(10) == 0
			err := retryBusy(func() error {
				var err error
				if del {
					_, err = th.Delete([]byte(key), 0)
				} else {
					_, err = th.Put([]byte(key), []byte(v), latticeLWW, 0)
				}
				if errors.Is(err, remote.ErrBatchFull) {
					if err := th.Commit(); err != nil {
						return err
					}
					return remote.ErrBusy
				}
				return err
			})
			if err != nil {
				t.Errorf("%s: %v", key, err)
				return
			}
			if del {
				delete(model, key)
			} else {
				model[key] = v
			}
		}
		if err := th.Commit(); err != nil {
			t.Errorf("commit: %v", err)
			return
		}
		if n%50 != 49 {
			continue
		}
		through := th.Next()
		for done := false; !done; {
			var err error
			if done, err = th.Drain(through); err != nil {
				t.Errorf("drain: %v", err)
				return
			}
		}
		for range 50 {
			key := fmt.Sprintf("%s%d", prefix, rng.IntN(300))
			g, err := th.Get(index.KeyHash([]byte(key)), []byte(key), 0)
			want, ok := model[key]
			if ok && (err != nil || string(g.Value) != want) || !ok && !errors.Is(err, remote.ErrNotFound) {
				t.Errorf("%s = %.20q, %v; want %.20q, %v", key, g.Value, err, want, ok)
				return
			}
		}
	}
}

// retryBusy tries again while the pool is busy, for at most half a minute.
func retryBusy(try func() error) error {
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := try()
		if !errors.Is(err, remote.ErrBusy) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(200 * time.Microsecond)
	}
}

func TestVolatilePoolOverSharedMemory(t *testing.T) {
	b := backends[1]
	p, address := b.serve(t, Options{Durability: pmem.Volatile, Shape: smallShape(16), ReserveSegments: 3}, "")
	th := mustThread(t, b.attach(t, address, "kn"), 0, remote.AppenderOptions{})
	put(t, th, "k", "v")
	commit(t, th)
	if done, err := th.Drain(0); err != nil || !done {
		t.Fatal(done, err)
	}
	if got := read(t, th, "k"); got != "v" {
		t.Fatalf("k = %q", got)
	}
	if p.Stats().MergedEntries != 1 {
		t.Errorf("%d entries merged, want 1", p.Stats().MergedEntries)
	}
}

// freeAddress returns a loopback address that was free a moment ago.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
