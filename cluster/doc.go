// Package cluster is the composition root: it makes each role's options from a configuration, starts roles in this
// process, starts whole clusters of processes on this machine (Up), and runs the main job against one (package run).
//
// Packages own their Options and do not know the configuration; the configuration does not know them. The functions of
// options.go are the only place where both meet.
//
// Invariants:
//   - CLU-1: when a cluster that Up started is closed, or its starter dies, no process, socket or file outside the data
//     directory is left.
//   - CLU-2: readiness is asked for, never slept for.
//
// The benchmark node and the prompts are composed by the binary: they sit above this package.
package cluster
