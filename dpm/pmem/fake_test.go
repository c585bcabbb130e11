package pmem

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/dinomo-kv/dinomo/internal/random"
)

func imageWord(image []byte, offset uint64) uint64 { return binary.LittleEndian.Uint64(image[offset:]) }

// TestImagesAreLegal compares images with an obvious model: for each word the set of values it may have.
func TestImagesAreLegal(t *testing.T) {
	rng := random.New(random.Seed(t))
	const words = 24 // three lines
	for range 200 {
		f := NewFake(words*8, Fsync)
		possible := [words][]uint64{}
		atFlush := [words]int{} // index in possible of the value a fence would settle, -1: none
		for w := range possible {
			possible[w], atFlush[w] = []uint64{0}, -1
		}
		for range 1 + rng.IntN(40) {
			w := rng.IntN(words)
			switch rng.IntN(6) {
			case 0:
				n := min(rng.IntN(5), words-w)
				f.Flush(uint64(w)*8, uint64(n)*8)
				if n > 0 {
					for i := w / 8 * 8; i < (w+n+7)/8*8; i++ {
						atFlush[i] = len(possible[i]) - 1
					}
				}
			case 1:
				must(t, f.Fence())
				for i := range possible {
					if atFlush[i] >= 0 {
						possible[i] = possible[i][atFlush[i]:]
						atFlush[i] = -1
					}
				}
			case 2:
				f.CompareAndSwap64(uint64(w)*8, f.Load64(uint64(w)*8), 7)
				possible[w] = append(possible[w], 7)
			case 3:
				f.Write(uint64(w)*8+3, []byte{9, 9})
				possible[w] = append(possible[w], f.Load64(uint64(w)*8))
			default:
				v := rng.Uint64N(100)
				f.Store64(uint64(w)*8, v)
				possible[w] = append(possible[w], v)
			}
		}
		strict := f.StrictImage()
		for w := range possible {
			if imageWord(strict, uint64(w)*8) != possible[w][0] {
				t.Fatalf("strict image has %d in word %d, want %d", imageWord(strict, uint64(w)*8), w, possible[w][0])
			}
		}
		for range 30 {
			image := f.CrashImage(rng)
			for w, values := range possible {
				if got := imageWord(image, uint64(w)*8); !slices.Contains(values, got) {
					t.Fatalf("image has %d in word %d, legal are %v", got, w, values)
				}
			}
		}
	}
}

// All legal combinations of a few words turn up.
func TestImagesAreComplete(t *testing.T) {
	rng := random.New(random.Seed(t))
	f := NewFake(4096, Fsync)
	f.Store64(0, 1)
	f.Flush(0, 8)
	f.Store64(8, 1) // not flushed
	f.Store64(64, 1)
	f.Store64(64, 2) // twice
	seen := map[[3]uint64]bool{}
	for range 3000 {
		image := f.CrashImage(rng)
		seen[[3]uint64{imageWord(image, 0), imageWord(image, 8), imageWord(image, 64)}] = true
	}
	if len(seen) != 2*2*3 {
		t.Errorf("%d of 12 images seen: %v", len(seen), seen)
	}
}

func TestCrashFreezesImages(t *testing.T) {
	rng := random.New(random.Seed(t))
	f := NewFake(4096, Fsync)
	f.Store64(0, 1)
	f.Flush(0, 8)
	must(t, f.Fence())
	f.CrashAtFence(2, false)
	f.Store64(8, 1)
	f.Flush(8, 8)
	must(t, f.Fence())
	f.Store64(16, 1)
	f.Flush(16, 8)
	if err := f.Fence(); !errors.Is(err, ErrCrashed) || !f.Crashed() {
		t.Fatalf("armed fence: %v", err)
	}
	f.Store64(0, 99)
	f.Store64(24, 99)
	f.Flush(0, 64)
	if err := f.Fence(); !errors.Is(err, ErrCrashed) {
		t.Errorf("later fence: %v", err)
	}
	for range 100 {
		image := f.CrashImage(rng)
		if imageWord(image, 0) != 1 || imageWord(image, 8) != 1 || imageWord(image, 16) > 1 || imageWord(image, 24) != 0 {
			t.Fatalf("image % x", image[:32])
		}
	}
	g := NewFakeFrom(f.CrashImage(rng), Fsync)
	if g.Load64(8) != 1 || g.PendingWords() != 0 || g.Crashed() {
		t.Error("a fake made from an image does not start anew")
	}
	g.CrashAtFence(1, true)
	if !Crashes(func() { _ = g.Fence() }) || Crashes(func() {}) {
		t.Error("Crashes does not tell")
	}
}

func storeAndFence(f *Fake, at uint64) error {
	f.Store64(at, 1)
	f.Flush(at, 8)
	return f.Fence()
}

func TestSkippedSite(t *testing.T) {
	f := NewFake(4096, Fsync)
	f.TrackSites(true)
	must(t, storeAndFence(f, 0))
	sites := f.Sites()
	if len(sites) != 2 || sites[0].Kind != KindFence || sites[0].Function != "pmem.storeAndFence" || sites[1].Kind != KindFlush {
		t.Fatalf("sites: %v", sites)
	}
	for _, site := range sites {
		g := NewFake(4096, Fsync)
		g.Skip(site)
		must(t, storeAndFence(g, 0))
		if imageWord(g.StrictImage(), 0) != 0 {
			t.Errorf("%v was not skipped", site)
		}
	}
	if imageWord(f.StrictImage(), 0) != 1 {
		t.Error("a fenced store is lost")
	}
}
