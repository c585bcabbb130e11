package client

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// network is what the core sends through.
type network interface {
	// link says whether there is a connection to an address now, and how often one was lost. It begins to connect when there
	// is none.
	link(address string) (up bool, losses int64)
	// send queues a message, connection or not; it goes out with flush. An error means that it was not taken.
	send(address string, m runtime.Encoder) error
	flush()
}

// errUnreachable: requests are not queued for an owner that is away. What waits there may reach it long after everybody has
// given up on it, and it may be a write.
var errUnreachable = fmt.Errorf("%w: the owner of the key cannot be reached", messages.ErrNoServers)

// core is the client without sockets, locks, goroutines or clock: operations, messages and the time come in, messages go
// out to its network, and operations that are over collect in ended. Times are durations since the client began.
type core struct {
	options  Options
	rng      *rand.Rand
	net      network
	answerTo string // where KeyResponses come to
	nameTo   string // where KeyAddressResponses come to
	idPrefix string

	cache  *addressCache
	owners map[string]*owner
	dirty  []*owner // with something queued

	ops    []*op // all that were ever made; scanned for deadlines
	idle   []*op // the free ones
	live   int   // outstanding: Submit took them and they have not ended
	bytes  int   // held by those
	paused []*op
	ended  []*op

	calls     []*call // by slot
	idleCalls []*call
	asks      map[string]*ask
	unasked   []*ask      // to go out with the next flush
	questions []*question // not answered completely, oldest first
	numbered  uint64      // questions so far

	request messages.KeyRequest // reused for encoding
	idText  []byte              // reused for its id
	stamp   uint64              // the last timestamp given to a value
	metrics Metrics
}

// Metrics counts what a client did since it was made; Outstanding is current.
type Metrics struct {
	Outstanding     int
	Operations      uint64 // ended
	Failures        uint64 // of them, with an error other than KEY_DNE
	Requests        uint64 // KeyRequests sent
	Tuples          uint64 // in them
	Retries         uint64 // attempts after an operation's first
	AttemptTimeouts uint64 // tuples that nobody answered in time
	WrongThreads    uint64
	Invalidations   uint64 // good answers that dropped remembered addresses
	Refusals        uint64 // OVERLOADED, NO_SERVERS, and messages that no queue had room for
	Questions       uint64 // KeyAddressRequests sent
	LateAnswers     uint64 // to attempts that were given up
	StrayTuples     uint64 // in answers, for keys that were not asked for
	MalformedFrames uint64
}

// owner is a KN thread, and what waits to be sent to it.
type owner struct {
	address string
	queues  [messages.RequestType_DELETE + 1][]*op // by request type: a request has one
	queued  int
	heard   time.Duration // when it answered the last time
	// silent says that a request was given up, at silentAt, without a word from it since that had been sent.
	silent   bool
	silentAt time.Duration
	losses   int64 // of connections, when its keys were last forgotten for one
}

// maxOwners bounds the KN threads remembered; idle ones are dropped above it.
const maxOwners = 4096

func newCore(o Options, net network, answerTo, nameTo string, rng *rand.Rand) *core {
	return &core{
		options: o, rng: rng, net: net, answerTo: answerTo, nameTo: nameTo,
		idPrefix: strings.TrimPrefix(answerTo, "tcp://") + "_" + strconv.FormatUint(uint64(rng.Uint32()), 36) + "_",
		cache:    newAddressCache(o.CachedAddresses, rng),
		owners:   make(map[string]*owner),
		asks:     make(map[string]*ask),
	}
}

// submit takes an operation that check has passed.
func (c *core) submit(now time.Duration, in *Operation, deadline time.Duration, timestamp uint64) (*op, error) {
	size := in.bytes()
	if size > c.options.MaxPayloadBytes {
		return nil, fmt.Errorf("%w: %d bytes, the client's limit is %d", messages.ErrTooLarge, size, c.options.MaxPayloadBytes)
	}
	if c.live >= c.options.MaxOutstanding || c.bytes+size > c.options.MaxPayloadBytes {
		return nil, ErrTooManyOutstanding
	}
	c.stamp = max(c.stamp+1, timestamp)
	o := c.takeOp()
	o.load(in, c.stamp)
	o.hash = xxhash.Sum64String(in.Key)
	o.deadline = deadline
	c.live++
	c.bytes += o.bytes
	c.route(o)
	return o, nil
}

func (c *core) takeOp() *op {
	if n := len(c.idle); n > 0 {
		o := c.idle[n-1]
		c.idle = c.idle[:n-1]
		return o
	}
	o := &op{}
	c.ops = append(c.ops, o)
	return o
}

// route sends o on its way: to an owner, when one is known, else to the question who owns its key. o is in no list.
func (c *core) route(o *op) {
	owners := c.cache.lookup(o.hash)
	if owners == nil {
		c.inquire(o)
		return
	}
	// Any owner of a replicated key may serve it. Reads spread over all of them; writes go to the first, because owners
	// that write one key at a time have to fight over its pointer.
	chosen := owners[0]
	if len(owners) > 1 && (c.options.SpreadWrites || !isWrite(o.Type)) {
		chosen = owners[c.rng.IntN(len(owners))]
	}
	o.tuple.AddressCacheSize = uint32(len(owners))
	w := c.ownerAt(chosen)
	if w.queued == 0 {
		c.dirty = append(c.dirty, w)
	}
	w.queued++
	o.place, o.owner = queued, w
	w.queues[o.Type] = push(w.queues[o.Type], o)
}

