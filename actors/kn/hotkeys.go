package kn

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"github.com/dinomo-kv/dinomo/internal/random"
)

// hotKeys counts the accesses of the most accessed keys in bounded memory: space-saving counters (Metwally et al.,
// 2005) fed with all accesses at first, then with one in 2, 4 and so on up to one in 64, so that counting costs a few
// nanoseconds a key where there is much to count, and where there is little the keys that are not hot are seen as well: a
// key is hot by comparison with them. The counter that makes way for a new key is the least of a few drawn at random rather
// than of all, also for the cost; a key with a fair share of the accesses is hardly ever among the least. Counts are estimates.
type hotKeys struct {
	rng      *rand.Rand
	skip     int    // accesses until the next one that counts
	every    uint64 // on average every so-many-th access counts, and counts as so many
	sampled  int    // since every was changed
	counters []hotCounter
	byHash   map[uint64]int32
}

// hotCounter is one key's. Keys with equal hashes count as one.
type hotCounter struct {
	hash  uint64
	key   []byte
	count uint64
	bytes uint32 // size of the value when it was last seen
}

const (
	hotCounters = 512
	hotDraws    = 8
	// hotSampling is how sparse sampling gets, hotSamples how many accesses are sampled before it gets sparser: for each
	// period 65,000 accesses are counted more densely than one in 64.
	hotSampling = 64
	hotSamples  = 1024
)

func newHotKeys(seed uint64) *hotKeys {
	return &hotKeys{rng: random.New(seed), every: 1, counters: make([]hotCounter, 0, hotCounters), byHash: make(map[uint64]int32, hotCounters)}
}

// add counts one access. It allocates nothing once its counters have been used.
func (h *hotKeys) add(key []byte, hash uint64, valueBytes int) {
	if h.skip--; h.skip < 0 { // small enough to be inlined
		h.count(key, hash, valueBytes)
	}
}

func (h *hotKeys) count(key []byte, hash uint64, valueBytes int) {
	weight := h.every
	if h.sampled++; h.sampled == hotSamples && h.every < hotSampling {
		h.every, h.sampled = 2*h.every, 0
	}
	h.skip = h.rng.IntN(2*int(h.every) - 1)
	i, ok := h.byHash[hash]
	if !ok {
		i = h.victim()
		c := &h.counters[i]
		if c.count > 0 {
			delete(h.byHash, c.hash)
		}
		h.byHash[hash] = i
		c.hash, c.key, c.bytes = hash, append(c.key[:0], key...), 0
	}
	c := &h.counters[i]
	c.count += weight
	if valueBytes > 0 {
		c.bytes = uint32(valueBytes)
	}
}

// victim returns a free counter, or one with a small count, which the new key inherits.
func (h *hotKeys) victim() int32 {
	if n := len(h.counters); n < hotCounters {
		h.counters = h.counters[:n+1] // its key's memory may be there from before a reset
		return int32(n)
	}
	least := h.rng.IntN(hotCounters)
	for range hotDraws - 1 {
		if i := h.rng.IntN(hotCounters); h.counters[i].count < h.counters[least].count {
			least = i
		}
	}
	return int32(least)
}

// hotKey is a key with its estimated accesses.
type hotKey struct {
	key      []byte
	accesses uint64
	bytes    uint32
}

// top returns copies of the most accessed keys, the most accessed first.
func (h *hotKeys) top(n int) []hotKey {
	all := make([]hotKey, 0, len(h.counters))
	for _, c := range h.counters {
		all = append(all, hotKey{key: slices.Clone(c.key), accesses: c.count, bytes: c.bytes})
	}
	slices.SortFunc(all, func(a, b hotKey) int {
		return cmp.Or(cmp.Compare(b.accesses, a.accesses), slices.Compare(a.key, b.key))
	})
	return all[:min(n, len(all))]
}

// reset forgets all counts and keeps the memory.
func (h *hotKeys) reset() {
	h.skip, h.every, h.sampled = 0, 1, 0
	for i := range h.counters {
		h.counters[i].count = 0
	}
	h.counters = h.counters[:0]
	clear(h.byHash)
}
