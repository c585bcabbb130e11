// Package runtime moves byte frames between processes over ZeroMQ's wire protocol and hosts
// the actors that speak through it.
//
// # Sockets
//
//   - Pull binds an address and hands over batches: one Batch per read of a connection.
//   - Push connects to one address, dials in the background for ever, queues while the peer
//     is away and flushes many frames with one system call.
//   - Peers keeps one Push per address for those who answer whoever asks.
//   - Rep and Req are the lock-step pair, for peers that expect it.
//   - Transport is the failure boundary of control actors: TCP, and SimNet, which is
//     deterministic and runs in one goroutine.
//
// # Actors
//
// An Actor is a state machine: Step gets the time and one message, changes the actor's own
// fields and fills an Outbox. Host runs actors on protoactor-go over any Transport; SimHost
// runs the same actors on a SimNet and virtual time. A thread on the request plane uses
// neither: it owns its Pulls and its Peers and loops over Batches itself.
//
// # Invariants
//
//   - NET-1 frames of one Push arrive at one Pull in the order in which they were appended.
//   - NET-2 a frame that was accepted is written whole to some connection, or is counted as
//     dropped when its Push is closed or evicted. A frame that was partly written when its
//     connection died is written again, whole, to the next one.
//   - NET-3 a peer can cost bounded memory only (the sum is spelled out at PullOptions and
//     PeersOptions), and nobody else notices it.
//   - NET-4 bytes of a Batch change only after its Release.
//   - HOST-1 at most one Step of an actor runs at a time; a panic in it costs that message,
//     the actor's fields and its timers, nothing else.
//
// # What it does not do
//
// A frame that the kernel took and the peer's process never read is lost when that peer dies,
// as with libzmq: there are no acknowledgements below the request. Messages of several frames
// are not delivered (the wire protocol of this project has none) except in the envelope of
// Rep. Host names are not resolved: an address is a numeric IP, so that no hostile response
// address can make a request handler wait for a name server. There is no encryption: NULL
// is the only security mechanism.
package runtime
