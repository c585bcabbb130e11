package remote

import (
	"fmt"

	"github.com/dinomo-kv/dinomo/dpm/call"
	"github.com/dinomo-kv/dinomo/dpm/fabric"
)

// caller sends calls over a queue pair and reuses its buffers. The reply is valid until the next call.
type caller struct {
	qp       fabric.QP
	request  []byte
	raw      []byte
	reply    call.Reply
	calls    uint64 // calls that came back, whatever they said
	newTable uint64 // the current index table as the last reply that says so had it, 0 before
}

// do sends r and waits for its reply, which it also returns when the status is not OK.
func (c *caller) do(r *call.Request) (*call.Reply, error) {
	if c.qp == nil {
		return nil, ErrNotAttached
	}
	c.request = call.AppendRequest(c.request[:0], r)
	raw, err := c.qp.Call(c.request, c.raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.Op, err)
	}
	c.raw = raw
	c.calls++
	if err := call.DecodeReply(raw, &c.reply); err != nil {
		return nil, fmt.Errorf("reply to %s: %w", r.Op, err)
	}
	if c.reply.Op != r.Op {
		return nil, fmt.Errorf("reply to %s: %w: it answers %s", r.Op, call.ErrMalformed, c.reply.Op)
	}
	if c.reply.Table != 0 {
		c.newTable = c.reply.Table
	}
	if c.reply.Status != call.OK {
		return &c.reply, statusError(&c.reply)
	}
	return &c.reply, nil
}
