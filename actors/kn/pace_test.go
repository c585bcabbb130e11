package kn

import (
	"testing"
	"time"
)

// TestPaceKeepsTheRate: rounds of any size, on a thread that would be faster, take as long in sum as the rate says.
func TestPaceKeepsTheRate(t *testing.T) {
	p := newPace(4000)
	start := time.Unix(1000, 0)
	now := start
	total := uint64(0)
	for i := range 500 {
		n := uint64(1 + i%37)
		began := now
		now = now.Add(20 * time.Microsecond) // what serving takes by itself
		now = now.Add(p.served(began, now, n))
		total += n
	}
	want := time.Duration(total) * 250 * time.Microsecond
	if took := now.Sub(start); took > want || took < want-paceSlack {
		t.Errorf("%d tuples took %v, want %v less at most %v", total, took, want, paceSlack)
	}
}

// TestPaceSavesNothingUp: an idle thread does not make up for its idleness afterwards, and a single request does not wait.
func TestPaceSavesNothingUp(t *testing.T) {
	p := newPace(1000)
	now := time.Unix(1000, 0)
	if wait := p.served(now, now, 1); wait != 0 {
		t.Errorf("the first tuple waits %v", wait)
	}
	now = now.Add(time.Hour)
	if wait := p.served(now, now, 10); wait != 10*time.Millisecond {
		t.Errorf("10 tuples after an idle hour wait %v, want 10ms", wait)
	}
	if n := p.drain(512); n != 5 {
		t.Errorf("a round of %d requests at 1,000 tuples a second, want 5", n)
	}
}

func TestNoPaceNoWait(t *testing.T) {
	p := newPace(0)
	now := time.Unix(1000, 0)
	if wait := p.served(now, now, 1<<40); wait != 0 || p.drain(512) != 512 {
		t.Errorf("without a limit: wait %v, rounds of %d", wait, p.drain(512))
	}
}
