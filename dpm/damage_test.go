package dpm

import (
	"fmt"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/dpm/remote"
)

// Damage to entries that are merged does not take those along that are not: they were acknowledged.
func TestDamageBeforeTheWatermarkCostsNothingAfterIt(t *testing.T) {
	for _, damaged := range []int{0, 7, 18, 19} { // of 20 that are merged
		for _, entryBytes := range []int{500, 3200} { // what follows lies in the same segment, or begins the next
			t.Run(fmt.Sprintf("entry %d of %d bytes", damaged, entryBytes), func(t *testing.T) {
				shape := smallShape(16)
				fake := newFake(t, shape)
				o := testOptions(fake, shape)
				p := mustOpen(t, o)
				th := mustThread(t, mustSession(t, &localDialer{pool: p, breakAfter: -1}, "kn"), 0, remote.AppenderOptions{})
				var pointers []format.Pointer
				for i := range 20 {
					pointers = append(pointers, put(t, th, fmt.Sprint("merged", i), value(i, entryBytes)))
				}
				commit(t, th)
				settle(t, p)
				for i := range 10 {
					put(t, th, fmt.Sprint("fresh", i), value(i, entryBytes))
				}
				commit(t, th)
				image := pmem.NewFakeFrom(fake.StrictImage(), pmem.Fsync)
				at := pointers[damaged].Offset() + 40
				image.Store64(at, image.Load64(at)^1<<9)
				again, err := Open(testOptions(image, shape))
				if err != nil {
					t.Fatal(err)
				}
				defer again.Close()
				reader := mustThread(t, mustSession(t, &localDialer{pool: again, breakAfter: -1}, "kn2"), 0, remote.AppenderOptions{})
				for i := range 10 {
					if got := read(t, reader, fmt.Sprint("fresh", i)); got != value(i, entryBytes) {
						t.Errorf("fresh%d = %.20q", i, got)
					}
				}
				if again.Recovery().MergedEntries != 10 {
					t.Errorf("%v", again.Recovery())
				}
			})
		}
	}
}

// The DPM knows the server epoch, and puts it right when it is damaged: for who dials, and sooner or later in any case. A sound
// word it leaves alone.
func TestDamagedServerEpochIsMended(t *testing.T) {
	shape := smallShape(16)
	fake := newFake(t, shape)
	p := mustOpen(t, testOptions(fake, shape))
	d := &localDialer{pool: p, breakAfter: -1}
	right := format.ServerEpochWord(p.ServerEpoch())
	for name, meet := range map[string]func(){
		"housekeeping": func() { settle(t, p) },
		"dialling":     func() { mustSession(t, d, "kn") },
	} {
		fake.Store64(epochAt, right^1<<13)
		found := p.Stats().Damage
		meet()
		if got := fake.Load64(epochAt); got != right || p.Stats().Damage != found+1 {
			t.Errorf("%s: the word is %#x, was %#x; damage was found %d times", name, got, right, p.Stats().Damage-found)
		}
		if durable := pmem.NewFakeFrom(fake.StrictImage(), pmem.Fsync).Load64(epochAt); durable != right {
			t.Errorf("%s: %#x is durable, want %#x", name, durable, right)
		}
	}
	successor := format.ServerEpochWord(p.ServerEpoch() + 1)
	fake.Store64(epochAt, successor)
	settle(t, p)
	if got := fake.Load64(epochAt); got != successor {
		t.Errorf("a successor's word %#x became %#x", successor, got)
	}
}
