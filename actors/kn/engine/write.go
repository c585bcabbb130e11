package engine

import (
	"errors"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/remote"
	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// apply walks the batch in order: every operation learns what its key holds before it, and writes are appended to
// the log.
func (e *Engine) apply() {
	for i := range e.ops {
		e.applyOne(i)
	}
}

func (e *Engine) applyOne(i int) {
	o := &e.ops[i]
	if o.code != messages.AnnaError_NO_ERROR || o.shared != nil {
		return
	}
	before := o.after
	if !before.known {
		if j := e.same(o); j != none {
			before, o.source = e.ops[j].after, fromBatch
		}
	}
	o.after = before
	if o.kind == opGet {
		return // an unknown state is for again to find out
	}
	if !e.link.up() {
		o.code = messages.AnnaError_TIMEOUT
		return
	}
	after, changed := e.next(i, before)
	if o.code == messages.AnnaError_NO_ERROR && changed {
		e.append(i, after)
	}
}

// next is what a key holds after a write of the batch, given what it held before. It sets the operation's code where the
// write is refused. changed is false where there is nothing to write.
func (e *Engine) next(i int, before state) (after state, changed bool) {
	o := &e.ops[i]
	if o.kind == opDelete {
		return state{known: true, origin: i}, true
	}
	if before.known && before.found && before.kind != o.lattice {
		o.code = messages.AnnaError_LATTICE
		return before, false
	}
	blind := o.lattice == lattice.LWW && e.o.Lattice.Mode == lattice.Arrival
	if !before.known && (!blind || o.shared == nil && e.mustKnow(o)) { // it follows a write of the batch that failed without knowing
		o.code = messages.AnnaError_OVERLOADED
		return before, false
	}
	after = state{known: true, found: true, kind: o.lattice, value: o.payload, origin: i}
	if blind {
		return after, true
	}
	var current []byte
	if before.found {
		if current = before.value; current == nil {
			current = []byte{}
		}
	}
	merged, changed, err := lattice.Merge(o.lattice, current, o.payload, e.o.Lattice)
	switch {
	case errors.Is(err, lattice.ErrTooLarge):
		o.code = messages.AnnaError_TOO_LARGE
		return before, false
	case err != nil:
		e.o.Logf("merge into key %q: %v", o.key, err)
		o.code = messages.AnnaError_INVALID_REQUEST
		return before, false
	case !changed:
		return before, false
	}
	after.value = merged
	return after, true
}

// append puts an operation's write into the log's open batch. On failure the key keeps the state it had.
func (e *Engine) append(i int, after state) {
	o := &e.ops[i]
	if o.sequence, o.pointer, o.code = e.appendEntry(o.key, after, 0); o.code == messages.AnnaError_NO_ERROR {
		o.appended, o.after = true, after
		e.open = append(e.open, i)
	}
}

// appendEntry puts an entry into the log's open batch, committing what is in the way and waiting for the pool to merge where that
// has to be.
func (e *Engine) appendEntry(key []byte, s state, flags format.Flags) (sequence uint64, p format.Pointer, code messages.AnnaError) {
	if s.found && e.full {
		return 0, 0, messages.AnnaError_NO_SPACE
	}
	var waited time.Duration
	for {
		if !e.link.up() {
			return 0, 0, messages.AnnaError_TIMEOUT
		}
		sequence, p, err := e.appendOnce(key, s, flags)
		switch {
		case err == nil:
			return sequence, p, messages.AnnaError_NO_ERROR
		case errors.Is(err, remote.ErrBatchFull):
			e.commit()
		case errors.Is(err, remote.ErrBusy) && waited < e.o.WriteWait && !e.waited:
			waited += e.waitForMerge(waited)
		default:
			e.waited = e.waited || errors.Is(err, remote.ErrBusy)
			code := e.failed(err)
			e.full = e.full || code == messages.AnnaError_NO_SPACE
			return 0, 0, code
		}
	}
}

func (e *Engine) appendOnce(key []byte, s state, flags format.Flags) (sequence uint64, p format.Pointer, err error) {
	thread := e.link.thread
	waits := thread.Appender.Counters().Waits
	sequence = thread.Next()
	if s.found {
		p, err = thread.Put(key, s.value, uint8(s.kind), flags)
	} else {
		p, err = thread.Delete(key, flags)
	}
	// A segment had to be asked for first, which is a round trip that this batch waits for.
	e.counters.RoundTripsWrite += thread.Appender.Counters().Waits - waits
	return sequence, p, err
}

// mergePause is how long a write waits before it asks for a segment again.
const mergePause = time.Millisecond

// waitForMerge pauses while the pool merges what this thread has written, and returns for how long.
func (e *Engine) waitForMerge(waited time.Duration) time.Duration {
	if waited == 0 {
		e.counters.WriteWaits++
		e.commit() // what is in the batch keeps its segment from being merged
		e.o.Waits()
	}
	e.o.Clock.Sleep(mergePause)
	return mergePause
}

// commit makes what was appended durable, and reads the words of keys with several owners behind it: one round trip.
func (e *Engine) commit() {
	if !e.link.up() || len(e.open) == 0 && !e.sharedOpen() {
		return
	}
	e.counters.RoundTripsWrite++
	e.counters.Commits++
	if err := e.link.thread.Commit(e.sharedWords()...); err != nil {
		e.failed(err)
		return // failed dealt with the open operations
	}
	e.sharedCommitted()
	e.open = e.open[:0]
}

// again reads what gets could not know because a blind write before them in the batch failed. That is rare: a full
// pool, for one.
func (e *Engine) again() {
	first := len(e.reads)
	for i := range e.ops {
		o := &e.ops[i]
		if o.kind != opGet || o.after.known || o.shared != nil || o.code != messages.AnnaError_NO_ERROR {
			continue
		}
		if !e.link.up() {
			o.code = messages.AnnaError_TIMEOUT
			continue
		}
		if len(e.reads) == first {
			e.keepValues()
		}
		e.look(i)
	}
	for n := first; n < len(e.reads); n++ {
		i := e.readers[n]
		if !e.link.up() {
			e.ops[i].code = messages.AnnaError_TIMEOUT
			continue
		}
		e.link.thread.Run(e.reads[n : n+1])
		e.fetched(i, &e.reads[n], true)
	}
}

// keepValues copies the values that the next read would overwrite.
func (e *Engine) keepValues() {
	for i := range e.ops {
		if s := &e.ops[i].after; s.known && s.found {
			s.value = e.arena.clone(s.value)
		}
	}
}

// settle gives every get that shows a write of this batch the fate of that write (KN-2), and counts the gets.
func (e *Engine) settle() {
	for i := range e.ops {
		o := &e.ops[i]
		if o.code == messages.AnnaError_NO_ERROR && o.after.known && o.after.origin != none {
			if o.after.origin != i {
				o.code = e.ops[o.after.origin].code
			}
		}
		switch {
		case o.kind != opGet || o.counted:
		case o.code == messages.AnnaError_NO_ERROR:
			e.count(o)
		default:
			e.counters.Failed++
		}
	}
}

// publish brings the cache and the table of unmerged entries up to date with what was committed.
func (e *Engine) publish() {
	for i := range e.ops {
		o := &e.ops[i]
		if !o.appended || o.code != messages.AnnaError_NO_ERROR {
			continue
		}
		e.written(o.key, o.hash, o.sequence, o.pointer, o.after)
	}
}

// written notes one durable entry.
func (e *Engine) written(key []byte, hash, sequence uint64, pointer format.Pointer, s state) {
	e.table.insert(key, hash, sequence, pointer, s.kind)
	if !s.found {
		e.cache.Invalidate(key, hash)
		return
	}
	if s.kind != lattice.LWW {
		e.types.note(hash)
	}
	e.cache.Update(key, hash, s.value, uint32(s.kind), uint64(pointer))
}

// learn asks, now and then, how far the log is merged, so that the table of unmerged entries stays small.
func (e *Engine) learn() {
	if e.link.up() {
		e.table.prune(e.link.thread.Merged())
		if e.table.Len() > 0 && e.now.Sub(e.link.asked) >= e.o.ProgressEvery {
			e.progress()
		}
	}
}

func (e *Engine) progress() {
	e.link.asked = e.now
	ask := e.link.thread.Progress
	if e.link.thread.HoldsReserve() { // which others may be waiting for, while this thread never has nothing to do
		ask = e.link.thread.Maintain
	}
	if err := ask(); err != nil {
		e.failed(err)
		return
	}
	e.table.prune(e.link.thread.Merged())
}
