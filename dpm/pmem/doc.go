// Package pmem is the memory under the pool: a Region of bytes with 8-byte atomic words, flushes
// and fences, and its implementations: anonymous memory, mapped file (file.go: page cache, fsync
// with group commit, persistent memory), and a fake that can crash (fake.go). All of them pass
// one conformance test.
//
// What a crash leaves, by durability:
//
//	volatile  nothing once the process is gone
//	process   every store made before kill -9, in a file; nothing is promised across a power cut
//	fsync     what a Fence returned nil for. One fdatasync serves all fences that wait for it; it
//	          writes pages of the whole file back, also those another process dirtied through its own mapping
//	dax       likewise; Flush writes the cache lines back (CLWB, CLFLUSHOPT or CLFLUSH) and drains them
//
// A failed write-back is final: the region answers ErrReadOnly from then on, because the kernel may
// have dropped the pages, and a later success would prove nothing.
//
// DPM-1: visible is not durable. Only what a Flush covered and a later Fence confirmed may be
// acknowledged to anybody.
//
// It knows nothing of what the bytes mean.
package pmem
