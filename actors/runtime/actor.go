package runtime

import (
	"fmt"
	"time"
)

// An Actor is a state machine. Step changes the actor's own fields and fills out; it has no
// socket, goroutine, lock, sleep or clock inside, so that the same actor runs in a process
// (Host) and in a simulation (SimHost). Host and SimHost call it for one message at a time
// (HOST-1). in.Frame and out are valid during the call only.
type Actor interface {
	Step(now time.Time, in Message, out *Outbox)
}

// Kind says what a Message is.
type Kind uint8

// The kinds of messages, and which fields each sets.
const (
	KindStarted Kind = iota + 1 // the first message of every incarnation
	KindFrame                   // Socket, Frame: a frame came in by a bound socket
	KindRequest                 // Socket, Frame, ReplyTo: a request came in; answer with Outbox.Reply
	KindReply                   // Body, Frame or Err: the outcome of Outbox.Request; Body is its tag
	KindTold                    // From, Body: another actor's Outbox.Tell, or the host's Tell
	KindTimer                   // Body: an Outbox.After of this incarnation
	KindTick                    // the period given to Tick passed
)

// String returns the kind's name.
func (k Kind) String() string {
	names := [...]string{"none", "started", "frame", "request", "reply", "told", "timer", "tick"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind %d", k)
}

// Message is what an actor is stepped with.
type Message struct {
	Kind    Kind
	Socket  string  // the name given to Bind or BindReply
	Frame   []byte  // valid during Step only
	ReplyTo ReplyTo // where the answer to a KindRequest goes; may be kept for later
	From    string  // the telling actor's name; empty when it was the host's owner
	Body    any
	Err     error
}

// ReplyTo is the way back to a client that waits in lock-step. The zero value leads nowhere.
type ReplyTo struct{ reply func([]byte) }

// Outbox collects what a Step wants done; it is done when Step returns, in the order replies,
// frames, tells, requests, timers. Tests of an actor read its fields.
type Outbox struct {
	Replies  []OutReply
	Frames   []OutFrame
	Tells    []OutTell
	Requests []OutRequest
	Timers   []OutTimer
}

// OutFrame is a frame for an address.
type OutFrame struct {
	Address string
	Frame   []byte
}

// OutTell is a message for another actor of the same host.
type OutTell struct {
	Actor string
	Body  any
}

// OutTimer is a message for the actor itself.
type OutTimer struct {
	After time.Duration
	Body  any
}

// OutRequest is a question to a REP socket.
type OutRequest struct {
	Address string
	Frame   []byte
	Timeout time.Duration
	Tag     any
}

// OutReply is an answer to a KindRequest.
type OutReply struct {
	To    ReplyTo
	Frame []byte
}

// Send queues a frame for an address. Ownership of frame passes to the Outbox: do not change
// it afterwards. A frame that cannot be queued is counted and logged; the actor learns of it as
// of any lost frame, by the answer that does not come.
func (o *Outbox) Send(address string, frame []byte) {
	o.Frames = append(o.Frames, OutFrame{address, frame})
}

// Tell gives body to another actor of the same host; it must not be changed afterwards.
func (o *Outbox) Tell(actor string, body any) { o.Tells = append(o.Tells, OutTell{actor, body}) }

// After steps the actor with a KindTimer and body when d has passed, unless it has failed and
// been started anew meanwhile.
func (o *Outbox) After(d time.Duration, body any) {
	o.Timers = append(o.Timers, OutTimer{d, body})
}

// Request asks the REP socket at address; a KindReply with the tag follows in any case.
func (o *Outbox) Request(address string, frame []byte, timeout time.Duration, tag any) {
	o.Requests = append(o.Requests, OutRequest{address, frame, timeout, tag})
}

// Reply answers a KindRequest, of this Step or an earlier one.
func (o *Outbox) Reply(to ReplyTo, frame []byte) {
	o.Replies = append(o.Replies, OutReply{to, frame})
}

// Reset empties the Outbox and keeps its memory.
func (o *Outbox) Reset() {
	clear(o.Replies)
	clear(o.Frames)
	clear(o.Tells)
	clear(o.Requests)
	clear(o.Timers)
	o.Replies, o.Frames, o.Tells, o.Requests, o.Timers = o.Replies[:0], o.Frames[:0], o.Tells[:0], o.Requests[:0], o.Timers[:0]
}

// A Stage hosts actors: Host in a process, SimHost in a simulation. What composes a role takes
// a Stage and does not know which it is.
type Stage interface {
	// Spawn starts an actor under a name. The factory is called at once and after every panic
	// of Step; it must not panic itself.
	Spawn(name string, factory func() Actor) error
	// Bind delivers what comes in at address to the actor, tagged with the socket's name, and
	// returns the bound address. Errors: ErrNoActor and those of Transport.Listen.
	Bind(actor, socket, address string) (bound string, err error)
	// BindReply is Bind for requests that want a reply.
	BindReply(actor, socket, address string) (bound string, err error)
	// Tick steps the actor with a KindTick every period from now on.
	Tick(actor string, period time.Duration) error
	// Tell steps the actor with a KindTold from nobody. Errors: ErrNoActor, ErrMailboxFull,
	// ErrClosed.
	Tell(actor string, body any) error
}
