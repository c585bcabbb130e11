// Package backup writes what a pool holds into one archive, while the cluster runs or not, and makes a new pool
// of an archive.
//
// What a backup is consistent with, key by key:
//
//   - BAK-1: every write that was acknowledged before the backup began is in it, unless a later one replaced or deleted it.
//   - BAK-2: what it has for a key is what the key held at some moment between the backup's beginning and its end; no entry
//     is half there.
//
// Different keys may be of different moments: there is no point in time for the pool as a whole, because a KN's acknowledgements of
// different keys are ordered for nobody but the KN. BAK-1 holds because the backup first waits until everything that was in
// the logs when it began is merged, and only then walks the index; on a closed pool, which it keeps from being opened
// meanwhile, it reads the logs as recovery would.
//
//   - BAK-3: an archive that is damaged, truncated or followed by anything else is refused, and no pool comes of it: a pool
//     gets its name only when the archive's end was read and agreed with everything before it.
//
// An archive holds keys, values (compressed ones as they are), lattice types and metadata records. It does not hold the
// index, ranks, leases, indirect pointers or dead entries: the new pool has its own identity, no ranks, and no replicated
// keys. The ownership map is in the archive for the record and is not restored: it names ranks, incarnations and
// replicated keys of the old pool; the cluster that starts on the new one makes its own.
//
// The pool's file must be on this machine, or the pool volatile and its process here.
package backup
