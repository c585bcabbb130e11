// Package cli is the prompt `dinomo cli`: commands that read and write keys, typed by a person or read from a script, one a
// line.
//
// Invariants:
//   - CLI-OUT what a command found goes to the output, what went wrong to the error output; nothing else is printed to either
//     unless a person is asked.
//   - CLI-EXIT the status is 0 when every command did what it says, 1 when an operation failed (a key that does not exist
//     counts), 2 when a line was no command. 2 beats 1. A failed command does not end a script.
//
// What it does not do: transactions, scripting beyond one command a line, or administration.
package cli
