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
	if o.code != messages.AnnaError_NO_ERROR {
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
	if o.kind == opDelete {
		e.append(i, state{known: true, origin: i})
		return
	}
	e.applyPut(i, before)
}

// applyPut merges a put into what its key holds and appends the outcome, if that differs.
func (e *Engine) applyPut(i int, before state) {
	o := &e.ops[i]
	if before.known && before.found && before.kind != o.lattice {
		o.code = messages.AnnaError_LATTICE
		return
	}
	if !before.known && e.mustKnow(o) { // it follows a write of the same batch that failed without knowing
		o.code = messages.AnnaError_OVERLOADED
		return
	}
	value := o.payload
	if o.lattice != lattice.LWW || e.o.Lattice.Mode == lattice.Timestamp {
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
			return
		case err != nil:
			e.o.Logf("merge into key %q: %v", o.key, err)
			o.code = messages.AnnaError_INVALID_REQUEST
			return
		case !changed:
			return
		}
		value = merged
	}
	e.append(i, state{known: true, found: true, kind: o.lattice, value: value, origin: i})
}

// append puts an operation's write into the log's open batch. On failure the key keeps the state it had.
func (e *Engine) append(i int, after state) {
	o := &e.ops[i]
	if o.kind == opPut && e.full {
		o.code = messages.AnnaError_NO_SPACE
		return
	}
	var waited time.Duration
	for {
		err := e.appendOnce(o, after)
		switch {
		case err == nil:
			o.appended, o.after = true, after
			e.open = append(e.open, i)
			return
		case errors.Is(err, remote.ErrBatchFull):
			e.commit()
			if !e.link.up() {
				o.code = messages.AnnaError_TIMEOUT
				return
			}
		case errors.Is(err, remote.ErrBusy) && waited < e.o.WriteWait:
			waited += e.waitForMerge(waited)
		default:
			o.code = e.failed(err)
			e.full = e.full || o.code == messages.AnnaError_NO_SPACE
			return
		}
	}
}

func (e *Engine) appendOnce(o *op, after state) (err error) {
	thread := e.link.thread
	waits := thread.Appender.Counters().Waits
	sequence := thread.Next()
	if after.found {
		o.pointer, err = thread.Put(o.key, after.value, uint8(after.kind), 0)
	} else {
		o.pointer, err = thread.Delete(o.key, 0)
	}
	o.sequence = sequence
	// A segment had to be asked for first, which is a round trip that this batch waits for.
	e.counters.RoundTripsWrite += thread.Appender.Counters().Waits - waits
	return err
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

// commit makes what was appended durable: one round trip.
func (e *Engine) commit() {
	if len(e.open) == 0 || !e.link.up() {
		return
	}
	e.counters.RoundTripsWrite++
	e.counters.Commits++
	if err := e.link.thread.Commit(); err != nil {
		e.failed(err)
		return // failed dealt with the open operations
	}
	e.open = e.open[:0]
}

// again reads what gets could not know because a blind write before them in the batch failed. That is rare: a full
// pool, for one.
func (e *Engine) again() {
	first := len(e.reads)
	for i := range e.ops {
		o := &e.ops[i]
		if o.kind != opGet || o.after.known || o.code != messages.AnnaError_NO_ERROR {
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
	if err := e.link.thread.Progress(); err != nil {
		e.failed(err)
		return
	}
	e.table.prune(e.link.thread.Merged())
}
