// Package remote is the KN's end of the pool: a node's Session, and for each of its threads an
// Appender that writes the thread's log and a Reader that finds and reads entries, all over
// one-sided verbs, with the few calls to the DPM's processor that allocation and attachment take.
//
// Invariants:
//
//   - KN-1: Commit returns nil only when every entry of the batch is durable in the pool's mode. When
//     it cannot know, the batch stays, nothing further is written, and Reconnect settles it: entries
//     that reached the log stay there, the others are written again under the same sequence numbers.
//   - DPM-4 (its half): no value is handed out whose bytes do not prove to be the entry that was asked
//     for; a stale pointer costs round trips, never a wrong answer.
//   - The round-trip budget: one for a batch of writes, one for a read through a known pointer, two
//     for a read through the index, plus one for each overflow bucket. Calls are counted apart.
//
// An Appender and a Reader belong to one goroutine, that of their thread, and share its queue pair.
// Steady reads and writes allocate nothing.
//
// The package does not cache values, does not know who owns a key, and does not retry for ever:
// what it cannot do it says, and its caller decides.
package remote
