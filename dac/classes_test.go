package dac

import "testing"

func TestClassesCoverAllSizesTightly(t *testing.T) {
	last := 0
	for class := range maxClasses {
		size := classBytes(class)
		if size <= last {
			t.Fatalf("class %d of %d bytes follows one of %d", class, size, last)
		}
		last = size
	}
	for n := 1; n <= classBytes(maxClasses-1); n++ {
		class := classOf(n)
		size := classBytes(class)
		if size < n || class > 0 && classBytes(class-1) >= n {
			t.Fatalf("%d bytes go into class %d of %d bytes", n, class, size)
		}
		if n > fineLimit && size-n > n/32 {
			t.Fatalf("%d bytes waste %d", n, size-n)
		}
	}
}

func TestLevelsStandForHits(t *testing.T) {
	for hits := uint32(1); hits < 40_000; hits++ {
		l := levelOf(hits)
		if hits <= exactLevels && l != uint64(hits) {
			t.Fatalf("%d hits are level %d", hits, l)
		}
		if levelHits[l] > float64(hits) || l < maxLevel && levelHits[l+1] <= float64(hits) {
			t.Fatalf("%d hits are level %d, which stands for %v", hits, l, levelHits[l])
		}
	}
	if levelOf(1<<31) != maxLevel || levelOf(0) != 1 {
		t.Fatal("levels do not saturate")
	}
}

// The chance of a rise is such that on average a level stands for the hits counted.
func TestLevelsRiseAsHitsCome(t *testing.T) {
	c := newCache(t, Options{Policy: PolicyShortcutOnly, BudgetBytes: MinBudgetBytes})
	const hits, rounds = 4000, 60
	sum := 0.0
	for range rounds {
		level := uint64(1)
		for range hits - 1 {
			if level < maxLevel && c.draw() <= levelRise[level] {
				level++
			}
		}
		sum += levelHits[level] / rounds
	}
	if sum < hits*0.85 || sum > hits*1.15 {
		t.Errorf("%d hits count as %.0f on average", hits, sum)
	}
}

func TestRanksAreInRange(t *testing.T) {
	for _, hits := range []uint32{0, 1, 15, 16, 1000, maxHits, maxHits + hitUnit} {
		for _, size := range []int{16, 48, 1 << 10, classBytes(maxClasses - 1)} {
			if r := rankOf(hits, size); r < 0 || r > maxRank {
				t.Errorf("%d hits for %d bytes rank %d", hits, size, r)
			}
		}
	}
	for n := uint32(1); n < 1<<20; n++ {
		if steps(n) < steps(n-1) {
			t.Fatalf("steps(%d) = %d < steps(%d) = %d", n, steps(n), n-1, steps(n-1))
		}
	}
}
