package pmem

import "errors"

// Durability names what survives a crash of what. It is fixed when a region is opened.
type Durability uint8

// The durability modes, weakest first.
const (
	// Volatile is anonymous memory: it lives as long as the process that made it.
	Volatile Durability = iota + 1
	// Process is the page cache: stores survive kill -9 of every process, not a power cut.
	Process
	// Fsync is a file on an ordinary disk: Fence returns after fdatasync.
	Fsync
	// DAX is a MAP_SYNC mapping of persistent memory: Flush writes cache lines back, Fence orders.
	DAX
)

// ErrReadOnly is returned by Fence once an earlier write-back failed: what the storage holds is
// unknown from then on, so the region accepts no further promise of durability.
var ErrReadOnly = errors.New("pool is read-only after a failed write-back; restart the DPM to recover what is durable")

// Region is a byte-addressed piece of (persistent) memory: the failure boundary under the pool.
//
// Offsets count from 0. A range outside [0, Bytes) is a programmer error and panics; callers that
// take offsets from the network check them first. Load64, Store64, CompareAndSwap64 and Add64 want
// 8-byte aligned offsets, are atomic, and may be called from any goroutine; Read and Write copy in
// whole aligned 8-byte words where the range covers them (no torn words), with no order between words.
//
// Visible is not durable: a store is durable only after a Flush of its range and then a Fence that
// returned nil. In modes where stores are durable at once (Volatile, Process) both are cheap no-ops.
type Region interface {
	Bytes() uint64
	Durability() Durability

	Load64(offset uint64) uint64
	Store64(offset, value uint64)
	CompareAndSwap64(offset, expect, swap uint64) (before uint64, swapped bool)
	Add64(offset, delta uint64) (before uint64)

	Read(offset uint64, dst []byte)
	Write(offset uint64, src []byte)
	// View returns the bytes [offset, offset+length) in place, for reading only. They change under
	// the caller when another writer stores there.
	View(offset, length uint64) []byte

	// Flush starts writing [offset, offset+length) back.
	Flush(offset, length uint64)
	// Fence returns once every Flush that happened before it, from any goroutine, is durable. An
	// error means that this is not known; the region is read-only from then on (ErrReadOnly).
	Fence() error

	// Close gives the memory back. No other method may run then or later.
	Close() error
}
