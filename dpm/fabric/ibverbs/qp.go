//go:build rdma && linux && cgo

package ibverbs

/*
#include "verbs.h"
*/
import "C"

import (
	"encoding/binary"
	"fmt"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/stream"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
)

// QP is a queue pair whose one-sided verbs the DPM's network card executes. It implements fabric.QP.
//
// Payload passes through memory that is registered with the card (data). A batch goes out with one
// doorbell as long as it fits there and into depth work requests; a longer one takes a doorbell for each part,
// and is one round trip in the counters all the same.
type QP struct {
	endpoint *endpoint
	channel  *stream.Client
	grant    grant
	session  fabric.Session
	options  fabric.DialOptions
	counters fabric.Counters

	used    int  // bytes of data that the waiting work requests refer to
	reads   bool // a READ or atomic is among them
	atomics bool
	results []result
}

// result is what to do when a READ or atomic is complete.
type result struct {
	at     int    // in data
	into   []byte // READ
	atomic *uint64
}

// chunkBytes is the most that one work request moves: half of data, so that two parts of a long verb fit.
const chunkBytes = dataBytes / 2

func newQP(e *endpoint, channel *stream.Client, g grant, o fabric.DialOptions) *QP {
	e.c.rkey = C.uint32_t(g.rkey)
	channel.Watch()
	return &QP{
		endpoint: e, channel: channel, grant: g, session: channel.Session(), options: o,
		results: make([]result, 0, depth),
	}
}

