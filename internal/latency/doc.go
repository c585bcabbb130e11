// Package latency records how long things took, in histograms that can be merged and sent.
//
// LAT-REC: a value is kept to three significant digits between 64 ns and MaxValue; what lies outside counts as the nearest of
// the two, so that no measurement is ever lost, and totals and counts agree.
//
// It does not read the clock, and a Histogram is not safe for concurrent use: each thread has its own, and reports merge them.
package latency
