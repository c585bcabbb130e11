package runtime

import "time"

// Transport is the network as control actors see it: the failure boundary between processes.
// TCP implements it with this package's sockets, SimNode deterministically; one conformance
// suite holds for both.
//
// What both promise: frames from one sender to one address arrive in order; frames for an
// address that is not bound yet wait for it, within bounds. What callers must survive with
// either: a frame that was sent and never arrives because the receiver died; a request that is
// carried out twice; a peer that never answers.
type Transport interface {
	// Listen binds address and calls deliver for each frame that comes in, one at a time. The
	// frame is valid during the call only; deliver may block, which slows the senders down.
	// It returns the bound address, in which port 0 is resolved. Errors: ErrBadAddress,
	// ErrAddressInUse, ErrClosed.
	Listen(address string, deliver func(frame []byte)) (bound string, err error)
	// ListenReply binds address for requests. serve gets the request, which it may keep, and
	// a function that it calls, from wherever, at most once with the reply; further calls are
	// ignored. Not calling it lets the client run into its timeout.
	ListenReply(address string, serve func(request []byte, reply func([]byte))) (bound string, err error)
	// Send queues a copy of frame for address; it never blocks on the network. Frames go out
	// with Flush at the latest. Errors: ErrBadAddress, ErrQueueFull, ErrFrameTooLarge,
	// ErrTooManyPeers, ErrClosed.
	Send(address string, frame []byte) error
	// Flush sends what Send queued, as far as the network takes it; the rest follows by itself.
	Flush()
	// Request asks the ListenReply socket at address and calls done exactly once, from any
	// goroutine, with the reply, which it may keep, or with ErrTimeout or ErrClosed. It sends
	// again while the peer is away. When it returns an error (ErrBadAddress,
	// ErrTooManyRequests, ErrClosed) done is not called.
	Request(address string, request []byte, timeout time.Duration, done func(reply []byte, err error)) error
	// Close unbinds everything and drops what is queued, after giving it a moment to leave.
	// When it returns, no callback runs any more.
	Close() error
}
