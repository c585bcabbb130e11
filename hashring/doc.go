// Package hashring says who owns which key: pure functions of a versioned, immutable ownership map.
//
// A Map is the cluster's membership at one epoch together with the keys that have more owners
// than one. From it alone, without asking anybody, every node computes the same owners
// (Dinomo §4: ownership partitioning). Two rings stand behind it: the global ring gives a key
// its node, the local ring gives it one of that node's threads. Both use virtual nodes, and both
// take their bits from KeyHash through mixers of their own, so that the keys of one owner spread
// evenly over the index's buckets and over the caches' tables, which use KeyHash as it is.
//
// Invariants:
//
//   - RING-1: for one epoch every key has the same owners on every node. A ring depends on the set
//     of members' private addresses and the number of virtual nodes, never on the order in which
//     members joined, on their ranks, their incarnations or the path of maps that led here.
//   - RING-2: epochs only grow. With, Without and WithReplication return the next epoch; whoever
//     installs maps compares epochs.
//
// A member is its private address on the ring: a restarted node (same address, a new rank or a new
// incarnation) gets exactly its old ranges back, which keeps what moves small. For Moves, on the
// other hand, a new incarnation is another owner, because its predecessor may have acknowledged
// writes that are not merged yet (OWN-2).
//
// What moves between two maps is a set of ranges [First, Next) of ring positions plus the replicated
// keys whose owners differ (Moves). No data moves with them.
//
// The package does not encode maps (messages has the protobuf form, its user converts), does not
// store or agree on them, keeps no clock and does no I/O.
package hashring
