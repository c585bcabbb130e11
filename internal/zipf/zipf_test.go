package zipf

import (
	"fmt"
	"math"
	"testing"

	"github.com/dinomo-kv/dinomo/internal/random"
)

// chiSquare compares drawn counts with the exact law, pooling ranks until a cell expects at
// least 20 draws, and returns the statistic in standard deviations above its mean.
func chiSquare(counts []uint64, draws int, theta float64) float64 {
	total := 0.0
	for k := range counts {
		total += math.Pow(float64(k+1), -theta)
	}
	var stat, expect float64
	var seen uint64
	cells := 0
	for k, c := range counts {
		expect += float64(draws) * math.Pow(float64(k+1), -theta) / total
		seen += c
		if expect >= 20 || k == len(counts)-1 {
			if expect > 0 {
				stat += (float64(seen) - expect) * (float64(seen) - expect) / max(expect, 1e-9)
				cells++
			}
			expect, seen = 0, 0
		}
	}
	df := float64(max(cells-1, 1))
	return (stat - df) / math.Sqrt(2*df)
}

func TestSamplerFollowsTheExactLaw(t *testing.T) {
	r := random.New(random.Seed(t))
	const draws = 200_000
	for _, n := range []uint64{1, 2, 3, 10, 1000, 30_000} {
		for _, theta := range []float64{0, 1e-12, 0.2, 0.5, 0.8, 0.99, 1, 1 + 1e-10, 1.2, 2, 5} {
			s, err := NewSampler(n, theta)
			if err != nil {
				t.Fatal(err)
			}
			counts := make([]uint64, n)
			for range draws {
				counts[s.Next(r)]++
			}
			// 66 cases: 6 deviations leave a false alarm far below one run in a million,
			// the chi-square law's heavier right tail included.
			if d := chiSquare(counts, draws, theta); n > 1 && d > 8 {
				t.Errorf("n=%d theta=%v: chi-square is %.1f deviations off", n, theta, d)
			}
		}
	}
}

// The test of the law would not see an error that only large n shows: compare the mass of
// decades of ranks at 100 million keys.
func TestSamplerAtAHundredMillionRanks(t *testing.T) {
	r := random.New(random.Seed(t))
	const n, draws = 100_000_000, 300_000
	for _, theta := range []float64{0.5, 0.99, 1, 1.2} {
		s, err := NewSampler(n, theta)
		if err != nil {
			t.Fatal(err)
		}
		var counts [9]int
		for range draws {
			counts[int(math.Log10(float64(s.Next(r)+1)+0.5))]++
		}
		for d := range 8 {
			lo, hi := uint64(math.Pow10(d))-1, uint64(math.Pow10(d+1))-1
			p := (Weight(hi, theta) - Weight(lo, theta)) / Weight(n, theta)
			mean, sd := p*draws, math.Sqrt(p*(1-p)*draws)+1
			if off := (float64(counts[d]) - mean) / sd; math.Abs(off) > 6 {
				t.Errorf("theta=%v ranks [%d,%d): %d draws, want %.0f±%.0f", theta, lo, hi, counts[d], mean, sd)
			}
		}
	}
}

func TestWeightAgreesWithTheSum(t *testing.T) {
	for _, theta := range []float64{0, 0.5, 0.99, 1, 1.2, 2, 3.5} {
		sum := 0.0
		terms := make([]float64, 200_000)
		for k := range terms {
			terms[k] = math.Pow(float64(k+1), -theta)
		}
		for k, w := range terms {
			sum += w
			if n := uint64(k + 1); n == 1 || n == 1000 || n == 1001 || n == 5000 || n == 200_000 {
				if got := Weight(n, theta); math.Abs(got-sum) > 1e-9*sum {
					t.Errorf("Weight(%d, %v) = %v, want %v", n, theta, got, sum)
				}
			}
		}
	}
	if got := Weight(0, 1); got != 0 {
		t.Errorf("Weight(0) = %v", got)
	}
}

func TestBadArgumentsAreRefused(t *testing.T) {
	for _, c := range []struct {
		n     uint64
		theta float64
	}{{0, 1}, {MaxRanks + 1, 1}, {5, -0.1}, {5, math.NaN()}, {5, math.Inf(1)}} {
		if _, err := NewSampler(c.n, c.theta); err == nil {
			t.Errorf("NewSampler(%d, %v) must fail", c.n, c.theta)
		}
	}
	for _, n := range []uint64{0, 1<<62 + 1} {
		if _, err := NewPermutation(n, 1); err == nil {
			t.Errorf("NewPermutation(%d) must fail", n)
		}
	}
}

func TestPermutationIsABijectionAndDependsOnTheSeed(t *testing.T) {
	for _, n := range []uint64{1, 2, 3, 4, 5, 17, 64, 1000, 65537} {
		p, err := NewPermutation(n, 7)
		if err != nil {
			t.Fatal(err)
		}
		q, _ := NewPermutation(n, 8)
		seen := make([]bool, n)
		same := 0
		for i := range n {
			j := p.Of(i)
			if j >= n || seen[j] {
				t.Fatalf("n=%d: image %d of %d is outside or taken", n, j, i)
			}
			seen[j] = true
			if p.Inverse(j) != i {
				t.Fatalf("n=%d: Inverse(%d) = %d, want %d", n, j, p.Inverse(j), i)
			}
			if q.Of(i) == j {
				same++
			}
		}
		if n >= 1000 && same > 20 {
			t.Errorf("n=%d: two seeds agree on %d numbers", n, same)
		}
	}
}

func BenchmarkNext(b *testing.B) {
	r := random.New(1)
	for _, theta := range []float64{0, 0.5, 0.99, 1, 2} {
		b.Run(fmt.Sprintf("theta=%v", theta), func(b *testing.B) {
			s, err := NewSampler(100_000_000, theta)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			var sum uint64
			for b.Loop() {
				sum += s.Next(r)
			}
			_ = sum
		})
	}
}

func BenchmarkPermutation(b *testing.B) {
	p, err := NewPermutation(100_000_000, 1)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	i := uint64(0)
	for b.Loop() {
		i = p.Of(i)
	}
}
