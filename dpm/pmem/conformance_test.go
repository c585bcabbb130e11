package pmem

import (
	"bytes"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dinomo-kv/dinomo/internal/random"
)

const testBytes = 64 << 10

// regions makes one of each kind that this machine has.
func regions(t *testing.T) map[string]Region {
	t.Helper()
	made := map[string]Region{}
	volatile, err := NewVolatile(testBytes)
	must(t, err)
	made["volatile"] = volatile
	for _, d := range []Durability{Process, Fsync} {
		f, err := Create(testBytes, Options{Path: filepath.Join(t.TempDir(), "pool"), Durability: d})
		must(t, err)
		made[d.String()] = f
	}
	made["fake"] = NewFake(testBytes, Fsync)
	made["dax (write-back on ordinary memory)"] = pretendDAX(t)
	if dir := t.TempDir(); HaveDAX(dir) == nil {
		f, err := Create(testBytes, Options{Path: filepath.Join(dir, "pool"), Durability: DAX})
		must(t, err)
		made["dax"] = f
	}
	t.Cleanup(func() {
		for _, r := range made {
			must(t, r.Close())
		}
	})
	return made
}

// pretendDAX is a region whose memory is ordinary, but which flushes as dax does.
func pretendDAX(t *testing.T) *File {
	t.Helper()
	f, err := NewVolatile(testBytes)
	must(t, err)
	if haveWriteBack() == nil {
		f.durability, f.writeBack = DAX, writeBackLines
	}
	return f
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestConformance holds every region to the contract of Region.
func TestConformance(t *testing.T) {
	for name, r := range regions(t) {
		t.Run(name, func(t *testing.T) {
			if r.Bytes() != testBytes || len(r.View(0, testBytes)) != testBytes {
				t.Fatalf("%d bytes, view of %d", r.Bytes(), len(r.View(0, testBytes)))
			}
			t.Run("zero", func(t *testing.T) {
				if len(bytes.Trim(r.View(0, testBytes), "\x00")) != 0 {
					t.Error("a new region is not zero")
				}
			})
			t.Run("bounds", func(t *testing.T) { testBounds(t, r) })
			t.Run("words", func(t *testing.T) { testWords(t, r) })
			t.Run("ranges", func(t *testing.T) { testRanges(t, r) })
			t.Run("tearing", func(t *testing.T) { testTearing(t, r) })
			t.Run("atomics", func(t *testing.T) { testAtomics(t, r) })
			t.Run("fences", func(t *testing.T) { testFences(t, r) })
		})
	}
}

func testBounds(t *testing.T, r Region) {
	for name, call := range map[string]func(){
		"load past the end":    func() { r.Load64(testBytes) },
		"load misaligned":      func() { r.Load64(4) },
		"store past the end":   func() { r.Store64(testBytes, 1) },
		"store misaligned":     func() { r.Store64(1, 1) },
		"cas past the end":     func() { r.CompareAndSwap64(1<<60, 0, 1) },
		"add misaligned":       func() { r.Add64(12, 1) },
		"read over the end":    func() { r.Read(testBytes-4, make([]byte, 8)) },
		"read with overflow":   func() { r.Read(^uint64(0), make([]byte, 8)) },
		"write over the end":   func() { r.Write(testBytes-4, make([]byte, 8)) },
		"view over the end":    func() { r.View(testBytes-4, 8) },
		"view with overflow":   func() { r.View(8, ^uint64(0)) },
		"flush over the end":   func() { r.Flush(testBytes-4, 8) },
		"flush far, no length": func() { r.Flush(testBytes+1, 0) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s does not panic", name)
				}
			}()
			call()
		}()
	}
	r.Read(testBytes, nil)
	r.Write(testBytes, nil)
	r.Flush(testBytes, 0)
}

