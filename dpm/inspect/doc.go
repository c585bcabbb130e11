// Package inspect shows what a pool file holds, and checks it: the library behind `dinomo inspect`. It works on a closed pool and on one
// that the DPM has open, reads only, and reports as Go values that print as text and marshal as JSON.
//
// Invariants:
//
//   - INS-1: what is reported as damage is damage, also on a live pool: it was found twice, in the same place, with the same
//     words around it (dpm/look, LOOK-3).
//   - INS-2: Verify looks at every byte that anybody may yet read: superblock, roots, directory, metadata, ranks, segment
//     headers, all index buckets, all entries of all logs, whether they are live or not, and the lattice filter.
//   - INS-3: Verify goes on after damage, and says where each piece is.
//
// What it may miss: a pointer with four or more bits flipped passes its check once in 128 times. If it then leads to an older entry
// of the same key, whose bytes are still there, Verify finds that only where the log shows that a newer entry was merged.
//
// It repairs nothing.
package inspect
