package dpm

import "github.com/dinomo-kv/dinomo/dpm/format"

// SizeInfo says that a pool is small for the threads that write to it, and what would do.
type SizeInfo struct {
	Threads        int
	Segments       int // of the pool
	WantedSegments int
	SegmentBytes   uint64
	WantedBytes    uint64 // of a pool with so many segments
}

// threadSegments is how many segments a busy thread has: one that it writes to, and as many ahead as it asks for by default.
const threadSegments = 3

// attached counts the threads with a log whose nodes live.
func (p *Pool) attached() (n int) {
	for _, s := range p.streams() {
		if p.standingOf(s.key) == ownerLives {
			n++
		}
	}
	return n
}

// reserveFor returns how many segments puts leave alone when so many threads are attached: those of the reserve, and at least what
// compaction needs and one for the deletes of each, within a quarter of the pool.
func (p *Pool) reserveFor(threads int) int {
	return max(p.reserve, min(compactionKeeps+threads, len(p.segments)/4))
}

// checkSize tells when the pool cannot give each of so many threads what it asks for, beside the reserve and the index: then puts
// meet NO_SPACE in a pool that holds hardly anything. It tells each number of threads once.
func (p *Pool) checkSize(threads int) {
	wanted := threadSegments*threads + max(p.reserve, compactionKeeps+threads) + len(p.index.Segments())
	p.mu.Lock()
	tell := wanted > len(p.segments) && threads > p.mu.toldThreads
	if tell {
		p.mu.toldThreads = threads
	}
	p.mu.Unlock()
	if !tell {
		return
	}
	shape := p.layout.Shape
	shape.Segments = uint32(wanted)
	info := SizeInfo{Threads: threads, Segments: len(p.segments), WantedSegments: wanted, SegmentBytes: shape.SegmentBytes}
	if l, err := format.NewLayout(shape, p.layout.Salt); err == nil {
		info.WantedBytes = l.TotalBytes
	}
	p.o.Events.SmallPool(info)
}
