package remote

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/dinomo-kv/dinomo/dpm/call"
	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/format"
)

// reconnect attaches the thread's log over a new queue pair (already in the caller) and settles an
// unresolved batch: the pool has sealed the segments at the last valid entry, so what is below
// the log's end is in for good, and what is not is written again, byte for byte but for its place,
// into new segments. After an error it can be tried again, over the same queue pair or another.
func (a *Appender) reconnect() error {
	reply, err := a.caller.do(&call.Request{Op: call.Attach})
	if err != nil {
		return err
	}
	a.poolSays.limit, a.poolSays.epoch = reply.UnmergedLimit, reply.ServerEpoch
	a.learn(reply)
	end, err := a.logEnd(reply)
	if err != nil {
		return err
	}
	// The old segments are sealed, and merged: what was acknowledged is in the index.
	a.poolSays.merged = max(a.poolSays.merged, end)
	if !a.unresolved && !a.collected {
		a.poolSays.merged = max(a.poolSays.merged, a.next)
	} else {
		a.poolSays.merged = max(a.poolSays.merged, a.batch.firstSequence)
	}
	a.open, a.used, a.ready, a.current = false, 0, a.ready[:0], handle{}
	a.attached = true
	if a.unresolved {
		return a.rewrite(end)
	}
	// An open batch was never posted, and its entries point into segments that are gone.
	if a.collected {
		a.next = a.batch.firstSequence
		a.beginBatch()
		a.collected = false
	}
	return nil
}

// logEnd returns the sequence number before which the pool's log of this thread ends, as far as it matters for the
// unresolved batch, after a look whether that fits what was acknowledged.
//
// After a restart the pool may not know where the log ends (NextSequence 0): it keeps the segments in
// which a thread's last batch may lie, but all before may be gone, merged and superseded. Then what
// those segments hold decides, and if they hold nothing of the batch, nothing of it arrived.
func (a *Appender) logEnd(reply *call.Reply) (end uint64, err error) {
	first, limit := a.next, a.next
	if a.unresolved || a.collected {
		first = a.batch.firstSequence
	}
	if !a.unresolved {
		limit = first
	}
	end = reply.NextSequence
	for _, t := range reply.Tails {
		end = max(end, t.NextSequence)
	}
	switch known := reply.NextSequence; {
	case known == 0 && len(reply.Tails) == 0 && a.unresolved && a.batch.posted:
		return 0, fmt.Errorf("%w: it knows no segment of this thread; restart the node", ErrLogLost)
	case known != 0 && known < first:
		return 0, fmt.Errorf("%w: entries up to %d were acknowledged, the log ends with %d", ErrLogLost, first-1, known-1)
	case end > limit:
		return 0, fmt.Errorf("%w: the log ends with entry %d, the thread has written %d", ErrLogLost, end-1, limit-1)
	}
	return end, nil
}

// rewrite writes those entries of the unresolved batch again that are not below end, the log's end.
// From here on the pool holds nothing of them: if there is no segment to be had now, a later try starts
// from the same place.
func (a *Appender) rewrite(end uint64) error {
	b := &a.batch
	kept := 0
	for kept < len(b.entries) && (b.entries[kept].Sequence < end || b.entries[kept].inLog) {
		b.entries[kept].inLog = true
		kept++
	}
	b.posted = false
	if kept == len(b.entries) {
		a.resolved()
		return nil
	}
	old, next := a.batch, a.next
	a.batch, a.next = batch{firstSequence: old.firstSequence}, old.entries[kept].Sequence
	for _, e := range old.entries[:kept] {
		e.Key, e.start, e.end = bytes.Clone(e.Key), 0, 0
		a.batch.entries = append(a.batch.entries, e)
	}
	if err := a.placeAgain(&old, old.entries[kept:]); err != nil {
		a.batch, a.next = old, next
		return err
	}
	a.batch.posted = true
	if err := a.caller.qp.Post(a.batch.post(nil)); err != nil {
		return fmt.Errorf("write %d entries again: %w", len(old.entries)-kept, err)
	}
	a.resolved()
	return nil
}

// placeAgain appends entries of an old batch to the open one.
func (a *Appender) placeAgain(old *batch, entries []Appended) error {
	var e format.Entry
	for i := range entries {
		o := &entries[i]
		if err := a.layout.Salt.DecodeEntry(old.buffer[o.start:o.end], &e); err != nil {
			return fmt.Errorf("own batch, entry %d: %w", o.Sequence, err)
		}
		if err := a.makeRoom(e.Bytes(), e.Op == format.OpDelete); err != nil {
			return fmt.Errorf("write entry %d again: %w", o.Sequence, err)
		}
		a.place(&e, e.Bytes())
	}
	return nil
}

func (a *Appender) resolved() {
	a.unresolved = false
	a.counters.Resolved++
	a.committed()
}

// Broken says whether a queue pair is of no further use after err.
func Broken(err error) bool {
	for _, dead := range []error{fabric.ErrBroken, fabric.ErrTimeout, fabric.ErrClosed, fabric.ErrFenced} {
		if errors.Is(err, dead) {
			return true
		}
	}
	return false
}
