package dpm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/index"
	"github.com/dinomo-kv/dinomo/dpm/remote"
	"github.com/dinomo-kv/dinomo/internal/random"
)

// benchKey writes the key of number n into buffer: 16 bytes, as YCSB's are about.
func benchKey(buffer []byte, n uint64) []byte {
	buffer = append(buffer[:0], "user0000"...)
	return binary.BigEndian.AppendUint64(buffer, n)
}

// benchPut puts without waiting for anything but the pool.
func benchPut(b *testing.B, th *remote.Thread, key, value []byte) {
	_, err := th.Put(key, value, latticeLWW, 0)
	if errors.Is(err, remote.ErrBusy) {
		err = retryBusy(func() error {
			_, err := th.Put(key, value, latticeLWW, 0)
			return err
		})
	}
	if err != nil {
		b.Fatal(err)
	}
}

// BenchmarkPut measures durable puts of 1 KiB, merging in the background included.
func BenchmarkPut(b *testing.B) {
	for _, backend := range backends {
		for _, batch := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("fabric=%s/batch=%d", backend.name, batch), func(b *testing.B) {
				_, address := backend.serve(b, Options{Path: filepath.Join(b.TempDir(), "pool"), Sparse: true, Bytes: 1 << 30}, "")
				th := mustThread(b, backend.attach(b, address, "kn"), 0, remote.AppenderOptions{})
				v, key, rng := []byte(value(1, 1024)), []byte(nil), random.New(1)
				b.SetBytes(1024)
				b.ReportAllocs()
				for n := 0; b.Loop(); n++ {
					key = benchKey(key, rng.Uint64N(100_000))
					benchPut(b, th, key, v)
					if n%batch == batch-1 {
						if err := th.Commit(); err != nil {
							b.Fatal(err)
						}
						_ = th.Maintain()
					}
				}
				b.ReportMetric(float64(th.QP().Counters().RoundTrips)/float64(b.N), "round-trips/op")
			})
		}
	}
}

// BenchmarkGet measures reads of 1 KiB through the index, and through shortcuts.
func BenchmarkGet(b *testing.B) {
	const keys = 100_000
	for _, backend := range backends {
		for _, shortcut := range []bool{false, true} {
			for _, batch := range []int{1, 16} {
				b.Run(fmt.Sprintf("fabric=%s/shortcut=%v/batch=%d", backend.name, shortcut, batch), func(b *testing.B) {
					_, address := backend.serve(b, Options{Path: filepath.Join(b.TempDir(), "pool"), Sparse: true, Bytes: 1 << 30}, "")
					th := mustThread(b, backend.attach(b, address, "kn"), 0, remote.AppenderOptions{})
					pointers := benchLoad(b, th, keys, 1024)
					rng := random.New(1)
					gets := make([]remote.Get, batch)
					b.SetBytes(1024)
					b.ReportAllocs()
					n := 0
					for b.Loop() {
						if n++; n%batch != 0 {
							continue
						}
						for i := range gets {
							at := rng.Uint64N(keys)
							g := &gets[i]
							g.Key = benchKey(g.Key, at)
							g.Hash, g.Pointer = index.KeyHash(g.Key), 0
							if shortcut {
								g.Pointer = pointers[at]
							}
						}
						th.Run(gets)
						for i := range gets {
							if gets[i].Err != nil {
								b.Fatal(gets[i].Err)
							}
						}
					}
				})
			}
		}
	}
}

