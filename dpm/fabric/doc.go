// Package fabric is the boundary between a KN thread and the pool's memory: queue pairs that carry
// one-sided verbs (READ, WRITE, CAS, FETCH_ADD, FLUSH) and two-sided calls (SEND/RECV).
//
// Backends live in sub-packages: shm (the KN maps the pool itself), tcp (verbs over a socket),
// ibverbs (RDMA, build tag rdma) and sim (deterministic, for simulation). All of them pass the one
// suite in fabric/conformance.
//
// A batch of verbs posted together costs one round trip, and the queue pair counts it.
//
// DPM-6: a fenced rank changes nothing that anyone will read: its queue pairs are dead before Fence
// returns, and what the backend cannot revoke (a mapping) is named by the backend's Revocable.
package fabric
