package dac

import (
	"math/bits"

	"github.com/dinomo-kv/dinomo/internal/invariant"
)

// The table holds one 16-byte slot per entry: two words, here called mark and payload.
//
//	mark     63........................10 9   8     7......0
//	         hash >> 10                  alt value  level
//	payload  shortcut entry: the shortcut; value entry: the chunk's ref
//
// Eight slots make a bucket, two cache lines: the eight marks, then the eight payloads. Every
// hash has two buckets, its home and its alternate (alt tells which one a slot is in), so that
// nearly all slots can be filled, and a miss looks at two cache lines. The ten hash bits that a
// mark does not hold follow from the bucket's number, of which there are 1024 at least: the
// whole hash of every entry is known, as dropping a range of hashes needs it. An empty slot is
// a mark of 0: the level is never 0.
//
// The number of buckets grows and shrinks by one at a time (linear hashing: bucket i splits
// into i and i + 2^level), so no operation ever stops to rehash the whole, and memory flows to
// and from the values in small steps. Two choices even out the load between buckets that are
// split already and those that are not; with four slots to a bucket they would not above 89 %.
const (
	slotBytes   = 16
	bucketSlots = 8
	bucketWords = 16
	bucketBytes = 128

	hiddenBits = 10 // hash bits given by the bucket's number
	stateMask  = 1<<hiddenBits - 1
	altBit     = 1 << 9
	valueBit   = 1 << 8
	levelMask  = 1<<8 - 1
	tagMask    = ^uint64(valueBit | levelMask) // what identifies an entry in its bucket

	minBuckets = 1 << hiddenBits

	// entryBytes is what an entry costs in the table: the table is kept at most 16/17 full
	// (94 %), which two choices of eight slots reach with short displacement paths. With a
	// tally it would have to be 97 % full for the same price; that is reached where hardly any
	// or nearly all buckets are split, and in between extra buckets are paid for.
	entryBytes = slotBytes + 1

	// An entry that finds no slot calls for extraStep buckets. They are taken back one by one,
	// each after extraEase entries that were hard to place and found one: one in 4096 finds none.
	// Where shortcuts go for others anyway, one may as well go that was in the way: no buckets
	// are called for, and each that goes counts as extraReplaced of those entries.
	extraStep     = 16
	extraEase     = 256
	extraReplaced = 32
	extraShare    = 16 // of the buckets, the most
)

// A slotID is the number of a slot's mark among the table's words; its payload is bucketSlots on.
type slotID int

const noSlot slotID = -1

type table struct {
	mem     region
	words   []uint64 // mem.words, to save an indirection
	buckets uint64   // 2^depth + split point
	mask    uint64   // 2^(depth+1) - 1
	entries int
	path    displacement
	// tally counts reads of keys without an entry; nil where that is of no use.
	tally     *tally
	perBucket int // bytes, those of the tally included
	// extra buckets keep the table less full than its price allows, as many as it takes for
	// nearly all new entries to find a slot; easy counts signs that fewer would do.
	extra uint64
	easy  int
}

// newTable returns an empty table of at most maxBytes, with a tally or without.
func newTable(maxBytes int, tallied bool) (table, error) {
	mem, err := newRegion(maxBytes)
	if err != nil {
		return table{}, err
	}
	if err := mem.commit(minBuckets * bucketBytes); err != nil {
		mem.close()
		return table{}, err
	}
	t := table{mem: mem, words: mem.words, buckets: minBuckets, mask: 2*minBuckets - 1, perBucket: bucketBytes}
	if tallied {
		if t.tally, err = newTally(maxBytes / bucketBytes); err != nil {
			mem.close()
			return table{}, err
		}
		t.perBucket += tallyBytes
	}
	return t, nil
}

// bytes is the memory that the buckets may touch.
func (t *table) bytes() int { return t.bytesOf(t.buckets) }

// regions is how many there are, each of which ends in a page not filled.
func (t *table) regions() int {
	if t.tally != nil {
		return 2
	}
	return 1
}

// bytesOf is the memory that so many buckets may touch.
func (t *table) bytesOf(buckets uint64) int {
	n := roundUp(int(buckets)*bucketBytes, osPage)
	if t.tally != nil {
		n += tallySize(buckets)
	}
	return n
}

// bucketsFor returns how many buckets a number of entries needs at the load allowed now.
func (t *table) bucketsFor(entries int) uint64 {
	return max(minBuckets, (uint64(entries)*entryBytes+uint64(t.perBucket)-1)/uint64(t.perBucket)+t.extra)
}

// bucketsIn returns how many buckets fit so many bytes.
func (t *table) bucketsIn(bytes int) uint64 {
	n := uint64(max(bytes, 0) / t.perBucket)
	for n > minBuckets && t.bytesOf(n) > bytes {
		n--
	}
	return n
}

// alternate returns the hash whose address is the other bucket of hash. Only bits that a mark
// holds go into the difference.
func alternate(hash uint64) uint64 {
	return hash ^ (hash>>hiddenBits)*0x9e3779b97f4a7c15>>20
}

// address returns the bucket of a hash (or of an alternate hash).
func (t *table) address(x uint64) uint64 {
	b := x & t.mask
	if b >= t.buckets {
		b &= t.mask >> 1
	}
	return b
}