// benchLoad puts keys 0 to n-1 and drains.
func benchLoad(b *testing.B, th *remote.Thread, n uint64, valueBytes int) []format.Pointer {
	b.Helper()
	pointers := make([]format.Pointer, 0, n)
	v, key := []byte(value(1, valueBytes)), []byte(nil)
	for i := range n {
		key = benchKey(key, i)
		var p format.Pointer
		err := retryBusy(func() (err error) {
			p, err = th.Put(key, v, latticeLWW, 0)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
		pointers = append(pointers, p)
		if i%256 == 255 || i == n-1 {
			if err := th.Commit(); err != nil {
				b.Fatal(err)
			}
		}
	}
	for done := false; !done; {
		var err error
		if done, err = th.Drain(0); err != nil {
			b.Fatal(err)
		}
	}
	return pointers
}

// BenchmarkMerge measures how fast the DPM merges a backlog, with the log in memory.
func BenchmarkMerge(b *testing.B) {
	for _, c := range []struct {
		name       string
		keys       uint64
		valueBytes int
	}{{"inserts/value=64", 1 << 40, 64}, {"inserts/value=1024", 1 << 40, 1024}, {"updates/value=1024", 50_000, 1024}} {
		b.Run(c.name, func(b *testing.B) {
			o := Options{Path: filepath.Join(b.TempDir(), "pool"), Sparse: true, Bytes: 4 << 30, Workers: -1, UnmergedSegments: 1024}
			p := mustOpen(b, o)
			d := &localDialer{pool: p, breakAfter: -1}
			th := mustThread(b, mustSession(b, d, "kn"), 0, remote.AppenderOptions{Prealloc: 16})
			v, key, rng := []byte(value(1, c.valueBytes)), []byte(nil), random.New(1)
			var m merger
			s := p.streams()[0]
			entries := uint64(0)
			b.SetBytes(int64(format.EntryBytes(16, c.valueBytes)))
			for b.Loop() {
				if entries--; entries+1 != 0 {
					continue
				}
				b.StopTimer()
				for entries = 0; entries < 100_000; entries++ {
					key = benchKey(key, rng.Uint64N(c.keys))
					if _, err := th.Put(key, v, latticeLWW, 0); err != nil {
						b.Fatal(err)
					}
					if entries%256 == 255 {
						if err := th.Commit(); err != nil {
							b.Fatal(err)
						}
					}
				}
				if err := th.Commit(); err != nil {
					b.Fatal(err)
				}
				if _, err := p.reclaimStep(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				s.mu.Lock()
				for progress := true; progress; {
					var err error
					if progress, err = p.mergeStep(s, &m); err != nil {
						b.Fatal(err)
					}
				}
				s.mu.Unlock()
			}
		})
	}
}

// BenchmarkOpenWithBacklog opens a pool of 1,000,000 entries of 1 KiB that are all unmerged (DPM_BACKLOG=n for
// another number) and shows the time by phase.
func BenchmarkOpenWithBacklog(b *testing.B) {
	entries := uint64(1_000_000)
	if s := os.Getenv("DPM_BACKLOG"); s != "" {
		entries, _ = strconv.ParseUint(s, 10, 64)
	}
	for range b.N {
		o := Options{Path: filepath.Join(b.TempDir(), "pool"), Sparse: true, Bytes: 3*entries*1100/2 + 1<<28, Workers: -1, UnmergedSegments: 1024}
		p := mustOpen(b, o)
		d := &localDialer{pool: p, breakAfter: -1}
		s := mustSession(b, d, "kn")
		v := []byte(value(1, 1024-format.EntryHeaderBytes-16))
		for t := range uint64(4) {
			th := mustThread(b, s, uint16(t), remote.AppenderOptions{Prealloc: 16})
			var key []byte
			for i := t; i < entries; i += 4 {
				key = benchKey(key, i)
				if _, err := th.Put(key, v, latticeLWW, 0); err != nil {
					b.Fatal(err)
				}
				if i%1024 == t {
					if err := th.Commit(); err != nil {
						b.Fatal(err)
					}
				}
			}
			if err := th.Commit(); err != nil {
				b.Fatal(err)
			}
		}
		if err := p.Close(); err != nil {
			b.Fatal(err)
		}
		o.Workers = 2
		began := time.Now()
		p = mustOpen(b, o)
		b.ReportMetric(time.Since(began).Seconds(), "s/open")
		b.Log(p.Recovery())
		if got := p.Recovery().MergedEntries; got != entries {
			b.Errorf("merged %d of %d entries", got, entries)
		}
		began = time.Now()
		p.Close()
		p = mustOpen(b, o)
		b.ReportMetric(time.Since(began).Seconds(), "s/reopen")
		b.Log(p.Recovery())
		b.Log(p.index.Stats())
	}
}

// BenchmarkManyKeys puts 10,000,000 keys (DPM_KEYS=n for another number) into one pool, which grows its index meanwhile
// with reads going on, and shows what the index came to.
func BenchmarkManyKeys(b *testing.B) {
	keys := uint64(10_000_000)
	if s := os.Getenv("DPM_KEYS"); s != "" {
		keys, _ = strconv.ParseUint(s, 10, 64)
	}
	for range b.N {
		backend := backends[1]
		p, address := backend.serve(b, Options{Path: filepath.Join(b.TempDir(), "pool"), Sparse: true, Bytes: keys*300 + 1<<30, UnmergedSegments: 16}, "")
		s := backend.attach(b, address, "kn")
		th, reader := mustThread(b, s, 0, remote.AppenderOptions{}), mustThread(b, s, 1, remote.AppenderOptions{})
		began := time.Now()
		key, v, rng := []byte(nil), []byte(value(1, 64)), random.New(1)
		for i := range keys {
			key = benchKey(key, i)
			benchPut(b, th, key, v)
			if i%512 != 511 {
				continue
			}
			if err := th.Commit(); err != nil {
				b.Fatal(err)
			}
			key = benchKey(key, rng.Uint64N(i+1))
			if _, err := reader.Get(index.KeyHash(key), key, 0); err != nil && !errors.Is(err, remote.ErrNotFound) { // it may not be merged yet
				b.Fatal(err)
			}
			if err := reader.Refresh(); err != nil {
				b.Fatal(err)
			}
		}
		if err := th.Commit(); err != nil {
			b.Fatal(err)
		}
		for done := false; !done; {
			var err error
			if done, err = th.Drain(0); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(keys)/time.Since(began).Seconds(), "keys/s")
		b.Logf("%v\n%s", p.index.Stats(), p.Stats())
		for range 100_000 {
			key = benchKey(key, rng.Uint64N(keys))
			if _, err := reader.Get(index.KeyHash(key), key, 0); err != nil {
				b.Fatalf("key %x: %v", key, err)
			}
		}
	}
}

var _ fabric.QP = (*localQP)(nil)
