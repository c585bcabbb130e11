package dpm

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/index"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/dpm/remote"
)

// A pool for persistent memory is refused where there is none, with the reason, and nothing is left of it.
func TestDAXIsRefusedWithItsReason(t *testing.T) {
	dir := t.TempDir()
	if pmem.HaveDAX(dir) == nil {
		t.Skip("there is persistent memory here")
	}
	for _, create := range []bool{true, false} {
		path := filepath.Join(dir, "pool")
		if !create {
			p := mustOpen(t, Options{Path: path, Sparse: true, Shape: smallShape(16)})
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
		}
		_, err := Open(Options{Path: path, Durability: pmem.DAX, Shape: smallShape(16)})
		if !errors.Is(err, pmem.ErrNoDAX) || !strings.Contains(err.Error(), "dax") || !strings.Contains(err.Error(), path) {
			t.Errorf("create %v: %v", create, err)
		}
		left, _ := os.ReadDir(dir)
		if create && len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		t.Log(err)
	}
}

// groupCommit has writers commit so many batches each at once over tcp, and returns what that took: batches, and write-backs.
func groupCommit(t testing.TB, writers, batches int) (committed, writeBacks uint64) {
	t.Helper()
	shape := format.Shape{SegmentBytes: 1 << 20, Segments: uint32(4*writers + 24)}
	o := Options{Path: filepath.Join(t.TempDir(), "pool"), Sparse: true, Durability: pmem.Fsync, Shape: shape}
	p, address := backends[0].serve(t, o, "")
	s := backends[0].attach(t, address, "kn")
	var threads []*remote.Thread
	for i := range writers {
		threads = append(threads, mustThread(t, s, uint16(i), remote.AppenderOptions{}))
	}
	before := p.file.Metrics().Commits
	if b, ok := t.(*testing.B); ok {
		b.ResetTimer()
	}
	var work sync.WaitGroup
	for i, th := range threads {
		work.Go(func() {
			for n := range batches {
				err := retryBusy(func() error {
					_, err := th.Put(fmt.Appendf(nil, "%d-%d", i, n%100), []byte(value(n, 100)), latticeLWW, 0)
					return err
				})
				if err == nil {
					err = th.Commit()
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
	return uint64(writers * batches), p.file.Metrics().Commits - before
}

// Many writers share an fdatasync: while one runs, everybody else's batch waits for the next, which is for all of them.
func TestWritersShareWriteBacks(t *testing.T) {
	const writers = 32
	var p *Pool
	var gated atomic.Bool
	o := Options{Path: filepath.Join(t.TempDir(), "pool"), Sparse: true, Durability: pmem.Fsync, Workers: -1, Shape: smallShape(2*writers + 16)}
	var before pmem.Metrics
	o.private.sync = func(fdatasync func() error) error {
		for gated.Load() && p.file.Metrics().Fences < before.Fences+writers && !t.Failed() { // all have asked
			time.Sleep(time.Millisecond)
		}
		return fdatasync()
	}
	p, address := backends[0].serve(t, o, "")
	s := backends[0].attach(t, address, "kn")
	var threads []*remote.Thread
	for i := range writers {
		threads = append(threads, mustThread(t, s, uint16(i), remote.AppenderOptions{Prealloc: 1}))
		put(t, threads[i], fmt.Sprint("warm", i), "up") // takes its segment
		commit(t, threads[i])
		put(t, threads[i], fmt.Sprint("k", i), value(i, 100))
	}
	before = p.file.Metrics()
	gated.Store(true)
	var work sync.WaitGroup
	for _, th := range threads {
		work.Go(func() {
			if err := th.Commit(); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	gated.Store(false)
	if after := p.file.Metrics(); after.Fences-before.Fences != writers || after.Commits-before.Commits > 2 {
		t.Errorf("%d writers: %d fences and %d fdatasyncs, want at most one for who came first and one for the others", writers, after.Fences-before.Fences, after.Commits-before.Commits)
	}
	image, err := os.ReadFile(o.Path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range writers { // they are in the file
		if !bytes.Contains(image, fmt.Append(nil, "k", i, value(i, 100))) {
			t.Errorf("k%d is not there", i)
		}
	}
}

// An fdatasync that fails is never tried again: the pool is read-only, says so, serves reads, and recovers what is durable
// when it is opened anew.
func TestFailedFdatasyncEndsWriting(t *testing.T) {
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			var broken atomic.Bool
			var calls atomic.Int64
			o := Options{Path: filepath.Join(t.TempDir(), "pool"), Sparse: true, Durability: pmem.Fsync, Workers: -1, Shape: smallShape(16)}
			o.private.sync = func(fdatasync func() error) error {
				calls.Add(1)
				if broken.Load() {
					broken.Store(false) // the next one would succeed, and prove nothing
					return unix.EIO
				}
				return fdatasync()
			}
			p, address := b.serve(t, o, "")
			th := mustThread(t, b.attach(t, address, "kn"), 0, remote.AppenderOptions{})
			put(t, th, "k", "before")
			commit(t, th)
			settle(t, p)
			broken.Store(true)
			put(t, th, "k", "after")
			if err := th.Commit(); err == nil {
				t.Error("a write was acknowledged whose fdatasync failed")
			}
			tried := calls.Load()
			if _, err := p.MetaCAS("m", 0, nil); !errors.Is(err, pmem.ErrReadOnly) || !errors.Is(err, unix.EIO) {
				t.Errorf("metadata: %v", err)
			}
			if !errors.Is(p.Err(), pmem.ErrReadOnly) || calls.Load() != tried {
				t.Errorf("pool: %v; %d fdatasyncs after the one that failed", p.Err(), calls.Load()-tried)
			}
			if got := read(t, th, "k"); got != "before" {
				t.Errorf("k = %q in a read-only pool", got)
			}
			if _, err := b.tryAttach(address, "another"); !errors.Is(err, fabric.ErrRefused) || !strings.Contains(err.Error(), "restart") {
				t.Errorf("a node that comes now: %v", err)
			}
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			again := mustOpen(t, Options{Path: o.Path, Durability: pmem.Fsync, Workers: -1})
			e, found, err := again.Get(index.KeyHash([]byte("k")), []byte("k"))
			if err != nil || !found || string(e.Value) != "before" && string(e.Value) != "after" {
				t.Errorf("k = %q, %v, %v after a restart", e.Value, found, err)
			}
		})
	}
}

// BenchmarkGroupCommit shows what durable commits of concurrent writers cost in fsync pools.
func BenchmarkGroupCommit(b *testing.B) {
	for _, writers := range []int{1, 4, 16, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			committed, writeBacks := groupCommit(b, writers, b.N)
			b.ReportMetric(float64(committed)/b.Elapsed().Seconds(), "commits/s")
			b.ReportMetric(float64(committed)/float64(writeBacks), "commits/write-back")
		})
	}
}
