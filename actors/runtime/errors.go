package runtime

import "errors"

// Operating errors of this package. They come wrapped in text that names the address; compare
// with errors.Is.
var (
	// ErrBadAddress: an address is not "tcp://<numeric IP>:<port>". From ParseAddress and
	// everything that takes an address.
	ErrBadAddress = errors.New("bad address")
	// ErrAddressInUse: another socket is bound to the address. From ListenPull, ListenRep.
	ErrAddressInUse = errors.New("address in use")
	// ErrClosed: the socket, transport or host was closed.
	ErrClosed = errors.New("closed")
	// ErrQueueFull: a Push cannot queue more until its peer reads, or there is no room in the
	// queue budget that its Peers share. The frame was not taken.
	ErrQueueFull = errors.New("send queue full")
	// ErrFrameTooLarge: a frame exceeds what the socket could ever take.
	ErrFrameTooLarge = errors.New("frame too large")
	// ErrTooManyPeers: a Peers cache is full of peers that are all in use.
	ErrTooManyPeers = errors.New("too many peers")
	// ErrProtocol: the peer broke the wire protocol. Its connection is closed.
	ErrProtocol = errors.New("ZMTP protocol violation")
	// ErrTimeout: no reply in time. The request may have been carried out.
	ErrTimeout = errors.New("timed out, outcome unknown")
	// ErrTooManyRequests: the limit of concurrent outgoing requests is reached.
	ErrTooManyRequests = errors.New("too many requests in flight")
	// ErrMailboxFull: an actor has as many messages waiting as it may.
	ErrMailboxFull = errors.New("mailbox full")
	// ErrNoActor: no actor of that name was spawned.
	ErrNoActor = errors.New("no such actor")
)