func testWords(t *testing.T, r Region) {
	r.Store64(8, 5)
	if before, swapped := r.CompareAndSwap64(8, 4, 9); swapped || before != 5 {
		t.Errorf("cas with a wrong expectation: %d, %v", before, swapped)
	}
	if before, swapped := r.CompareAndSwap64(8, 5, 9); !swapped || before != 5 {
		t.Errorf("cas: %d, %v", before, swapped)
	}
	if before := r.Add64(8, ^uint64(0)); before != 9 || r.Load64(8) != 8 {
		t.Errorf("add: %d, then %d", before, r.Load64(8))
	}
	if got := r.View(8, 1)[0]; got != 8 {
		t.Errorf("words are not little-endian here: first byte is %d", got)
	}
	r.Store64(8, 0)
}

// testRanges compares reads and writes of all alignments with a plain byte slice.
func testRanges(t *testing.T, r Region) {
	rng := random.New(random.Seed(t))
	model := make([]byte, testBytes)
	for range 3000 {
		offset := rng.Uint64N(testBytes - 300)
		length := rng.Uint64N(300)
		if rng.IntN(50) == 0 {
			length = rng.Uint64N(testBytes - offset)
		}
		shift := rng.IntN(9) // the caller's buffer need not be aligned
		buf := make([]byte, int(length)+shift)[shift:]
		for i := range buf {
			buf[i] = byte(rng.Uint32())
		}
		r.Write(offset, buf)
		copy(model[offset:], buf)
		r.Flush(offset, length)
		offset = rng.Uint64N(testBytes - 300)
		got := make([]byte, 308)[shift:300]
		r.Read(offset, got)
		if !bytes.Equal(got, model[offset:offset+uint64(len(got))]) {
			t.Fatalf("read of %d bytes at %d differs", len(got), offset)
		}
	}
	if !bytes.Equal(r.View(0, testBytes), model) {
		t.Error("the region differs from what was written")
	}
	must(t, r.Fence())
	r.Write(0, make([]byte, testBytes))
}

// testTearing has a writer store words of eight equal bytes, and readers look for mixed ones.
func testTearing(t *testing.T, r Region) {
	for _, length := range []int{8, 24, 37, 64, 100, 1000, 2048, 4100} {
		for _, shift := range []int{0, 3} {
			const at = 4096
			r.Write(at, make([]byte, 8192)) // no leftovers of other lengths
			var stop atomic.Bool
			var readers sync.WaitGroup
			readers.Go(func() {
				src := make([]byte, length+8)[shift:][:length]
				for i := byte(1); !stop.Load(); i++ {
					for j := range src {
						src[j] = i
					}
					r.Write(at, src)
				}
			})
			dst := make([]byte, length+8)[shift:][:length]
			for range 300 {
				r.Read(at, dst)
				for w := 0; w+8 <= length; w += 8 {
					if bytes.Count(dst[w:w+8], dst[w:w+1]) != 8 {
						t.Errorf("length %d, shift %d: torn word % x", length, shift, dst[w:w+8])
						break
					}
				}
			}
			stop.Store(true)
			readers.Wait()
		}
	}
}

func testAtomics(t *testing.T, r Region) {
	r.Store64(0, 0)
	r.Store64(8, 0)
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for range 500 {
				r.Add64(0, 1)
				for {
					v := r.Load64(8)
					if _, swapped := r.CompareAndSwap64(8, v, v+1); swapped {
						break
					}
				}
			}
		})
	}
	workers.Wait()
	if r.Load64(0) != 2000 || r.Load64(8) != 2000 {
		t.Errorf("lost updates: %d, %d of 2000", r.Load64(0), r.Load64(8))
	}
}

func testFences(t *testing.T, r Region) {
	var workers sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		workers.Go(func() {
			for n := range uint64(5) {
				r.Store64(uint64(i)*4096, n)
				r.Flush(uint64(i)*4096, 8)
				errs[i] = errors.Join(errs[i], r.Fence())
			}
		})
	}
	workers.Wait()
	must(t, errors.Join(errs...))
}
