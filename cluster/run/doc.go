// Package run is the main job: it loads a data set into a running cluster, runs read/write mixes against it through its
// benchmark nodes, and reports what clients saw and what KNs did, for each phase, per KN and in total.
//
// What clients saw (operations, throughput, latency, errors of the total) comes from the benchmark nodes' own
// reports at the end of a phase; what KNs did is the difference of their statistics from before and after it.
//
// It talks to nodes over their sockets only, so the cluster may run anywhere.
package run
