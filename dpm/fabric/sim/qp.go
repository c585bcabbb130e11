package sim

import (
	"bytes"
	"fmt"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
)

// QP is a queue pair of a simulation. It implements fabric.QP.
type QP struct {
	network  *Network
	listener *Listener
	options  fabric.DialOptions
	session  fabric.Session
	counters fabric.Counters

	// Guarded by Network.mu:
	revoked bool  // the listener executes nothing of it any more
	calling bool  // a call is being served
	dead    error // why the dialler can use it no more
}

// fate is what becomes of one batch or call.
type fate struct {
	fails error // ErrBroken or ErrTimeout; nil: all goes well
	at    int   // the verb in which it happens; after all of them when it is their number
	late  bool
}

// draw decides. Of verbs verbs each, and the time after them, is as likely as the others.
func (q *QP) draw(verbs int, call bool) (f fate) {
	n := q.network
	n.mu.Lock()
	defer n.mu.Unlock()
	switch faults := n.mu.faults; {
	case n.mapped && !call: // stores need no network: only that it is gone may be noticed
		if n.chance(faults.Break) {
			return fate{fails: fabric.ErrBroken, at: verbs}
		}
		return f
	case n.mu.cut[q.options.Hello.Identity]:
		return fate{fails: fabric.ErrTimeout}
	case n.chance(faults.Break):
		f.fails = fabric.ErrBroken
	case n.chance(faults.Timeout):
		f.fails = fabric.ErrTimeout
	default:
		return f
	}
	f.at = n.mu.rand.IntN(verbs + 1)
	f.late = n.chance(n.mu.faults.Late)
	return f
}

