package client

import (
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/dinomo-kv/dinomo/messages"
)

// ways is how many keys one line of the address cache has room for: what makes it 64 bytes, a line of the processor's cache.
// BenchmarkAddressCache shows what a lookup costs.
const ways = 5

// keysPerLine is how full lines are on average before there are more of them. A line that is too full makes the cache forget keys
// again and again, each time at the price of a question: at two a line, one key in a hundred; at half of that, one in a thousand.
const keysPerLine = 2

// maxOwnerSets bounds the distinct lists of owners that are known at a time. A cluster has about one for each thread, and
// some for replicated keys.
const maxOwnerSets = 1 << 14

// maxOwnersOfKey bounds what a server may tell us about one key.
const maxOwnersOfKey = 4096

// addressCache remembers the owners of keys, by the keys' hashes: 32 to 64 bytes a key, no pointers, bounded. It is a hint and
// is wrong after every change of ownership, so two keys with one hash may share an entry: the worst that can
// come of it is a WRONG_THREAD. A full line loses a random entry.
//
// The lists of owners themselves are few; each is kept once, in sets.
type addressCache struct {
	lines    []cacheLine // a power of two
	used     int
	most     int // lines at most
	rng      *rand.Rand
	sets     [][]string        // by number - 1
	numberOf map[string]uint32 // joined addresses -> number
}

type cacheLine struct {
	hash [ways]uint64
	set  [ways]uint32 // 0: free
	_    uint32
}

func newAddressCache(keys int, rng *rand.Rand) *addressCache {
	c := &addressCache{most: 1, rng: rng}
	for c.most*ways < keys {
		c.most *= 2
	}
	c.clear()
	return c
}

// clear forgets everything.
func (c *addressCache) clear() {
	c.lines = make([]cacheLine, min(c.most, 64))
	c.used = 0
	c.sets, c.numberOf = nil, make(map[string]uint32)
}

func (c *addressCache) line(hash uint64) *cacheLine {
	return &c.lines[hash&uint64(len(c.lines)-1)]
}

// lookup returns the owners' addresses, or nothing. The caller must not change them.
func (c *addressCache) lookup(hash uint64) []string {
	l := c.line(hash)
	for i := range ways {
		if l.hash[i] == hash && l.set[i] != 0 {
			return c.sets[l.set[i]-1]
		}
	}
	return nil
}

// forget drops what is known about a key.
func (c *addressCache) forget(hash uint64) {
	l := c.line(hash)
	for i := range ways {
		if l.hash[i] == hash && l.set[i] != 0 {
			l.set[i] = 0
			c.used--
		}
	}
}

// forgetOwner drops what is known about every key that an address owns.
func (c *addressCache) forgetOwner(address string) {
	for i, set := range c.sets {
		if slices.Contains(set, address) {
			delete(c.numberOf, strings.Join(set, " "))
			c.sets[i] = nil // lookups find nothing under this number any more, and nobody gets it again
		}
	}
}

// learn notes a key's owners and reports whether they make sense: at least one, all of them addresses. The strings may
// alias a received frame.
func (c *addressCache) learn(hash uint64, owners []string) bool {
	number, ok := c.intern(owners)
	if !ok {
		return false
	}
	if c.used >= keysPerLine*len(c.lines) && len(c.lines) < c.most {
		c.grow()
	}
	c.put(hash, number)
	return true
}

func (c *addressCache) put(hash uint64, number uint32) {
	l := c.line(hash)
	at := -1
	for i := range ways {
		switch {
		case l.set[i] != 0 && l.hash[i] == hash:
			l.set[i] = number
			return
		case l.set[i] == 0:
			at = i
		}
	}
	if at < 0 {
		at = c.rng.IntN(ways)
	} else {
		c.used++
	}
	l.hash[at], l.set[at] = hash, number
}

func (c *addressCache) grow() {
	old := c.lines
	c.lines, c.used = make([]cacheLine, 2*len(old)), 0
	for i := range old {
		for j := range ways {
			if old[i].set[j] != 0 {
				c.put(old[i].hash[j], old[i].set[j])
			}
		}
	}
}

// intern returns the number of a list of owners.
func (c *addressCache) intern(owners []string) (uint32, bool) {
	if len(owners) == 0 || len(owners) > maxOwnersOfKey {
		return 0, false
	}
	joined := owners[0]
	if len(owners) > 1 {
		joined = strings.Join(owners, " ")
	}
	if n, ok := c.numberOf[joined]; ok {
		return n, true
	}
	for _, o := range owners {
		if _, err := messages.ParseAddress(o); err != nil {
			return 0, false
		}
	}
	if len(c.sets) >= maxOwnerSets {
		c.clear() // somebody is making them up, or the cluster has changed for months; start over
	}
	kept := strings.Clone(joined)
	c.sets = append(c.sets, strings.Split(kept, " "))
	n := uint32(len(c.sets))
	c.numberOf[kept] = n
	return n, true
}
