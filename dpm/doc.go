// Package dpm is the pool of disaggregated memory: it creates and opens the pool file, hands out log
// segments to KN threads, merges their logs into the index in the background, takes dead space back,
// keeps metadata records and the rank table, and serves the few calls that cannot be one-sided.
//
// Invariants:
//
//   - DPM-1: visible is not durable. A batch is merged in three steps with a fence between: its bytes
//     and the index's new hashes; the index's pointers; the watermark.
//   - DPM-2: an acknowledged entry stays reachable: its segment stays in its stream until the
//     watermark beyond it is durable, and only then does anything count on the index alone.
//   - DPM-3: the entries of one KN thread merge in log order. A later segment's entries are taken only
//     when its first entry follows the earlier one's last by sequence number.
//   - DPM-4: no reader can mistake a reused segment for the old one: each hand-out has a new
//     generation, every entry carries it, and a segment that somebody may still write to is not reused.
//   - DPM-5: recovery first looks, and refuses what is damaged; then acts; and may be cut short
//     anywhere and run again.
//   - DPM-6: a fenced rank changes nothing that anyone will read: its segments are sealed at the last
//     valid entry, and where its memory cannot be taken away they are quarantined until its process is gone, and so are the
//     indirect-pointer words that it knows: their keys get others.
//
// Words of a pool have one writer each: log bytes, their KN thread; lease words, their KN; indirect-pointer
// words, KNs by CAS while the key is replicated, else the DPM; everything else the DPM.
//
// The package speaks no protocol of its own beyond dpm/call, knows no keys' owners, and never decides that
// a node is dead: it only reports when lease words were last seen to change.
package dpm
