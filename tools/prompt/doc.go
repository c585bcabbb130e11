// Package prompt reads command lines: from a person at a terminal, with editing, history and completion, or from a file or
// pipe, one a line.
//
// PROMPT-1: a person's terminal is put back as it was by Close, which must be called however the program ends.
//
// It also splits lines into words by the quoting rules that all prompts of this project share (see Words), and knows nothing
// of what the words mean.
package prompt
