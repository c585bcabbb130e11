package engine

import (
	"github.com/dinomo-kv/dinomo/dpm/remote"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// typeFilter answers whether a key may hold another type than LWW, so that LWW puts can do without a read. It is a
// copy of the pool's filter, which has every such key that was ever merged, and the keys that this thread has put since
// the copy was taken. Other threads cannot have put a key of ours meanwhile: what they wrote was merged before the key became
// ours, and the copy is renewed with every change of ownership.
type typeFilter struct {
	pool  remote.LatticeFilter
	stale bool
	fresh map[uint64]struct{} // hashes put with another type since the copy was taken
	limit int                 // of fresh, before the copy is renewed
}

// minFresh is how many hashes may stand beside the copy, at the least, before it is renewed. More than that may stay
// when their entries are not merged yet; as many again are then the next limit.
const minFresh = 1 << 14

func (f *typeFilter) mayHold(hash uint64) bool {
	if f.pool.MayHold(hash) {
		return true
	}
	_, ok := f.fresh[hash]
	return ok
}

// note takes a key that was put with another type.
func (f *typeFilter) note(hash uint64) {
	if f.pool.MayHold(hash) {
		return
	}
	if f.fresh == nil {
		f.fresh = make(map[uint64]struct{})
	}
	f.fresh[hash] = struct{}{}
	if len(f.fresh) > max(f.limit, minFresh) {
		f.stale = true
	}
}

// Refresh says that other threads' writes may have become ours to serve: the next batch renews what the engine keeps of
// the pool's lattice filter.
func (e *Engine) Refresh() { e.types.stale = true }

// refreshTypes renews the copy when that is due. Entries that are not merged yet may be missing in the pool's filter, so
// they stay noted.
func (e *Engine) refreshTypes() {
	f := &e.types
	if !f.stale {
		return
	}
	e.counters.RoundTripsOther++
	if err := e.link.thread.FetchFilter(&f.pool); err != nil {
		e.failed(err)
		return
	}
	clear(f.fresh)
	e.table.each(func(r *record, _ []byte) {
		if !r.tombstone() && r.kind != lattice.LWW {
			f.note(r.hash)
		}
	})
	f.stale, f.limit = false, 2*len(f.fresh)
}

// mustKnow says whether a put has to know what its key holds: always, except that an LWW put by arrival replaces
// whatever is there, if that is LWW too.
func (e *Engine) mustKnow(o *op) bool {
	if o.lattice != lattice.LWW || e.o.Lattice.Mode == lattice.Timestamp {
		return true
	}
	if r := e.table.find(o.key, o.hash); r != nil {
		return !r.tombstone() && r.kind != lattice.LWW
	}
	return e.types.mayHold(o.hash)
}
