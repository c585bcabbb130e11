package dpm

import (
	"errors"
	"fmt"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/dpm/remote"
)

// fill puts keys k0, k1, ... until the pool is full, and returns how many there are.
func fill(t *testing.T, p *Pool, th *remote.Thread, valueBytes int) (n int) {
	t.Helper()
	for {
		err := putOr(t, p, th, fmt.Sprint("k", n), value(n, valueBytes))
		if errors.Is(err, remote.ErrNoSpace) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
}

// A thread whose first segment came out of a full pool's reserve, for deletes, goes on to an ordinary one for a put,
// and drops that batch. The segment in front stayed empty: were it left behind, recovery would take it for the
// end of the log, and what is acknowledged next would be lost.
func TestAbandonedBatchLeavesNoEmptySegmentBehind(t *testing.T) {
	shape := smallShape(20)
	fake := newFake(t, shape)
	p := mustOpen(t, testOptions(fake, shape))
	d := &localDialer{pool: p, breakAfter: -1}
	session := mustSession(t, d, "kn")
	filler, th := mustThread(t, session, 0, remote.AppenderOptions{}), mustThread(t, session, 1, remote.AppenderOptions{})
	n := fill(t, p, filler, 3000)
	remove := func(th *remote.Thread, key string) {
		t.Helper()
		if _, err := th.Delete([]byte(key), 0); err != nil {
			t.Fatal(err)
		}
	}
	remove(th, "k0")
	th.Abandon()
	for i := range n {
		remove(filler, fmt.Sprint("k", i))
		commit(t, filler)
		work(t, p)
	}
	settle(t, p)
	remove(th, "k1")
	put(t, th, "dropped", "x")
	th.Abandon()
	put(t, th, "kept", "y")
	commit(t, th)
	again := mustOpen(t, testOptions(pmem.NewFakeFrom(fake.StrictImage(), pmem.Fsync), shape))
	reader := mustThread(t, mustSession(t, &localDialer{pool: again, breakAfter: -1}, "reader"), 0, remote.AppenderOptions{})
	for key, want := range map[string]string{"kept": "y", "dropped": "-", "k1": "-"} {
		if got := read(t, reader, key); got != want {
			t.Errorf("%s = %q after a restart, want %q", key, got, want)
		}
	}
}
