package dpm

import (
	"context"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/index"
	"github.com/dinomo-kv/dinomo/dpm/remote"
)

// wordRig is a pool with two owners of a replicated key: "a", whose process maps the memory or does not, and "b". The test's queue
// pairs are not a listener's: like a mapping, a's outlives its fence.
type wordRig struct {
	*ranksRig
	session *remote.Session // a's
	a, b    *remote.Thread
}

const aProcess = 100

func newWordRig(t *testing.T, mapped bool) *wordRig {
	r := &wordRig{ranksRig: newRanksRig(t, 8)}
	d := &localDialer{pool: r.pool, mapped: mapped, breakAfter: -1}
	s, err := remote.Dial(context.Background(), remote.Options{Dialer: d, Address: "local", Identity: "a", PID: aProcess, PIDStart: 5})
	if err != nil {
		t.Fatal(err)
	}
	r.alive[aProcess] = true
	r.session = s
	r.a = mustThread(t, s, 0, remote.AppenderOptions{})
	r.b = mustThread(t, mustSession(t, &localDialer{pool: r.pool, breakAfter: -1}, "b"), 0, remote.AppenderOptions{})
	return r
}

func (r *wordRig) install(key string) format.Pointer {
	r.t.Helper()
	p, err := r.pool.Install([]byte(key))
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

// writeShared appends a replicated entry and returns where it is; nothing leads to it yet.
func (r *wordRig) writeShared(th *remote.Thread, key, value string) format.Pointer {
	r.t.Helper()
	p, err := th.Put([]byte(key), []byte(value), latticeLWW, format.FlagReplicated)
	if err != nil {
		r.t.Fatal(err)
	}
	commit(r.t, th)
	return p
}

func (r *wordRig) cas(th *remote.Thread, indirect, expect, swap format.Pointer) (moved bool) {
	r.t.Helper()
	before, err := th.CASPointer(indirect, expect, swap)
	if err != nil {
		r.t.Fatal(err)
	}
	return before == expect
}

// fence does what a failover of a does to the pool.
func (r *wordRig) fence() {
	r.t.Helper()
	if err := r.pool.Fence(r.session.Rank(), r.session.Incarnation()); err != nil {
		r.t.Fatal(err)
	}
	if err := r.pool.DrainRank(context.Background(), r.session.Rank(), r.session.Incarnation()); err != nil {
		r.t.Fatal(err)
	}
}

// hot makes "hot" a replicated key with a value, and has a write another up to its CAS.
func (r *wordRig) hot() (indirect, first, late format.Pointer) {
	r.t.Helper()
	first = put(r.t, r.a, "hot", "first")
	commit(r.t, r.a)
	settle(r.t, r.pool)
	return r.install("hot"), first, r.writeShared(r.a, "hot", "late")
}

// TestLateCASOfAFencedProcessIsNotRead covers DPM-6 for pointer words: a process that was stopped right before its CAS, fenced,
// and goes on after the failover, moves a word that nobody reads.
func TestLateCASOfAFencedProcessIsNotRead(t *testing.T) {
	r := newWordRig(t, true)
	old, first, late := r.hot()
	r.fence()
	renewed := r.install("hot") // as the coordinator has done before the key gets its next owners
	if renewed == old {
		t.Fatal("the key keeps a word that a fenced process may still move")
	}
	if again := r.install("hot"); again != renewed {
		t.Errorf("renewed twice for one fence: %v, then %v", renewed, again)
	}
	if !r.cas(r.a, old, first, late) {
		t.Error("the late CAS failed; this test wants one that succeeds")
	}
	if got := read(t, r.b, "hot"); got != "first" {
		t.Errorf("hot = %q after the late CAS, want %q", got, "first")
	}
	if !r.cas(r.b, renewed, first, r.writeShared(r.b, "hot", "second")) {
		t.Error("the next owner's CAS failed")
	}
	if got := read(t, r.b, "hot"); got != "second" {
		t.Errorf("hot = %q, want %q", got, "second")
	}
	settle(t, r.pool)
	checkIndex(t, r.pool)
}

// TestQuarantinedWordIsNotHandedOut: also when the key's replication is taken back and given again, so that the key's next word
// holds what the late CAS expects.
func TestQuarantinedWordIsNotHandedOut(t *testing.T) {
	for _, restart := range []bool{false, true} {
		r := newWordRig(t, true)
		old, first, late := r.hot()
		i, _ := r.pool.layout.IndirectOf(old)
		r.fence()
		if err := r.pool.Remove([]byte("hot")); err != nil {
			t.Fatal(err)
		}
		if restart {
			r.pool = mustOpen(t, r.o)
		}
		if q := r.pool.Stats().WordsQuarantined; q != 1 {
			t.Fatalf("restart %v: %d words quarantined, want 1", restart, q)
		}
		r.pool.words.next = i
		if again := r.install("hot"); again == old {
			t.Fatalf("restart %v: the word is handed out again", restart)
		}
		if !restart && !r.cas(r.a, old, first, late) {
			t.Error("the late CAS failed; this test wants one that succeeds")
		}
		if got, err := r.pool.lookup(index.KeyHash([]byte("hot")), []byte("hot")); err != nil || r.target(got) != first {
			t.Errorf("restart %v: hot leads to %v, %v; want %v", restart, got, err, first)
		}
		r.alive[aProcess] = false
		settle(t, r.pool)
		if q := r.pool.Stats().WordsQuarantined; q != 0 {
			t.Errorf("restart %v: %d words quarantined though the process is gone", restart, q)
		}
		if word := r.pool.region.Load64(r.pool.layout.IndirectOffsetOf(i)); word != 0 {
			t.Errorf("restart %v: a free word holds %#x", restart, word)
		}
	}
}

func (r *wordRig) target(indirect format.Pointer) format.Pointer {
	r.t.Helper()
	target, err := r.pool.loadWord(indirect)
	if err != nil {
		r.t.Fatal(err)
	}
	return target
}

// TestWordsAreKeptWhereNobodyCanMoveThem: renewing costs a word and a round trip of each owner, so it is done only where it must.
func TestWordsAreKeptWhereNobodyCanMoveThem(t *testing.T) {
	t.Run("memory is not mapped", func(t *testing.T) {
		r := newWordRig(t, false)
		old, _, _ := r.hot()
		r.fence()
		if p := r.install("hot"); p != old {
			t.Error("renewed")
		}
	})
	t.Run("process is gone", func(t *testing.T) {
		r := newWordRig(t, true)
		old, _, _ := r.hot()
		r.alive[aProcess] = false
		r.fence()
		if p := r.install("hot"); p != old {
			t.Error("renewed")
		}
	})
	t.Run("word is younger than the fence", func(t *testing.T) {
		r := newWordRig(t, true)
		r.fence()
		put(t, r.b, "hot", "b's")
		commit(t, r.b)
		settle(t, r.pool)
		if p := r.install("hot"); p != r.install("hot") {
			t.Error("renewed")
		}
	})
	t.Run("no word is free", func(t *testing.T) {
		r := newWordRig(t, true)
		old, first, late := r.hot()
		for {
			if _, ok := r.pool.words.take(r.pool.ranks.fenceCount()); !ok {
				break
			}
		}
		r.fence()
		if p := r.install("hot"); p != old {
			t.Error("renewed")
		}
		// Then the late CAS is a write whose outcome its client does not know: it may take effect, whole and for good.
		if !r.cas(r.a, old, first, late) {
			t.Error("the late CAS failed")
		}
		settle(t, r.pool)
		if got := read(t, r.b, "hot"); got != "late" {
			t.Errorf("hot = %q, want %q", got, "late")
		}
	})
}

// TestFreeWord: a word is the DPM's but while a key's slot leads to it, or while it is in quarantine.
func TestFreeWord(t *testing.T) {
	r := newWordRig(t, true)
	words := r.pool.Layout().IndirectOffset
	expect := func(when string, offset uint64, want bool) {
		t.Helper()
		if got := r.pool.FreeWord(offset); got != want {
			t.Errorf("%s: free is %v", when, got)
		}
	}
	expect("no word", words-format.WordBytes, false)
	expect("beyond the last word", words+uint64(len(r.pool.words.used))*format.WordBytes, false)
	expect("never used", words, true)
	old, _, _ := r.hot()
	expect("in use", old.Offset(), false)
	r.fence()
	renewed := r.install("hot")
	expect("in quarantine", old.Offset(), false)
	expect("in use", renewed.Offset(), false)
	if err := r.pool.Remove([]byte("hot")); err != nil {
		t.Fatal(err)
	}
	expect("removed", renewed.Offset(), true)
}

// TestSuccessorsWordsAreRenewedToo covers a second fenced process that lingers: what is younger than the first fence is older
// than the second.
func TestSuccessorsWordsAreRenewedToo(t *testing.T) {
	r := newWordRig(t, true)
	r.hot()
	r.fence()
	renewed := r.install("hot")
	d := &localDialer{pool: r.pool, mapped: true, breakAfter: -1}
	c, err := remote.Dial(context.Background(), remote.Options{Dialer: d, Address: "local", Identity: "c", PID: aProcess + 1, PIDStart: 5})
	if err != nil {
		t.Fatal(err)
	}
	r.alive[aProcess+1] = true
	if err := r.pool.Fence(c.Rank(), fabric.Incarnation(c.Incarnation())); err != nil {
		t.Fatal(err)
	}
	if r.install("hot") == renewed {
		t.Error("the key keeps a word that the second fenced process may move")
	}
	if q := r.pool.Stats().WordsQuarantined; q != 2 {
		t.Errorf("%d words quarantined, want 2", q)
	}
	r.alive[aProcess] = false
	settle(t, r.pool)
	if q := r.pool.Stats().WordsQuarantined; q != 1 {
		t.Errorf("%d words quarantined after the first process ended, want 1", q)
	}
}
