package random

import (
	crand "crypto/rand"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
)

// New returns a source that always yields the same sequence for the same seed.
func New(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, seed^0x9e3779b97f4a7c15)) }

// FreshSeed returns a seed that no earlier run used.
func FreshSeed() uint64 {
	var b [8]byte
	if _, err := crand.Read(b[:]); err != nil {
		panic(fmt.Sprintf("read the system's randomness: %v", err))
	}
	return binary.LittleEndian.Uint64(b[:]) >> 1
}

// logger is the part of testing.TB that Seed needs.
type logger interface {
	Helper()
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Seed returns TEST_SEED when that is set, else a fresh seed, and logs how to replay.
func Seed(t logger) uint64 {
	t.Helper()
	seed := FreshSeed()
	if s := os.Getenv("TEST_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("TEST_SEED=%q: want an unsigned decimal number", s)
		}
		seed = n
	}
	t.Logf("replay with TEST_SEED=%d", seed)
	return seed
}
