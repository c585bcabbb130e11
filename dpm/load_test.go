package dpm

import (
	"errors"
	"fmt"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/index"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/dpm/remote"
)

func loadable(n, length int) format.Entry {
	return format.Entry{Op: format.OpPut, Lattice: latticeLWW, Key: []byte(fmt.Sprint("k", n)), Value: []byte(value(n, length))}
}

// What was loaded is there, is there after a crash at any fence once Load has returned, and can be overwritten.
func TestLoad(t *testing.T) {
	shape := smallShape(40)
	fake := newFake(t, shape)
	o := testOptions(fake, shape)
	p := mustOpen(t, o)
	var batch []format.Entry
	for i := range 500 {
		if batch = append(batch, loadable(i, 2000)); len(batch) == 70 || i == 499 {
			if err := p.Load(batch); err != nil {
				t.Fatal(err)
			}
			batch = batch[:0]
		}
	}
	set := loadable(1000, 10)
	set.Lattice = 2
	if err := p.Load([]format.Entry{set, loadable(7, 5), loadable(7, 6), loadable(8, 9)}); err != nil {
		t.Fatal(err)
	}
	if problems := p.Audit(); len(problems) > 0 {
		t.Fatal(problems)
	}
	p = mustOpen(t, testOptions(pmem.NewFakeFrom(fake.StrictImage(), pmem.Fsync), shape))
	settle(t, p)
	th := mustThread(t, mustSession(t, &localDialer{pool: p}, "kn"), 0, remote.AppenderOptions{})
	for i := range 500 {
		want := value(i, 2000)
		switch i {
		case 7:
			want = value(7, 6)
		case 8:
			want = value(8, 9)
		}
		if got := read(t, th, fmt.Sprint("k", i)); got != want {
			t.Fatalf("k%d = %.20q, want %.20q", i, got, want)
		}
	}
	if may, err := th.MayHoldLattice(index.KeyHash(set.Key)); err != nil || !may {
		t.Errorf("a key of a lattice type is not in the filter: %v", err)
	}
	put(t, th, "k5", "over")
	commit(t, th)
	settle(t, p)
	if got := read(t, th, "k5"); got != "over" {
		t.Errorf("a loaded key overwritten reads %q", got)
	}
	checkIndex(t, p)
	if problems := p.Audit(); len(problems) > 0 {
		t.Error(problems)
	}
}

func TestLoadRefuses(t *testing.T) {
	p, _ := newVolatile(t, smallShape(16))
	for _, e := range []format.Entry{
		{Op: format.OpDelete, Key: []byte("k")}, {Op: format.OpPut}, {Op: format.OpPut, Key: []byte("k"), Value: make([]byte, 64<<10)},
	} {
		if err := p.Load([]format.Entry{e}); err == nil {
			t.Errorf("loaded %v of %d bytes", e.Op, e.Bytes())
		}
	}
	var err error
	n := 0
	for ; err == nil; n++ {
		err = p.Load([]format.Entry{loadable(n, 5000)})
	}
	if !errors.Is(err, ErrNoSpace) || n < 100 {
		t.Fatalf("after %d entries: %v", n, err)
	}
	if st := p.Stats(); st.FreeSegments < 3 {
		t.Errorf("the reserve is gone:\n%s", st)
	}
	if problems := p.Audit(); len(problems) > 0 {
		t.Error(problems)
	}
}

// A batch that is refused in its middle leaves no hole in the segment: recovery would take it for the end.
func TestRefusedLoadLeavesNoHole(t *testing.T) {
	shape := smallShape(16)
	fake := newFake(t, shape)
	p := mustOpen(t, testOptions(fake, shape))
	for n, batch := range [][]format.Entry{{loadable(0, 500)}, {loadable(1, 500), {Op: format.OpDelete, Key: []byte("k")}}, {loadable(2, 500)}} {
		if err := p.Load(batch); (err != nil) != (n == 1) {
			t.Fatal(n, err)
		}
	}
	again := mustOpen(t, testOptions(pmem.NewFakeFrom(fake.StrictImage(), pmem.Fsync), shape))
	for n, want := range []bool{true, false, true} {
		key := loadable(n, 500).Key
		if _, found, err := again.Get(index.KeyHash(key), key); found != want || err != nil {
			t.Errorf("%s: %v, %v", key, found, err)
		}
	}
	if problems := again.Audit(); len(problems) > 0 {
		t.Error(problems)
	}
}
