package latency

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/internal/random"
)

func TestAgainstSortedValues(t *testing.T) {
	rng := random.New(random.Seed(t))
	a, b := New(), New()
	var all []time.Duration
	for i := range 20000 {
		d := time.Duration(math.Exp(rng.Float64()*18)) + time.Microsecond
		all = append(all, d)
		if i%3 == 0 {
			a.Record(d)
		} else {
			b.Record(d)
		}
	}
	wire, err := b.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Decode(wire)
	if err != nil {
		t.Fatal(err)
	}
	a.Merge(again)
	slices.Sort(all)
	near := func(name string, got, want time.Duration) {
		t.Helper()
		if diff := float64(got-want) / float64(want); math.Abs(diff) > 0.07 && math.Abs(float64(got-want)) > 100 {
			t.Errorf("%s is %v, want about %v", name, got, want)
		}
	}
	for _, p := range []float64{1, 50, 90, 99, 99.9} {
		near("a percentile", a.Percentile(p), all[int(p/100*float64(len(all)))])
	}
	near("max", a.Max(), all[len(all)-1])
	near("min", a.Min(), all[0])
	sum := time.Duration(0)
	for _, d := range all {
		sum += d
	}
	near("mean", a.Mean(), sum/time.Duration(len(all)))
	if a.Count() != uint64(len(all)) {
		t.Errorf("%d values, want %d", a.Count(), len(all))
	}
}

func TestExtremes(t *testing.T) {
	h := New()
	if h.Summary() != (Summary{}) || h.Min() != 0 {
		t.Errorf("empty: %+v", h.Summary())
	}
	h.Record(-1)
	h.Record(time.Hour)
	if h.Count() != 2 || h.Max() < MaxValue {
		t.Errorf("%d values, max %v", h.Count(), h.Max())
	}
	h.Reset()
	if h.Count() != 0 {
		t.Error("Reset left something")
	}
	if h, err := Decode(nil); err != nil || h.Count() != 0 {
		t.Errorf("nothing: %v", err)
	}
	if _, err := Decode(make([]byte, 2<<20)); !errors.Is(err, ErrMalformed) {
		t.Errorf("too long: %v", err)
	}
}

func TestRecordDoesNotAllocate(t *testing.T) {
	h := New()
	if n := testing.AllocsPerRun(100, func() { h.Record(123 * time.Microsecond) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzDecode(f *testing.F) {
	h := New()
	h.Record(time.Millisecond)
	good, err := h.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := Decode(b)
		if err == nil {
			h.Summary()
			if _, err := h.Encode(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	h := New()
	for i := 0; b.Loop(); i++ {
		h.Record(time.Duration(i%1_000_000) * time.Nanosecond)
	}
}
