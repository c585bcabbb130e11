// Package coordinator changes the ownership map: it is the part of an M-node that makes joins, leaves,
// failures and replication changes happen, one at a time.
//
// It is a state machine: control messages and the time come in, messages to send and events to log come out.
// Nothing it knows must survive it. The map in force is a record in the pool that only a compare-and-swap changes, so
// any number of coordinators may run, die and come back: at most one of two that start from the same epoch wins,
// and the others plan again from what they read.
//
// A change from epoch e to e+1 has three phases:
//
//  1. clearing: every KN that loses ranges stops serving them, has its log merged and answers
//     (OwnershipPrepare); every dead rank is fenced and drained by the DPM; keys that become replicated
//     get their indirect pointers. All at once, each step repeated until answered.
//  2. swapping: MetaSwap from e to e+1, the commit point, repeated until the DPM answers.
//  3. spreading: OwnershipCommit to KNs and routing nodes until they acknowledge or a time limit passes (they poll as well).
//
// Before the swap is sent a change may be given up (OwnershipAbort); after that only the DPM's answer decides.
//
// Invariants:
//   - MON-1: one reconfiguration at a time.
//   - OWN-2: the swap is sent only when every old owner of a moved range has been merged or fenced and drained, for this
//     change: no two changes share an id, not even those of two runs of one M-node.
//   - RING-2: the coordinator never takes up a map older than one it has seen.
//
// It decides nothing about load: policies ask it for leaves and replication changes.
package coordinator
