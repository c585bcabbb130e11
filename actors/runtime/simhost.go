package runtime

import (
	"bytes"
	"fmt"
	"runtime/debug"
	"time"
)

// SimHost is the Stage of one simulated node: the same actors as in a Host, stepped by the
// network's events in one goroutine. An actor that panics is started anew, as in a Host;
// Panics tells a test about it.
type SimHost struct {
	net  *SimNet
	node *SimNode
	// Panics holds the reason and stack of every panic in a Step.
	Panics []string

	actors map[string]*simActor
	down   bool
}

var _ Stage = (*SimHost)(nil)

// simActor is an actor in a SimHost.
type simActor struct {
	host        *SimHost
	name        string
	factory     func() Actor
	actor       Actor // nil before it is born and between incarnations
	waiting     []Message
	incarnation int
	out         Outbox
}

// NewSimHost returns a host on the node with that IP, which is created, or restarted after a
// Crash, by this.
func NewSimHost(net *SimNet, ip string) *SimHost {
	return &SimHost{net: net, node: net.Node(ip), actors: make(map[string]*simActor)}
}

// Node returns the host's end of the network.
func (h *SimHost) Node() *SimNode { return h.node }

// Crash is kill -9 of the process: no actor is stepped any more, and the node crashes.
func (h *SimHost) Crash() {
	h.down = true
	h.node.Crash()
}

// Stop ends the process in order: what its actors have sent still goes out.
func (h *SimHost) Stop() {
	h.down = true
	_ = h.node.Close()
}

// Spawn implements Stage.
func (h *SimHost) Spawn(name string, factory func() Actor) error {
	switch {
	case h.down:
		return fmt.Errorf("spawn %s: %w", name, ErrClosed)
	case h.actors[name] != nil:
		return fmt.Errorf("spawn %s: there is an actor of that name", name)
	}
	a := &simActor{host: h, name: name, factory: factory}
	h.actors[name] = a
	h.net.After(0, func() { a.incarnate() })
	return nil
}

func (h *SimHost) find(name string) (*simActor, error) {
	switch a := h.actors[name]; {
	case h.down:
		return nil, fmt.Errorf("actor %s: %w", name, ErrClosed)
	case a == nil:
		return nil, fmt.Errorf("actor %s: %w", name, ErrNoActor)
	default:
		return a, nil
	}
}

// Bind implements Stage.
func (h *SimHost) Bind(name, socket, address string) (string, error) {
	a, err := h.find(name)
	if err != nil {
		return "", err
	}
	return h.node.Listen(address, func(frame []byte) {
		a.step(Message{Kind: KindFrame, Socket: socket, Frame: bytes.Clone(frame)})
	})
}

// BindReply implements Stage.
func (h *SimHost) BindReply(name, socket, address string) (string, error) {
	a, err := h.find(name)
	if err != nil {
		return "", err
	}
	return h.node.ListenReply(address, func(request []byte, reply func([]byte)) {
		a.step(Message{Kind: KindRequest, Socket: socket, Frame: request, ReplyTo: ReplyTo{reply}})
	})
}

// Tick implements Stage.
func (h *SimHost) Tick(name string, period time.Duration) error {
	a, err := h.find(name)
	if err != nil {
		return err
	}
	if period <= 0 {
		return fmt.Errorf("tick %s: period %v", name, period)
	}
	var again func()
	again = func() {
		if h.down || h.node.down {
			return
		}
		a.step(Message{Kind: KindTick})
		h.node.after(period, again)
	}
	h.node.after(period, again)
	return nil
}

// Tell implements Stage.
func (h *SimHost) Tell(name string, body any) error {
	return h.tell(name, Message{Kind: KindTold, Body: body})
}

func (h *SimHost) tell(name string, m Message) error {
	a, err := h.find(name)
	if err != nil {
		return err
	}
	h.net.After(0, func() { a.step(m) })
	return nil
}

func (a *simActor) incarnate() {
	a.incarnation++
	a.actor = a.factory()
	waiting := a.waiting
	a.waiting = nil
	a.step(Message{Kind: KindStarted})
	for _, m := range waiting {
		a.step(m)
	}
}

// step runs the actor once and carries out what it wants; a panic makes a new incarnation.
func (a *simActor) step(m Message) {
	if a.host.down || a.host.node.down {
		return
	}
	if a.host.node.paused {
		if m.Kind != KindTick { // of ticks one more would be enough, and there will be one
			a.host.node.run(func() { a.step(m) })
		}
		return
	}
	if a.actor == nil {
		a.waiting = append(a.waiting, m)
		return
	}
	defer func() {
		if reason := recover(); reason != nil {
			a.actor = nil
			a.host.net.panics++
			a.host.Panics = append(a.host.Panics, fmt.Sprintf("actor %s at a %v message: %v\n%s", a.name, m.Kind, reason, debug.Stack()))
			a.host.net.After(time.Millisecond, func() {
				if !a.host.down {
					a.incarnate()
				}
			})
		}
	}()
	a.out.Reset()
	a.actor.Step(a.host.node.now(), m, &a.out)
	a.carryOut()
}

// carryOut does what Host.carryOut does. What cannot be sent is lost in silence: an actor must
// survive that.
func (a *simActor) carryOut() {
	h, incarnation := a.host, a.incarnation
	for _, o := range a.out.Replies {
		if o.To.reply != nil {
			o.To.reply(o.Frame)
		}
	}
	for _, o := range a.out.Frames {
		_ = h.node.Send(o.Address, o.Frame)
	}
	for _, o := range a.out.Tells {
		_ = h.tell(o.Actor, Message{Kind: KindTold, From: a.name, Body: o.Body})
	}
	current := func(m Message) {
		if a.incarnation == incarnation {
			a.step(m)
		}
	}
	for _, o := range a.out.Requests {
		done := func(reply []byte, err error) {
			current(Message{Kind: KindReply, Body: o.Tag, Frame: reply, Err: err})
		}
		if err := h.node.Request(o.Address, o.Frame, o.Timeout, done); err != nil {
			h.net.After(0, func() { done(nil, err) })
		}
	}
	for _, o := range a.out.Timers {
		h.node.after(o.After, func() { current(Message{Kind: KindTimer, Body: o.Body}) })
	}
}
