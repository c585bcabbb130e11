// Package look reads a pool from outside: through a read-only mapping of its file, while the DPM has it
// open or not, without taking part in anything. It is what inspection and backup stand on.
//
// On a live pool bytes change under the reader's eyes. What the package hands out is sound nevertheless:
//
//   - LOOK-1: bytes are copied before they are checked, so what was checked is what is used.
//   - LOOK-2: a chain of index buckets counts only if the index roots are the same after it was read as before:
//     then its table was the one in force, and none of its memory belonged to anything else meanwhile.
//   - LOOK-3: what looks damaged is read again. An entry that a slot leads to cannot be reused while the slot leads to
//     it, so whatever is found wrong twice, with the same words around it, is damage and not a race.
//   - LOOK-4: a walk over the index visits each key that is there throughout once, also while the table grows: a bucket
//     becomes two neighbours, so a place in the walk is a place in the grown table too.
//
// The package writes nothing, takes no lock unless asked to (Hold), and does not know what values mean.
package look
