package replay

import (
	"fmt"
	"math"

	"github.com/dinomo-kv/dinomo/dac"
	"github.com/dinomo-kv/dinomo/internal/random"
	"github.com/dinomo-kv/dinomo/internal/zipf"
)

// looks is how often learnable looks at the counts.
const looks = 8

// learnable sets what a cache without any overhead would need that remembers how often every key
// was read, for ever, and knows how popular keys with so many reads are on average, but not
// which of them are more so: it holds the best choice of such classes of keys. No policy that
// learns popularity from the reads alone can expect to need less, so what is above the optimum
// here is no policy's fault. It is the mean over the second half of the operations; where
// popularity is reshuffled, over one period, with counts from its beginning: as if a policy knew
// at once that it was. goals are of one law.
func learnable(cfg *GoalsConfig, goals []*Goal) error {
	theta, loaded, from, to := goals[0].theta, goals[0].loaded, cfg.Ops/2, cfg.Ops
	if goals[0].period > 0 {
		loaded, from, to = true, 0, min(goals[0].period, cfg.Ops)
	}
	sampler, err := zipf.NewSampler(cfg.Keys, theta)
	if err != nil {
		return fmt.Errorf("learnable part of %s: %w", goals[0].law, err)
	}
	shares := make([]float64, cfg.Keys)
	total := zipf.Weight(cfg.Keys, theta)
	for i := range shares {
		shares[i] = math.Pow(float64(i+1), -theta) / total
	}
	rng := random.New(cfg.Seed)
	counts := make([]int, cfg.Keys)
	op := uint64(0)
	for look := range uint64(looks) {
		for ; op < from+(2*look+1)*(to-from)/(2*looks); op++ {
			counts[sampler.Next(rng)]++
		}
		classes := countClasses(counts, shares, cfg.ValueBytes, loaded)
		for _, g := range goals {
			g.Learnable += Optimum(classes, g.CacheBytes, g.MissCost).RoundTrips / looks
		}
	}
	return nil
}

// countClasses returns one Key for all keys read equally often, with their mean share. Keys
// that were neither read nor written are none that a cache could hold.
func countClasses(counts []int, shares []float64, valueBytes int, loaded bool) []Key {
	class := map[int]int{}
	var keys []Key
	for i, n := range counts {
		k, ok := class[n]
		if !ok {
			k = len(keys)
			class[n] = k
			keys = append(keys, Key{})
			keys[k].ShortcutBytes, keys[k].ValueBytes = dac.EntryBytes(8, valueBytes)
			if n == 0 && !loaded {
				keys[k].ShortcutBytes, keys[k].ValueBytes = math.MaxInt32, math.MaxInt32
			}
		}
		keys[k].Share += shares[i]
		keys[k].Count++
	}
	for i := range keys {
		keys[i].Share /= float64(keys[i].Count)
	}
	return keys
}
