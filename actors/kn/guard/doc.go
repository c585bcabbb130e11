// Package guard is a KN's part in changes of ownership: which map is in force for this node, and which
// ranges it must hold back because a change is being prepared.
//
// It is a state machine without sockets or clocks. The node feeds it control messages, what it reads from the
// pool's ownership record, word from its threads that a release is done, and the time; it gives back messages to send and
// orders for the threads. The threads do the serving: a thread serves a key when the installed map makes it an
// owner, no release holds the key back, and the lease holds.
//
// Invariants:
//   - OWN-1: from the moment a release is ordered until it is forgotten or a newer map is installed, its ranges are
//     not served here. A release is forgotten only on the coordinator's abort, which promises that no swap for it
//     was or will be sent, or once this node itself has swapped the next epoch in, which makes a late swap fail.
//   - OWN-2: the answer to a prepare is sent only after every thread reported the release done (log merged, cache
//     dropped).
//   - RING-2: a map is installed only if its epoch is above the installed one's.
package guard
