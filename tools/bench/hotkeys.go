package bench

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/dinomo-kv/dinomo/messages"
)

// hotKeyCandidates is how many keys are followed at a time, and hotKeysReported how many of them a feedback names. A key that
// has more than one in hotKeyCandidates of the observed operations is among the candidates for sure (Misra and
// Gries, "Finding repeated elements", 1982).
const (
	hotKeyCandidates = 512
	hotKeysReported  = 64
)

// hotKeyEvery is the share of operations that are observed: one in so many. What it looks for is frequent.
const hotKeyEvery = 8

// hotKeys finds the most frequent keys of a period and their mean latency. The first Dinomo reports every key it touched;
// that grows with the load, and only hot ones matter to those who read it.
type hotKeys struct {
	tick    int
	entries map[string]*hotKey
}

type hotKey struct {
	weight int // what is left after the candidates cancelled each other out
	seen   int
	sum    time.Duration
}

func newHotKeys() *hotKeys { return &hotKeys{entries: make(map[string]*hotKey)} }

// observe counts one operation now and then.
func (h *hotKeys) observe(key string, d time.Duration) {
	if h.tick++; h.tick%hotKeyEvery != 0 {
		return
	}
	e, ok := h.entries[key]
	if !ok {
		if len(h.entries) >= hotKeyCandidates {
			h.cancel()
			return
		}
		e = &hotKey{}
		h.entries[strings.Clone(key)] = e
	}
	e.weight++
	e.seen++
	e.sum += d
}

// cancel takes one from each candidate, against the newcomer that found no place.
func (h *hotKeys) cancel() {
	for key, e := range h.entries {
		if e.weight--; e.weight == 0 {
			delete(h.entries, key)
		}
	}
}

// take returns the hottest keys with their mean latencies in microseconds, hottest first, and starts over.
func (h *hotKeys) take() []*messages.KeyLatency {
	type ranked struct {
		key string
		*hotKey
	}
	var all []ranked
	for key, e := range h.entries {
		all = append(all, ranked{key, e})
	}
	slices.SortFunc(all, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), strings.Compare(a.key, b.key))
	})
	var out []*messages.KeyLatency
	for _, r := range all[:min(len(all), hotKeysReported)] {
		mean := float64(r.sum) / float64(r.seen) / float64(time.Microsecond)
		out = append(out, &messages.KeyLatency{Key: r.key, Latency: mean})
	}
	clear(h.entries)
	return out
}
