package replay

import (
	"cmp"
	"slices"
)

// Key is one key's share of the reads and what its entries would cost, or that of each of Count
// keys that are all alike.
type Key struct {
	Share                     float64
	ShortcutBytes, ValueBytes int
	Count                     int // 0 is 1
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
	total := 0.0
	steps := make([]gain, 0, 2*len(keys))
	for _, k := range keys {
		total += k.Share * float64(k.count())
		steps = k.steps(steps, missCost)
	}
	slices.SortFunc(steps, func(a, b gain) int {
		return cmp.Compare(b.saves*float64(a.bytes), a.saves*float64(b.bytes))
	})
	best := Best{RoundTrips: missCost}
	left := float64(budget)
	for _, s := range steps {
		fits := min(float64(s.count), left/float64(max(s.bytes, 1)))
		best.RoundTrips -= fits * s.saves / total
		left -= fits * float64(s.bytes)
		best.Values += int(fits) * s.values
		best.Shortcuts += int(fits) * s.shortcuts
		if fits < float64(s.count) {
			break
		}
	}
	if best.RoundTrips < 1e-12 {
		best.RoundTrips = 0 // everything fits; the rest is rounding
	}
	return best
}

// gain is something to cache: what it saves a read, what it takes, and how often it can be
// taken.
type gain struct {
	saves             float64
	bytes, count      int
	values, shortcuts int // entries that taking it adds
}

func (k *Key) count() int { return max(k.Count, 1) }

// steps appends a key's steps: its shortcut and what its value saves more, or, where the
// shortcut would save less a byte than that, the value at once.
func (k *Key) steps(to []gain, missCost float64) []gain {
	n, more, shortcut := k.count(), k.ValueBytes-k.ShortcutBytes, k.Share*(missCost-1)
	if shortcut*float64(more) > k.Share*float64(k.ShortcutBytes) {
		return append(to, gain{shortcut, k.ShortcutBytes, n, 0, 1}, gain{k.Share, more, n, 1, -1})
	}
	return append(to, gain{k.Share * missCost, k.ValueBytes, n, 1, 0})
}
