package latency

import (
	"slices"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/internal/random"
)

func TestBucketBounds(t *testing.T) {
	end := time.Duration(0)
	for i := range NumBuckets {
		low, high := boundsOf(i)
		if low != end || high <= low {
			t.Fatalf("bucket %d is [%d, %d) after %d", i, low, high, end)
		}
		if bucketOf(low) != i || bucketOf(high-1) != i {
			t.Fatalf("bucket %d [%d, %d): its ends are in %d and %d", i, low, high, bucketOf(low), bucketOf(high-1))
		}
		end = high
	}
	if bucketOf(-1) != 0 || bucketOf(1<<62) != NumBuckets-1 {
		t.Error("what is out of range is not in the outer buckets")
	}
}

func TestBucketsAgreeWithSorting(t *testing.T) {
	rng := random.New(random.Seed(t))
	var b, early Buckets
	var all []time.Duration
	for i := range 20000 {
		d := time.Duration(rng.ExpFloat64() * 50_000)
		b.Record(d, 1)
		all = append(all, d)
		if i == 9999 {
			early = b
		}
	}
	slices.Sort(all)
	for _, p := range []float64{1, 50, 90, 99, 99.9} {
		want, got := all[int(p/100*float64(len(all)))-1], b.Percentile(p)
		if off := float64(got-want) / float64(want+64); off > 0.13 || off < -0.13 {
			t.Errorf("p%v is %v, want %v", p, got, want)
		}
	}
	late := b
	late.Subtract(&early)
	if late.Count() != 10000 {
		t.Errorf("the second half is %d", late.Count())
	}
	late.Add(&early)
	var loaded Buckets
	loaded.Load(late.Trimmed())
	if loaded != b {
		t.Error("halves do not add up to the whole")
	}
	if n := testing.AllocsPerRun(100, func() { b.Record(time.Microsecond, 3) }); n != 0 {
		t.Errorf("Record allocates %v times", n)
	}
}
