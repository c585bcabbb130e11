package inspect

import (
	"errors"
	"fmt"
	"math/bits"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm"
	"github.com/dinomo-kv/dinomo/dpm/dpmtest"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/look"
	"github.com/dinomo-kv/dinomo/dpm/remote"
)

// twins writes a key twice, so that the two entries' places differ in one bit, and returns the place of the older one and
// the number of that bit within a pointer.
func twins(t *testing.T, r *dpmtest.Rig, th *remote.Thread, key string) (older uint64, bit int) {
	t.Helper()
	var before uint64
	for n := range 100 {
		pointer, err := th.Put([]byte(key), []byte(dpmtest.Value(n, 28)), dpmtest.LWW, 0)
		if err != nil {
			t.Fatal(err)
		}
		r.Commit(th)
		if differ := (before ^ pointer.Offset()) / format.WordBytes; before != 0 && bits.OnesCount64(differ) == 1 {
			r.Drain(th)
			return before, bits.TrailingZeros64(differ)
		}
		before = pointer.Offset()
	}
	t.Fatal("no two neighbours lie one bit apart")
	return 0, 0
}

// An older entry of the same key is whole and sound, of the same size, in a segment of the same generation: a pointer
// that leads there after a flip is told by its check alone.
func TestFlipToAnOlderEntryOfTheKeyIsFound(t *testing.T) {
	r := dpmtest.Start(t, dpm.Options{Shape: dpmtest.SmallShape(16)})
	th := r.Thread(0, remote.AppenderOptions{})
	p, err := look.Open(look.Options{Path: r.Path})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	patch := openPatch(t, r.Path)
	for _, key := range []string{"twin", "hot"} {
		older, bit := twins(t, r, th, key)
		var e format.Entry
		var buffer []byte
		if err := p.EntryAt(older, &buffer, &e); err != nil || string(e.Key) != key {
			t.Fatalf("the older entry of %s is not there: %v", key, err)
		}
		if key == "hot" {
			if _, err := r.Pool.Install([]byte(key)); err != nil {
				t.Fatal(err)
			}
		}
		found, err := EntryOfKey(p, []byte(key))
		if err != nil {
			t.Fatal(err)
		}
		at := slotOf(t, p, key)
		if indirect := format.Pointer(patch.word(at)); indirect.Indirect() {
			i, _ := p.Layout().IndirectOf(indirect)
			at = p.Layout().IndirectOffsetOf(i)
		}
		want := r.Get(th, key)
		undo := patch.flip(at, bit)
		if led := format.Pointer(patch.word(at)).Offset(); led != older || led == found.Entry.Offset {
			t.Fatalf("%s: bit %d of the word at %#x leads to %#x, not to the older entry at %#x", key, bit, at, led, older)
		}
		if g, err := th.Get(keyHash(key), []byte(key), 0); err == nil || !errors.Is(err, format.ErrDamaged) {
			t.Errorf("%s: the older entry is served: %.20q, %v", key, g.Value, err)
		}
		if _, _, err := r.Pool.Get(keyHash(key), []byte(key)); !errors.Is(err, format.ErrDamaged) {
			t.Errorf("%s: the pool serves the older entry: %v", key, err)
		}
		if v := verify(t, r.Path); v.Status() == StatusSound || !namesWord(v, at) {
			t.Errorf("%s: verify does not name the word at %#x: %v", key, at, v.Problems)
		}
		undo()
		if got := r.Get(th, key); got != want {
			t.Errorf("%s put back: %.20q", key, got)
		}
	}
	wantSound(t, r.Path)
}

func namesWord(v *VerifyReport, at uint64) bool {
	for _, problem := range v.Problems {
		if problem.Offset == at {
			return true
		}
	}
	return false
}

// slotOf returns where the pointer word of key's index slot lies.
func slotOf(t *testing.T, p *look.Pool, key string) (at uint64) {
	t.Helper()
	var c look.Chain
	err := p.Walk(t.Context(), func(x *look.Index, bucket uint64) error {
		if _, err := x.Check(bucket, &c, nil); err != nil {
			return err
		}
		for _, s := range c.Slots {
			if s.Hash == keyHash(key) {
				at = s.At
			}
		}
		return nil
	})
	if err != nil || at == 0 {
		t.Fatal(fmt.Errorf("slot of %s at %#x: %w", key, at, err))
	}
	return at
}
