package dpm

import (
	"sync"
	"sync/atomic"

	"github.com/dinomo-kv/dinomo/dpm/format"
)

// streamKey names the log of one KN thread of one process.
type streamKey struct {
	rank        uint16
	incarnation uint32
	thread      uint16
}

// stream is one KN thread's log as the merge workers see it: its segments from the oldest that is not
// done with, in log order.
type stream struct {
	key streamKey
	// settled: replicated entries with lower sequence numbers will have no CAS any more.
	settled atomic.Uint64

	// mu is held by who merges the stream, seals its segments or changes its list.
	// Lock order: stream.mu before Pool.mu.
	mu struct {
		sync.Mutex
		segments []format.SegmentID
		next     uint64 // sequence of the next entry to merge; 0: the first entry decides
		order    uint64 // of the segment handed out last
		broken   error  // damage that stops the stream, nil otherwise
	}
}

// streamOf returns the stream of that name, making it if there is none.
func (p *Pool) streamOf(key streamKey) *stream {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.mu.streams[key]
	if s == nil {
		s = &stream{key: key}
		p.mu.streams[key] = s
		p.mu.streamList = append(p.mu.streamList, s)
	}
	return s
}

// streams returns all streams, oldest first.
func (p *Pool) streams() []*stream {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.streamList[:len(p.mu.streamList):len(p.mu.streamList)]
}

// streamsOf returns the streams of a rank whose incarnation is at most upTo.
func (p *Pool) streamsOf(rank uint16, upTo uint32) []*stream {
	var of []*stream
	for _, s := range p.streams() {
		if s.key.rank == rank && s.key.incarnation <= upTo {
			of = append(of, s)
		}
	}
	return of
}

// dropStream forgets a dead incarnation's stream that has nothing left to merge.
func (p *Pool) dropStream(s *stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.mu.streams, s.key)
	kept := make([]*stream, 0, len(p.mu.streamList)) // readers hold the old slice
	for _, other := range p.mu.streamList {
		if other != s {
			kept = append(kept, other)
		}
	}
	p.mu.streamList = kept
}

// unmerged counts the segments that are not complete. REQUIRES: s.mu.
func (s *stream) unmerged(p *Pool) (n int) {
	for _, id := range s.mu.segments {
		if !p.segments[id].complete() {
			n++
		}
	}
	return n
}

// forgetComplete takes complete segments off the front of the list. From here on they live by what the
// index says, unless they are held. REQUIRES: s.mu.
func (s *stream) forgetComplete(p *Pool) {
	n := 0
	for n < len(s.mu.segments) && p.segments[s.mu.segments[n]].complete() {
		n++
	}
	if n == 0 {
		return
	}
	p.mu.Lock()
	for _, id := range s.mu.segments[:n] {
		p.segments[id].streamed = false
	}
	p.mu.Unlock()
	s.mu.segments = append(s.mu.segments[:0], s.mu.segments[n:]...)
	p.wakeReclaimer()
}

// release ends all holds on the stream's segments.
func (p *Pool) release(key streamKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.segments {
		s := &p.segments[i]
		h := &s.header
		if s.held != holdNone && h.Rank == key.rank && h.Incarnation == key.incarnation && h.Thread == key.thread {
			s.held = holdNone
		}
	}
}
