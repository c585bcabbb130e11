package nemesis

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
)

// keys is the key space: a few hot keys that everybody fights for, some of them sets, some warm ones, many cold ones.
//
// The checker's time and memory grow with the square of a key's operations, so a hot key is put aside after hotLife
// operations and a fresh one takes its place. Warm keys live through the whole run. A set is put aside when the outcome of a write to it is
// not known: such a write may have happened at any time since, which of a set no read can rule out, and a few dozen of them would take the
// checker for ever.
type keys struct {
	cold int
	hot  [hotKeys]atomic.Int64 // operations ever chosen at each place
}

const (
	hotKeys  = 6
	hotSets  = 2 // of the hot keys, the last hold sets
	warmKeys = 48
	hotLife  = 8000
)

// choose picks a key.
func (k *keys) choose(rng *rand.Rand) string {
	switch p := rng.IntN(10); {
	case p < 3:
		return k.useHot(rng.IntN(hotKeys))
	case p < 5:
		return warmKey(rng.IntN(warmKeys))
	}
	return coldKey(rng.IntN(k.cold))
}

// several picks n different keys.
func (k *keys) several(rng *rand.Rand, n int) []string {
	chosen := make([]string, 0, n)
	seen := map[string]bool{}
	for tries := 0; len(chosen) < n && tries < 4*n; tries++ {
		if key := k.choose(rng); !seen[key] {
			seen[key] = true
			chosen = append(chosen, key)
		}
	}
	return chosen
}

func (k *keys) useHot(place int) string { return hotKey(place, k.hot[place].Add(1)/hotLife) }

// hotNow returns the hot key at a place, without using it.
func (k *keys) hotNow(place int) string { return hotKey(place, k.hot[place].Load()/hotLife) }

// retire puts a hot key aside.
func (k *keys) retire(key string) {
	for place := range hotKeys {
		for used := k.hot[place].Load(); hotKey(place, used/hotLife) == key; used = k.hot[place].Load() {
			k.hot[place].CompareAndSwap(used, (used/hotLife+1)*hotLife)
		}
	}
}

func hotKey(place int, generation int64) string {
	if place >= hotKeys-hotSets {
		return setPrefix + strconv.Itoa(place) + "." + strconv.FormatInt(generation, 10)
	}
	return "hot" + strconv.Itoa(place) + "." + strconv.FormatInt(generation, 10)
}

// setPrefix begins the names of keys that hold sets.
const setPrefix = "set"

// isSet says whether a key holds a set.
func isSet(key string) bool { return strings.HasPrefix(key, setPrefix) }

func warmKey(i int) string { return "warm" + strconv.Itoa(i) }

func coldKey(i int) string { return "cold" + strconv.Itoa(i) }

// all lists every key that was ever used.
func (k *keys) all() []string {
	var all []string
	for place := range hotKeys {
		for g := int64(0); g <= k.hot[place].Load()/hotLife; g++ {
			all = append(all, hotKey(place, g))
		}
	}
	for i := range warmKeys {
		all = append(all, warmKey(i))
	}
	for i := range k.cold {
		all = append(all, coldKey(i))
	}
	return all
}
