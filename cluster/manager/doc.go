// Package manager is the management node: it starts and stops nodes when it is asked to, says how often each was started
// again, and tells the M-nodes when a process has ended.
//
// One actor keeps the list; a Provisioner does the work: processes of this machine (package local), or whatever
// else implements it. The provisioner restarts what fails, within bounds; what is removed or killed on request stays down.
//
// Invariants:
//   - MGMT-1: an IP has at most one node at a time.
//   - MGMT-2: NodeGone is sent only for a process that is known to have ended: a coordinator may fence on its account.
//   - MGMT-3: nodes outlive a management node that fails, and the next one at its IP takes them over with their counts. One
//     that is ended in order ends them first.
//
// It decides nothing about the cluster's size.
package manager
