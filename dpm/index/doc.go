// Package index is the pool's persistent hash table from keys to log entries: cache-line buckets
// with overflow chains, read lock-free and from afar, written by the DPM's merge workers only,
// consistent after a crash at any point (after RECIPE's P-CLHT).
//
// Table is the read-only view that a KN shares: which bucket to READ for a hash, and what the 64
// bytes that come back say. Index is the DPM's: Apply, Get, Grow, Check.
//
// Invariants:
//
//   - IDX-1 one slot per key, published by one 8-byte store of its pointer, after a fence has made the
//     slot's hash, the bucket's link and the log entry durable (whoever appended must have flushed it).
//   - IDX-2 what is freed (a slot, an overflow bucket) is not reused for another key before a fence
//     has made its freeing durable: after a crash no slot joins the hash of one key to the pointer of another.
//   - IDX-3 applying mutations again that were applied before, in the same order, ends in the same table.
//   - IDX-4 a present key is never missed by a reader: entries do not move within a table, only empty tail
//     buckets leave a chain, and a table that was replaced says so in every bucket before its
//     successor differs from it.
//   - IDX-5 root and directory always name one whole table; any other table's segments are orphans.
//   - DPM-2 (its half): the caller may move its watermark past a batch only after a fence that
//     follows Apply.
//
// All locks are in process memory: a crash that holds one cannot hang the restart.
//
// It does not know what entries hold (the pool's KeyAt does), does not hand out segments, and does
// not count live bytes: results say what became unreferenced.
package index
