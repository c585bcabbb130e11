// Package kn is a KVS node: the process that clients ask for keys.
//
// Each thread of the node is one goroutine that owns a request socket, a storage engine (kn/engine) with its cache
// and its queue pair to the pool, and the connections over which it answers. It drains what has arrived, serves it as
// one batch and flushes the answers once. Beside the threads run one control actor (ownership by way of kn/guard, Anna's
// membership, gossip and management sockets, statistics), one goroutine that keeps the lease, and one for slow questions to
// the pool.
//
// Invariants:
//
//   - OWN-1: a thread serves a batch only if the node's lease holds after the batch was received, and a key only while
//     the installed map makes the thread an owner of it and no change in preparation holds it back. It
//     acknowledges writes only if the lease still holds once they are durable.
//   - OWN-2: a release is reported done only when every thread's log is merged and the moving ranges have left its
//     cache; an installed map is acknowledged only when every thread has it.
//   - MSG-1: a request gets one answer, under its own id: from the batch it arrived in, or, if a key of it was moving,
//     once the move is decided.
//   - NET-3: whatever peers do costs bounded memory: requests held back, answers not taken, gossip and statistics
//     all have limits, and what is over them is refused or dropped, and counted.
//
// Memory, beside the caches' budgets: for each thread, 64 MiB of Go heap cover its buffers in ordinary use (a batch of writes, the
// values of a batch of reads, answers on their way); limits that peers can drive it to are the sum of Options.HeldBytes, twice
// Peers.QueueBytes, what Pull's doc says, 32 MiB and the largest value for reads, and a table of unmerged writes that is
// no larger than the unmerged segments that the pool allows the thread.
//
// The node keeps nothing that has to survive it. It does not decide who owns what, and does not recover another
// node's log: the pool does.
package kn
