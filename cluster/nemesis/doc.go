// Package nemesis proves the cluster linearizable under faults, as far as running it can: it starts a real one of processes,
// lets recording clients read and write, breaks things at random, heals everything, reads every key, and has the
// recorded history checked.
//
// The schedule of faults follows from a seed that is printed. Processes and networks have their own will, so a
// seed gives the same faults in the same order with the same lengths, not the same run.
//
// Links are cut by packet filter rules (nft) in a network namespace of the run's own, in which every node has a
// loopback address of its own and connects from it; see Isolate.
//
// Invariants:
//   - NEM-1: what a client was not told is recorded as unknown, never as failed; nothing is dropped from the history.
//   - NEM-2: whatever a run broke it heals before it reads: after that, keys that are not served are a failure too.
//   - NEM-3: values differ from each other and say of themselves whether they are whole. Some keys hold sets, to which members
//     are added: there an update shows that was lost between owners who wrote at the same time. Clients make owners compete
//     by writing to any of them.
//
// It does not look into nodes: verdicts rest on what clients saw. Failures of disks and of the machine are package dpm's
// crash tests.
package nemesis
