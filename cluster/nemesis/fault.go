package nemesis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// fault is a kind of thing that goes wrong.
type fault struct {
	name   string
	weight int  // how often it is chosen, beside the others
	cuts   bool // it needs links
	// make makes it happen, and says to whom. Then end, if it is not nil, is called after the fault's length.
	make func(ctx context.Context, w *world, d draw) (to string, end func(context.Context) error, err error)
}

// draw is what chance decided about one fault. Which node it hits follows from draw and from which nodes there are.
type draw struct {
	number  int
	fault   *fault
	after   time.Duration // since the fault before
	length  time.Duration
	a, b, c uint64
}

// errNotNow: there is nobody to be hit at the moment.
var errNotNow = errors.New("nobody to be hit now")

// faults lists all kinds.
var faults = slices.Concat(processFaults, memberFaults, linkFaults)

// Names lists the kinds of fault.
func Names() []string {
	var names []string
	for _, f := range faults {
		names = append(names, f.name)
	}
	return names
}

// schedule draws faults one after the other.
type schedule struct {
	rng    *rand.Rand
	o      *Options
	chosen []*fault
	total  int
	count  int
}

// newSchedule chooses among the named faults, all if there are no names, that can be made.
func newSchedule(o *Options, rng *rand.Rand, canCut bool) (*schedule, error) {
	s := &schedule{rng: rng, o: o}
	for i := range faults {
		f := &faults[i]
		wanted := len(o.Faults) == 0 || slices.Contains(o.Faults, f.name)
		switch {
		case !wanted:
		case f.cuts && !canCut && len(o.Faults) > 0:
			return nil, fmt.Errorf("fault %s: %w", f.name, ErrNoFilter)
		case f.cuts && !canCut:
		default:
			s.chosen = append(s.chosen, f)
			s.total += f.weight
		}
	}
	return s, nil
}

// next draws a fault. It takes the same number of random words each time, whatever they mean.
func (s *schedule) next() draw {
	s.count++
	pick := s.rng.IntN(s.total)
	d := draw{number: s.count, a: s.rng.Uint64(), b: s.rng.Uint64(), c: s.rng.Uint64()}
	d.after = min(time.Duration(s.rng.ExpFloat64()*float64(s.o.Pause)), 4*s.o.Pause)
	// Lengths around the lease, where the protocol has to decide, and up to the longest.
	d.length = s.o.Lease/8 + time.Duration(s.rng.Float64()*2*float64(s.o.Lease))
	if s.rng.IntN(3) == 0 {
		d.length += time.Duration(s.rng.Float64() * float64(s.o.Longest))
	}
	d.length = min(d.length, s.o.Longest)
	for _, f := range s.chosen {
		if pick -= f.weight; pick < 0 {
			d.fault = f
			break
		}
	}
	return d
}

// pick takes one of several by a random word.
func pick[T any](word uint64, from []T) (T, bool) {
	var none T
	if len(from) == 0 {
		return none, false
	}
	return from[word%uint64(len(from))], true
}
