package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// Errors of this package; those that servers answer with are the sentinels of package messages.
var (
	// ErrTooManyOutstanding: Submit would exceed Options.MaxOutstanding or MaxPayloadBytes. Nothing was started.
	ErrTooManyOutstanding = errors.New("too many operations outstanding: wait for some to end")
	// ErrClosed: the client was closed before the operation was started.
	ErrClosed = errors.New("client is closed")
)

// Operation is one request for one key, for Submit.
type Operation struct {
	// Type is GET, READ, PUT, INSERT, UPDATE or DELETE.
	Type messages.RequestType
	Key  string
	// Value is what a write stores as an LWW value, when Payload is nil; the client adds the timestamp.
	Value []byte
	// Payload is what a write stores, serialized as Lattice says. Both are copied before Submit returns.
	Payload []byte
	Lattice lattice.Type
	// Deadline ends the attempts. Zero: Options.OperationTimeout from now.
	Deadline time.Time
	// Tag is the caller's own; it comes back in the Result.
	Tag uint64
	// Done is called once, on the client's own goroutine: it must not block, and may call Submit. Neither the Result nor
	// what it points to may be kept. One func value may serve many operations, which is how to avoid an allocation each.
	Done func(*Result)
}

// bytes is what in counts against MaxPayloadBytes, about.
func (in *Operation) bytes() int { return len(in.Key) + len(in.Value) + len(in.Payload) }

// isWrite says whether op changes anything.
func isWrite(t messages.RequestType) bool {
	return !t.IsGet()
}

// Result is what became of an Operation.
type Result struct {
	Type messages.RequestType
	Key  string
	Tag  uint64
	// Err is nil, a sentinel of package messages (perhaps wrapped), ErrClosed, or a context's error.
	Err error
	// Lattice and Payload are what a successful get found. Payload is valid during the callback only.
	Lattice lattice.Type
	Payload []byte
	// Attempts counts requests sent, questions to routing threads not included.
	Attempts int
	// From is the address of the KN thread that gave the last answer, "" if none did.
	From string
}

// Value returns the value of a successful get of an LWW key; it aliases Payload. A key of another type gives
// messages.ErrLattice.
func (r *Result) Value() ([]byte, error) {
	if r.Err != nil {
		return nil, r.Err
	}
	v, err := decodeLWW(r.Lattice, r.Payload)
	return v.Value, err
}

// OutcomeUnknown says whether an operation that returned err may nevertheless have taken effect, or may still. It
// is about writes; a read has no effect.
func OutcomeUnknown(err error) bool { return errors.Is(err, messages.ErrTimeout) }

// harmless lists the errors of operations that have had no effect.
var harmless = []error{
	messages.ErrWrongThread, messages.ErrOverloaded, messages.ErrNoServers, messages.ErrNoSpace, messages.ErrTooLarge, messages.ErrInvalidRequest,
	messages.ErrDamaged,
	ErrTooManyOutstanding, context.DeadlineExceeded,
}

// NothingHappened says whether err promises that the operation had no effect and will have none. It is stricter than the negation of
// OutcomeUnknown: an error that nobody has judged promises nothing. Recorders of histories ask it.
func NothingHappened(err error) bool {
	return !OutcomeUnknown(err) && slices.ContainsFunc(harmless, func(known error) bool { return errors.Is(err, known) })
}

// decodeOptions bound what is accepted from a server: generously, as it is the size of an answer that is limited.
var decodeOptions = lattice.Options{MaxPayloadBytes: 1 << 30, MaxElements: 1 << 26}

func decodeLWW(t lattice.Type, payload []byte) (lattice.LWWValue, error) {
	if err := wantType(t, lattice.LWW); err != nil {
		return lattice.LWWValue{}, err
	}
	return lattice.ParseLWW(payload, decodeOptions)
}

func wantType(got, want lattice.Type) error {
	if got != want {
		return fmt.Errorf("%w: it is %s, not %s", messages.ErrLattice, got, want)
	}
	return nil
}

// place is where an operation is between Submit and its callback.
type place uint8

const (
	free    place = iota
	waiting       // in an ask: nobody knows yet who owns its key
	queued        // in an owner's queue, to be sent with the next flush
	sent          // in a request that is not answered
	paused        // in core.paused, until its next attempt
	ended         // in core.ended, to be called back
)

// op is an Operation under way. Ops are reused; they never move in memory.
type op struct {
	Result
	done     func(*Result)
	hash     uint64
	deadline time.Duration // on the core's time line

	place place
	index int           // in the list that it is in
	ask   *ask          // when waiting
	owner *owner        // when queued
	call  *call         // when sent
	due   time.Duration // when paused

	tuple    messages.KeyTuple // what is sent
	payload  []byte            // its own buffer behind tuple.Payload
	bytes    int               // charged to MaxPayloadBytes
	unknown  bool              // an attempt to write ended without an answer
	redirect bool              // it has followed one WRONG_THREAD without a pause
	alone    bool              // it shares no request
	pauses   int
	last     error  // why the last attempt failed
	serial   uint64 // grows with each reuse
}

// keepPayload is the largest buffer that a free op holds on to.
const keepPayload = 64 << 10

// load prepares o for an operation. The caller has checked in.
func (o *op) load(in *Operation, timestamp uint64) {
	o.Result = Result{Type: in.Type, Key: in.Key, Tag: in.Tag}
	o.done = in.Done
	o.unknown, o.redirect, o.alone, o.pauses, o.last = false, false, false, 0, nil
	o.tuple.Key, o.tuple.LatticeType, o.tuple.Payload = in.Key, messages.LatticeType_NONE, nil
	switch {
	case !isWrite(in.Type) || in.Type == messages.RequestType_DELETE:
	case in.Payload != nil:
		o.tuple.LatticeType = messages.LatticeType(in.Lattice)
		o.payload = append(o.payload[:0], in.Payload...)
		o.tuple.Payload = o.payload
	default:
		o.tuple.LatticeType = messages.LatticeType_LWW
		o.payload = lattice.LWWValue{Timestamp: timestamp, Value: in.Value}.Append(o.payload[:0])
		o.tuple.Payload = o.payload
	}
	o.bytes = len(in.Key) + len(o.tuple.Payload)
}

// unload drops what a free op must not keep alive.
func (o *op) unload() {
	o.Result, o.done, o.last = Result{}, nil, nil
	o.ask, o.owner, o.call = nil, nil, nil
	o.tuple.Key, o.tuple.Payload = "", nil
	if cap(o.payload) > keepPayload {
		o.payload = nil
	}
	o.place = free
	o.serial++
}

// check says what is wrong with an operation before anything is sent.
func (in *Operation) check() error {
	switch {
	case in.Done == nil:
		return fmt.Errorf("%w: no Done function", messages.ErrInvalidRequest)
	case in.Type < messages.RequestType_GET || in.Type > messages.RequestType_DELETE:
		return fmt.Errorf("%w: request type %d", messages.ErrInvalidRequest, in.Type)
	case in.Key == "":
		return fmt.Errorf("%w: the key is empty", messages.ErrInvalidRequest)
	case in.Payload != nil && !in.Lattice.Mergeable():
		return fmt.Errorf("%w: a payload of lattice type %s", messages.ErrInvalidRequest, in.Lattice)
	}
	return nil
}

// swapOut removes list[i] by moving the last one there.
func swapOut(list []*op, i int) []*op {
	last := len(list) - 1
	list[i] = list[last]
	list[i].index = i
	list[last] = nil
	return list[:last]
}

// push appends o to list and notes where.
func push(list []*op, o *op) []*op {
	o.index = len(list)
	return append(list, o)
}
