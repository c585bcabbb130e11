package engine

import (
	"errors"

	"github.com/dinomo-kv/dinomo/dac"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/remote"
	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// Bounds of how many reads share their round trips; see groupSize.
const (
	maxGroup = 1024
	minGroup = 8
	// startLargest is how large values are taken to be before any was read.
	startLargest = 256 << 10
)

// plan decides for each operation what it must know of its key, and where that comes from.
func (e *Engine) plan() {
	for i := range e.ops {
		o := &e.ops[i]
		if o.after.known || o.shared != nil || o.code != messages.AnnaError_NO_ERROR {
			continue
		}
		if e.same(o) != none {
			continue // follows from the operation before, see apply
		}
		if o.kind == opGet || o.kind == opPut && e.mustKnow(o) {
			e.look(i)
		}
	}
}

// look finds out what a key holds, as far as that needs no verb, or plans a read.
func (e *Engine) look(i int) {
	o := &e.ops[i]
	if o.kind != opGet {
		o.cached = e.cache.Lookup(o.key, o.hash)
		o.cached.Value = e.arena.clone(o.cached.Value) // reads to come may move it
	}
	if o.cached.Kind == dac.Value {
		o.source = fromValue
		o.after = state{known: true, found: true, kind: lattice.Type(o.cached.Meta), value: o.cached.Value, origin: none}
		return
	}
	var pointer format.Pointer
	r := e.table.find(o.key, o.hash)
	switch {
	case r != nil && r.tombstone():
		o.source = fromUnmerged
		o.after = state{known: true, origin: none}
		return
	case r != nil: // exact, where a shortcut is a hint
		o.source, pointer = fromUnmerged, r.pointer
		if o.cached.Kind == dac.Shortcut && o.cached.Shortcut == uint64(pointer) {
			o.source = fromShortcut
		}
	case o.cached.Kind == dac.Shortcut:
		o.source, pointer = fromShortcut, format.Pointer(o.cached.Shortcut)
	default:
		o.source = fromIndex
	}
	o.read = len(e.reads)
	e.reads = append(e.reads, remote.Get{Hash: o.hash, Key: o.key, Pointer: pointer})
	e.readers = append(e.readers, i)
}

// fetch performs the planned reads, in groups that share their round trips.
func (e *Engine) fetch() {
	held := 0
	for first := 0; first < len(e.reads); {
		e.largest -= e.largest / 16
		next := min(first+e.groupSize(), len(e.reads))
		group := e.reads[first:next]
		switch {
		case !e.link.up():
			e.refuse(first, next, messages.AnnaError_TIMEOUT)
		case held > e.o.ReadBytes:
			e.refuse(first, next, messages.AnnaError_OVERLOADED)
		default:
			e.link.thread.Run(group)
			last := next == len(e.reads)
			for i := first; i < next; i++ {
				held += e.fetched(e.readers[i], &e.reads[i], !last)
			}
		}
		first = next
	}
}

// groupSize is how many reads may share round trips, so that their values stay near ReadBytes: few while values are large.
func (e *Engine) groupSize() int {
	return min(max(e.o.ReadBytes/(e.largest+1), minGroup), maxGroup)
}

func (e *Engine) refuse(first, next int, code messages.AnnaError) {
	for _, i := range e.readers[first:next] {
		e.ops[i].code = code
	}
}

// fetched takes what a read brought: for the operation, the cache and the counts. It returns the bytes that
// the batch holds for it. copied: there is another group to come, which would overwrite the value.
func (e *Engine) fetched(i int, g *remote.Get, copied bool) (held int) {
	o := &e.ops[i]
	if g.Err != nil && !errors.Is(g.Err, remote.ErrNotFound) {
		o.code = e.failed(g.Err)
		return 0
	}
	if o.source != fromIndex && !g.Shortcut { // a shortcut that led nowhere, or to another key's entry
		if o.source == fromShortcut {
			e.cache.Invalidate(o.key, o.hash)
		}
		o.source = fromIndex
	}
	if o.kind == opGet {
		e.counters.RoundTripsRead += uint64(g.RoundTrips)
		if o.source == fromIndex {
			e.counters.RoundTripsMiss += uint64(g.RoundTrips)
		}
	} else {
		e.counters.RoundTripsWrite += uint64(g.RoundTrips)
	}
	o.after = state{known: true, origin: none}
	if g.Err != nil {
		return 0
	}
	o.after.found, o.after.kind, o.after.value = true, lattice.Type(g.Lattice), g.Value
	if copied {
		o.after.value = e.arena.clone(g.Value)
	}
	e.largest = max(e.largest, len(g.Value))
	if o.source == fromShortcut {
		e.cache.PromoteAfterShortcutHit(o.key, o.hash, g.Value, uint32(g.Lattice), uint64(g.Pointer))
	} else {
		e.cache.InsertAfterMiss(o.key, o.hash, g.Value, uint32(g.Lattice), uint64(g.Pointer), g.RoundTrips)
	}
	return len(g.Value)
}

// count counts where a get of a batch found its answer.
func (e *Engine) count(o *op) {
	switch o.source {
	case fromBatch, fromValue:
		e.counters.ValueHits++
	case fromUnmerged:
		e.counters.UnmergedHits++
	case fromShortcut:
		e.counters.ShortcutHits++
	default:
		e.counters.Misses++
	}
}
