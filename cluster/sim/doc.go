// Package sim runs a whole cluster in one goroutine on virtual time: the pool, KNs, routing nodes, M-nodes and clients that real
// processes are made of, on a simulated network and the sim fabric. A seed goes in, a history of what clients saw comes
// out; the same seed and the same commit give the same history, byte for byte.
//
// Nothing of the system is modelled. Nodes start by their own Start functions; what are goroutines and sockets there are tasks
// and queues here (runtime.SimNode). The management node alone is stood in for: the world itself restarts what has
// died, and tells the M-nodes. Clients get, put and delete registers, sets and causal values; now and then a script with Anna's messages
// has nodes come and go, and M-nodes' policies give hot keys more owners and take them back.
//
// A run has a safety phase, in which a random subset of the faults is made (the subset differs from seed to seed, because a
// fault that is always there hides what happens without it), and then a liveness phase: everything is healed, and each key must be
// readable and writable within a budget of virtual time.
//
// What is checked all the time:
//   - the clients' history is linearizable (actors/client/history), reads after the end included: nothing acknowledged is lost;
//   - RING-1: one epoch is one map, on whatever socket it is seen;
//   - RING-2: the pool's epochs only grow;
//   - OWN-1: no two threads serve a key at one instant unless each has the other among the key's owners;
//   - no KN moves an indirect-pointer word by CAS while it is the DPM's;
//   - the pool's accounting (dpm.Pool.Audit), once the pool is at rest;
//   - no actor or task panics.
//
// Scenarios are the same world driven by a file (testdata/*.txt), a command a paragraph; see Scenario.
package sim
