// Package figures does the arithmetic on KN statistics: what happened between two cumulative reports, sums over threads
// and nodes, and the ratios that people read. The M-node's summaries, its policies and the report of a
// run all use it, so that a figure means the same everywhere.
//
// FIG-1: the difference of two reports of one run of a thread is never negative; a report of another run counts
// from zero.
//
// Pure: no clock, no I/O.
package figures
