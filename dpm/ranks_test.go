package dpm

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/dpm/remote"
	"github.com/dinomo-kv/dinomo/internal/clock"
)

// ranksRig is a pool whose processes live and die as the test says.
type ranksRig struct {
	t     *testing.T
	o     Options
	pool  *Pool
	clock *clock.Manual
	alive map[uint32]bool
}

func newRanksRig(t *testing.T, ranks uint32) *ranksRig {
	shape := smallShape(16)
	shape.Ranks = ranks
	fake := newFake(t, shape)
	r := &ranksRig{t: t, o: testOptions(fake, shape), alive: map[uint32]bool{}}
	r.clock = r.o.Clock.(*clock.Manual)
	r.o.private.alive = func(pid uint32, _ uint64) bool { return pid == 0 || r.alive[pid] }
	r.pool = mustOpen(t, r.o)
	return r
}

func (r *ranksRig) admit(mapped bool, h fabric.Hello) (fabric.Session, error) {
	if h.PID != 0 {
		r.alive[h.PID] = true
	}
	return r.pool.Service(mapped).Admit(h)
}

func (r *ranksRig) mustAdmit(mapped bool, h fabric.Hello) fabric.Session {
	r.t.Helper()
	s, err := r.admit(mapped, h)
	if err != nil {
		r.t.Fatalf("%+v: %v", h, err)
	}
	return s
}

func (r *ranksRig) gone(s fabric.Session, thread uint16) { r.pool.Service(false).Gone(s, thread) }

// renew does what a KN's lease renewal does.
func (r *ranksRig) renew(s fabric.Session) {
	r.pool.region.Add64(r.pool.layout.RankEntryOffset(uint32(s.Rank)), 1)
	r.pool.watchLeases()
}

func TestSameNameGetsTheSameRankOnceItsProcessIsDead(t *testing.T) {
	r := newRanksRig(t, 8)
	first := r.mustAdmit(false, fabric.Hello{Identity: "a"})
	second := r.mustAdmit(false, fabric.Hello{Rank: first.Rank, Incarnation: first.Incarnation, Thread: 1, Identity: "a"})
	if first.Rank == 0 || second.Rank != first.Rank || second.Incarnation != first.Incarnation {
		t.Fatalf("%+v, then %+v", first, second)
	}
	if other := r.mustAdmit(false, fabric.Hello{Identity: "b"}); other.Rank == first.Rank {
		t.Fatal("two names share a rank")
	}
	if _, err := r.admit(false, fabric.Hello{Identity: "a"}); !errors.Is(err, fabric.ErrRefused) || !strings.Contains(err.Error(), "not known to be gone") {
		t.Fatalf("while its queue pairs are open: %v", err)
	}
	r.renew(first)
	r.gone(first, 0)
	r.gone(second, 1)
	if _, err := r.admit(false, fabric.Hello{Identity: "a"}); !errors.Is(err, fabric.ErrRefused) {
		t.Fatalf("while its lease holds: %v", err)
	}
	r.clock.Advance(r.o.LeaseLength * 2)
	again := r.mustAdmit(false, fabric.Hello{Identity: "a"})
	if again.Rank != first.Rank || again.Incarnation != first.Incarnation+1 {
		t.Fatalf("%+v came back as %+v", first, again)
	}
	if _, err := r.admit(false, fabric.Hello{Rank: first.Rank, Incarnation: first.Incarnation, Identity: "a"}); !errors.Is(err, fabric.ErrFenced) {
		t.Fatalf("the old incarnation comes back: %v", err)
	}
	if _, err := r.admit(false, fabric.Hello{Rank: 7, Incarnation: 1, Identity: "z"}); !errors.Is(err, fabric.ErrRefused) {
		t.Fatalf("a rank that was never given out: %v", err)
	}
	if _, err := r.admit(false, fabric.Hello{Identity: "a", Pool: fabric.PoolID{1}}); !errors.Is(err, fabric.ErrWrongPool) {
		t.Fatalf("another pool's node: %v", err)
	}
}

func TestSameProcessAsksAgain(t *testing.T) {
	r := newRanksRig(t, 8)
	h := fabric.Hello{Identity: "a", PID: 100, PIDStart: 5}
	if first, again := r.mustAdmit(false, h), r.mustAdmit(false, h); first.Incarnation != again.Incarnation {
		t.Fatalf("incarnations %d and %d for one process", first.Incarnation, again.Incarnation)
	}
}

