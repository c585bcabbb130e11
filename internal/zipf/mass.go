package zipf

import "math"

// directTerms is how many terms Weight adds one by one before Euler and Maclaurin take over;
// their error is then below 1e-15 of the sum.
const directTerms = 1000

// Weight returns the sum of k^-theta for k = 1 .. ranks, the unnormalised mass of the first
// ranks of a Zipf law. The mass of the ranks [a, b) among n is (Weight(b)-Weight(a))/Weight(n).
// It costs a thousand powers at most, whatever the number of ranks.
func Weight(ranks uint64, theta float64) float64 {
	direct := min(ranks, directTerms)
	sum := 0.0
	for k := direct; k >= 1; k-- {
		sum += math.Pow(float64(k), -theta)
	}
	if ranks == direct {
		return sum
	}
	a, b := float64(direct), float64(ranks)
	la, lb := math.Log(a), math.Log(b)
	f := func(x float64) float64 { return math.Pow(x, -theta) }
	sum += expm1Over(lb*(1-theta))*lb - expm1Over(la*(1-theta))*la
	sum += (f(b) - f(a)) / 2
	sum += theta / 12 * (f(a)/a - f(b)/b)
	sum -= theta * (theta + 1) * (theta + 2) / 720 * (f(a)/(a*a*a) - f(b)/(b*b*b))
	return sum
}
