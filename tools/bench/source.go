package bench

import (
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/dinomo-kv/dinomo/internal/zipf"
	"github.com/dinomo-kv/dinomo/tools/bench/command"
)

// deed is what an operation of a workload does with its key.
type deed uint8

const (
	read deed = iota
	put
	update
	insert
	// readModifyWrite is a get, and when that has ended a put of the same key: one operation.
	readModifyWrite
	// scan is gets of so many keys from its key on: one operation.
	scan
)

func (d deed) writes() bool { return d != read && d != scan }

// task is one operation to do.
type task struct {
	deed  deed
	key   uint64 // its number
	count int    // of a scan
}

// source says what to do next. It is used by one goroutine at a time.
type source interface {
	// next returns the next task, or false when there are no more.
	next() (task, bool)
	// ended says that a task was done, well or not.
	ended(task)
}

// naming turns a key's number into the key.
type naming func(uint64) string

// plain is Dinomo's naming, padded is Anna's: at least 8 digits.
func plain(n uint64) string { return strconv.FormatUint(n, 10) }

func padded(n uint64) string {
	if n < 100_000_000 {
		return strconv.FormatUint(100_000_000+n, 10)[1:]
	}
	return plain(n)
}

// silent is embedded by sources that do not care what became of their tasks.
type silent struct{}

func (silent) ended(task) {}

// inOrder does one thing with each key of a range.
type inOrder struct {
	silent
	deed deed
	left command.KeyRange
}

func (s *inOrder) next() (task, bool) {
	if s.left.Len() == 0 {
		return task{}, false
	}
	s.left.First++
	return task{deed: s.deed, key: s.left.First - 1}, true
}

// drawing draws keys 1 to n by Zipf's law: key k comes with the probability of rank k, as in the first Dinomo.
type drawing struct {
	sampler *zipf.Sampler
	rng     *rand.Rand
}

func newDrawing(keys uint64, theta float64, rng *rand.Rand) (*drawing, error) {
	s, err := zipf.NewSampler(keys, theta)
	if err != nil {
		return nil, fmt.Errorf("draw keys: %w", err)
	}
	return &drawing{s, rng}, nil
}

func (d *drawing) key() uint64 { return d.sampler.Next(d.rng) + 1 }

// sequence is a list of key numbers, packed into 4 bytes each where they fit.
type sequence struct {
	small []uint32
	large []uint64
}

// draw fills a sequence of a length.
func draw(d *drawing, length uint64) *sequence {
	if d.sampler.Ranks() < 1<<32 {
		s := &sequence{small: make([]uint32, length)}
		for i := range s.small {
			s.small[i] = uint32(d.key())
		}
		return s
	}
	s := &sequence{large: make([]uint64, length)}
	for i := range s.large {
		s.large[i] = d.key()
	}
	return s
}

func (s *sequence) len() int { return max(len(s.small), len(s.large)) }

func (s *sequence) at(i int) uint64 {
	if s.small != nil {
		return uint64(s.small[i])
	}
	return s.large[i]
}

// remembered reads a sequence from beginning to end.
type remembered struct {
	silent
	keys *sequence
	at   int
}

func (s *remembered) next() (task, bool) {
	if s.at == s.keys.len() {
		return task{}, false
	}
	s.at++
	return task{deed: read, key: s.keys.at(s.at - 1)}, true
}

// mix reads with a probability, and else updates or inserts. It never ends.
type mix struct {
	silent
	rng       *rand.Rand
	readRatio float64
	pick      func() uint64
	insert    func() uint64 // the next fresh key; nil: writes are updates of picked keys
}

func (s *mix) next() (task, bool) {
	switch {
	case s.rng.Float64() < s.readRatio:
		return task{deed: read, key: s.pick()}, true
	case s.insert != nil:
		return task{deed: insert, key: s.insert()}, true
	}
	return task{deed: update, key: s.pick()}, true
}

// around returns a pick that works through a sequence again and again.
func around(keys *sequence) func() uint64 {
	i := -1
	return func() uint64 {
		if i++; i == keys.len() {
			i = 0
		}
		return keys.at(i)
	}
}

// annaMix is Anna's LOAD: for each drawn key a get, a put, or a put and then a get.
type annaMix struct {
	silent
	kind   command.AnnaKind
	pick   func() uint64
	again  uint64 // the key whose get is due
	gotTwo bool
}

func (s *annaMix) next() (task, bool) {
	switch {
	case s.kind == command.AnnaGet:
		return task{deed: read, key: s.pick()}, true
	case s.gotTwo:
		s.gotTwo = false
		return task{deed: read, key: s.again}, true
	}
	s.again, s.gotTwo = s.pick(), s.kind == command.AnnaPutGet
	return task{deed: put, key: s.again}, true
}

// freshKeys numbers the keys that a thread inserts so that no two threads of any node meet: above a base, each thread
// takes every threads-th.
type freshKeys struct {
	base         uint64
	lane, lanes  uint64
	inserted     uint64
	acknowledged uint64          // the first so many are; kept up by done
	outOfOrder   map[uint64]bool // acknowledged beyond that
}

// take returns the next fresh key.
func (f *freshKeys) take() uint64 {
	f.inserted++
	return f.at(f.inserted - 1)
}

// at returns the i-th key of this thread.
func (f *freshKeys) at(i uint64) uint64 { return f.base + 1 + i*f.lanes + f.lane }

// done notes that an insert has ended.
func (f *freshKeys) done(key uint64) {
	i := (key - f.base - 1 - f.lane) / f.lanes
	f.outOfOrder[i] = true
	for f.outOfOrder[f.acknowledged] {
		delete(f.outOfOrder, f.acknowledged)
		f.acknowledged++
	}
}
