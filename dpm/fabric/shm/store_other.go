//go:build !amd64 || race

package shm

import "sync/atomic"

// storeWord stores one aligned word.
func storeWord(word *uint64, value uint64) { atomic.StoreUint64(word, value) }
