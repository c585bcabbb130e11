// Package client is the library that programs use to read and write keys: it finds out who owns a key, sends requests
// there, follows ownership when it moves, and hides the network's failures as far as they can be hidden.
//
// Two ways in. The synchronous methods (Get, Put, Delete, MultiGet, PutSet and so on) take a context and return when
// the operation is over. Submit starts an operation and calls back; it is what load generators use. Both batch: operations
// that are started together and go to one owner share a request.
//
// Invariants:
//   - CLI-1 every operation that Submit accepts is called back exactly once, also when the client is closed.
//   - CLI-2 an operation that returns an error for which OutcomeUnknown is false took no effect, now or later. After an
//     error for which it is true a write may have happened, or may still happen.
//   - CLI-3 (MSG-1, the client's part) each attempt has a request id of its own; an answer to an attempt that was
//     given up is counted and ignored.
//   - CLI-4 nothing grows without bound: operations, their bytes, remembered addresses, connections and queues have limits.
//
// # Retries
//
// A refusal (WRONG_THREAD, OVERLOADED, NO_SERVERS) is an answer: nothing happened, and the operation is tried again,
// with growing pauses, until its context or deadline ends. No answer is no answer: the owner may have died before
// or after it did the work. By default such an attempt is repeated as well, so a write may be carried out more than once,
// and its second time may come after a later write of somebody else: at-most-once is not promised. With
// Options.NoRetry a write without an answer ends in messages.ErrTimeout instead and is never sent again; whoever records
// histories, or increments something, wants that. Reads are always repeated.
//
// Requests are sent over connections that stand, and never queued for an owner that is away: what waits in a queue could be
// carried out long after its caller gave up. When a connection is lost, what was sent over it counts as unanswered at once,
// so a dead owner costs milliseconds rather than a timeout.
//
// # What it does not do
//
// It keeps no values (the KNs are the cache), orders nothing between operations in flight at the same time (wait for
// one before starting the next when order matters), and knows no transactions. It does not guess owners from the
// hash ring: it asks the routing nodes, as Anna's clients do.
package client
