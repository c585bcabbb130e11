// Package engine is the storage engine of one KN thread: get, put and delete over the adaptive cache, the pool's
// index and log, and a table of the thread's own writes that the pool has not merged yet.
//
// The thread hands in batches. A read that the cache can answer is answered at once (Probe); everything else is
// added to the batch and done by Run together: all reads share their round trips, all writes go to the log with one
// Commit, and only then does Run return. Within a batch operations take effect in the order in which they were added.
//
// Invariants:
//
//   - KN-1: a write's result is NO_ERROR only when its log entry is durable.
//   - KN-2: a get after a write, in the same batch or a later one, sees it; and no get shows a write whose commit failed.
//   - KN-3: a key's newest entry is found although the index does not have it: until the pool says that it is
//     merged, the table of unmerged entries leads to it.
//   - The round-trip budget: value hit 0, unmerged 0 or 1, shortcut 1, miss 2 (1 when the key does not exist), a
//     batch of writes 1; a put that has to merge pays the read that it needs. Round trips of a read are those it took part
//     in: reads that share one count it each.
//   - A value hit, answered by Probe, allocates nothing.
//
// When the pool goes away, operations that need it fail with TIMEOUT at once while a goroutine reconnects in the
// background and settles the batch whose outcome is unknown (remote.Thread.Reconnect).
//
// An Engine belongs to one goroutine. It does not know who owns a key or whether the lease holds: its thread asks
// that first. It takes payloads as well-formed: messages' codec has checked them.
package engine
