// Package experiment repeats the paper's experiments (Dinomo §6) on clusters of this machine: the profile of cache policies,
// and the timelines of elasticity, a hot key and a failure.
//
// Each experiment is a function from Options to a report that can be printed, written as JSON and drawn. It starts its own
// clusters of real processes, and leaves their logs, pools and figures in a directory of the caller's.
//
// Invariants:
//   - EXP-1: what a report says was measured in the run that it names: clients' figures by clients, KNs' figures from their own
//     counters, and what the cluster decided from the M-node's journal. Nothing is computed from what should have happened.
//   - EXP-2: an experiment whose cluster did not do what is to be shown (grow, replicate, fail over) ends with ErrNotShown and
//     the report of what it did instead.
//
// It judges no times: how fast is a question to the machine.
package experiment