// Post implements fabric.QP.
func (q *QP) Post(verbs []fabric.Verb) error {
	cause := q.channel.Dead()
	if len(verbs) == 0 {
		return cause
	}
	if cause != nil {
		q.counters.Failures++
		return fabric.Abandon(verbs, cause)
	}
	done, invalid := fabric.Prefix(verbs, q.session.PoolBytes, q.options.Hello.Access)
	if done > 0 {
		q.counters.RoundTrips++
		executed, failed, err := q.execute(verbs[:done])
		if err != nil {
			q.counters.Failures++
			return fabric.Abandon(verbs, q.channel.Break(err))
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

// execute runs checked verbs, and keeps the memory that they pass through until it is done: the
// queue pair may be closed at any moment. err means that the queue pair is dead; failed is why it stopped after executed of them.
func (q *QP) execute(verbs []fabric.Verb) (executed int, failed, err error) {
	if err := q.endpoint.begin(); err != nil {
		return 0, nil, err
	}
	defer q.endpoint.end()
	for i := 0; i < len(verbs); i++ {
		v := &verbs[i]
		switch v.Kind {
		case fabric.Read:
			err = q.read(v)
		case fabric.Write:
			err = q.write(v)
		case fabric.CAS, fabric.FetchAdd:
			err = q.atomic(v)
		case fabric.Flush:
			last := i
			for last+1 < len(verbs) && verbs[last+1].Kind == fabric.Flush {
				last++
			}
			n, failed, err := q.flush(verbs[i : last+1])
			if failed != nil || err != nil {
				return i + n, failed, err
			}
			i = last
		}
		if err != nil {
			return 0, nil, err
		}
	}
	return len(verbs), nil, q.ring()
}

// room makes sure that a work request with n bytes of payload fits, and returns where in data.
func (q *QP) room(n int) (at int, err error) {
	if len(q.endpoint.wrs)+sendSlots >= depth || q.used+n > dataBytes {
		if err := q.ring(); err != nil {
			return 0, err
		}
	}
	at = q.used
	q.used += (n + 7) &^ 7
	return at, nil
}

func (q *QP) add(wr C.struct_dn_wr) { q.endpoint.wrs = append(q.endpoint.wrs, wr) }

func (q *QP) local(at int) C.uint64_t { return q.endpoint.address(messageBytes + at) }

func (q *QP) remote(address uint64) C.uint64_t { return C.uint64_t(q.grant.base + address) }

// ring posts what is waiting and waits for its completion.
func (q *QP) ring() error {
	if err := q.endpoint.run(q.options.Timeout); err != nil {
		q.used, q.results = 0, q.results[:0]
		return err
	}
	q.collect()
	return nil
}

// collect hands out the results of completed work requests.
func (q *QP) collect() {
	data := q.endpoint.data()
	for i := range q.results {
		r := &q.results[i]
		if r.atomic != nil {
			*r.atomic = binary.NativeEndian.Uint64(data[r.at:]) // the card stores it in the host's order
		} else {
			copy(r.into, data[r.at:])
		}
		*r = result{}
	}
	q.used, q.reads, q.atomics, q.results = 0, false, false, q.results[:0]
}

// read starts at a word boundary, whatever the verb asks for: packets then end at word boundaries, too, and no word is
// fetched in two halves.
func (q *QP) read(v *fabric.Verb) error {
	address, rest := v.Address, v.Buffer
	for len(rest) > 0 {
		skew := int(address % 8)
		n := min(len(rest), chunkBytes-skew)
		at, err := q.room(skew + n)
		if err != nil {
			return err
		}
		q.add(C.struct_dn_wr{op: C.DN_READ, remote: q.remote(address - uint64(skew)), local: q.local(at), length: C.uint32_t(skew + n)})
		q.results = append(q.results, result{at: at + skew, into: rest[:n]})
		q.reads = true
		address, rest = address+uint64(n), rest[n:]
	}
	return nil
}

// write splits off the bytes before the first word boundary, for the same reason.
func (q *QP) write(v *fabric.Verb) error {
	address, rest := v.Address, v.Buffer
	for len(rest) > 0 {
		n := min(len(rest), chunkBytes)
		if skew := int(address % 8); skew != 0 {
			n = min(n, 8-skew)
		}
		at, err := q.room(n)
		if err != nil {
			return err
		}
		copy(q.endpoint.data()[at:], rest[:n])
		wr := C.struct_dn_wr{op: C.DN_WRITE, remote: q.remote(address), local: q.local(at), length: C.uint32_t(n)}
		if n <= int(q.endpoint.c.max_inline) {
			wr.flags |= C.DN_INLINE
		}
		if q.reads || q.atomics {
			wr.flags |= C.DN_FENCE // a WRITE may overtake a READ that is not complete
		}
		q.add(wr)
		address, rest = address+uint64(n), rest[n:]
	}
	return nil
}

func (q *QP) atomic(v *fabric.Verb) error {
	at, err := q.room(8)
	if err != nil {
		return err
	}
	wr := C.struct_dn_wr{op: C.DN_FETCH_ADD, remote: q.remote(v.Address), local: q.local(at), length: 8, compare: C.uint64_t(v.Swap)}
	if v.Kind == fabric.CAS {
		wr.op, wr.compare, wr.swap = C.DN_CAS, C.uint64_t(v.Expect), C.uint64_t(v.Swap)
	}
	if q.reads {
		wr.flags |= C.DN_FENCE
	}
	q.add(wr)
	q.results = append(q.results, result{at: at, atomic: &v.Result})
	q.atomics = true
	return nil
}

// flush makes a run of FLUSHes durable. Where the DPM's processor must do it, its request goes out with the doorbell of the
// WRITEs before it; else a READ behind them drives them out of the card and the bus into memory.
func (q *QP) flush(verbs []fabric.Verb) (done int, failed, err error) {
	byProcessor := q.session.Durability == pmem.Fsync || q.session.Durability == pmem.DAX && q.grant.persist == ByProcessor
	if !byProcessor {
		return 0, nil, q.readBehind(verbs[len(verbs)-1])
	}
	if err := q.channel.Post(verbs); err == nil {
		q.collect()
		return len(verbs), nil, nil
	}
	if dead := q.channel.Dead(); dead != nil {
		q.used, q.results = 0, q.results[:0]
		return 0, nil, dead
	}
	q.collect() // the verbs before were executed
	for done < len(verbs) && verbs[done].Err == nil {
		done++
	}
	return done, verbs[done].Err, nil
}

// readBehind reads one word of the flushed range: the card answers when what was written before is in memory.
func (q *QP) readBehind(v fabric.Verb) error {
	if v.Length == 0 {
		return nil
	}
	at, err := q.room(8)
	if err != nil {
		return err
	}
	q.add(C.struct_dn_wr{op: C.DN_READ, remote: q.remote((v.Address + v.Length - 1) &^ 7), local: q.local(at), length: 8})
	q.reads = true
	return nil
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
	if err != nil {
		return nil, fmt.Errorf("by RDMA: %w", err)
	}
	return reply, nil
}

// Counters implements fabric.QP.
func (q *QP) Counters() fabric.Counters { return q.counters }

// CardCounters returns a copy of the counts so far.
func (q *QP) CardCounters() CardCounters {
	c := &q.endpoint.counters
	return CardCounters{uint64(c.doorbells), uint64(c.work_requests), uint64(c.signalled), uint64(c.inlined), uint64(c.sleeps)}
}

// Session implements fabric.QP.
func (q *QP) Session() fabric.Session { return q.session }

// Close implements fabric.QP.
func (q *QP) Close() error { return q.channel.Close() }
