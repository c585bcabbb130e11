package client

import (
	"strconv"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/dinomo-kv/dinomo/internal/random"
)

var someOwners = []string{"tcp://127.0.0.1:6200"}

// known returns a cache that was told the owners of so many keys, and the keys' hashes.
func known(keys int) (*addressCache, []uint64) {
	c := newAddressCache(8<<20, random.New(1))
	hashes := make([]uint64, keys)
	for i := range hashes {
		hashes[i] = xxhash.Sum64String(strconv.Itoa(i))
		c.learn(hashes[i], someOwners)
	}
	return c, hashes
}

// TestAddressCacheForgetsFew: keys that push each other out cost questions to the routing nodes for as long as the load goes on.
// Sizes just before the cache grows are the worst.
func TestAddressCacheForgetsFew(t *testing.T) {
	for _, keys := range []int{100, 1000, 65536, 100_000, 131_000, 200_000, 262_000} {
		c, hashes := known(keys)
		asked := 0
		for range 3 {
			asked = 0
			for _, h := range hashes {
				if c.lookup(h) == nil {
					asked++
					c.learn(h, someOwners)
				}
			}
		}
		if asked > keys*3/100 {
			t.Errorf("%d of %d keys are asked for in each round, with %d lines", asked, keys, len(c.lines))
		}
	}
}

func BenchmarkAddressCache(b *testing.B) {
	c, hashes := known(200_000)
	rng := random.New(2)
	order := make([]uint64, 1<<16)
	for i := range order {
		order[i] = hashes[rng.IntN(len(hashes))]
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		c.lookup(order[i%len(order)])
	}
}
