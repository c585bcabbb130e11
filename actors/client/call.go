package client

import (
	"strconv"
	"strings"
	"time"

	"github.com/dinomo-kv/dinomo/messages"
)

// slotBits is how much of a request id is the call's slot; the rest counts the slot's uses, so that no id comes twice.
const slotBits = 16

// tupleOverhead is about what a tuple takes beside its key and payload.
const tupleOverhead = 16

// call is a KeyRequest that is not answered completely. Calls are reused; each keeps its slot.
type call struct {
	slot   uint64
	uses   uint64
	to     *owner
	sentAt time.Duration
	limit  time.Duration // how long it may stay unanswered
	losses int64         // of connections to the owner, before it was sent
	ops    []*op         // in the order of the tuples; nil once answered
	left   int           // not nil; 0: the call is idle
}

// id is the number in the request's id.
func (k *call) id() uint64 { return k.uses<<slotBits | k.slot }

func (c *core) takeCall() *call {
	if n := len(c.idleCalls); n > 0 {
		k := c.idleCalls[n-1]
		c.idleCalls = c.idleCalls[:n-1]
		return k
	}
	k := &call{slot: uint64(len(c.calls))}
	c.calls = append(c.calls, k)
	return k
}

// retire makes a call with nothing left idle again; its id will not be seen any more.
func (c *core) retire(k *call) {
	k.uses++
	k.ops = k.ops[:0]
	c.idleCalls = append(c.idleCalls, k)
}

// sendAll sends an owner's queue of one type, in order, as few requests as the limits allow.
func (c *core) sendAll(now time.Duration, w *owner, t messages.RequestType, up bool, losses int64) {
	queue := w.queues[t]
	for rest := queue; len(rest) > 0; {
		n := c.howMany(rest)
		if up {
			c.sendSome(now, w, t, losses, rest[:n])
		} else {
			c.away(w, losses)
			c.unsent(now, rest[:n], errUnreachable)
		}
		rest = rest[n:]
	}
	clear(queue)
	w.queues[t] = queue[:0]
	w.queued -= len(queue)
}

// sendSome sends one request.
func (c *core) sendSome(now time.Duration, to *owner, t messages.RequestType, losses int64, ops []*op) {
	k := c.takeCall()
	k.to, k.sentAt, k.losses, k.left = to, now, losses, len(ops)
	k.limit = c.attemptTimeout(now, to, t)
	c.request.Type, c.request.ResponseAddress = t, c.answerTo
	c.idText = strconv.AppendUint(append(c.idText[:0], c.idPrefix...), k.id(), 10)
	c.request.RequestId = string(c.idText)
	c.request.Tuples = c.request.Tuples[:0]
	for _, o := range ops {
		o.place, o.owner, o.call = sent, nil, k
		k.ops = push(k.ops, o)
		c.request.Tuples = append(c.request.Tuples, &o.tuple)
		o.Attempts++
		if o.Attempts > 1 {
			c.metrics.Retries++
		}
	}
	if err := c.net.send(to.address, &c.request); err != nil {
		k.left = 0
		c.retire(k)
		for _, o := range ops {
			o.Attempts--
		}
		c.unsent(now, ops, err)
		return
	}
	c.metrics.Requests++
	c.metrics.Tuples += uint64(len(ops))
}

// howMany says how many operations at the front of a queue go into one request. Two writes of one key never do: answers
// are told apart by key, and one may fail where the other does not.
func (c *core) howMany(queue []*op) int {
	bytes := 0
	for n, o := range queue {
		bytes += o.bytes + tupleOverhead
		full := n >= c.options.MaxTuplesPerRequest || bytes > c.options.MaxRequestBytes
		if n > 0 && (full || o.alone || queue[0].alone || isWrite(o.Type) && hasKey(queue[:n], o)) {
			return n
		}
	}
	return len(queue)
}

// hasKey says whether one of the operations has o's key, or its hash.
func hasKey(ops []*op, o *op) bool {
	for _, other := range ops {
		if other.hash == o.hash {
			return true
		}
	}
	return false
}

// unsent deals with operations whose message did not go out: nothing happened, so all may try again.
func (c *core) unsent(now time.Duration, ops []*op, err error) {
	for _, o := range ops {
		c.metrics.Refusals++
		o.owner, o.call = nil, nil
		if o.pauses >= patience {
			c.cache.forget(o.hash)
		}
		c.pause(now, o, err)
	}
}

// away notes that an owner cannot be reached. When a connection to it was lost since the last time, what is known about all its
// keys is forgotten: a KN that has left the cluster is gone from its keys too, and each of them would have to lose its patience.
func (c *core) away(w *owner, losses int64) {
	if losses > w.losses {
		w.losses = losses
		c.cache.forgetOwner(w.address)
	}
}

// patience is how many pauses an operation makes before it doubts that its owner is the right one: connecting takes a moment.
const patience = 3

// expireCalls gives up the calls that were not answered in time, and those whose connection was lost.
func (c *core) expireCalls(now time.Duration) {
	for _, k := range c.calls {
		if k.left == 0 {
			continue
		}
		if now-k.sentAt >= k.limit {
			c.expire(now, k)
		} else if _, losses := c.net.link(k.to.address); losses > k.losses {
			c.expire(now, k)
		}
	}
}

