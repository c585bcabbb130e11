package format_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
)

// An entry is decoded in place while a KN writes other ones over it, as when the DPM looks for the end of a log in a
// segment that was used before: what is accepted is one of the entries, whole.
func TestDecodeWhileBeingOverwritten(t *testing.T) {
	region, err := pmem.NewVolatile(4096)
	if err != nil {
		t.Fatal(err)
	}
	defer region.Close()
	const salt = format.Salt(7)
	// Three shapes, two of them of one size; every entry is written once.
	shape := func(sequence uint64) format.Entry {
		keys, values := []int{1, 11, 25}, []int{40, 900, 16}
		return format.Entry{Op: format.OpPut, Sequence: sequence, Generation: uint32(sequence),
			Key: make([]byte, keys[sequence%3]), Value: make([]byte, values[sequence%3])}
	}
	var stop atomic.Bool
	var writer sync.WaitGroup
	writer.Go(func() {
		buffer := make([]byte, 1024)
		for n := uint64(1); !stop.Load(); n++ {
			e := shape(n)
			region.Write(64, buffer[:salt.EncodeEntry(buffer, &e)])
		}
	})
	defer func() {
		stop.Store(true)
		writer.Wait()
	}()
	accepted := map[uint64]int{}
	for range 1_000_000 {
		var e format.Entry
		if salt.DecodeEntry(region.View(64, 1024), &e) != nil {
			continue
		}
		want := shape(e.Sequence)
		if e.Generation != want.Generation || len(e.Key) != len(want.Key) || len(e.Value) != len(want.Value) {
			t.Fatalf("accepted sequence %d, generation %d, key of %d bytes, value of %d", e.Sequence, e.Generation, len(e.Key), len(e.Value))
		}
		accepted[e.Sequence%3]++
	}
	t.Logf("accepted, by shape: %v", accepted)
}
