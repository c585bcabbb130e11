package hashring

import "github.com/cespare/xxhash/v2"

// Salts that keep the derived hashes apart. They are part of the cluster's contract: nodes that
// disagree on them disagree on owners (RING-1), hence the golden positions in hash_test.go.
const (
	globalSalt = 0x8f14e45fceea167a
	localSalt  = 0x45c48cce2e2d7fbd
	pointStep  = 0x9e3779b97f4a7c15 // odd: a member's points never repeat an input of mix
)

// KeyHash is the 64-bit xxhash of a key: the one hash of the whole system. The index, the caches
// and the rings all start from it, so a request path computes it once.
func KeyHash(key []byte) uint64 { return xxhash.Sum64(key) }

// Position is where a key with that KeyHash lies on the global ring. It is a bijection: ranges of
// positions are exact sets of hashes.
func Position(hash uint64) uint64 { return mix(hash ^ globalSalt) }

// localPosition is where a key lies on every local ring. Its bits tell nothing about Position's.
func localPosition(hash uint64) uint64 { return mix(hash ^ localSalt) }

// mix is the finaliser of SplitMix64: a bijection in which each input bit flips each output bit
// with a probability near one half.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// point is the position of the n-th virtual node of a member whose seed that is.
func point(seed uint64, n int) uint64 { return mix(seed + uint64(n+1)*pointStep) }

// memberSeed derives a member's points from its identity on the ring, its private address.
func memberSeed(privateIP string) uint64 { return xxhash.Sum64String("member " + privateIP) }

// threadSeed derives a thread's points from its number. Local rings of equal thread counts are
// the same ring on every node.
func threadSeed(thread int) uint64 { return mix(uint64(thread) ^ ^uint64(localSalt)) }
