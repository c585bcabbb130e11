//go:build amd64 && !race

package shm

// storeWord stores one aligned word. On amd64 an ordinary 8-byte store is atomic and stores become
// visible in program order; sync/atomic's is an XCHG, many times the price, for an order against
// later loads that write needs once, at its end. The race detector wants to see an atomic.
func storeWord(word *uint64, value uint64) { *word = value }
