package latency

import (
	"math/bits"
	"time"
)

// Buckets counts durations in fixed steps: eight to each power of two, so that a percentile is off by at most a
// sixteenth. It is what a request thread can afford: no memory beyond its own, a few instructions to record, and
// counts that subtract and add. The zero value is empty.
//
// Bucket 0 is what is shorter than 64 ns; bucket 1 + 8(e-6) + s holds [2^e (1 + s/8), 2^e (1 + (s+1)/8)) ns; the
// last one also what is longer.
type Buckets [NumBuckets]uint64

const (
	lowestPower   = 6  // 64 ns
	highestPower  = 39 // 9 minutes
	stepsPerPower = 8
	// NumBuckets is the length of Buckets.
	NumBuckets = 1 + (highestPower-lowestPower)*stepsPerPower
)

// Record counts n durations of d each.
func (b *Buckets) Record(d time.Duration, n uint64) { b[bucketOf(d)] += n }

func bucketOf(d time.Duration) int {
	if d < 1<<lowestPower {
		return 0
	}
	power := bits.Len64(uint64(d)) - 1
	step := int(uint64(d)>>(power-3)) & (stepsPerPower - 1)
	return min(1+(power-lowestPower)*stepsPerPower+step, NumBuckets-1)
}

// boundsOf returns the range [low, high) of bucket i.
func boundsOf(i int) (low, high time.Duration) {
	if i == 0 {
		return 0, 1 << lowestPower
	}
	power, step := lowestPower+(i-1)/stepsPerPower, (i-1)%stepsPerPower
	width := time.Duration(1) << (power - 3)
	low = time.Duration(1)<<power + time.Duration(step)*width
	return low, low + width
}

// Load replaces the counts by those that Trimmed returned; what is beyond the last bucket goes into it.
func (b *Buckets) Load(counts []uint64) {
	clear(b[:])
	for i, n := range counts {
		b[min(i, NumBuckets-1)] += n
	}
}

// Trimmed returns the counts without trailing zeros. They alias b.
func (b *Buckets) Trimmed() []uint64 {
	n := NumBuckets
	for n > 0 && b[n-1] == 0 {
		n--
	}
	return b[:n]
}

// Add adds what other counted.
func (b *Buckets) Add(other *Buckets) {
	for i, n := range other {
		b[i] += n
	}
}

// Subtract takes away what earlier, an earlier state of the same counts, had.
func (b *Buckets) Subtract(earlier *Buckets) {
	for i, n := range earlier {
		b[i] -= min(b[i], n)
	}
}

// Count returns how many durations there are.
func (b *Buckets) Count() (n uint64) {
	for _, c := range b {
		n += c
	}
	return n
}

// Percentile returns the middle of the bucket that holds the duration that p percent do not exceed, 0 when empty.
func (b *Buckets) Percentile(p float64) time.Duration {
	total := b.Count()
	want := max(uint64(p/100*float64(total)+0.5), 1)
	seen := uint64(0)
	for i, n := range b {
		if seen += n; n > 0 && seen >= want {
			low, high := boundsOf(i)
			return (low + high) / 2
		}
	}
	return 0
}

// Summary returns the figures in microseconds; sum is that of all durations, which buckets cannot know.
func (b *Buckets) Summary(sum time.Duration) Summary {
	total := b.Count()
	if total == 0 {
		return Summary{}
	}
	us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	top := time.Duration(0)
	for i, n := range b {
		if n > 0 {
			_, top = boundsOf(i)
		}
	}
	return Summary{
		Mean: us(sum) / float64(total), P50: us(b.Percentile(50)), P99: us(b.Percentile(99)), P999: us(b.Percentile(99.9)), Max: us(top),
	}
}
