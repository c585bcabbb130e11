// Package pmem is the memory under the pool: a Region of bytes with 8-byte atomic words, flushes
// and fences, and its implementations (anonymous memory, mapped file, persistent memory, and a fake
// that can crash).
//
// DPM-1: visible is not durable. Only what a Flush covered and a later Fence confirmed may be
// acknowledged to anybody.
//
// It knows nothing of what the bytes mean.
package pmem
