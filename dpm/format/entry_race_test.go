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
	entries := []format.Entry{
		{Op: format.OpPut, Sequence: 1, Generation: 1, Key: []byte("k"), Value: make([]byte, 40)},
		{Op: format.OpPut, Sequence: 2, Generation: 2, Key: []byte("another key"), Value: make([]byte, 900)},
		{Op: format.OpPut, Sequence: 3, Generation: 3, Key: []byte("a key of the first's size"), Value: make([]byte, 16)},
	}
	var stop atomic.Bool
	var writer sync.WaitGroup
	writer.Go(func() {
		buffer := make([]byte, 1024)
		for n := 0; !stop.Load(); n++ {
			e := &entries[n%len(entries)]
			region.Write(64, buffer[:salt.EncodeEntry(buffer, e)])
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
		want := &entries[e.Sequence-1]
		if e.Generation != want.Generation || len(e.Key) != len(want.Key) || len(e.Value) != len(want.Value) {
			t.Fatalf("accepted sequence %d, generation %d, key of %d bytes, value of %d", e.Sequence, e.Generation, len(e.Key), len(e.Value))
		}
		accepted[e.Sequence]++
	}
	t.Logf("accepted, by sequence: %v", accepted)
}
