// Package shm is the backend for peers on the DPM's machine (or on CXL-shared memory): the dialler
// maps the pool's file itself and executes READ, WRITE, CAS and FETCH_ADD with its own processor.
//
// A socket to the listener remains for what memory cannot do: the greeting, calls, and the DPM's
// death, which breaks the queue pair (noticed with one load a Post). FLUSH depends on the
// durability: nothing for volatile and process, the DPM's group commit through the socket for
// fsync (within the same round trip), cache-line write-back by the dialler for dax.
//
//   - Words: READ loads and WRITE stores every aligned word of 8 bytes with one atomic instruction,
//     in rising order of addresses; the bytes at the ends of an unaligned WRITE are merged into their words
//     by CAS, so that neighbours written at the same time survive.
//
//   - The path is believed only when it leads to the very file that the listener serves: same
//     kernel (boot id), same device, same inode. A KN on another machine or in a container without
//     the file gets an error that says so.
//
//   - DPM-6: a mapping cannot be revoked, so Revocable is false. Fence cuts the socket, which breaks the
//     queue pair of a live and well-behaved process; the DPM must quarantine what others may still store to.
//
//   - A queue pair ends with its DPM even if the connection does not say so, because the network is cut and the memory is not: each
//     Post looks at a word of the pool at its end that the next DPM changes first (fabric.Life).
//
// The zero-cost path is the reason for being of this backend: one Post of a 64-byte READ takes some
// tens of nanoseconds (BenchmarkPost).
package shm
