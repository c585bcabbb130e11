package kn

import (
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/actors/ownership"
	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/messages"
)

// peer is another role's socket: what comes in waits to be looked for.
type peer struct {
	t    testing.TB
	pull *runtime.Pull
	seen [][]byte
}

func (r *rig) peer(ip string, socket messages.Socket) *peer {
	r.t.Helper()
	return r.peerOf(messages.PlanDinomo, ip, socket)
}

func (r *rig) peerOf(plan messages.Plan, ip string, socket messages.Socket) *peer {
	r.t.Helper()
	a, err := plan.Address(ip, socket, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	pull, err := runtime.ListenPull(a.String(), runtime.PullOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = pull.Close() })
	return &peer{t: r.t, pull: pull}
}

// wait returns the first frame that the function accepts; earlier ones are dropped.
func (p *peer) wait(what string, accept func(frame []byte) bool) {
	p.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		for len(p.seen) > 0 {
			frame := p.seen[0]
			p.seen = p.seen[1:]
			if accept(frame) {
				return
			}
		}
		select {
		case b := <-p.pull.Batches():
			for _, f := range b.Frames {
				p.seen = append(p.seen, append([]byte(nil), f...))
			}
			b.Release()
		case <-deadline:
			p.t.Fatalf("%s did not come", what)
		}
	}
}

// control waits for a control message that the function accepts.
func control1[M messages.Message](p *peer, what string, accept func(M) bool) (found M) {
	p.t.Helper()
	p.wait(what, func(frame []byte) bool {
		var e messages.ControlEnvelope
		if err := messages.Unmarshal(frame, &e); err != nil {
			p.t.Fatal(err)
		}
		m, ok := messages.Unwrap(&e).(M)
		if ok && accept(m) {
			found = m
			return true
		}
		return false
	})
	return found
}

// tell sends a control message to a node.
func (c *client) tell(n *Node, body messages.Message) {
	c.t.Helper()
	frame, err := messages.Marshal(messages.Envelope("test", body))
	if err != nil {
		c.t.Fatal(err)
	}
	c.raw(n.o.address(n.o.PrivateIP, messages.KNControl), frame)
}

// prepare asks a node to prepare the next map and returns the request's id; the answer goes to the peer.
func (r *rig) prepare(c *client, p *peer, n *Node, next *hashring.Map, id string) {
	c.tell(n, &messages.OwnershipPrepare{
		EpochFrom: uint64(next.Epoch()) - 1, Next: ownership.ToWire(next, "test"), ResponseAddress: p.pull.Address(), RequestId: id, Reason: "test",
	})
}

func newMap(t testing.TB, s hashring.Spec) *hashring.Map {
	t.Helper()
	m, err := hashring.NewMap(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
