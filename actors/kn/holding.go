package kn

import (
	"bytes"

	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/internal/planted"
)

// holding is what a thread holds back while changes of ownership are prepared: the ranges, and the requests for them.
type holding struct {
	releases []*held
	requests [][]byte // frames, copied
	bytes    int
	// released are requests that were held back and are to be served, or refused, now.
	released [][]byte
	refused  uint64 // requests refused because the room was taken
}

// held is a release as the thread carries it out.
type held struct {
	release
	through uint64 // what has to be merged; 0: not asked yet
	done    bool
}

func (h *holding) begin(id string, ranges hashring.Ranges) {
	for _, r := range h.releases {
		if r.id == id {
			return
		}
	}
	h.releases = append(h.releases, &held{release: release{id: id, ranges: ranges}})
}

// has says whether a release holds the key back.
func (h *holding) has(key []byte, hash uint64) bool {
	for _, r := range h.releases {
		if r.ranges.ContainsKey(key, hash) {
			return true
		}
	}
	return false
}

// draining says whether a release waits for the pool.
func (h *holding) draining() bool {
	for _, r := range h.releases {
		if !r.done {
			return true
		}
	}
	return false
}

// keep holds a request back; false when there is no room for it.
func (h *holding) keep(frame []byte, o *Options) bool {
	if len(h.requests) >= o.HeldRequests || h.bytes+len(frame) > o.HeldBytes {
		h.refused++
		return false
	}
	h.requests = append(h.requests, bytes.Clone(frame))
	h.bytes += len(frame)
	return true
}

func (h *holding) forget(id string) {
	for i, r := range h.releases {
		if r.id == id {
			h.releases = append(h.releases[:i], h.releases[i+1:]...)
			h.free()
			return
		}
	}
}

func (h *holding) forgetAll() {
	h.releases = nil
	h.free()
}

// free has the requests served again; those that another release holds back come right back.
func (h *holding) free() {
	h.released = append(h.released, h.requests...)
	h.requests, h.bytes = nil, 0
}

// release moves the releases on: once the pool has merged what the thread wrote, the ranges leave the cache and the
// control actor is told (OWN-2).
func (t *thread) release() {
	for _, r := range t.holding.releases {
		if r.done {
			continue
		}
		done := planted.Has(planted.OldOwnerNotMerged)
		if !done {
			r.through, done = t.engine.Drain(r.through)
		}
		if !done {
			continue
		}
		r.done = true
		t.drop(r.ranges)
		t.tell(released{thread: t.number, id: r.id, merged: r.through})
	}
}
