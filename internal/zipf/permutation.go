package zipf

import (
	"fmt"
	"math/bits"
)

// A Permutation is a bijection of [0, n) that looks random, chosen by a seed. It scatters
// popular ranks over the key space without a table: four rounds of a Feistel network over the
// next power of four, walked again while the result lies outside (fewer than 4 walks on
// average). It is immutable and may be shared between goroutines.
type Permutation struct {
	n    uint64
	half uint // bits of one half of the network
	keys [4]uint64
}

// NewPermutation returns the permutation of [0, n) that seed chooses, for 1 <= n <= 1<<62.
func NewPermutation(n, seed uint64) (*Permutation, error) {
	if n < 1 || n > 1<<62 {
		return nil, fmt.Errorf("permutation of %d numbers: want 1 to %d", n, uint64(1)<<62)
	}
	p := &Permutation{n: n, half: uint(bits.Len64(n-1)+1) / 2}
	for i := range p.keys {
		seed += 0x9e3779b97f4a7c15
		p.keys[i] = scramble(seed)
	}
	return p, nil
}

// Of returns the image of i, which must be below n.
func (p *Permutation) Of(i uint64) uint64 {
	for i = p.forward(i); i >= p.n; i = p.forward(i) {
	}
	return i
}

// Inverse returns the number whose image is i, which must be below n.
func (p *Permutation) Inverse(i uint64) uint64 {
	for i = p.backward(i); i >= p.n; i = p.backward(i) {
	}
	return i
}

func (p *Permutation) forward(x uint64) uint64 {
	mask := uint64(1)<<p.half - 1
	left, right := x>>p.half, x&mask
	for _, key := range p.keys {
		left, right = right, left^(scramble(right^key)&mask)
	}
	return left<<p.half | right
}

func (p *Permutation) backward(x uint64) uint64 {
	mask := uint64(1)<<p.half - 1
	left, right := x>>p.half, x&mask
	for i := len(p.keys) - 1; i >= 0; i-- {
		left, right = right^(scramble(left^p.keys[i])&mask), left
	}
	return left<<p.half | right
}

// scramble is a bijective mixer of 64 bits: every input bit moves every output bit.
func scramble(x uint64) uint64 {
	x = (x ^ x>>32) * 0xd6e8feb86659fd93
	x = (x ^ x>>32) * 0xd6e8feb86659fd93
	return x ^ x>>32
}
