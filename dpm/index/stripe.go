package index

import (
	"slices"
	"sync"

	"github.com/dinomo-kv/dinomo/dpm/format"
)

// StripesLog2 is the binary logarithm of the number of locks. A table has at least as many
// buckets as there are stripes, and a stripe covers the same keys whatever the table's size.
const StripesLog2 = 10

const stripes = 1 << StripesLog2

// stripe guards the writing of a contiguous range of main buckets and their chains, and remembers
// what merge workers have under way there.
type stripe struct {
	mu sync.Mutex
	// busy are empty slots that must not be reserved. Few: a linear search beats a map.
	busy []busySlot
	// links are overflow buckets that are written but not linked yet, because no fence has passed.
	links []pendingLink
	// marked is the id of the newest table whose buckets are marked as moved here.
	marked uint64
	_      [40]byte // keeps the next stripe's lock out of this one's cache lines
}

// busySlot is an empty slot (its pointer word's offset) that is spoken for.
type busySlot struct {
	slot uint64
	// freed is 0 when a batch has reserved the slot and will publish it, else the ticket under
	// which it was freed, to be released by a fence (IDX-2).
	freed uint64
}

// pendingLink: the bucket at from is to be followed by the one at to.
type pendingLink struct{ from, to uint64 }

func stripeOf(hash uint64) int { return int(format.BucketNumber(hash, StripesLog2)) }

// find returns the index in busy of a slot, or -1.
func (s *stripe) find(slot uint64) int {
	return slices.IndexFunc(s.busy, func(b busySlot) bool { return b.slot == slot })
}

// reserve marks the empty slot as spoken for.
func (s *stripe) reserve(slot uint64) {
	if i := s.find(slot); i >= 0 {
		s.busy[i].freed = 0
		return
	}
	s.busy = append(s.busy, busySlot{slot: slot})
}

// free marks the slot, just emptied, as not reusable until release.
func (s *stripe) free(slot, ticket uint64) {
	s.busy = append(s.busy, busySlot{slot: slot, freed: ticket})
}

// forget takes a reservation back: the slot is published.
func (s *stripe) forget(slot uint64) {
	if i := s.find(slot); i >= 0 {
		s.drop(i)
	}
}

// release makes a freed slot reusable, unless it was reserved or freed anew since.
func (s *stripe) release(slot, ticket uint64) {
	if i := s.find(slot); i >= 0 && s.busy[i].freed == ticket {
		s.drop(i)
	}
}

func (s *stripe) drop(i int) {
	last := len(s.busy) - 1
	s.busy[i] = s.busy[last]
	s.busy = s.busy[:last]
}

// linkFrom returns the pending successor of the bucket at from, 0 when there is none.
func (s *stripe) linkFrom(from uint64) uint64 {
	for _, l := range s.links {
		if l.from == from {
			return l.to
		}
	}
	return 0
}

// linkTo returns the pending link that leads to the bucket at to.
func (s *stripe) linkTo(to uint64) (link pendingLink, ok bool) {
	i := slices.IndexFunc(s.links, func(l pendingLink) bool { return l.to == to })
	if i < 0 {
		return pendingLink{}, false
	}
	return s.links[i], true
}

func (s *stripe) dropLink(link pendingLink) {
	s.links = slices.DeleteFunc(s.links, func(l pendingLink) bool { return l == link })
}
