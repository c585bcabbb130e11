package dac

// A tally is what is remembered of keys that have no entry: how often they were read. To each
// bucket of the table belong eight counters of four bits, 32 bits in all, and a hash has one of
// those of its home bucket. Keys share counters, so a count is an upper bound, of use where a
// cache is so small that most keys share theirs with one or two others.
//
// Four bits count to 15. What shortcuts of the fewest hits have grows beyond that, so a tally
// counts in units: one read in so many. When the unit doubles, hand goes over the counters and
// halves them. A bucket that is split off meanwhile may be halved once too often.
type tally struct {
	mem   region
	words []uint64 // of two buckets each
	unit  float64  // reads for each count: 1, 2, 4, ...
	hand  uint64   // buckets from it on still count in half the unit; noHand: none
}

const (
	tallyBytes = 4 // of a bucket
	tallyMost  = 15
	// The unit doubles when the hits that are to be exceeded reach so many of it.
	tallyFull = 11

	noHand = ^uint64(0)
)

// newTally returns a tally for so many buckets at most.
func newTally(buckets int) (*tally, error) {
	mem, err := newRegion(buckets * tallyBytes)
	if err != nil {
		return nil, err
	}
	if err := mem.commit(minBuckets * tallyBytes); err != nil {
		mem.close()
		return nil, err
	}
	return &tally{mem: mem, words: mem.words, unit: 1, hand: noHand}, nil
}

// tallySize is the memory that the counters of so many buckets may touch.
func tallySize(buckets uint64) int { return roundUp(int(buckets)*tallyBytes, osPage) }

// reset forgets all reads; there were so many buckets.
func (y *tally) reset(buckets uint64) {
	y.mem.release(0, tallySize(buckets))
	y.unit, y.hand = 1, noHand
}

// slot returns a hash's word and the position in it of its counter.
func (y *tally) slot(b, hash uint64) (word *uint64, shift uint64) {
	return &y.words[b/2], b%2*32 + hash>>32%8*4
}

// unitOf returns the reads for each count in a bucket.
func (y *tally) unitOf(b uint64) float64 {
	if b >= y.hand {
		return y.unit / 2
	}
	return y.unit
}

// read counts a read of a hash with home bucket b and returns how many there were. draw is 32
// random bits.
func (y *tally) read(b, hash uint64, draw uint32) float64 {
	w, shift := y.slot(b, hash)
	n, unit := *w>>shift&tallyMost, y.unitOf(b)
	if n < tallyMost && float64(draw)*unit < 1<<32 {
		*w += 1 << shift
		n++
	}
	return float64(n) * unit
}

// less takes hits off a hash's counter: its key has an entry now.
func (y *tally) less(b, hash uint64, hits float64) {
	w, shift := y.slot(b, hash)
	n := min(*w>>shift&tallyMost, uint64(hits/y.unitOf(b)))
	*w -= n << shift
}

// atLeast makes a hash's counter stand for so many hits: its key has no entry any more.
func (y *tally) atLeast(b, hash uint64, hits float64) {
	w, shift := y.slot(b, hash)
	n := *w >> shift & tallyMost
	*w += (max(n, min(uint64(hits/y.unitOf(b)), tallyMost)) - n) << shift
}

// follow doubles the unit when that is needed to tell what exceeds so many hits, and goes on with
// what that takes, a few buckets a call.
func (y *tally) follow(hits float64, buckets uint64, draw uint32) {
	if y.hand >= buckets {
		if y.hand = noHand; hits < tallyFull*y.unit {
			return
		}
		y.unit *= 2
		y.hand = 0
	}
	for range min(passBuckets, buckets-y.hand) {
		y.scale(y.hand, 0.5, draw)
		draw = draw*1664525 + 1013904223
		y.hand++
	}
}

// scale multiplies a bucket's counters with keep. What is no whole number is rounded up if draw,
// 32 random bits, says so: the mean stays right.
func (y *tally) scale(b uint64, keep float64, draw uint32) {
	w := &y.words[b/2]
	for shift := b % 2 * 32; shift < b%2*32+32; shift += 4 {
		n := *w >> shift & tallyMost
		to := uint64(float64(n)*keep + float64(draw)/(1<<32))
		*w -= (n - min(n, to)) << shift
	}
}

// split gives a new bucket the counts of the one that it was a part of.
func (y *tally) split(from, to uint64) error {
	if err := y.mem.commit(int(to+1) * tallyBytes); err != nil {
		return err
	}
	const half = 1<<32 - 1
	counts := y.words[from/2] >> (from % 2 * 32) & half
	at := to % 2 * 32
	y.words[to/2] = y.words[to/2]&^(half<<at) | counts<<at
	return nil
}
