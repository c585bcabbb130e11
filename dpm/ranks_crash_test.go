package dpm

import (
	"errors"
	"os"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
)

// restart lets the pool crash: what was not durable is gone.
func (r *ranksRig) restart() {
	r.t.Helper()
	r.o.private.region = pmem.NewFakeFrom(r.pool.region.(*pmem.Fake).StrictImage(), pmem.Fsync)
	r.pool = mustOpen(r.t, r.o)
}

// A crash while a successor is being admitted leaves its process in the rank's entry and the incarnation of its predecessor.
// Taken for the process of that incarnation, it would be let in as the one that is there already.
func TestCrashInAdmissionMakesNoTwins(t *testing.T) {
	r := newRanksRig(t, 8)
	h := fabric.Hello{Identity: "a", PID: 100, PIDStart: 5}
	first := r.mustAdmit(false, h)
	r.renew(first)
	r.gone(first, 0)
	r.alive[100] = false // as far as this machine knows: it is on another
	r.clock.Advance(2 * r.o.LeaseLength)
	r.pool.region.(*pmem.Fake).CrashAtFence(2, false)
	successor := fabric.Hello{Identity: "a", PID: 200, PIDStart: 6}
	if _, err := r.admit(false, successor); !errors.Is(err, fabric.ErrRefused) {
		t.Fatalf("admitted in a crash: %v", err)
	}
	r.restart()
	h.Rank, h.Incarnation = first.Rank, first.Incarnation
	back := r.mustAdmit(false, h) // it was only cut off
	if s, err := r.admit(false, successor); !errors.Is(err, fabric.ErrRefused) {
		t.Fatalf("%+v and %+v are both admitted: %v", back, s, err)
	}
	r.renew(back)
	r.gone(back, 0)
	r.clock.Advance(2 * r.o.LeaseLength)
	if s := r.mustAdmit(false, successor); s.Rank != first.Rank || s.Incarnation != first.Incarnation+1 {
		t.Fatalf("%+v succeeds %+v", s, first)
	}
	if _, err := r.admit(false, h); !errors.Is(err, fabric.ErrFenced) {
		t.Fatalf("the one before comes back: %v", err)
	}
}

// The same with a fenced predecessor must not shut the successor out for as long as it lives.
func TestCrashInAdmissionShutsNobodyOut(t *testing.T) {
	r := newRanksRig(t, 8)
	first := r.mustAdmit(true, fabric.Hello{Identity: "a", PID: 100, PIDStart: 5})
	if err := r.pool.Fence(first.Rank, first.Incarnation); err != nil {
		t.Fatal(err)
	}
	r.alive[100] = false
	r.pool.region.(*pmem.Fake).CrashAtFence(2, false)
	pid := uint32(os.Getpid()) // on this machine, beyond doubt
	successor := fabric.Hello{Identity: "a", PID: pid, PIDStart: ProcessStart(pid)}
	if _, err := r.admit(true, successor); !errors.Is(err, fabric.ErrRefused) {
		t.Fatalf("admitted in a crash: %v", err)
	}
	r.restart()
	if s := r.mustAdmit(true, successor); s.Incarnation != first.Incarnation+1 {
		t.Fatalf("%+v succeeds %+v", s, first)
	}
}

// After a restart of the DPM nobody knows which processes map its memory: one that is on this machine and alive may, fenced or
// not, and wherever the next of its name asks from.
func TestRestartForgetsNoMapping(t *testing.T) {
	for _, fenced := range []bool{true, false} {
		r := newRanksRig(t, 8)
		first := r.mustAdmit(true, fabric.Hello{Identity: "a", PID: 100, PIDStart: 5})
		if fenced {
			if err := r.pool.Fence(first.Rank, first.Incarnation); err != nil {
				t.Fatal(err)
			}
		}
		r.restart()
		r.clock.Advance(2 * r.o.LeaseLength)
		next := fabric.Hello{Identity: "a"} // from elsewhere
		if s, err := r.admit(false, next); !errors.Is(err, fabric.ErrRefused) {
			t.Fatalf("fenced %v: %+v is let in over a process that may write: %v", fenced, s, err)
		}
		r.alive[100] = false
		if s := r.mustAdmit(false, next); s.Incarnation != first.Incarnation+1 {
			t.Fatalf("%+v succeeds %+v", s, first)
		}
	}
}
