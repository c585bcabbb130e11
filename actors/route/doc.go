// Package route is a routing node: it tells clients which KN threads own their keys, and new nodes who else is there.
//
// Each address thread owns its socket and its peers and answers batches in a loop of its own, from an immutable
// table that it loads once a batch; one actor keeps that table up to date. What the table says is the ownership
// map in the pool and nothing else: the actor polls its version at the DPM and takes commits as they come.
//
// Invariants:
//   - RING-1, RING-2: answers follow from one map by hashring's pure functions, and epochs only grow.
//   - MSG-1: each address request is answered once, under its own id, with every key it asked for.
//
// A node keeps nothing that must survive it, and it decides nothing: a client that got an old answer is told so by
// the KN (WRONG_THREAD) and asks again.
package route
