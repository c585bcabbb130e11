// Package trigger commands benchmark nodes: it sends benchmark command lines (package command) to every thread of every
// benchmark node, waits until all have done what they say, and prints what they did.
//
// ADD, REMOVE and FAIL go to the management node instead, which starts and stops processes.
//
// Invariants:
//   - TRIG-1 a line is checked before anything is sent, so either every thread gets it or none does, as far as that is in a
//     sender's hands.
//   - TRIG-2 a command is over when each thread has reported its end; a thread that has said nothing for too long is named
//     in an error, and the others' results are not thrown away.
//
// It works with benchmark nodes of the first Dinomo and of Anna too, which do not report: with Options.NoWait.
//
// What it does not do: generate load, or keep results beyond printing and recording them.
package trigger
