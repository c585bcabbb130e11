package backup

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm"
	"github.com/dinomo-kv/dinomo/dpm/dpmtest"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/inspect"
)

// BenchmarkTools measures what goes over a whole pool: verify, backup, restore, with 100,000 keys of 1 KiB (TOOLS_KEYS=n
// for another number). Bytes are those of keys and values; the pool is closed and in the page cache.
func BenchmarkTools(b *testing.B) {
	keys := 100_000
	if s := os.Getenv("TOOLS_KEYS"); s != "" {
		var err error
		if keys, err = strconv.Atoi(s); err != nil {
			b.Fatalf("TOOLS_KEYS=%q: want a number", s)
		}
	}
	o := dpm.Options{Path: filepath.Join(b.TempDir(), "pool"), Sparse: true, Bytes: uint64(keys)*2048 + 1<<28, Workers: -1}
	p, err := dpm.Open(o)
	if err != nil {
		b.Fatal(err)
	}
	total := int64(0)
	for n := 0; n < keys; {
		var batch []format.Entry
		for ; n < keys && len(batch) < 4096; n++ {
			value := []byte(dpmtest.Value(n, 1024))
			batch = append(batch, format.Entry{Op: format.OpPut, Lattice: dpmtest.LWW, Key: fmt.Appendf(nil, "user%012d", n), Value: value, RawLength: 1024})
			total += 1024 + 16
		}
		if err := p.Load(batch); err != nil {
			b.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		b.Fatal(err)
	}
	var archive bytes.Buffer
	b.Run("verify", func(b *testing.B) {
		b.SetBytes(total)
		for b.Loop() {
			if v, err := inspect.Verify(b.Context(), o.Path, inspect.VerifyOptions{}); err != nil || v.Status() != inspect.StatusSound {
				b.Fatal(v, err)
			}
		}
	})
	b.Run("backup", func(b *testing.B) {
		b.SetBytes(total)
		for b.Loop() {
			archive.Reset()
			if _, err := Write(b.Context(), Options{Path: o.Path, Out: &archive}); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(total)/float64(archive.Len()), "ratio")
	})
	b.Run("restore", func(b *testing.B) {
		b.SetBytes(total)
		for n := 0; b.Loop(); n++ {
			path := filepath.Join(b.TempDir(), fmt.Sprint("restored", n))
			if _, err := Restore(b.Context(), RestoreOptions{Archive: bytes.NewReader(archive.Bytes()), Pool: dpm.Options{Path: path, Sparse: true}}); err != nil {
				b.Fatal(err)
			}
			if err := os.Remove(path); err != nil {
				b.Fatal(err)
			}
		}
	})
}
