package dpm

import (
	"errors"
	"fmt"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/remote"
)

func TestAppendMergeReadReopen(t *testing.T) {
	shape := smallShape(16)
	fake := newFake(t, shape)
	o := testOptions(fake, shape)
	p := mustOpen(t, o)
	d := &localDialer{pool: p}
	th := mustThread(t, mustSession(t, d, "kn1"), 0, remote.AppenderOptions{})
	for i := range 100 {
		put(t, th, fmt.Sprintf("k%d", i), value(i, 1000))
		if i%10 == 9 {
			before := th.QP().Counters().RoundTrips
			commit(t, th)
			if got := th.QP().Counters().RoundTrips - before; got != 1 {
				t.Errorf("a batch took %d round trips, want 1", got)
			}
		}
	}
	settle(t, p)
	for i := range 100 {
		before := th.QP().Counters().RoundTrips
		if got := read(t, th, fmt.Sprintf("k%d", i)); got != value(i, 1000) {
			t.Fatalf("k%d = %.20q", i, got)
		}
		if got := th.QP().Counters().RoundTrips - before; got != 2 {
			t.Errorf("a miss took %d round trips, want 2", got)
		}
	}
	if _, err := th.Delete([]byte("k7"), 0); err != nil {
		t.Fatal(err)
	}
	put(t, th, "k8", "new")
	commit(t, th)

	// Without merging: the next open does it.
	o.private.region = fake
	again := mustOpen(t, o)
	d.pool = again
	if again.Recovery().MergedEntries < 2 {
		t.Errorf("recovery merged %d entries, want at least 2: %v", again.Recovery().MergedEntries, again.Recovery())
	}
	if err := th.Commit(); err != nil { // nothing to commit: no post
		t.Errorf("empty commit: %v", err)
	}
	put(t, th, "k9", "lost queue pair")
	if err := th.Commit(); err == nil || !remote.Broken(err) {
		t.Fatalf("commit over a dead queue pair: %v", err)
	}
	if _, err := th.Put([]byte("k10"), nil, 1, 0); !errors.Is(err, remote.ErrUnresolved) {
		t.Fatalf("put after a commit of unknown outcome: %v", err)
	}
	if err := th.ReconnectOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	settle(t, again)
	for key, want := range map[string]string{"k6": value(6, 1000), "k7": "-", "k8": "new", "k9": "lost queue pair", "k10": value(10, 1000)} {
		if got := read(t, th, key); got != want {
			t.Errorf("%s = %.20q, want %.20q", key, got, want)
		}
	}
	checkIndex(t, again)
}
