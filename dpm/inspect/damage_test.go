package inspect

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm"
	"github.com/dinomo-kv/dinomo/dpm/dpmtest"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/look"
	"github.com/dinomo-kv/dinomo/dpm/remote"
	"github.com/dinomo-kv/dinomo/internal/random"
)

// target is a word of the pool in which a flipped bit matters.
type target struct {
	area  string
	at    uint64
	bits  uint64 // that matter
	first uint64 // the report names an address from here
	end   uint64 // up to here
}

const allBits = ^uint64(0)

type addTarget func(area string, first, end, bits uint64)

// targets lists all words that mean something, by area.
func targets(t *testing.T, path string) map[string][]target {
	t.Helper()
	p, err := look.Open(look.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	all := map[string][]target{}
	add := func(area string, first, end, bits uint64) {
		for at := first; at < end; at += format.WordBytes {
			all[area] = append(all[area], target{area, at, bits, first, end})
		}
	}
	l := p.Layout()
	add("superblock", 16, format.SuperblockBytes, allBits) // before that lie magic and version: another file, another program
	add("roots", format.RootsOffset, format.RootsOffset+format.PageBytes, allBits)
	for i := range l.MetadataRecords {
		m, err := p.Metadata(i)
		if err != nil {
			t.Fatal(err)
		}
		if m.Present {
			add("metadata", m.Offset, m.Offset+(format.MetadataHeaderBytes+uint64(len(m.Blob)))&^7, allBits)
		}
	}
	for i := range l.Ranks {
		at := l.RankEntryOffset(i)
		add("ranks", at+format.RankStateOffset, at+format.RankStartOffset+format.WordBytes, allBits)
	}
	for i := range l.Segments {
		at := l.SegmentHeaderOffset(format.SegmentID(i))
		add("segment table", at, at+format.SegmentHeaderBytes, allBits)
	}
	indexTargets(t, p, add)
	logTargets(t, p, add)
	return all
}

func indexTargets(t *testing.T, p *look.Pool, add addTarget) {
	l := p.Layout()
	x, err := p.Index()
	if err != nil {
		t.Fatal(err)
	}
	// An odd number of extents leaves half a word that no checksum covers.
	directory := uint64(x.Table.Root.Extents) * format.DirectoryEntryBytes
	at := l.DirectoryOffset[x.Table.Root.Directory]
	add("directory", at, at+directory&^7, allBits)
	if directory%8 != 0 {
		add("directory", at+directory&^7, at+directory&^7+8, 1<<32-1)
	}
	var c look.Chain
	err = p.Walk(t.Context(), func(x *look.Index, bucket uint64) error {
		if _, err := x.Check(bucket, &c, nil); err != nil {
			return err
		}
		for _, offset := range c.Buckets {
			add("bucket header", offset, offset+8, allBits)
			add("bucket link", offset+format.BucketOverflowOffset, offset+format.BucketBytes, allBits)
		}
		for _, s := range c.Slots {
			if err := slotTargets(p, s, add); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func slotTargets(p *look.Pool, s look.Slot, add addTarget) error {
	l := p.Layout()
	add("slot", s.At-8, s.At+8, allBits)
	if i, ok := l.IndirectOf(s.Pointer); ok {
		add("pointer word", l.IndirectOffsetOf(i), l.IndirectOffsetOf(i)+8, allBits)
	}
	var e format.Entry
	var buffer []byte
	direct, err := p.Direct(s.Pointer)
	if err == nil {
		err = p.Entry(direct, &buffer, &e)
	}
	if err != nil {
		return err
	}
	add("live entry", direct.Offset(), direct.Offset()+e.Bytes(), allBits)
	if e.Lattice != latticeLWW {
		word, bits := format.FilterWord(s.Hash, l.FilterBytes)
		add("filter", l.FilterOffset+word, l.FilterOffset+word+8, bits)
	}
	return nil
}

func logTargets(t *testing.T, p *look.Pool, add addTarget) {
	l := p.Layout()
	for i := range l.Segments {
		id := format.SegmentID(i)
		h, err := p.Segment(id)
		if err != nil {
			t.Fatal(err)
		}
		if h.State == format.SegmentFree || h.Kind != format.SegmentLog {
			continue
		}
		p.Entries(&look.Segment{ID: id, SegmentHeader: h}, 0, h.Merged, 0, func(e *look.Placed) bool {
			add("any entry", e.Offset, e.Offset+e.Bytes(), allBits)
			return true
		})
	}
}

// flips is how many bits to flip in each area: DAMAGE_FLIPS, or few.
func flips(t *testing.T, few int) int {
	s := os.Getenv("DAMAGE_FLIPS")
	if s == "" {
		return few
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("DAMAGE_FLIPS=%q: want a number", s)
	}
	return n
}

func (g target) flip(p *patch, rng *rand.Rand) (what string, undo func()) {
	bit := rng.IntN(64)
	for g.bits>>bit&1 == 0 {
		bit = rng.IntN(64)
	}
	return fmt.Sprintf("%s: bit %d of the word at %#x", g.area, bit, g.at), p.flip(g.at, bit)
}

// Verify finds any single flipped bit in anything that means something, and says where.
func TestVerifyFindsFlippedBits(t *testing.T) {
	rng := random.New(random.Seed(t))
	r, _, _ := filled(t)
	if err := r.Pool.Close(); err != nil {
		t.Fatal(err)
	}
	wantSound(t, r.Path)
	p := openPatch(t, r.Path)
	all := targets(t, r.Path)
	for _, area := range slices.Sorted(maps.Keys(all)) {
		t.Run(strings.ReplaceAll(area, " ", "-"), func(t *testing.T) {
			for range flips(t, 25) {
				g := pick(rng, all[area])
				what, undo := g.flip(p, rng)
				v := verify(t, r.Path)
				if v.Status() == StatusSound && (v.Notes == 0 || area != "any entry") {
					t.Errorf("%s: not noticed", what)
				} else if !g.named(v) {
					t.Errorf("%s: the report does not say where: %v", what, v.Problems)
				}
				undo()
			}
		})
	}
	wantSound(t, r.Path)
}

// Damage to an entry that no key leads to any more costs nobody anything: a note says where it is, and the pool counts as sound. It
// makes no difference whether sound entries follow.
func TestDamageOfDeadEntriesIsANote(t *testing.T) {
	r, _, _ := filled(t)
	if err := r.Pool.Close(); err != nil {
		t.Fatal(err)
	}
	dead, live := deadAndLive(t, r.Path)
	p := openPatch(t, r.Path)
	for _, e := range dead {
		undo := p.flip(e.Offset+format.EntryHeaderBytes&^7, 3)
		v := verify(t, r.Path)
		if v.Status() != StatusSound || v.Notes != 1 || len(v.Problems) != 1 || v.Problems[0].Severity != Note || v.Problems[0].Offset != e.Offset {
			t.Errorf("dead entry at %#x: status %d, %+v", e.Offset, v.Status(), v.Problems)
		}
		var text, encoded strings.Builder
		v.WriteText(&text)
		if err := json.NewEncoder(&encoded).Encode(v); err != nil {
			t.Fatal(err)
		}
		if s := text.String(); !strings.Contains(s, "note: log") || !strings.Contains(s, "sound: 0 damaged, 0 suspect, 1 noted") {
			t.Errorf("as text:\n%s", s)
		}
		if s := encoded.String(); !strings.Contains(s, `"notes":1`) || !strings.Contains(s, `"severity":"note"`) {
			t.Errorf("as JSON: %s", s)
		}
		undo()
	}
	p.flip(dead[0].Offset+format.EntryHeaderBytes&^7, 3)
	undo := p.flip(live.Offset+format.EntryHeaderBytes&^7, 3)
	if v := verify(t, r.Path); v.Status() != StatusDamaged || v.Notes != 1 {
		t.Errorf("a live entry, too: status %d, %+v", v.Status(), v.Problems)
	}
	undo()
	// Where the index cannot be read, nobody can tell what is dead.
	for which := range 2 {
		p.flip(format.RootsOffset+format.RootOffset(which)+8, 1)
	}
	if v := verify(t, r.Path); v.Status() != StatusDamaged || v.Notes > 0 {
		t.Errorf("no index: status %d, %+v", v.Status(), v.Problems)
	}
}

// deadAndLive returns the first and the last entry of a log that the index does not lead to, and one that it does.
func deadAndLive(t *testing.T, path string) (dead []look.Placed, live look.Placed) {
	t.Helper()
	p, err := look.Open(look.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var c look.Chain
	eachMerged(t, p, func(e *look.Placed) {
		slot, err := p.Find(e.Key, &c)
		if err != nil {
			t.Fatal(err)
		}
		target := slot.Pointer
		if target.Indirect() {
			if target, err = p.Direct(target); err != nil {
				t.Fatal(err)
			}
		}
		if target == e.Pointer {
			live = *e
		} else if dead = append(dead, *e); len(dead) > 2 {
			dead = append(dead[:1], dead[2])
		}
	})
	if len(dead) < 2 || live.Offset == 0 {
		t.Fatalf("%d dead entries, a live one at %#x", len(dead), live.Offset)
	}
	return dead, live
}

// named says whether the report names an address in the damaged structure.
func (g target) named(v *VerifyReport) bool {
	for _, problem := range v.Problems {
		if problem.Area == "superblock" || problem.Offset >= g.first && problem.Offset < g.end {
			return true
		}
		// A pointer and what it leads to: which of the two is wrong cannot be told.
		near := g.area == "roots" || g.area == "directory" || g.area == "slot" || g.area == "pointer word" || strings.HasPrefix(g.area, "bucket")
		if near && slices.Contains([]string{"index root", "index directory", "index", "log", areaOvertaken, "indirect pointers"}, problem.Area) {
			return true
		}
	}
	return false
}

// A reader of a live pool is never served anything but what was written, whatever bit flips under it.
func TestReadersAreNeverServedDamage(t *testing.T) {
	rng := random.New(random.Seed(t))
	r, th, want := filled(t)
	all := targets(t, r.Path)
	all["roots"] = slices.DeleteFunc(all["roots"], func(g target) bool { return g.at == serverEpochAt }) // TestFlippedServerEpochEndsQueuePairs
	p := openPatch(t, r.Path)
	if failed, absent := readTruthfully(t, "before", th, want); failed+absent > 0 {
		t.Fatalf("%d reads failed, %d keys absent", failed, absent)
	}
	noticed, lost := map[string]int{}, map[string]int{}
	for _, area := range []string{"live entry", "slot", "bucket header", "bucket link", "pointer word", "roots", "directory"} {
		for range flips(t, 15) {
			what, undo := pick(rng, all[area]).flip(p, rng)
			failed, absent := readTruthfully(t, what, th, want)
			if failed+absent > 0 {
				noticed[area]++
			} else if area == "live entry" || area == "slot" || area == "pointer word" {
				t.Errorf("%s: nobody noticed", what)
			}
			lost[area] += absent
			undo()
		}
	}
	// A flip in the hash of a slot leaves a key that cannot be found. A reader sees that the hash belongs elsewhere, unless the
	// table is so small that the flip leaves it in its bucket.
	if lost["slot"] > flips(t, 15)/4 || lost["live entry"]+lost["pointer word"] > 0 {
		t.Errorf("keys that seemed not to be there, by area: %v", lost)
	}
	if failed, absent := readTruthfully(t, "after", th, want); failed+absent > 0 {
		t.Fatalf("put back as it was: %d reads failed, %d keys absent", failed, absent)
	}
	t.Logf("flips that made reads fail or find nothing, by area, of %d: %v", flips(t, 15), noticed)
}

const serverEpochAt = format.RootsOffset + format.ServerEpochOffset

// A flip in the server epoch looks like another DPM to who maps the memory: queue pairs end, and what they would have read or
// acknowledged is not. The DPM puts the word right, at the latest when somebody dials, and new queue pairs read what was written.
func TestFlippedServerEpochEndsQueuePairs(t *testing.T) {
	rng := random.New(random.Seed(t))
	r, th, want := filled(t)
	p := openPatch(t, r.Path)
	for round := range flips(t, 5) {
		p.flip(serverEpochAt, rng.IntN(64))
		for key, value := range want {
			g, err := th.Get(keyHash(key), []byte(key), 0)
			if err == nil && string(g.Value) == value { // it is put right already
				continue
			}
			if !remote.Broken(err) {
				t.Fatalf("read %.40q, %v over a queue pair whose DPM is not the pool's", g.Value, err)
			}
		}
		if err := th.Close(); err != nil {
			t.Fatal(err)
		}
		th = r.Thread(uint16(10+round), remote.AppenderOptions{}) // reads know no owner
		if failed, absent := readTruthfully(t, "put right", th, want); failed+absent > 0 {
			t.Fatalf("put right: %d reads failed, %d keys absent", failed, absent)
		}
	}
	wantSound(t, r.Path)
}

// A pool with a flipped bit is refused when it is opened, or serves what was written.
func TestDamagedPoolIsRefusedOrTruthful(t *testing.T) {
	rng := random.New(random.Seed(t))
	r, _, want := filled(t)
	if err := r.Pool.Close(); err != nil {
		t.Fatal(err)
	}
	all := targets(t, r.Path)
	sound, err := os.ReadFile(r.Path)
	if err != nil {
		t.Fatal(err)
	}
	n := flips(t, 4)
	refused := map[string]int{}
	for _, area := range slices.Sorted(maps.Keys(all)) {
		for range n {
			path := filepath.Join(t.TempDir(), "pool")
			if err := os.WriteFile(path, sound, 0o600); err != nil {
				t.Fatal(err)
			}
			what, _ := pick(rng, all[area]).flip(openPatch(t, path), rng)
			pool, err := dpm.Open(dpm.Options{Path: path})
			if err != nil {
				refused[area]++
				continue
			}
			if err := pool.Close(); err != nil {
				t.Fatal(err)
			}
			again := dpmtest.Start(t, dpm.Options{Path: path})
			readTruthfully(t, what, again.Thread(0, remote.AppenderOptions{}), want)
			if err := again.Pool.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, area := range []string{"superblock", "metadata", "segment table", "bucket header", "ranks"} {
		if refused[area] != n {
			t.Errorf("%s: refused %d times of %d", area, refused[area], n)
		}
	}
	t.Logf("refused, by area, of %d flips: %v", n, refused)
}

// A key whose entry is damaged, wherever, is written and deleted like any other.
func TestWritesHealDamagedEntries(t *testing.T) {
	r, th, _ := filled(t)
	p, err := look.Open(look.Options{Path: r.Path})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	damage := openPatch(t, r.Path)
	for i, at := range []uint64{0, 4, 24, format.EntryHeaderBytes, 40, 80} { // magic, lengths, generation, key, value
		written, deleted := fmt.Sprint("a", 11+2*i), fmt.Sprint("a", 51+2*i)
		for _, key := range []string{written, deleted} {
			e, err := EntryOfKey(p, []byte(key))
			if err != nil {
				t.Fatal(err)
			}
			damage.flip((e.Entry.Offset+at)&^7, int(at%8*8)+1)
			if _, err := th.Get(keyHash(key), []byte(key), 0); err == nil || errors.Is(err, remote.ErrNotFound) {
				t.Fatalf("byte %d of the entry of %s is damaged: %v", at, key, err)
			}
		}
		r.Put(th, written, "healed")
		r.Delete(th, deleted)
		r.Drain(th)
		if got := r.Get(th, written); got != "healed" {
			t.Errorf("byte %d was damaged, then written: %q", at, got)
		}
		if got := r.Get(th, deleted); got != "-" {
			t.Errorf("byte %d was damaged, then deleted: %q", at, got)
		}
	}
}
