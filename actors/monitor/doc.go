// Package monitor is an M-node: it watches the cluster, sums up what nodes and users report, and carries out changes of
// ownership through its coordinator.
//
// One actor does it all; the parts it is made of are pure: the coordinator (package coordinator), the collector of reports,
// and the arithmetic (package figures). Nothing that an M-node knows must survive it, and any number of them may
// run at once: the compare-and-swap of the map in the pool decides (see package coordinator).
//
// Invariants:
//   - MON-1: one reconfiguration at a time.
//   - MON-2: what is remembered of reporters is bounded, whoever sends; what does not fit is counted.
//
// It starts and stops no process: it asks the management node to.
package monitor