func TestMappedProcessMustBeGone(t *testing.T) {
	r := newRanksRig(t, 8)
	first := r.mustAdmit(true, fabric.Hello{Identity: "a", PID: 100, PIDStart: 5})
	r.gone(first, 0)
	r.clock.Advance(time.Hour)
	if err := r.pool.Fence(first.Rank, first.Incarnation); err != nil {
		t.Fatal(err)
	}
	if _, err := r.admit(true, fabric.Hello{Identity: "a", PID: 101, PIDStart: 6}); !errors.Is(err, fabric.ErrRefused) {
		t.Fatalf("while a fenced process still maps the pool: %v", err)
	}
	r.alive[100] = false
	if s := r.mustAdmit(true, fabric.Hello{Identity: "a", PID: 101, PIDStart: 6}); s.Incarnation != first.Incarnation+1 {
		t.Fatalf("got %+v", s)
	}
}

func TestRanksRunOutAndAreUsedAgain(t *testing.T) {
	r := newRanksRig(t, 4)
	var sessions []fabric.Session
	for _, name := range []string{"a", "b", "c"} {
		sessions = append(sessions, r.mustAdmit(false, fabric.Hello{Identity: name}))
	}
	if _, err := r.admit(false, fabric.Hello{Identity: "d"}); !errors.Is(err, fabric.ErrRefused) || !errors.Is(err, ErrNoRank) {
		t.Fatalf("a fourth node of three: %v", err)
	}
	if err := r.pool.Fence(sessions[1].Rank, sessions[1].Incarnation); err != nil {
		t.Fatal(err)
	}
	if s := r.mustAdmit(false, fabric.Hello{Identity: "d"}); s.Rank != sessions[1].Rank || s.Incarnation <= sessions[1].Incarnation {
		t.Fatalf("got %+v after %+v was fenced", s, sessions[1])
	}
}

func TestRanksOutliveTheDPM(t *testing.T) {
	r := newRanksRig(t, 8)
	first := r.mustAdmit(false, fabric.Hello{Identity: "a"})
	fenced := r.mustAdmit(false, fabric.Hello{Identity: "b"})
	if err := r.pool.Fence(fenced.Rank, fenced.Incarnation); err != nil {
		t.Fatal(err)
	}
	r.pool = mustOpen(t, r.o)
	if _, err := r.admit(false, fabric.Hello{Identity: "a"}); !errors.Is(err, fabric.ErrRefused) {
		t.Fatalf("another process of a name that may hold a lease: %v", err)
	}
	back := r.mustAdmit(false, fabric.Hello{Rank: first.Rank, Incarnation: first.Incarnation, Identity: "a"})
	if back.ServerEpoch <= first.ServerEpoch {
		t.Errorf("server epoch %d after a restart, was %d", back.ServerEpoch, first.ServerEpoch)
	}
	if _, err := r.admit(false, fabric.Hello{Rank: fenced.Rank, Incarnation: fenced.Incarnation, Identity: "b"}); !errors.Is(err, fabric.ErrFenced) {
		t.Fatalf("a fenced node after a restart: %v", err)
	}
}

// TestFencedLogIsSealedMergedAndQuarantined covers DPM-6: what a fenced node had written is merged; its segments are reused only
// when it cannot write to them any more, and what it still writes is not read by anybody.
func TestFencedLogIsSealedMergedAndQuarantined(t *testing.T) {
	for _, mapped := range []bool{false, true} {
		r := newRanksRig(t, 8)
		d := &localDialer{pool: r.pool, mapped: mapped, breakAfter: -1}
		ctx := context.Background()
		s, err := remote.Dial(ctx, remote.Options{Dialer: d, Address: "local", Identity: "a", PID: 100, PIDStart: 5})
		if err != nil {
			t.Fatal(err)
		}
		r.alive[100] = true
		th := mustThread(t, s, 0, remote.AppenderOptions{})
		put(t, th, "k", "before")
		commit(t, th)
		if err := r.pool.Fence(s.Rank(), s.Incarnation()); err != nil {
			t.Fatal(err)
		}
		if err := r.pool.DrainRank(ctx, s.Rank(), s.Incarnation()); err != nil {
			t.Fatal(err)
		}
		// The test's queue pairs are not a listener's: like a mapping, they outlive the fence.
		put(t, th, "k", "after")
		commit(t, th)
		if err := th.Progress(); !errors.Is(err, fabric.ErrFenced) {
			t.Errorf("a call of a fenced node: %v", err)
		}
		settle(t, r.pool)
		reader := mustThread(t, mustSession(t, &localDialer{pool: r.pool, breakAfter: -1}, "b"), 0, remote.AppenderOptions{})
		if got := read(t, reader, "k"); got != "before" {
			t.Errorf("mapped %v: k = %q after the fence, want %q", mapped, got, "before")
		}
		if held := r.pool.Stats().HeldSegments; mapped != (held > 0) {
			t.Errorf("mapped %v: %d segments held", mapped, held)
		}
		r.alive[100] = false
		settle(t, r.pool)
		if held := r.pool.Stats().HeldSegments; held != 0 {
			t.Errorf("mapped %v: %d segments held though the process is gone", mapped, held)
		}
		if status := r.pool.Ranks()[0]; status.State != format.RankFenced || mapped && !status.ProcessGone {
			t.Errorf("%+v", status)
		}
	}
}

