package replay

import (
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/dinomo-kv/dinomo/dac"
	"github.com/dinomo-kv/dinomo/dac/trace"
)

// Key is one key's share of the reads and what its entries would cost.
type Key struct {
	Share                     float64
	ShortcutBytes, ValueBytes int
}

// Best is a best static choice of what to cache.
type Best struct {
	RoundTrips        float64 // per read
	Values, Shortcuts int
}

// Optimum returns the best choice, made once and for all with perfect knowledge, of values and
// shortcuts within a budget. No overhead is charged but the entries' own bytes.
//
// Caching a key's shortcut saves share*(missCost-1) for ShortcutBytes; its value saves
// share more for the rest of ValueBytes. Taking these steps in the order of what a byte saves
// is optimal up to the last entry, whose part that fits is counted.
func Optimum(keys []Key, budget int, missCost float64) Best {
	type step struct {
		saves float64
		bytes int
		value bool // a value's step, not a shortcut's
		whole bool // a value without a shortcut's step before it
	}
	steps := make([]step, 0, 2*len(keys))
	total := 0.0
	for _, k := range keys {
		total += k.Share
		more := k.ValueBytes - k.ShortcutBytes
		if shortcut := k.Share * (missCost - 1); shortcut*float64(more) > k.Share*float64(k.ShortcutBytes) {
			steps = append(steps, step{saves: shortcut, bytes: k.ShortcutBytes},
				step{saves: k.Share, bytes: more, value: true})
		} else {
			steps = append(steps, step{saves: k.Share * missCost, bytes: k.ValueBytes, value: true, whole: true})
		}
	}
	slices.SortFunc(steps, func(a, b step) int {
		switch d := a.saves*float64(b.bytes) - b.saves*float64(a.bytes); {
		case d > 0:
			return -1
		case d < 0:
			return 1
		}
		return 0
	})
	best := Best{RoundTrips: missCost}
	for _, s := range steps {
		part := 1.0
		if s.bytes > budget {
			part = float64(budget) / float64(s.bytes)
		}
		best.RoundTrips -= part * s.saves / total
		if part < 1 {
			break
		}
		budget -= s.bytes
		switch {
		case s.whole:
			best.Values++
		case s.value:
			best.Values++
			best.Shortcuts--
		default:
			best.Shortcuts++
		}
	}
	if best.RoundTrips < 1e-12 {
		best.RoundTrips = 0 // everything fits; the rest is rounding
	}
	return best
}

// optimum finds the best choice for a trace: from the true popularity if it is stationary and
// made up, else from how often each key is read in the counted part.
func optimum(cfg *Config, total uint64) (best Best, fromTrace bool, err error) {
	law, isLaw, err := trace.ParseLaw(cfg.Trace)
	if err != nil {
		return Best{}, false, err
	}
	var keys []Key
	if isLaw && law.Stationary() {
		keys = make([]Key, 0, law.Keys)
		for key, share := range law.Popularity {
			keys = append(keys, cfg.key(share, trace.KeyBytes, law.ValueBytes(key)))
		}
	} else if keys, err = countedKeys(cfg, total); err != nil {
		return Best{}, false, err
	}
	return Optimum(keys, cfg.CacheBytes, cfg.cost()), !(isLaw && law.Stationary()), nil
}

// countedKeys reads a trace and counts the reads of each key after the warm-up.
func countedKeys(cfg *Config, total uint64) ([]Key, error) {
	index := map[uint64]int{}
	var keys []Key
	warm, done := uint64(cfg.Warmup*float64(total)), uint64(0)
	err := each(cfg.Trace, func(op *trace.Op) {
		if done++; done <= warm || op.Kind != trace.Get {
			return
		}
		h := xxhash.Sum64(op.Key)
		i, ok := index[h]
		if !ok {
			i = len(keys)
			index[h] = i
			keys = append(keys, cfg.key(0, len(op.Key), op.ValueBytes))
		}
		keys[i].Share++
	})
	return keys, err
}

func (c *Config) key(share float64, keyBytes, valueBytes int) Key {
	if valueBytes == trace.NoSize {
		valueBytes = c.ValueBytes
	}
	k := Key{Share: share}
	k.ShortcutBytes, k.ValueBytes = dac.EntryBytes(keyBytes, valueBytes)
	return k
}
