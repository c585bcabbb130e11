// Package command is the language of benchmark nodes: one line of text, split by colons, to a typed command and back.
//
// Two dialects live side by side, Dinomo's and Anna's, and share the words LOAD and WARM. They are told apart by their
// shape: Anna's LOAD has a letter as its first field, Anna's WARM has three fields.
//
// Invariants:
//   - CMD-1 Parse(c.String()) gives c back, for every command that Parse returns.
//   - CMD-2 a line that is not a command is refused with the grammar of the command that it tried to be; nothing in a
//     line can make Parse panic or the caller allocate more than Limits says.
//
// What it does not do: run commands, or know how many benchmark nodes and threads there are.
package command