func (c *core) ownerAt(address string) *owner {
	if w, ok := c.owners[address]; ok {
		return w
	}
	if len(c.owners) >= maxOwners {
		for a, w := range c.owners {
			if w.queued == 0 {
				delete(c.owners, a)
			}
		}
	}
	w := &owner{address: address}
	c.owners[address] = w
	return w
}

// detach takes o out of whatever list it is in.
func (c *core) detach(o *op) {
	switch o.place {
	case waiting:
		o.ask.ops = swapOut(o.ask.ops, o.index)
		o.ask = nil
	case queued:
		w := o.owner
		w.queues[o.Type] = swapOut(w.queues[o.Type], o.index)
		w.queued--
		o.owner = nil
		if w.queued == 0 {
			c.clean(w)
		}
	case sent:
		k := o.call
		k.ops[o.index] = nil
		k.left--
		o.call = nil
		if k.left == 0 {
			c.retire(k)
		}
	case paused:
		c.paused = swapOut(c.paused, o.index)
	}
}

// clean takes an owner with nothing queued off the dirty list.
func (c *core) clean(w *owner) {
	for i, d := range c.dirty {
		if d == w {
			c.dirty = append(c.dirty[:i], c.dirty[i+1:]...)
			return
		}
	}
}

// finish ends a detached operation.
func (c *core) finish(o *op, err error) {
	if err != nil && o.unknown && !errors.Is(err, messages.ErrTimeout) {
		err = fmt.Errorf("%w (and an earlier attempt %w)", err, messages.ErrTimeout)
	}
	o.Err = err
	o.place = ended
	c.ended = append(c.ended, o)
	c.live--
	c.bytes -= o.bytes
	c.metrics.Operations++
	if err != nil && !errors.Is(err, messages.ErrKeyDoesNotExist) {
		c.metrics.Failures++
	}
}

// release makes an operation that was called back free again.
func (c *core) release(o *op) {
	o.unload()
	c.idle = append(c.idle, o)
}

// cancel withdraws an operation that has not ended, without a callback, and returns why it would have failed.
func (c *core) cancel(o *op) error {
	err := c.verdict(o)
	c.detach(o)
	c.finish(o, err)
	c.ended = c.ended[:len(c.ended)-1]
	err = o.Err
	c.release(o)
	return err
}

// verdict is the error of an operation whose time is over.
func (c *core) verdict(o *op) error {
	switch {
	case o.place == sent || o.unknown:
		return messages.ErrTimeout
	case o.last != nil:
		return o.last
	case o.Attempts == 0 && o.place == waiting:
		return fmt.Errorf("%w: no routing node answered; is one running at %s?", messages.ErrNoServers, c.options.Routing[0])
	}
	return fmt.Errorf("%w: the time was over before it was sent", messages.ErrOverloaded)
}

// pause puts a detached operation aside until its next attempt.
func (c *core) pause(now time.Duration, o *op, why error) {
	o.last = why
	wait := c.options.RetryPauseMax
	if o.pauses < 20 {
		wait = min(wait, c.options.RetryPauseMin<<o.pauses)
	}
	o.pauses++
	o.due = now + wait/2 + time.Duration(c.rng.Int64N(int64(wait/2)+1))
	o.place = paused
	c.paused = push(c.paused, o)
}

// unanswered deals with a detached operation whose attempt may or may not have been carried out.
func (c *core) unanswered(now time.Duration, o *op) {
	c.cache.forget(o.hash) // its owner may be dead
	if isWrite(o.Type) {
		o.unknown = true
		if c.options.NoRetry {
			c.finish(o, messages.ErrTimeout)
			return
		}
	}
	// Alone from now on: if it was the size of the whole answer that stood in the way, or one tuple that kills its
	// server, then its neighbours get through.
	o.alone = true
	c.pause(now, o, messages.ErrTimeout)
}

// tick looks at everything that waits for the time.
func (c *core) tick(now time.Duration) {
	for _, o := range c.ops {
		if o.place != free && o.place != ended && now >= o.deadline {
			err := c.verdict(o)
			if o.place == sent {
				c.cache.forget(o.hash) // perhaps it is the owner's fault
			}
			c.detach(o)
			c.finish(o, err)
		}
	}
	c.expireCalls(now)
	c.reconsider(now)
	for i := 0; i < len(c.paused); {
		if o := c.paused[i]; now >= o.due {
			c.detach(o)
			c.route(o)
			continue // another one has moved here
		}
		i++
	}
}

// lookAround is how often lost connections are noticed, and deadlines.
const lookAround = 25 * time.Millisecond

// nextTick returns how long tick can wait, or false when there is nothing to wait for.
func (c *core) nextTick(now time.Duration) (time.Duration, bool) {
	if c.live == 0 && len(c.questions) == 0 {
		return 0, false
	}
	wait := min(max(c.options.AttemptTimeout/8, time.Millisecond), lookAround)
	for _, o := range c.paused {
		wait = min(wait, o.due-now)
	}
	return max(wait, 500*time.Microsecond), true
}

// flush sends everything that is queued.
func (c *core) flush(now time.Duration) {
	for i, w := range c.dirty {
		up, losses := c.net.link(w.address)
		for t := range w.queues {
			c.sendAll(now, w, messages.RequestType(t), up, losses)
		}
		c.dirty[i] = nil
	}
	c.dirty = c.dirty[:0]
	c.askAll(now)
	c.net.flush()
}

// decodeType is the lattice type of a tuple; one that we do not know is None.
func decodeType(t messages.LatticeType) lattice.Type {
	if t < 0 || t >= messages.LatticeType(lattice.NumTypes) {
		return lattice.None
	}
	return lattice.Type(t)
}