func (t *table) bucket(b uint64) *[bucketWords]uint64 {
	return (*[bucketWords]uint64)(t.words[b*bucketWords:])
}

func slotOf(b uint64, i int) slotID { return slotID(b*bucketWords) + slotID(i) }

func (t *table) mark(s slotID) uint64    { return t.words[s] }
func (t *table) payload(s slotID) uint64 { return t.words[s+bucketSlots] }

func (t *table) set(s slotID, mark, payload uint64) {
	t.words[s] = mark
	t.words[s+bucketSlots] = payload
}

// hash returns the whole hash of the entry in a slot.
func (t *table) hash(s slotID) uint64 {
	mark := t.words[s]
	h := mark&^stateMask | uint64(s/bucketWords)&stateMask
	if mark&altBit != 0 {
		h = h&^stateMask | alternate(h)&stateMask
	}
	return h
}

// matches collects the slots whose entry has this hash into dst: all of both buckets at most.
func (t *table) matches(hash uint64, dst *[2 * bucketSlots]slotID) []slotID {
	n := 0
	tag := hash &^ stateMask
	b := t.address(hash)
	for i, mark := range t.bucket(b)[:bucketSlots] {
		if mark&tagMask == tag && mark != 0 {
			dst[n] = slotOf(b, i)
			n++
		}
	}
	b = t.address(alternate(hash))
	for i, mark := range t.bucket(b)[:bucketSlots] {
		if mark&tagMask == tag|altBit {
			dst[n] = slotOf(b, i)
			n++
		}
	}
	return dst[:n]
}

// reset makes the table as it was when new.
func (t *table) reset() {
	t.mem.release(0, roundUp(int(t.buckets)*bucketBytes, osPage))
	if t.tally != nil {
		t.tally.reset(t.buckets)
	}
	t.setBuckets(minBuckets)
	t.entries, t.extra = 0, 0
}

// clear empties a slot.
func (t *table) clear(s slotID) {
	invariant.Check(t.words[s] != 0, "slot %d is empty already", s)
	t.set(s, 0, 0)
	t.entries--
}

// setBuckets records a new number of buckets.
func (t *table) setBuckets(n uint64) {
	t.buckets = n
	t.mask = 1<<bits.Len64(n) - 1
}

// grow adds one bucket, whose memory the caller has reserved, and moves into it what belongs
// there.
func (t *table) grow() error {
	n := t.buckets
	if err := t.mem.commit(int(n+1) * bucketBytes); err != nil {
		return err
	}
	from := splitPartner(n)
	if t.tally != nil {
		if err := t.tally.split(from, n); err != nil {
			return err
		}
	}
	t.setBuckets(n + 1)
	old, fresh := t.bucket(from), t.bucket(n)
	*fresh = [bucketWords]uint64{}
	moved := 0
	for i := range bucketSlots {
		if old[i] == 0 {
			continue
		}
		x := t.positionHash(from, old[i])
		if t.address(x) == n {
			fresh[moved], fresh[moved+bucketSlots] = old[i], old[i+bucketSlots]
			old[i], old[i+bucketSlots] = 0, 0
			moved++
		}
	}
	return nil
}

// positionHash returns the hash by which an entry with this mark lies in bucket b: its hash or
// its alternate.
func (t *table) positionHash(b, mark uint64) uint64 {
	x := mark &^ stateMask
	if mark&altBit != 0 {
		x = alternate(x)
	}
	return x&^stateMask | b&stateMask
}

// otherBucket returns the second bucket of the entry with this mark in bucket b.
func (t *table) otherBucket(b, mark uint64) uint64 {
	h := mark&^stateMask | b&stateMask
	if mark&altBit == 0 {
		return t.address(alternate(h))
	}
	// alternate is an exclusive or with bits of the mark, so it undoes itself below the
	// hidden bits and yields the home hash's low bits; the rest is in the mark.
	return t.address(h&^stateMask | alternate(h)&stateMask)
}

// usedBy is the price of so many entries, and of the room between them. The smallest table takes
// no less when there are fewer.
func (t *table) usedBy(entries int) int {
	return max(entries*entryBytes+int(t.extra)*t.perBucket, minBuckets*t.perBucket)
}

// frees reports whether the table takes less without one of its entries.
func (t *table) frees() bool { return t.usedBy(t.entries-1) < t.usedBy(t.entries) }

// loosen takes extra buckets on: an entry found no slot where there was to be one.
func (t *table) loosen() { t.extra, t.easy = min(t.extra+extraStep, t.buckets/extraShare), 0 }

// ease takes extra buckets back after so many signs that they are not needed.
func (t *table) ease(signs int) {
	if t.extra == 0 {
		return
	}
	if t.easy += signs; t.easy >= extraEase {
		t.extra, t.easy = t.extra-1, 0
	}
}

// release gives back the memory of buckets that the table had.
func (t *table) release(had uint64) {
	t.mem.release(roundUp(int(t.buckets)*bucketBytes, osPage), roundUp(int(had)*bucketBytes, osPage))
	if t.tally != nil {
		t.tally.mem.release(tallySize(t.buckets), tallySize(had))
	}
}

func (t *table) close() {
	t.mem.close()
	if t.tally != nil {
		t.tally.mem.close()
		t.tally.words = nil
	}
}
