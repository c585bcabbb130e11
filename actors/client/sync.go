package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"

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

// Delete removes the key, whatever its type. messages.ErrKeyDoesNotExist: there was none.
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
	g := &group{c: c, out: make([]Outcome, len(in)), done: make(chan struct{}), left: 1}
	started := make([]startedOp, 0, len(in))
	for i := range in {
		o := in[i]
		o.Tag, o.Done = uint64(i), g.ended
		c.begin(ctx, g, &o, &started)
	}
	c.flushNow()
	g.leave() // the 1 that it began with
	select {
	case <-g.done:
	case <-ctx.Done():
		c.withdraw(ctx, g, started)
		<-g.done // what withdraw found ended is being called back
	}
	return g.out
}

// group collects the outcomes of one Do. left is protected by the client's mutex, and out by left reaching zero.
type group struct {
	c    *Client
	out  []Outcome
	left int
	done chan struct{}
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

// begin starts one operation, waiting for room as long as the context lasts.
func (c *Client) begin(ctx context.Context, g *group, in *Operation, started *[]startedOp) {
	if err := in.check(); err != nil {
		g.out[in.Tag].Err = err
		return
	}
	for {
		err := ctx.Err()
		if err == nil {
			err = c.tryBegin(g, in, started)
		}
		if err == nil {
			return // its outcome is the callback's from here on: it may be there already
		}
		if !errors.Is(err, ErrTooManyOutstanding) {
			g.out[in.Tag].Err = err
			return
		}
		c.flushNow()
		select {
		case <-c.room:
		case <-ctx.Done():
		case <-c.closing:
		}
		c.mu.Lock()
		c.mu.waiters--
		c.mu.Unlock()
	}
}

// tryBegin starts one operation, or announces that somebody waits for room.
func (c *Client) tryBegin(g *group, in *Operation, started *[]startedOp) error {
	wall := c.options.Clock.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	o, err := c.submit(wall.Sub(c.start), in, math.MaxInt64, wall) // withdraw is its deadline
	switch {
	case err == nil:
		g.left++
		*started = append(*started, startedOp{o, o.serial})
		if c.mu.waiters > 0 {
			signal(c.room) // perhaps for one more
		}
	case errors.Is(err, ErrTooManyOutstanding):
		c.mu.waiters++
	}
	return err
}

// flushNow sends from the caller's goroutine, which saves a lone operation a hop, and sees to it that the loop keeps the
// time.
func (c *Client) flushNow() {
	c.mu.Lock()
	c.mu.core.flush(c.now())
	asleep := !c.mu.alarmed && !c.flushSoon.Load()
	c.mu.Unlock()
	if asleep {
		signal(c.wake)
	}
}

// withdraw ends what is not over yet, because its context is.
func (c *Client) withdraw(ctx context.Context, g *group, started []startedOp) {
	for _, s := range started {
		c.mu.Lock()
		if s.op.serial == s.serial && s.op.place != ended && s.op.place != free {
			i, write := s.op.Tag, isWrite(s.op.Type)
			why := c.mu.core.cancel(s.op)
			g.out[i].Err = context.Cause(ctx)
			if write || !OutcomeUnknown(why) {
				g.out[i].Err = fmt.Errorf("%w: %w", g.out[i].Err, why)
			}
			g.left--
			if g.left == 0 {
				close(g.done)
			}
		}
		c.mu.Unlock()
	}
}