// TestNewIncarnationSeesWhatTheOldOneWrote covers OWN-2 for a node that is restarted.
func TestNewIncarnationSeesWhatTheOldOneWrote(t *testing.T) {
	r := newRanksRig(t, 8)
	d := &localDialer{pool: r.pool, breakAfter: -1}
	s := mustSession(t, d, "a")
	th := mustThread(t, s, 3, remote.AppenderOptions{})
	put(t, th, "k", "old life")
	commit(t, th)
	th.Close()
	s.Close()
	th = mustThread(t, mustSession(t, d, "a"), 0, remote.AppenderOptions{})
	if got := read(t, th, "k"); got != "old life" {
		t.Fatalf("k = %q", got)
	}
}

func TestAttachWaitsForTheThreadsEarlierQueuePair(t *testing.T) {
	r := newRanksRig(t, 8)
	d := &localDialer{pool: r.pool, breakAfter: -1}
	ctx, cancel := context.WithCancel(t.Context())
	s, err := remote.Dial(ctx, remote.Options{Dialer: d, Address: "local", Identity: "a", Waiting: func(error) { cancel() }})
	if err != nil {
		t.Fatal(err)
	}
	th := mustThread(t, s, 0, remote.AppenderOptions{})
	if _, err := s.Thread(ctx, 0, remote.AppenderOptions{}); !errors.Is(err, remote.ErrBusy) {
		t.Fatalf("a second queue pair of thread 0: %v", err)
	}
	th.Close()
	mustThread(t, s, 0, remote.AppenderOptions{})
}

func TestFailedWriteBackTurnsThePoolReadOnly(t *testing.T) {
	shape := smallShape(16)
	fake := newFake(t, shape)
	o := testOptions(fake, shape)
	told := 0
	o.Events.ReadOnly = func(error) { told++ }
	p := mustOpen(t, o)
	d := &localDialer{pool: p, breakAfter: -1}
	s := mustSession(t, d, "a")
	th := mustThread(t, s, 0, remote.AppenderOptions{})
	put(t, th, "k", "v")
	commit(t, th)
	settle(t, p)
	fake.CrashAtFence(1, false) // from here on every write-back fails
	if _, err := p.MetaCAS("m", 0, nil); !errors.Is(err, pmem.ErrCrashed) {
		t.Fatalf("metadata: %v", err)
	}
	if p.Err() == nil || p.Stats().ReadOnly != 1 || told != 1 {
		t.Fatalf("pool is not read-only: %v, told %d times", p.Err(), told)
	}
	put(t, th, "k", "w")
	if err := th.Commit(); err == nil {
		t.Error("a write was acknowledged after a failed write-back")
	}
	if got := read(t, th, "k"); got != "v" {
		t.Errorf("k = %q", got)
	}
	for name, err := range map[string]error{
		"progress": th.Progress(),
		"step":     func() error { _, err := p.Step(); return err }(),
		"fence":    p.Fence(s.Rank(), s.Incarnation()),
		"install":  func() error { _, err := p.Install([]byte("k")); return err }(),
	} {
		if err == nil {
			t.Errorf("%s works in a read-only pool", name)
		}
	}
	if _, err := p.Service(false).Admit(fabric.Hello{Identity: "b"}); !errors.Is(err, fabric.ErrRefused) {
		t.Errorf("admit: %v", err)
	}
}
