// Package dpmnode is the process around the pool: it opens the pool, serves verbs on it, and answers control messages about
// what only the DPM's processor may do: metadata, fencing and draining ranks, indirect pointers, figures.
//
// One actor answers. What may take long (fencing, draining a log, changing pointers) it hands to a goroutine
// each, at most one for a rank and purpose, and answers whoever asked meanwhile when that is done; a question
// for a drain is answered at once as well, with how far it is. Every message may be repeated: nothing is done twice that
// must happen once.
//
// Invariants held here: DPM-6 and OWN-2 rest on RankState.fenced and drained being said only of what the pool has
// done durably. It decides nothing: whether a rank is dead is the coordinator's finding.
package dpmnode
