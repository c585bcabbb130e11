// Package figures turns what `go test -bench` prints and the report of a run into one table for people and one JSON file: the figures
// that this project promises, each with its goal. It measures nothing itself; figures.sh runs the benchmarks.
//
// FIG-1: a figure with a goal is a ratio within one run, a count, or a rate far from its goal. Machines differ, and benchmarks that share
// one with other work do too: nothing here makes a test fail.
package figures
