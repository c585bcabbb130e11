package shm

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/stream"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
)

// QP is a queue pair whose verbs are this processor's own loads and stores. It implements fabric.QP.
type QP struct {
	channel  *stream.Client
	mapping  *mapping
	words    words
	session  fabric.Session
	access   fabric.Access
	counters fabric.Counters
	// state says who gives the mapping back: Close does, or, when it comes in the middle of a
	// Post, the Post at its end.
	state atomic.Uint32
}

const (
	stateBusy   = 1
	stateClosed = 2
)

// enter starts an access to the mapping; false after Close.
func (q *QP) enter() bool { return q.state.CompareAndSwap(0, stateBusy) }

// leave ends it. Its locked instruction is also a barrier after the batch's last store.
func (q *QP) leave() {
	if q.state.And(^uint32(stateBusy))&stateClosed != 0 {
		_ = q.mapping.release()
	}
}

// Post implements fabric.QP.
func (q *QP) Post(verbs []fabric.Verb) error {
	cause := q.channel.Dead()
	if len(verbs) == 0 {
		return cause
	}
	if cause == nil && !q.enter() {
		cause = fabric.ErrClosed
	}
	if cause != nil {
		q.counters.Failures++
		return fabric.Abandon(verbs, cause)
	}
	defer q.leave()
	done, invalid := fabric.Prefix(verbs, q.session.PoolBytes, q.access)
	if done > 0 {
		q.counters.RoundTrips++
		executed, failed := q.execute(verbs[:done])
		// A DPM that died meanwhile may have been replaced by one that recovered before our stores.
		if cause := q.overtaken(); cause != nil {
			q.counters.Failures++
			return fabric.Abandon(verbs, cause)
		}
		if failed != nil {
			done, invalid = executed, failed
		}
		q.counters.Count(verbs[:done])
	}
	if invalid != nil {
		q.counters.Failures++
	}
	return fabric.Settle(verbs, done, invalid)
}

// overtaken says that the DPM of this queue pair is dead or has a successor. The connection alone does not tell: where the link is cut
// while the memory is shared, its end is not heard. A new DPM changes the pool's word before it looks for the ends of logs, and
// the last store of a WRITE and a CAS are full barriers: so either it sees our stores, or we see its word. REQUIRES: entered.
func (q *QP) overtaken() error {
	if cause := q.channel.Dead(); cause != nil {
		return cause
	}
	if l := q.session.Life; l.Offset != 0 && atomic.LoadUint64(q.words.at(l.Offset)) != l.Word {
		return errOvertaken
	}
	return nil
}

var errOvertaken = fmt.Errorf("another DPM serves the pool now: %w", fabric.ErrBroken)

// execute runs checked verbs in order. failed is why it stopped after executed of them.
func (q *QP) execute(verbs []fabric.Verb) (executed int, failed error) {
	for i := 0; i < len(verbs); i++ {
		v := &verbs[i]
		switch v.Kind {
		case fabric.Read:
			q.words.read(v.Address, v.Buffer)
		case fabric.Write:
			q.words.write(v.Address, v.Buffer)
		case fabric.CAS:
			v.Result = compareAndSwap(q.words.at(v.Address), v.Expect, v.Swap)
		case fabric.FetchAdd:
			v.Result = atomic.AddUint64(q.words.at(v.Address), v.Swap) - v.Swap
		case fabric.Flush:
			last := i
			for last+1 < len(verbs) && verbs[last+1].Kind == fabric.Flush {
				last++
			}
			if n, err := q.flush(verbs[i : last+1]); err != nil {
				return i + n, err
			}
			i = last
		}
	}
	return len(verbs), nil
}

// flush makes a run of FLUSHes durable and returns how many are, and why the next one is not.
func (q *QP) flush(verbs []fabric.Verb) (done int, err error) {
	switch q.session.Durability {
	case pmem.Volatile, pmem.Process: // the page cache is all that is promised
		return len(verbs), nil
	case pmem.DAX:
		for i := range verbs {
			if err := pmem.WriteBack(q.mapping.mem[verbs[i].Address:][:verbs[i].Length]); err != nil {
				return i, err
			}
		}
		return len(verbs), nil
	default: // the DPM's Fence is a group commit for all of its peers
		if err := q.channel.Post(verbs); err == nil {
			return len(verbs), nil
		}
		for done < len(verbs) && verbs[done].Err == nil {
			done++
		}
		return done, verbs[done].Err
	}
}

// compareAndSwap returns the word before; the swap took place if that is expect.
func compareAndSwap(word *uint64, expect, swap uint64) uint64 {
	for {
		if atomic.CompareAndSwapUint64(word, expect, swap) {
			return expect
		}
		// The word may have become expect between the two: then swapping did not take place and
		// the answer must not say that it did.
		if before := atomic.LoadUint64(word); before != expect {
			return before
		}
	}
}

// Call implements fabric.QP.
func (q *QP) Call(request, reply []byte) ([]byte, error) {
	before := q.channel.Counters()
	reply, err := q.channel.Call(request, reply)
	after := q.channel.Counters()
	q.counters.RoundTrips += after.RoundTrips - before.RoundTrips
	q.counters.Calls += after.Calls - before.Calls
	q.counters.BytesRead += after.BytesRead - before.BytesRead
	q.counters.BytesWritten += after.BytesWritten - before.BytesWritten
	q.counters.Failures += after.Failures - before.Failures
	return reply, err
}

// Counters implements fabric.QP.
func (q *QP) Counters() fabric.Counters { return q.counters }

// Session implements fabric.QP.
func (q *QP) Session() fabric.Session { return q.session }

// Close implements fabric.QP.
func (q *QP) Close() error {
	err := q.channel.Close()
	if q.state.Or(stateClosed) == 0 { // neither busy nor closed before
		return errors.Join(err, q.mapping.release())
	}
	return err
}
