// Package dac is the disaggregated adaptive cache of one KN thread: it keeps values, which
// save all round trips of a read, and shortcuts, which save all but one and are some sixty
// times smaller, and decides which key deserves what.
//
// Invariants
//
//   - DAC-1: BytesUsed never exceeds Budget, and counts everything the cache takes: table,
//     counters, keys, values, headers, rounding and pages not filled.
//   - DAC-2: after DropIf no entry is left whose hash it accepted, as value or as shortcut.
//   - DAC-3: a Value result holds exactly the bytes last given for that key. A Shortcut result
//     is a hint that the caller checks against the key; it is never older than the last write
//     reported for the key.
//
// A cache belongs to one goroutine. It does no I/O, starts nothing, reads no clock, and knows
// a shortcut as an opaque word. The caller hashes keys (64-bit xxhash), verifies what it reads
// through a shortcut, and reports writes, misses and what it read.
//
// Memory is taken outside Go's heap, page by page as it is needed: the garbage collector never
// sees an entry. See table.go for the 16 bytes of a shortcut, tally.go for what is known of keys
// without an entry, classes.go for the chunks of values, memory.go for how the budget is kept,
// and policy.go for what decides.
package dac
