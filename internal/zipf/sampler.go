package zipf

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// MaxRanks bounds the number of ranks: beyond it neighbouring ranks are no longer told apart
// by the 53 bits of a float64.
const MaxRanks = 1 << 48

// A Sampler draws ranks 0, 1, ... n-1, rank 0 being the most popular. It is immutable and may
// be shared between goroutines, each with a random source of its own.
//
// It inverts the integral of the continuous density x^-theta, whose hat over the bars of the
// discrete law is tight, and rejects what falls between hat and bar (Hörmann and Derflinger,
// "Rejection-inversion to generate variates from monotone discrete distributions", 1996).
// Fewer than 1.1 draws are needed on average for any theta. The alternative, the
// generator of Gray et al. that YCSB uses, is wrong near the head and not defined at theta 1.
type Sampler struct {
	ranks uint64
	theta float64
	// first and last bound the integral: its values at the left edge of rank 0's bar, shrunk
	// so that rank 0 is hit with exactly its own mass, and at the right edge of the last bar.
	first, last float64
	// sure is the distance below which a candidate is accepted without evaluating the hat.
	sure float64
}

// NewSampler returns a sampler over the given number of ranks, with 1 <= ranks <= MaxRanks and
// a finite theta >= 0.
func NewSampler(ranks uint64, theta float64) (*Sampler, error) {
	if ranks < 1 || ranks > MaxRanks {
		return nil, fmt.Errorf("zipf over %d ranks: want 1 to %d", ranks, uint64(MaxRanks))
	}
	if !(theta >= 0) || math.IsInf(theta, 1) {
		return nil, fmt.Errorf("zipf with theta %v: want a finite number >= 0", theta)
	}
	s := &Sampler{ranks: ranks, theta: theta}
	s.first = s.integral(1.5) - 1
	s.last = s.integral(float64(ranks) + 0.5)
	s.sure = 2 - s.integralInverse(s.integral(2.5)-s.density(2))
	return s, nil
}

// Ranks returns the number of ranks.
func (s *Sampler) Ranks() uint64 { return s.ranks }

// Theta returns the exponent.
func (s *Sampler) Theta() float64 { return s.theta }

// Next draws one rank in [0, Ranks()).
func (s *Sampler) Next(r *rand.Rand) uint64 {
	if s.theta == 0 {
		return r.Uint64N(s.ranks)
	}
	for {
		u := s.last + r.Float64()*(s.first-s.last)
		x := s.integralInverse(u)
		k := uint64(math.Max(1, math.Min(x+0.5, float64(s.ranks))))
		if kf := float64(k); kf-x <= s.sure || u >= s.integral(kf+0.5)-s.density(kf) {
			return k - 1
		}
	}
}

// density is the unnormalised mass of rank x-1.
func (s *Sampler) density(x float64) float64 { return math.Exp(-s.theta * math.Log(x)) }

// integral is an antiderivative of density, 0 at 1: (x^(1-theta) - 1) / (1-theta), or log x.
func (s *Sampler) integral(x float64) float64 {
	l := math.Log(x)
	return expm1Over(l*(1-s.theta)) * l
}

// integralInverse solves integral(x) = y.
func (s *Sampler) integralInverse(y float64) float64 {
	// Rounding may push the product just below the domain's edge at -1.
	t := math.Max(-1, y*(1-s.theta))
	return math.Exp(log1pOver(t) * y)
}

// expm1Over is (exp(x)-1)/x, continued through 0.
func expm1Over(x float64) float64 {
	if math.Abs(x) > 1e-8 {
		return math.Expm1(x) / x
	}
	return 1 + x/2
}

// log1pOver is log(1+x)/x, continued through 0.
func log1pOver(x float64) float64 {
	if math.Abs(x) > 1e-8 {
		return math.Log1p(x) / x
	}
	return 1 - x/2
}
