package pmem

import (
	"cmp"
	"math/rand/v2"
	"slices"
)

// CrashImage returns one of the images that may be there after a crash at this point (or at the
// point of the crash, if there was one), drawn with rng. Drawn too is in which units words survive
// (words, cache lines or pages: all are legal, and each finds other faults sooner) and how many
// of the units do: none, all, all but one, one alone, or a share. The fake itself is unchanged.
func (f *Fake) CrashImage(rng *rand.Rand) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	image := f.visible()
	d := drawFate(rng, f.pending())
	for _, h := range d.words {
		putWord(image, h.offset, d.value(h))
	}
	return image
}

// fate decides what becomes of pending words.
type fate struct {
	rng     *rand.Rand
	words   []*history
	unit    uint64 // bytes that live or die together
	odd     uint64 // number of the unit that fares unlike the others
	hasOdd  bool
	keep    float64 // share of units that survive
	between float64 // share of words that keep some value in between

	last     uint64 // number of the unit drawn last, and its fate
	lastKept bool
	drawn    bool
}

func drawFate(rng *rand.Rand, words []*history) *fate {
	d := &fate{rng: rng, words: words, unit: [...]uint64{wordBytes, LineBytes, 4096}[rng.IntN(3)]}
	if len(words) > 0 {
		d.odd = words[rng.IntN(len(words))].offset / d.unit
	}
	switch rng.IntN(8) {
	case 0: // all lost
	case 1: // all kept
		d.keep = 1
	case 2: // one alone kept
		d.hasOdd = true
	case 3: // one alone lost
		d.hasOdd, d.keep = true, 1
	default:
		d.keep, d.between = rng.Float64(), 0.25
	}
	return d
}

// value draws what the word holds after the crash. Words come in the order of their offsets.
func (d *fate) value(h *history) uint64 {
	if unit := h.offset / d.unit; !d.drawn || unit != d.last {
		d.last, d.drawn = unit, true
		d.lastKept = d.rng.Float64() < d.keep
		if d.hasOdd && unit == d.odd {
			d.lastKept = !d.lastKept
		}
	}
	switch {
	case d.rng.Float64() < d.between:
		return h.values[d.rng.IntN(len(h.values))]
	case d.lastKept:
		return h.values[len(h.values)-1]
	default:
		return h.values[0]
	}
}

// StrictImage returns the image in which every pending word is lost.
func (f *Fake) StrictImage() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	image := f.visible()
	for _, h := range f.pending() {
		putWord(image, h.offset, h.values[0])
	}
	return image
}

func putWord(image []byte, offset, value uint64) {
	m := mapping{image}
	m.Store64(offset, value)
}

// pending returns the words that are not (only) what is durable, in the order of their offsets: what a seed
// means must not depend on how histories are kept. REQUIRES: mu held.
func (f *Fake) pending() []*history {
	var words []*history
	for i := range f.mu.histories {
		if h := &f.mu.histories[i]; len(h.values) > 0 {
			words = append(words, h)
		}
	}
	slices.SortFunc(words, func(a, b *history) int { return cmp.Compare(a.offset, b.offset) })
	return words
}

// visible returns a copy of the bytes that were visible at the crash, or now. REQUIRES: mu held.
func (f *Fake) visible() []byte {
	if f.mu.crashed {
		return slices.Clone(f.mu.base)
	}
	return slices.Clone(f.mem)
}
