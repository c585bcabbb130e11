// Package history records what clients asked and were told, and checks that it could have come from one
// copy of the data: linearizability, key by key (Herlihy and Wing 1990), with anishathalye/porcupine.
//
// A history is a file of JSON lines, one operation each, in the order in which they ended. Times are nanoseconds on one
// clock of the machine that recorded them: histories of several machines cannot be mixed.
//
// An operation ends ok (the answer is a fact), failed (it certainly did not happen) or unknown (a time-out, a broken
// connection, a client that died: it may have happened at any time after it was asked, or never). An operation on several
// keys is recorded as one operation a key, as the system promises nothing across keys.
//
// Values must differ from each other within a key, so that a read says which write it saw. Recorders of this project
// write "<client>.<n>".
//
// What it does not check: durability (kill everything, start again, and go on recording into the same history does), or
// order across keys.
package history
