package client

import (
	"context"
	"testing"

	"github.com/dinomo-kv/dinomo/messages"
)

// rooms is a client with nothing but room for 8 operations and 100 bytes.
func rooms(live int) *Client {
	c := &Client{options: Options{MaxOutstanding: 8, MaxPayloadBytes: 100}}
	c.mu.core = &core{live: live}
	return c
}

func (w *waiter) isIn() bool {
	select {
	case <-w.ready:
		return true
	default:
		return false
	}
}

func TestRoomIsGivenInTurn(t *testing.T) {
	c := rooms(8)
	get := Operation{Type: messages.RequestType_GET, Key: "a"}
	many, one := c.queueUp([]Operation{get, get, get, get, get}), c.queueUp([]Operation{get})
	for _, step := range []struct {
		live      int
		many, one bool
	}{{8, false, false}, {7, false, false}, {6, true, false}, {8, true, false}, {7, true, true}} {
		c.mu.core.live = step.live
		c.admit()
		if many.isIn() != step.many || one.isIn() != step.one {
			t.Fatalf("%d of 8 outstanding: a quarter of the room given: %v, room for one: %v", step.live, many.isIn(), one.isIn())
		}
	}
	large := c.queueUp([]Operation{{Type: messages.RequestType_PUT, Key: "a", Value: make([]byte, 79)}})
	c.mu.core.live, c.mu.core.bytes = 1, 21
	if c.admit(); large.isIn() {
		t.Error("let in without room for its bytes")
	}
	c.mu.core.bytes = 20
	if c.admit(); !large.isIn() {
		t.Error("not let in, with room for its bytes")
	}
}

func TestRoomOfOneWhoLeaves(t *testing.T) {
	c := rooms(7)
	get := Operation{Type: messages.RequestType_GET, Key: "a"}
	many, one := c.queueUp([]Operation{get, get}), c.queueUp([]Operation{get})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c.await(ctx, many)
	if !one.isIn() || len(c.mu.waiters) != 0 {
		t.Errorf("it stands in the way still: %d wait", len(c.mu.waiters))
	}
}

// Callers of Submit may fill the room as soon as it comes, operation by operation.
func TestRoomInTheEnd(t *testing.T) {
	c := rooms(7)
	get := Operation{Type: messages.RequestType_GET, Key: "a"}
	w := c.queueUp([]Operation{get, get})
	for range 8 {
		if c.admit(); w.isIn() {
			t.Fatal("one place is not two")
		}
	}
	if c.admit(); !w.isIn() {
		t.Error("waits for ever")
	}
}
