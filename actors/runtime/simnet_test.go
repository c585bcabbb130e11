package runtime

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/internal/random"
)

// simRun plays random traffic with faults and returns its history as text.
func simRun(seed uint64) string {
	net := NewSimNet(seed, SimOptions{LossPerMillion: 50_000, RepeatPerMillion: 100_000})
	var log strings.Builder
	say := func(format string, args ...any) {
		fmt.Fprintf(&log, "%v "+format+"\n", append([]any{net.Clock().Now().Sub(SimEpoch)}, args...)...)
	}
	ip := func(i int) string { return fmt.Sprintf("10.0.0.%d", i) }
	start := func(i int) {
		node := net.Node(ip(i))
		node.Listen("tcp://"+ip(i)+":1", func(f []byte) { say("%d got %s", i, f) })
		node.ListenReply("tcp://"+ip(i)+":2", func(q []byte, reply func([]byte)) { say("%d serves %s", i, q); reply(q) })
	}
	for i := range 4 {
		start(i)
	}
	rng := net.Rand()
	for step := range 2000 {
		from, to := rng.IntN(4), rng.IntN(4)
		node := net.Node(ip(from))
		switch rng.IntN(40) {
		case 0:
			net.Cut(ip(from), ip(to))
		case 1:
			net.Heal()
		case 2:
			node.Crash()
			start(from)
		case 3, 4:
			port := 2 + rng.IntN(2) // nobody listens at 3
			node.Request(fmt.Sprintf("tcp://%s:%d", ip(to), port), fmt.Appendf(nil, "q%d", step), 5*time.Millisecond,
				func(r []byte, err error) { say("%d answered %s %v", from, r, err) })
		default:
			node.Send("tcp://"+ip(to)+":1", fmt.Appendf(nil, "%d from %d", step, from))
		}
		net.RunFor(time.Duration(rng.IntN(200)) * time.Microsecond)
	}
	net.Heal()
	net.RunFor(time.Second)
	say("%+v", net.Metrics())
	return log.String()
}

func TestSameSeedSameHistory(t *testing.T) {
	seed := random.Seed(t)
	first, second := simRun(seed), simRun(seed)
	if first != second {
		t.Fatal("two runs of one seed differ")
	}
	if first == simRun(seed+1) {
		t.Fatal("another seed gives the same run")
	}
	for _, part := range []string{" got ", " serves ", " answered ", ErrTimeout.Error()} {
		if !strings.Contains(first, part) {
			t.Errorf("the history has no %q", part)
		}
	}
}

func TestSimFaults(t *testing.T) {
	net := NewSimNet(1, SimOptions{QueueFrames: 100})
	var got []string
	a, b := net.Node("10.0.0.1"), net.Node("10.0.0.2")
	receive := func(f []byte) { got = append(got, string(f)) }
	for _, n := range []*SimNode{a, b} {
		if _, err := n.Listen("tcp://*:1", receive); err != nil {
			t.Fatal(err)
		}
	}
	const toA, toB = "tcp://10.0.0.1:1", "tcp://10.0.0.2:1"
	expect := func(want ...string) {
		t.Helper()
		net.RunFor(time.Second)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		got = nil
	}
	net.Cut("10.0.0.1", "10.0.0.2")
	a.Send(toB, []byte("cut"))
	b.Send(toA, []byte("not cut"))
	expect("not cut")
	a.Send(toB, []byte("behind"))
	net.Heal()
	expect("cut", "behind")
	// What is in flight when a link is cut waits too.
	a.Send(toB, []byte("in flight"))
	net.CutBoth("10.0.0.1", "10.0.0.2")
	expect()
	for i := 1; i < 100; i++ {
		a.Send(toB, []byte("x"))
	}
	if err := a.Send(toB, []byte("x")); !errors.Is(err, ErrQueueFull) {
		t.Fatalf("a full queue: %v", err)
	}
	net.Heal()
	net.RunFor(time.Second)
	if len(got) != 100 {
		t.Fatalf("%d frames after the heal", len(got))
	}
	got = nil
	// A crashed node gets some suffix of what was on its way, once it is up again.
	for i := range 50 {
		a.Send(toB, fmt.Appendf(nil, "%02d", i))
	}
	b.Crash()
	if err := b.Send(toA, nil); !errors.Is(err, ErrClosed) {
		t.Fatalf("a dead node sends: %v", err)
	}
	net.RunFor(time.Second)
	if len(got) != 0 {
		t.Fatalf("a dead node received %v", got)
	}
	if _, err := net.Node("10.0.0.2").Listen("tcp://*:1", receive); err != nil {
		t.Fatal(err)
	}
	net.RunFor(time.Second)
	for i, f := range got {
		if want := fmt.Sprintf("%02d", 50-len(got)+i); f != want {
			t.Fatalf("after the crash: %v", got)
		}
	}
	if _, err := a.Listen("tcp://10.0.0.2:5", receive); !errors.Is(err, ErrBadAddress) {
		t.Errorf("another node's IP: %v", err)
	}
}
