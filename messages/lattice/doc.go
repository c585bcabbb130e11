// Package lattice merges two values of one key by the rule of the key's lattice type, on payloads as they travel and
// are stored (the bytes of a tuple's payload) and on their decoded forms. It is pure: no I/O, no state, no clock.
//
// Invariants:
//   - LAT-1: merging is idempotent, and for every type but LWW commutative. SET, ORDERED_SET and PRIORITY are
//     associative too. LWW by timestamp is associative; two values with one timestamp are ordered by their arrival.
//   - LAT-2: what Merge returns is canonical for every type but LWW (members sorted and unique, clocks sorted by
//     name), so equal states have equal bytes. An LWW payload is kept byte for byte.
//   - LAT-3: a causal merge never loses a value whose clock no other write's clock dominates, in whatever order and
//     grouping writes are merged, provided that writers play by the rules of vector clocks: a write's clock covers the
//     writer's earlier writes and what it read, and raises the writer's own counter. Clocks merge associatively; values
//     do not, and in this format cannot: concurrent values share one clock, so a later write that knew of only some
//     of them cannot remove just those, and how many superseded values linger depends on the grouping.
//   - LAT-4: payloads are a stranger's bytes: they are refused with ErrMalformed, within Options' limits, and never panic.
//
// What it does not do: it does not import package messages (messages stands above it); a Type is the number of a
// messages.LatticeType. It does not look at the order of ORDERED_SET other than bytewise, which is Anna's order of strings.
package lattice
