package random

import "testing"

func TestSameSeedSameSequence(t *testing.T) {
	seed := Seed(t)
	a, b := New(seed), New(seed)
	for i := range 100 {
		if x, y := a.Uint64(), b.Uint64(); x != y {
			t.Fatalf("draw %d differs: %d, %d", i, x, y)
		}
	}
}

func TestSeedComesFromTheEnvironment(t *testing.T) {
	t.Setenv("TEST_SEED", "42")
	if got := Seed(t); got != 42 {
		t.Fatalf("Seed = %d, want 42", got)
	}
}
