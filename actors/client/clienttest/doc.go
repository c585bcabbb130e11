// Package clienttest is a small stand-in for a cluster, for the tests of clients and tools: one routing node and a few KN
// threads in this process, on loopback sockets, with the values in a map.
//
// It is faithful in what a client sees (messages, errors, lattice merges, WRONG_THREAD with new addresses, invalidate) and
// in nothing else: no pool, no cache, no ring. Faults are switched by hand: a silent thread, a thread that refuses,
// ownership that moves, answers that come twice. It never injects others.
package clienttest
