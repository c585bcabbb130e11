package dpm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/format"
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

// Many writers share an fdatasync: each of their batches is durable when it is acknowledged, and there are far fewer
// fdatasyncs than batches, those for merging and handing out included.
func TestWritersShareWriteBacks(t *testing.T) {
	committed, writeBacks := groupCommit(t, 32, 20)
	t.Logf("%d batches of 32 writers, %d write-backs", committed, writeBacks)
	if writeBacks > committed/2 {
		t.Errorf("%d write-backs for %d batches of 32 writers", writeBacks, committed)
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
