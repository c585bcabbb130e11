package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// Outcome is what became of an operation of Do. Its Payload is the caller's to keep.
type Outcome struct {
	Err      error
	Lattice  lattice.Type
	Payload  []byte
	Attempts int
}

// Value returns the value that a get of an LWW key found; see Result.Value.
func (o Outcome) Value() ([]byte, error) {
	if o.Err != nil {
		return nil, o.Err
	}
	v, err := decodeLWW(o.Lattice, o.Payload)
	return v.Value, err
}

// Pair is a key and its LWW value.
type Pair struct {
	Key   string
	Value []byte
}

// Get returns the value of an LWW key. messages.ErrKeyDoesNotExist: it has none; messages.ErrLattice: it has one of another
// type, which GetSet and its kin read.
func (c *Client) Get(ctx context.Context, key string) ([]byte, error) {
	out := c.one(ctx, Operation{Type: messages.RequestType_GET, Key: key})
	value, err := out.Value()
	if err != nil {
		return nil, fmt.Errorf("get %q: %w", key, err)
	}
	return value, nil
}

// Put stores value as the key's LWW value.
func (c *Client) Put(ctx context.Context, key string, value []byte) error {
	return c.write(ctx, messages.RequestType_PUT, key, value)
}

// Insert is Put as a wire request of its own, for keys believed to be new. Servers treat it as Put.
func (c *Client) Insert(ctx context.Context, key string, value []byte) error {
	return c.write(ctx, messages.RequestType_INSERT, key, value)
}

// Update is Put as a wire request of its own, for keys believed to exist. Servers treat it as Put.
func (c *Client) Update(ctx context.Context, key string, value []byte) error {
	return c.write(ctx, messages.RequestType_UPDATE, key, value)
}

// Delete removes the key, whatever its type. It succeeds also where there is none: a KN writes a delete without a read, which
// to know would take.
func (c *Client) Delete(ctx context.Context, key string) error {
	return named("delete", key, c.one(ctx, Operation{Type: messages.RequestType_DELETE, Key: key}).Err)
}

func (c *Client) write(ctx context.Context, t messages.RequestType, key string, value []byte) error {
	return named("put", key, c.one(ctx, Operation{Type: t, Key: key, Value: value}).Err)
}

// named adds what was tried to an error.
func named(verb, key string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %q: %w", verb, key, err)
}

// MultiGet reads several keys at once and returns their outcomes in the order of the keys.
func (c *Client) MultiGet(ctx context.Context, keys ...string) []Outcome {
	in := make([]Operation, len(keys))
	for i, key := range keys {
		in[i] = Operation{Type: messages.RequestType_GET, Key: key}
	}
	return c.Do(ctx, in...)
}

// MultiPut writes several keys at once, each on its own: some may fail. It returns their errors in the order of the pairs.
func (c *Client) MultiPut(ctx context.Context, pairs ...Pair) []error {
	in := make([]Operation, len(pairs))
	for i, p := range pairs {
		in[i] = Operation{Type: messages.RequestType_PUT, Key: p.Key, Value: p.Value}
	}
	errs := make([]error, len(pairs))
	for i, out := range c.Do(ctx, in...) {
		errs[i] = out.Err
	}
	return errs
}

func (c *Client) one(ctx context.Context, in Operation) Outcome { return c.Do(ctx, in)[0] }

// Do carries out operations at once and waits for all of them, or for the context, which alone limits the time: their
// Deadline and Done are ignored. When the context ends, what is not over gets its error, joined with messages.ErrTimeout
// where a write may have taken effect. The order among the operations is not defined.
func (c *Client) Do(ctx context.Context, in ...Operation) []Outcome {
	g := &group{c: c, out: make([]Outcome, len(in)), started: make([]startedOp, 0, len(in)), done: make(chan struct{}), left: 1}
	c.begin(ctx, g, in)
	g.leave() // the 1 that it began with
	select {
	case <-g.done:
	case <-ctx.Done():
		c.withdraw(ctx, g)
		<-g.done // what withdraw found ended is being called back
	}
	return g.out
}

