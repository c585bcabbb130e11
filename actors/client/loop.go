package client

import (
	"fmt"
	"time"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/messages"
)

// maxBatchesPerFlush is how many received batches are handled before what they caused is sent: too few, and little is sent
// with each system call; too many, and servers idle meanwhile.
const maxBatchesPerFlush = 8

// loop is the client's goroutine: it takes what arrives, keeps the time, and calls back.
func (c *Client) loop() {
	defer close(c.done)
	alarm := alarm{clock: c.options.Clock}
	ready := []func() bool{
		c.answers.Ready, c.names.Ready, func() bool { return len(c.wake) > 0 }, func() bool { return len(alarm.fired) > 0 },
		func() bool { return clock.Closed(c.closing) },
	}
	for {
		first := clock.Await(c.options.Clock, ready...)
		select {
		case b := <-clock.Only(first, 0, c.answers.Batches()):
			c.flushSoon.Store(true)
			c.drain(b)
		case b := <-clock.Only(first, 1, c.names.Batches()):
			c.flushSoon.Store(true)
			c.handleNames(b)
		case <-clock.Only(first, 2, c.wake):
			c.flushSoon.Store(true)
		case <-clock.Only(first, 3, alarm.fired):
			c.flushSoon.Store(true)
			alarm.fired = nil
			c.handleTick()
		case <-clock.Only(first, 4, c.closing):
			alarm.stop()
			c.abandon()
			return
		}
		c.settleDown(&alarm)
	}
}

// settleDown sends what is queued and sets the alarm for the next tick.
func (c *Client) settleDown(a *alarm) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushSoon.Store(false)
	now := c.now()
	c.mu.core.flush(now)
	if wait, needed := c.mu.core.nextTick(now); needed {
		a.set(now, wait)
	}
	c.mu.alarmed = a.fired != nil
}

// alarm is a timer that is only ever set to something earlier: while requests come and go, the one that is set is as
// good as a new one.
type alarm struct {
	clock clock.Clock
	timer *clock.Timer
	fired <-chan time.Time // nil: not set
	due   time.Duration
}

func (a *alarm) set(now, wait time.Duration) {
	if a.fired != nil && a.due <= now+wait {
		return
	}
	a.stop()
	a.timer = a.clock.NewTimer(wait)
	a.fired, a.due = a.timer.C, now+wait
}

func (a *alarm) stop() {
	if a.fired != nil {
		a.timer.Stop()
		a.fired = nil
	}
}

// drain handles a batch and those that have arrived behind it.
func (c *Client) drain(b *runtime.Batch) {
	for range maxBatchesPerFlush {
		c.handleAnswers(b)
		select {
		case b = <-c.answers.Batches():
		default:
			return
		}
	}
	c.handleAnswers(b)
}

// handleAnswers takes a batch of KeyResponses.
func (c *Client) handleAnswers(b *runtime.Batch) {
	bad := uint64(0)
	for _, frame := range b.Frames {
		m, err := c.codec.DecodeKeyResponse(frame)
		if err != nil {
			bad++
			continue
		}
		c.decoded = append(c.decoded, m)
	}
	c.mu.Lock()
	now := c.now()
	c.mu.core.metrics.MalformedFrames += bad
	for _, m := range c.decoded {
		c.mu.core.answered(now, m)
	}
	c.callBack()
	for i, m := range c.decoded {
		messages.ReleaseKeyResponse(m)
		c.decoded[i] = nil
	}
	c.decoded = c.decoded[:0]
	b.Release()
}

// handleNames takes a batch of KeyAddressResponses.
func (c *Client) handleNames(b *runtime.Batch) {
	c.mu.Lock()
	now := c.now()
	for _, frame := range b.Frames {
		m, err := c.codec.DecodeKeyAddressResponse(frame)
		if err != nil {
			c.mu.core.metrics.MalformedFrames++
			continue
		}
		c.mu.core.located(now, m)
		messages.ReleaseKeyAddressResponse(m)
	}
	c.callBack()
	b.Release()
}

func (c *Client) handleTick() {
	c.mu.Lock()
	wall := c.options.Clock.Now()
	now := wall.Sub(c.start)
	c.mu.core.tick(now)
	if now-c.swept >= time.Second {
		c.swept = now
		c.peers.Sweep(wall)
	}
	c.callBack()
}

// callBack runs the callbacks of the operations that have ended. REQUIRES: c.mu; releases it.
func (c *Client) callBack() {
	over := c.mu.core.ended
	c.mu.core.ended = c.mu.spare[:0]
	c.mu.spare = nil
	if len(over) > 0 {
		c.admit()
	}
	c.mu.Unlock()
	for _, o := range over {
		o.done(&o.Result)
	}
	c.mu.Lock()
	for i, o := range over {
		c.mu.core.release(o)
		over[i] = nil
	}
	c.mu.spare = over
	c.mu.Unlock()
}

// abandon ends everything that is under way.
func (c *Client) abandon() {
	c.mu.Lock()
	for _, o := range c.mu.core.ops {
		if o.place == free || o.place == ended {
			continue
		}
		err := ErrClosed
		if o.place == sent && isWrite(o.Type) {
			err = fmt.Errorf("%w: %w", ErrClosed, messages.ErrTimeout)
		}
		c.mu.core.detach(o)
		c.mu.core.finish(o, err)
	}
	c.callBack()
}
