package engine

import (
	"bytes"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// unmerged is the table of the thread's log entries that the index may not have yet: the newest one of each key
// (KN-3).
//
// Entries come in log order and go in log order, so they stand in a queue, their keys in a ring of bytes beside it;
// a hash table leads from a key to its newest entry. Nothing in it is a pointer: the collector has nothing to trace.
//
// Its size is bounded by the pool: a thread may have so many unmerged segments (remote.Appender.Unmerged), and an entry with its
// key takes less here than there, or at worst about the same.
type unmerged struct {
	records []record // ring; its length is a power of two
	first   uint64   // absolute number of the oldest record
	next    uint64   // absolute number of the next one

	keys     []byte // ring; its length is a power of two
	keyFirst uint64 // absolute position of the oldest key byte in use
	keyNext  uint64

	slots []uint64 // open addressing: absolute record number + 1, 0 empty; length a power of two
	used  int      // slots in use, at most half
}

// record is one log entry.
type record struct {
	sequence uint64
	hash     uint64
	pointer  format.Pointer
	keyAt    uint64
	keyBytes uint32
	kind     lattice.Type // None: a delete
}

// tombstone says whether the entry is a delete.
func (r *record) tombstone() bool { return r.kind == lattice.None }

// Len is the number of entries, superseded ones included.
func (u *unmerged) Len() int { return int(u.next - u.first) }

func (u *unmerged) at(n uint64) *record { return &u.records[n&uint64(len(u.records)-1)] }

func (u *unmerged) key(r *record) []byte {
	start := r.keyAt & uint64(len(u.keys)-1)
	return u.keys[start : start+uint64(r.keyBytes)]
}

// find returns a key's newest entry, or nil. It is valid until the next insert or prune.
func (u *unmerged) find(key []byte, hash uint64) *record {
	if u.used == 0 {
		return nil
	}
	if i, ok := u.slotOf(key, hash); ok {
		return u.at(u.slots[i] - 1)
	}
	return nil
}

// slotOf returns the key's slot, or the empty one where it would go. REQUIRES: slots is not empty.
func (u *unmerged) slotOf(key []byte, hash uint64) (slot uint64, found bool) {
	mask := uint64(len(u.slots) - 1)
	for i := spread(hash) & mask; ; i = (i + 1) & mask {
		if u.slots[i] == 0 {
			return i, false
		}
		if r := u.at(u.slots[i] - 1); r.hash == hash && bytes.Equal(u.key(r), key) {
			return i, true
		}
	}
}

// spread takes other bits than the rings do, whose ranges decide which hashes come here at all.
func spread(hash uint64) uint64 { return hash * 0x9E3779B97F4A7C15 >> 20 }

// insert adds an entry, which is newer than all others. kind None is a delete. The key is copied.
func (u *unmerged) insert(key []byte, hash, sequence uint64, pointer format.Pointer, kind lattice.Type) {
	u.reserve(len(key))
	mask := uint64(len(u.keys) - 1)
	if start := u.keyNext & mask; start+uint64(len(key)) > uint64(len(u.keys)) {
		u.keyNext += uint64(len(u.keys)) - start // a key does not wrap
	}
	n := u.next
	*u.at(n) = record{sequence: sequence, hash: hash, pointer: pointer, keyAt: u.keyNext, keyBytes: uint32(len(key)), kind: kind}
	copy(u.keys[u.keyNext&mask:], key)
	u.keyNext += uint64(len(key))
	u.next++
	slot, found := u.slotOf(key, hash)
	if !found {
		u.used++
	}
	u.slots[slot] = n + 1
}

// reserve makes room for one more entry with a key of that many bytes.
func (u *unmerged) reserve(keyBytes int) {
	if u.Len() == len(u.records) {
		old := u.records
		u.records = make([]record, max(256, 2*len(old)))
		for n := u.first; n < u.next; n++ {
			*u.at(n) = old[n&uint64(len(old)-1)]
		}
	}
	if 2*(u.used+1) > len(u.slots) {
		u.rehash(max(512, 2*len(u.slots)))
	}
	// A key may have to skip the end of the ring: twice its size always fits.
	if need := u.keyNext - u.keyFirst + 2*uint64(keyBytes); need > uint64(len(u.keys)) {
		u.growKeys(need)
	}
}

func (u *unmerged) growKeys(need uint64) {
	size := uint64(max(4096, 2*len(u.keys)))
	for size < need {
		size *= 2
	}
	old, oldMask := u.keys, uint64(len(u.keys)-1)
	u.keys, u.keyFirst, u.keyNext = make([]byte, size), 0, 0
	for n := u.first; n < u.next; n++ {
		r := u.at(n)
		start := r.keyAt & oldMask
		r.keyAt = u.keyNext
		u.keyNext += uint64(copy(u.keys[u.keyNext:], old[start:start+uint64(r.keyBytes)]))
	}
}

func (u *unmerged) rehash(size int) {
	old := u.slots
	u.slots = make([]uint64, size)
	mask := uint64(size - 1)
	for _, n := range old {
		if n == 0 {
			continue
		}
		i := spread(u.at(n-1).hash) & mask
		for u.slots[i] != 0 {
			i = (i + 1) & mask
		}
		u.slots[i] = n
	}
}

// prune forgets the entries below a sequence number: the index has them, or newer ones.
func (u *unmerged) prune(merged uint64) {
	for u.first < u.next {
		r := u.at(u.first)
		if r.sequence >= merged {
			u.keyFirst = r.keyAt
			return
		}
		if slot, found := u.slotOf(u.key(r), r.hash); found && u.slots[slot] == u.first+1 {
			u.empty(slot)
		}
		u.first++
	}
	u.keyFirst = u.keyNext
	u.shrink()
}

// empty frees a slot and closes the gap in its run.
func (u *unmerged) empty(slot uint64) {
	mask := uint64(len(u.slots) - 1)
	u.used--
	for i := slot; ; {
		u.slots[i] = 0
		j := i
		for {
			j = (j + 1) & mask
			if u.slots[j] == 0 {
				return
			}
			home := spread(u.at(u.slots[j]-1).hash) & mask
			if (j-home)&mask >= (j-i)&mask { // its run began at or before the gap
				break
			}
		}
		u.slots[i] = u.slots[j]
		i = j
	}
}

// shrinkAbove is the number of records above which an empty table gives its memory back.
const shrinkAbove = 1 << 16

// shrink gives a burst's memory back once all is merged.
func (u *unmerged) shrink() {
	if len(u.records) > shrinkAbove || len(u.keys) > 64*shrinkAbove {
		*u = unmerged{first: u.next, next: u.next}
	}
}

// bytes is the memory that the table takes.
func (u *unmerged) bytes() int {
	const recordBytes = 40
	return recordBytes*len(u.records) + len(u.keys) + 8*len(u.slots)
}

// each calls f for every entry from the oldest on.
func (u *unmerged) each(f func(r *record, key []byte)) {
	for n := u.first; n < u.next; n++ {
		r := u.at(n)
		f(r, u.key(r))
	}
}
