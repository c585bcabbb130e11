package bench

import (
	"fmt"
	"math/rand/v2"

	"github.com/dinomo-kv/dinomo/tools/bench/command"
)

// maxScan is the longest scan of workload E; lengths are uniform, as in YCSB.
const maxScan = 100

// ycsb is one of the core workloads (Cooper et al., "Benchmarking cloud serving systems with YCSB", SoCC 2010):
//
//	A  50 % reads, 50 % updates
//	B  95 % reads, 5 % updates
//	C  reads
//	D  95 % reads of what was inserted lately, 5 % inserts
//	E  95 % scans, 5 % inserts
//	F  50 % reads, 50 % read-modify-writes
//
// Keys come by Zipf's law with the command's theta. The store has no order among keys, so a scan is gets of consecutive
// key numbers, sent at once; it ends with the last of them. What a thread takes for lately inserted are its own
// inserts and then the highest keys that were loaded.
type ycsb struct {
	workload byte
	keys     uint64
	draw     *drawing
	rng      *rand.Rand
	fresh    *freshKeys
}

func newYCSB(c command.YCSB, fresh *freshKeys, rng *rand.Rand) (*ycsb, error) {
	if len(c.Workload) != 1 || c.Workload[0] < 'A' || c.Workload[0] > 'F' {
		return nil, fmt.Errorf("YCSB workload %q: want A to F", c.Workload)
	}
	d, err := newDrawing(c.Keys, c.Zipf, rng)
	if err != nil {
		return nil, err
	}
	fresh.outOfOrder = make(map[uint64]bool)
	return &ycsb{workload: c.Workload[0], keys: c.Keys, draw: d, rng: rng, fresh: fresh}, nil
}

// rare says how many of a hundred operations are not reads.
func (s *ycsb) rare() float64 {
	switch s.workload {
	case 'A', 'F':
		return 0.50
	case 'C':
		return 0
	}
	return 0.05
}

func (s *ycsb) next() (task, bool) {
	rare := s.rng.Float64() < s.rare()
	switch {
	case !rare && s.workload == 'D':
		return task{deed: read, key: s.latest()}, true
	case !rare && s.workload == 'E':
		first := s.draw.key()
		return task{deed: scan, key: first, count: int(min(1+s.rng.Uint64N(maxScan), s.keys-first+1))}, true
	case !rare:
		return task{deed: read, key: s.draw.key()}, true
	case s.workload == 'F':
		return task{deed: readModifyWrite, key: s.draw.key()}, true
	case s.workload == 'D', s.workload == 'E':
		return task{deed: insert, key: s.fresh.take()}, true
	}
	return task{deed: update, key: s.draw.key()}, true
}

// latest draws a key by its age: rank 0 is the newest.
func (s *ycsb) latest() uint64 {
	age := s.draw.key() - 1
	if own := s.fresh.acknowledged; age < own {
		return s.fresh.at(own - 1 - age)
	} else {
		age -= own
	}
	return s.keys - age%s.keys
}

func (s *ycsb) ended(t task) {
	if t.deed == insert {
		s.fresh.done(t.key)
	}
}