// A node that fell silent is mostly one that cannot be reached any more, whose keys get another owner when its lease has run out.
// While that may be, attempts to it are short, so that the new owner is asked soon after there is one.
const (
	silentShare = 8                     // of these parts of AttemptTimeout is a short attempt one,
	silentLeast = 50 * time.Millisecond // but at least so long
	silentTimes = 2                     // attempts are short for so many times AttemptTimeout,
	silentFor   = 2 * time.Second       // but at least for so long: longer than most leases
)

// attemptTimeout is how long a request to an owner may stay unanswered. A write that has one attempt only has all its time.
func (c *core) attemptTimeout(now time.Duration, to *owner, t messages.RequestType) time.Duration {
	limit := c.options.AttemptTimeout
	if isWrite(t) && c.options.NoRetry {
		return limit
	}
	if to.silent && now-to.silentAt < max(silentTimes*limit, silentFor) {
		return min(limit, max(limit/silentShare, silentLeast))
	}
	return limit
}

// expire gives up waiting for what is left of a call. An owner that has said nothing since is suspected: what was said about
// other keys that it owns is forgotten too, or each of them would wait as long as this one.
func (c *core) expire(now time.Duration, k *call) {
	if k.to.heard <= k.sentAt {
		c.cache.forgetOwner(k.to.address)
		if !k.to.silent {
			k.to.silent, k.to.silentAt = true, now
		}
	}
	for _, o := range k.ops {
		if o != nil {
			c.metrics.AttemptTimeouts++
			o.call = nil
			c.unanswered(now, o)
			if o.place == paused && k.limit < c.options.AttemptTimeout { // short, but long enough not to be a burst
				o.due = min(o.due, now+c.options.RetryPauseMin)
			}
		}
	}
	k.left = 0
	c.retire(k)
}

// callOf finds the call that an answer is for, or nil.
func (c *core) callOf(responseID string) *call {
	digits, ok := strings.CutPrefix(responseID, c.idPrefix)
	if !ok {
		return nil
	}
	id, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || id&(1<<slotBits-1) >= uint64(len(c.calls)) {
		return nil
	}
	k := c.calls[id&(1<<slotBits-1)]
	if k.left == 0 || k.id() != id {
		return nil
	}
	return k
}

// answered takes a KeyResponse. What ends because of it points into m until it was called back.
func (c *core) answered(now time.Duration, m *messages.KeyResponse) {
	k := c.callOf(m.ResponseId)
	if k == nil {
		c.metrics.LateAnswers++
		return
	}
	k.to.heard, k.to.silent = now, false
	for i, t := range m.Tuples {
		o := k.opFor(i, t.Key)
		if o == nil {
			c.metrics.StrayTuples++
			continue
		}
		code := t.Error
		if code == messages.AnnaError_NO_ERROR {
			code = m.Error
		}
		c.detach(o)
		o.From = k.to.address
		c.resolve(now, o, t, code)
		if k.left == 0 {
			return
		}
	}
	if len(m.Tuples) > 0 || m.Error == messages.AnnaError_NO_ERROR {
		return // a part; Anna's servers answer the rest of a request later
	}
	var nothing messages.KeyTuple
	for left := k.ops; k.left > 0; left = left[1:] {
		if o := left[0]; o != nil {
			c.detach(o)
			o.From = k.to.address
			c.resolve(now, o, &nothing, m.Error)
		}
	}
}

// opFor finds the operation that the i-th tuple of an answer is for: the i-th of the request as a rule, else any with the
// same key.
func (k *call) opFor(i int, key string) *op {
	if i < len(k.ops) && k.ops[i] != nil && k.ops[i].Key == key {
		return k.ops[i]
	}
	for _, o := range k.ops {
		if o != nil && o.Key == key {
			return o
		}
	}
	return nil
}

// resolve acts on a detached operation's answer.
func (c *core) resolve(now time.Duration, o *op, t *messages.KeyTuple, code messages.AnnaError) {
	if t.Invalidate || code == messages.AnnaError_WRONG_THREAD || code == messages.AnnaError_NO_SERVERS {
		c.cache.forget(o.hash)
	}
	if len(t.Ips) > 0 {
		c.cache.learn(o.hash, t.Ips)
	}
	switch code {
	case messages.AnnaError_WRONG_THREAD:
		c.metrics.WrongThreads++
		if !o.redirect {
			o.redirect = true
			c.route(o)
			return
		}
		c.pause(now, o, messages.ErrWrongThread)
	case messages.AnnaError_OVERLOADED, messages.AnnaError_NO_SERVERS:
		c.metrics.Refusals++
		c.pause(now, o, messages.ErrorOf(code))
	case messages.AnnaError_TIMEOUT:
		c.unanswered(now, o)
	default:
		if t.Invalidate {
			c.metrics.Invalidations++
		}
		o.Lattice, o.Payload = decodeType(t.LatticeType), t.Payload
		c.finish(o, messages.ErrorOf(code))
	}
}