// Post implements fabric.QP.
func (q *QP) Post(verbs []fabric.Verb) error {
	if cause := q.cause(); cause != nil || len(verbs) == 0 {
		if cause != nil && len(verbs) > 0 {
			q.counters.Failures++
			fabric.Abandon(verbs, cause)
		}
		return cause
	}
	done, invalid := fabric.Prefix(verbs, q.session.PoolBytes, q.options.Hello.Access)
	if done > 0 {
		q.counters.RoundTrips++
		executed, failed, cause := q.run(verbs[:done], q.draw(done, false))
		if cause != nil {
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

// run executes checked verbs up to their fate. cause means that the queue pair is dead; failed is
// why the listener stopped after executed verbs.
func (q *QP) run(verbs []fabric.Verb, f fate) (executed int, failed, cause error) {
	for i := range verbs {
		q.network.pause()
		if f.fails != nil && f.at == i {
			return 0, nil, q.give(f, q.partOf(verbs[i]), verbs[i:])
		}
		if failed, cause = q.execute(verbs, i); failed != nil || cause != nil {
			for i > 0 && failed != nil && verbs[i-1].Kind == fabric.Flush {
				i-- // the whole run of FLUSHes failed
			}
			return i, failed, cause
		}
	}
	q.network.pause() // the completion is on its way
	if f.fails != nil {
		return 0, nil, q.give(f, nil, nil)
	}
	if cause := q.overtaken(); cause != nil {
		return 0, nil, cause
	}
	return len(verbs), nil, nil
}

// execute runs verb i. A run of FLUSHes takes effect with its last.
func (q *QP) execute(verbs []fabric.Verb, i int) (failed, cause error) {
	v, region, l := &verbs[i], q.listener.region, q.listener
	switch v.Kind {
	case fabric.Read:
		cause = q.pieces(v, func(s span) { region.Read(v.Address+uint64(s.first), v.Buffer[s.first:s.next]) })
	case fabric.Write:
		cause = q.pieces(v, func(s span) { region.Write(v.Address+uint64(s.first), v.Buffer[s.first:s.next]) })
	case fabric.CAS:
		cause = q.apply(func() { v.Result = q.network.swap(region, v) })
	case fabric.FetchAdd:
		cause = q.apply(func() { v.Result = region.Add64(v.Address, v.Swap) })
	case fabric.Flush:
		cause = q.apply(func() {
			region.Flush(v.Address, v.Length)
			if i+1 == len(verbs) || verbs[i+1].Kind != fabric.Flush {
				l.metrics.Flushes++
				if region.Fence() != nil {
					failed = pmem.ErrReadOnly
				}
			}
		})
	}
	if cause == nil && failed == nil {
		q.count(v)
	}
	return failed, cause
}

func (q *QP) count(v *fabric.Verb) {
	q.network.mu.Lock()
	defer q.network.mu.Unlock()
	m := &q.listener.metrics
	m.Verbs[v.Kind]++
	switch v.Kind {
	case fabric.Read:
		m.BytesRead += uint64(len(v.Buffer))
	case fabric.Write:
		m.BytesWritten += uint64(len(v.Buffer))
	}
}

// pieces does a READ or WRITE piece by piece, with others' verbs between the pieces.
func (q *QP) pieces(v *fabric.Verb, do func(s span)) (cause error) {
	q.network.mu.Lock()
	all := q.network.spans(v.Address, len(v.Buffer))
	q.network.mu.Unlock()
	for i, s := range all {
		if i > 0 {
			q.network.pause()
		}
		if cause = q.apply(func() { do(s) }); cause != nil {
			return cause
		}
	}
	return nil
}

// apply does one indivisible thing to the region, unless the listener has revoked the queue pair.
func (q *QP) apply(do func()) error {
	q.network.mu.Lock()
	defer q.network.mu.Unlock()
	if q.revoked && !q.network.mapped {
		return q.die(fabric.ErrBroken)
	}
	do()
	return nil
}

// partOf returns the WRITE of a prefix of v's words that was under way when the queue pair broke;
// nil for none and for other verbs.
func (q *QP) partOf(v fabric.Verb) *fabric.Verb {
	q.network.mu.Lock()
	defer q.network.mu.Unlock()
	if v.Kind != fabric.Write || len(v.Buffer) == 0 {
		return nil
	}
	end := (v.Address + uint64(q.network.mu.rand.IntN(len(v.Buffer)+1))) &^ 7
	if end <= v.Address {
		return nil
	}
	v.Buffer = v.Buffer[:end-v.Address]
	return &v
}

// give ends the queue pair as its fate says: part takes effect, rest perhaps later.
func (q *QP) give(f fate, part *fabric.Verb, rest []fabric.Verb) error {
	if part != nil {
		_ = q.apply(func() { q.listener.region.Write(part.Address, part.Buffer) })
	}
	if f.fails == fabric.ErrTimeout {
		q.network.sleep(q.options.Timeout)
	}
	q.network.mu.Lock()
	cause := q.die(f.fails)
	late := f.late && len(rest) > 0 && !q.revoked
	if late {
		// A copy: the dialler owns its buffers again, what is on the wire is what they held.
		rest = append([]fabric.Verb(nil), rest...)
		for i := range rest {
			rest[i].Buffer = bytes.Clone(rest[i].Buffer)
		}
		q.network.mu.stragglers = append(q.network.mu.stragglers, &straggler{qp: q, verbs: rest})
	}
	q.network.mu.Unlock()
	if !late {
		q.listener.forget(q)
	}
	return cause
}

// die makes the queue pair dead for its dialler, unless it is already. REQUIRES: mu held.
func (q *QP) die(cause error) error {
	if q.dead == nil {
		q.dead = cause
	}
	return q.dead
}

// unnoticed is how often a dialler with a mapping looks at its connection in vain: the end is on its way.
const unnoticed = 0.4

// cause returns why the queue pair is dead; nil while it is not.
func (q *QP) cause() error {
	q.network.mu.Lock()
	defer q.network.mu.Unlock()
	if q.dead == nil && q.revoked && !(q.network.mapped && q.network.chance(unnoticed)) {
		q.dead = fabric.ErrBroken
	}
	return q.dead
}

// overtaken is cause at the end of a batch, when a dialler with a mapping looks at the pool's word, too: that tells of another DPM for
// certain, as with shm.
func (q *QP) overtaken() error {
	l := q.session.Life
	q.network.mu.Lock()
	if q.network.mapped && l.Offset != 0 && q.listener.region.Load64(l.Offset) != l.Word {
		_ = q.die(fabric.ErrBroken)
	}
	q.network.mu.Unlock()
	return q.cause()
}

// Call implements fabric.QP.
func (q *QP) Call(request, reply []byte) ([]byte, error) {
	if cause := q.cause(); cause != nil {
		q.counters.Failures++
		return nil, cause
	}
	if len(request) > fabric.MaxCallBytes {
		q.counters.Failures++
		return nil, fmt.Errorf("call of %d bytes, at most %d: %w", len(request), fabric.MaxCallBytes, fabric.ErrTooLong)
	}
	q.counters.RoundTrips++
	f := q.draw(1, true)
	q.network.pause()
	if f.fails != nil && f.at == 0 { // the request is lost
		q.counters.Failures++
		return nil, q.give(f, nil, nil)
	}
	answer, cause := q.serve(request)
	q.network.pause()
	if cause == nil && f.fails != nil { // the reply is
		cause = q.give(f, nil, nil)
	}
	if cause != nil {
		q.counters.Failures++
		return nil, cause
	}
	if len(answer) > fabric.MaxCallBytes {
		q.counters.Failures++
		return nil, fmt.Errorf("reply of the DPM: %w", fabric.ErrTooLong)
	}
	q.counters.Calls++
	q.counters.BytesWritten += uint64(len(request))
	q.counters.BytesRead += uint64(len(answer))
	return append(reply[:0], answer...), nil
}

// serve runs one call at the service.
func (q *QP) serve(request []byte) (answer []byte, cause error) {
	n, l := q.network, q.listener
	n.mu.Lock()
	if q.revoked {
		defer n.mu.Unlock()
		return nil, q.die(fabric.ErrBroken)
	}
	q.calling = true
	l.metrics.Calls++
	n.mu.Unlock()
	answer = l.service.Call(q.session, q.options.Hello.Thread, bytes.Clone(request), nil)
	n.mu.Lock()
	defer n.mu.Unlock()
	q.calling = false
	n.mu.idle.Broadcast()
	if q.revoked {
		return nil, q.die(fabric.ErrBroken)
	}
	return answer, nil
}

// Counters implements fabric.QP.
func (q *QP) Counters() fabric.Counters { return q.counters }

// Session implements fabric.QP.
func (q *QP) Session() fabric.Session { return q.session }

// Close implements fabric.QP. What is still to be executed late is: closing one end of a
// connection takes nothing back that is on its way.
func (q *QP) Close() error {
	q.network.mu.Lock()
	q.dead = fabric.ErrClosed
	late := q.network.late(q)
	q.network.mu.Unlock()
	if !late {
		q.listener.forget(q)
	}
	return nil
}
