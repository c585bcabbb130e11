package engine

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/internal/random"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// TestUnmergedAgainstModel compares the table with a list of all entries, under colliding hashes.
func TestUnmergedAgainstModel(t *testing.T) {
	rng := random.New(random.Seed(t))
	type entry struct {
		key      string
		sequence uint64
		pointer  format.Pointer
		kind     lattice.Type
	}
	hashOf := func(key string) uint64 { return uint64(len(key)%3) * 0x1234567 } // many keys share a hash
	for range 20 {
		var u unmerged
		var list []entry
		sequence := uint64(1)
		for range 3000 {
			if rng.IntN(200) == 0 {
				merged := sequence - uint64(rng.IntN(int(min(sequence, 400))))
				u.prune(merged)
				for len(list) > 0 && list[0].sequence < merged {
					list = list[1:]
				}
			}
			key := strings.Repeat("k", 1+rng.IntN(200)) + fmt.Sprint(rng.IntN(40))
			if rng.IntN(3) > 0 {
				kind := lattice.Type(rng.IntN(3))
				list = append(list, entry{key, sequence, format.Pointer(sequence * 7), kind})
				u.insert([]byte(key), hashOf(key), sequence, format.Pointer(sequence*7), kind)
				sequence++
			}
			var want *entry
			for i := range list {
				if list[i].key == key {
					want = &list[i]
				}
			}
			got := u.find([]byte(key), hashOf(key))
			if (got == nil) != (want == nil) {
				t.Fatalf("%s: found %v, want %v", key, got, want)
			}
			if got != nil && (got.sequence != want.sequence || got.pointer != want.pointer || got.kind != want.kind || string(u.key(got)) != key) {
				t.Fatalf("%s: found %+v, want %+v", key, got, want)
			}
			if u.Len() != len(list) {
				t.Fatalf("%d entries, want %d", u.Len(), len(list))
			}
		}
		u.prune(sequence)
		if u.Len() != 0 || u.used != 0 {
			t.Fatalf("%d entries and %d slots are left", u.Len(), u.used)
		}
	}
}

// TestUnmergedGivesMemoryBack: after a burst is merged, its memory is gone.
func TestUnmergedGivesMemoryBack(t *testing.T) {
	var u unmerged
	for i := range uint64(200_000) {
		u.insert(fmt.Appendf(nil, "key%d", i), i*0x9E3779B97F4A7C15, i, 1, lattice.LWW)
	}
	full := u.bytes()
	u.prune(200_000)
	if u.bytes() > full/100 {
		t.Errorf("%d bytes are kept of %d", u.bytes(), full)
	}
	u.insert([]byte("k"), 1, 200_001, 5, lattice.LWW)
	if r := u.find([]byte("k"), 1); r == nil || r.pointer != 5 {
		t.Error("an entry after the burst is not found")
	}
}

func BenchmarkUnmergedInsert(b *testing.B) {
	var u unmerged
	key := make([]byte, 16)
	for i := range uint64(b.N) {
		hash := i * 0x9E3779B97F4A7C15
		copy(key, fmt.Sprintf("%016x", hash)) // what is measured includes this
		u.insert(key, hash, i, 1, lattice.LWW)
		if i%8192 == 0 {
			u.prune(i)
		}
	}
}