// group collects the outcomes of one Do. left is protected by the client's mutex, and out by left reaching zero.
type group struct {
	c       *Client
	out     []Outcome
	started []startedOp
	left    int
	done    chan struct{}
}

// startedOp names an op for as long as it is not reused.
type startedOp struct {
	op     *op
	serial uint64
}

// ended is the operations' callback. It copies what it gets.
func (g *group) ended(r *Result) {
	g.out[r.Tag] = Outcome{Err: r.Err, Lattice: r.Lattice, Payload: bytes.Clone(r.Payload), Attempts: r.Attempts}
	g.leave()
}

// leave counts one operation, or Do itself, as done.
func (g *group) leave() {
	g.c.mu.Lock()
	g.left--
	last := g.left == 0
	g.c.mu.Unlock()
	if last {
		close(g.done)
	}
}

// begin starts operations, waiting for room as long as the context lasts.
func (c *Client) begin(ctx context.Context, g *group, in []Operation) {
	for next := 0; next < len(in); {
		if err := ctx.Err(); err != nil {
			for i := next; i < len(in); i++ {
				g.out[i].Err = err
			}
			return
		}
		var w *waiter
		if next, w = c.beginSome(g, in, next); w != nil {
			c.await(ctx, w)
		}
	}
}

// beginSome starts operations from in[next] on, as many as there is room for, and sends them: from the caller's goroutine, which
// saves a lone operation a hop, and before anybody else sends, so that they travel together. It returns the first that it
// did not start, with the caller's place in the queue when it is room that lacks.
func (c *Client) beginSome(g *group, in []Operation, next int) (int, *waiter) {
	wall := c.options.Clock.Now()
	now := wall.Sub(c.start)
	c.mu.Lock()
	defer c.mu.Unlock()
	var w *waiter
	// Others get the mutex now and then, however large the values are that are copied here.
	for bytes := 0; next < len(in) && bytes < c.options.MaxRequestBytes; next++ {
		err := c.beginOne(now, g, in[next], next, wall)
		if errors.Is(err, ErrTooManyOutstanding) {
			w = c.queueUp(in[next:])
			break
		}
		if err != nil {
			g.out[next].Err = err
		}
		bytes += in[next].bytes()
	}
	c.mu.core.flush(now)
	if !c.mu.alarmed && !c.flushSoon.Load() {
		signal(c.wake) // the loop keeps the time
	}
	return next, w
}

// beginOne starts g's i-th operation. REQUIRES: c.mu.
func (c *Client) beginOne(now time.Duration, g *group, in Operation, i int, wall time.Time) error {
	in.Tag, in.Done = uint64(i), g.ended
	if err := in.check(); err != nil {
		return err
	}
	o, err := c.submit(now, &in, math.MaxInt64, wall) // withdraw is its deadline
	if err == nil {
		g.left++
		g.started = append(g.started, startedOp{o, o.serial})
	}
	return err
}

// withdraw ends what is not over yet, because its context is.
func (c *Client) withdraw(ctx context.Context, g *group) {
	for _, s := range g.started {
		c.mu.Lock()
		if s.op.serial == s.serial && s.op.place != ended && s.op.place != free {
			i, write := s.op.Tag, isWrite(s.op.Type)
			why := c.mu.core.cancel(s.op)
			c.admit()
			if write || !OutcomeUnknown(why) {
				g.out[i].Err = fmt.Errorf("%w: %w", context.Cause(ctx), why)
			} else { // of a read: its outcome is known
				g.out[i].Err = fmt.Errorf("%w: the key's KN did not answer, or could not reach the pool", context.Cause(ctx))
			}
			g.left--
			if g.left == 0 {
				close(g.done)
			}
		}
		c.mu.Unlock()
	}
}
