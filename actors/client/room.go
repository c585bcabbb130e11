package client

import (
	"context"
	"slices"
)

// waiter is a goroutine that wants to start operations for which there is no room.
type waiter struct {
	ops, bytes int
	passed     int // how often room came that was not enough
	ready      chan struct{}
}

// queueUp makes the caller wait for room for rest. It asks for a good part of all the room there is: if each answer let one
// operation in, then one operation after the other would travel, alone, for ever after. REQUIRES: c.mu.
func (c *Client) queueUp(rest []Operation) *waiter {
	w := &waiter{ops: min(len(rest), max(1, c.options.MaxOutstanding/4)), bytes: rest[0].bytes(), ready: make(chan struct{})}
	c.mu.waiters = append(c.mu.waiters, w)
	return w
}

// await waits for w's turn, or for an end of the context or of the client.
func (c *Client) await(ctx context.Context, w *waiter) {
	select {
	case <-w.ready:
		return
	case <-ctx.Done():
	case <-c.closing:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.waiters = slices.DeleteFunc(c.mu.waiters, func(other *waiter) bool { return other == w })
	c.admit() // it stands in nobody's way any more
}

// admit lets those in who wait for room, first come, first served, as far as there is room. One who was passed over as often as
// there can be operations takes what there is: callers of Submit may be filling the room as fast as it comes. REQUIRES: c.mu.
func (c *Client) admit() {
	ops, bytes := c.mu.core.live, c.mu.core.bytes
	for len(c.mu.waiters) > 0 {
		w := c.mu.waiters[0]
		if w.passed >= c.options.MaxOutstanding {
			w.ops = 1
		}
		if ops+w.ops > c.options.MaxOutstanding || bytes+w.bytes > c.options.MaxPayloadBytes {
			w.passed++
			return
		}
		ops += w.ops
		bytes += w.bytes
		c.mu.waiters = slices.Delete(c.mu.waiters, 0, 1)
		close(w.ready)
	}
}
