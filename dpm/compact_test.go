package dpm

import (
	"errors"
	"fmt"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/dpm/remote"
)

// Compaction gives a damaged segment up in its middle. What it has copied by then and not moved must not lie between what was
// moved before and what is moved next: recovery walks compaction segments up to the first entry that is not whole.
func TestDamagedVictimLeavesNoHoleInTheCompactionSegment(t *testing.T) {
	shape := smallShape(16)
	fake := newFake(t, shape)
	p := mustOpen(t, testOptions(fake, shape))
	th := mustThread(t, mustSession(t, &localDialer{pool: p, breakAfter: -1}, "kn"), 0, remote.AppenderOptions{})
	pointers := map[string]format.Pointer{}
	victims := map[format.SegmentID][]string{}
	var order []format.SegmentID
	for i := range 80 { // 5 segments
		key := fmt.Sprint("k", i)
		pointers[key] = put(t, th, key, value(i, 3000))
		commit(t, th)
		id, _ := p.layout.SegmentOf(pointers[key].Offset())
		if len(victims[id]) == 0 {
			order = append(order, id)
		}
		victims[id] = append(victims[id], key)
	}
	settle(t, p)
	hurt := victims[order[1]][10]
	at := pointers[hurt].Offset() + 104
	fake.Store64(at, fake.Load64(at)^1<<9)
	p.compact.Lock()
	for i, want := range []error{nil, format.ErrDamaged, nil} {
		if _, err := p.compactSegment(order[i]); !errors.Is(err, want) {
			t.Fatalf("segment %d: %v, want %v", order[i], err, want)
		}
	}
	p.compact.Unlock()
	image := fake.StrictImage()
	again := mustOpen(t, testOptions(pmem.NewFakeFrom(image, pmem.Fsync), shape))
	reader := mustThread(t, mustSession(t, &localDialer{pool: again, breakAfter: -1}, "reader"), 0, remote.AppenderOptions{})
	for i := range 80 {
		key := fmt.Sprint("k", i)
		if key == hurt {
			continue
		}
		if got := read(t, reader, key); got != value(i, 3000) {
			t.Errorf("%s = %.20q", key, got)
		}
	}
	for i := range again.segments {
		s := &again.segments[i]
		if s.header.Kind != format.SegmentCompaction {
			continue
		}
		if end, _ := again.walkLog(format.SegmentID(i), 0, s.header.Sealed); end != s.header.Sealed {
			t.Errorf("compaction segment %d: sealed at %d, entries up to %d", i, s.header.Sealed, end)
		}
	}
}
