package runtime

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/internal/clock"
)

func TestPeersThatAreNotThere(t *testing.T) {
	c := clock.NewManual(time.Unix(1000, 0))
	peers := NewPeers(PeersOptions{MaxPeers: 100, QueueBytes: 1 << 20, UnreachableAfter: 10 * time.Second, IdleAfter: time.Minute})
	t.Cleanup(func() { peers.Close(0) })
	pull := newPull(t, PullOptions{})
	good, err := peers.Get(pull.Address())
	if err != nil {
		t.Fatal(err)
	}
	dead := deadAddress(t)
	// A thousand answers to where nobody listens.
	accepted := 0
	for range 1000 {
		push, err := peers.Get(dead)
		if err != nil {
			t.Fatal(err)
		}
		if push.Send(make([]byte, 3000)) == nil {
			accepted++
		}
	}
	if m := peers.Metrics(); m.QueuedBytes > 2<<20 || accepted < 100 || m.FramesRefused != int64(1000-accepted) {
		t.Errorf("%d accepted, metrics %+v", accepted, m)
	}
	good.Send([]byte("unaffected"))
	(&receiver{tb: t, pull: pull}).want("unaffected")
	eventually(t, "the good peer has nothing queued", func() bool { _, queued := good.state(); return queued == 0 })
	// They make way after a while, and the good peer after a longer one.
	sweep := func(d time.Duration) PeersMetrics { c.Advance(d); peers.Sweep(c.Now()); return peers.Metrics() }
	sweep(0)
	if m := sweep(9 * time.Second); m.Peers != 2 {
		t.Fatalf("too early: %+v", m)
	}
	sweep(2 * time.Second)
	eventually(t, "the dropped frames are counted", func() bool { return peers.Metrics().FramesDropped == int64(accepted) })
	if m := peers.Metrics(); m.Peers != 1 || m.EvictedUnreachable != 1 || m.FramesRefused != int64(1000-accepted) {
		t.Errorf("metrics %+v", m)
	}
	if free := peers.share.common.Load(); free != 1<<20 {
		t.Errorf("%d of the common part free, want all", free)
	}
	if m := sweep(2 * time.Minute); m.Peers != 0 || m.EvictedIdle != 1 {
		t.Errorf("metrics %+v", m)
	}
	// A new Push to the same address works.
	again, err := peers.Get(pull.Address())
	if err != nil || again == good {
		t.Fatalf("%v", err)
	}
	again.Send([]byte("again"))
	(&receiver{tb: t, pull: pull}).want("again")
}

// TestPeerThatComesBackGetsWhatWasJustSent: an answer queued a moment before its address would be given up is not
// dropped with it: a client that was started again listens there by now. A peer that stays away goes, however often it is sent to.
func TestPeerThatComesBackGetsWhatWasJustSent(t *testing.T) {
	c := clock.NewManual(time.Unix(1000, 0))
	peers := NewPeers(PeersOptions{UnreachableAfter: 30 * time.Second})
	t.Cleanup(func() { peers.Close(0) })
	address := deadAddress(t)
	send := func(frame string) {
		push, err := peers.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		if err := push.Send([]byte(frame)); err != nil {
			t.Fatal(err)
		}
	}
	sweep := func(d time.Duration) int { c.Advance(d); peers.Sweep(c.Now()); return peers.Metrics().Peers }
	send("to the first life")
	sweep(0)
	sweep(29 * time.Second)
	send("to the second life")
	for range 2 {
		if sweep(time.Second) != 1 {
			t.Fatal("given up with an answer that no attempt was made to deliver")
		}
	}
	pull, err := ListenPull(address, PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{tb: t, pull: pull}
	r.want("to the first life")
	r.want("to the second life")

	if err := pull.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its end is noticed", func() bool { return peers.Metrics().PeersConnected == 0 })
	for i := 0; peers.Metrics().EvictedUnreachable == 0; i++ {
		if i > 61 {
			t.Fatalf("a dead address is kept for ever: %+v", peers.Metrics())
		}
		send("again and again")
		sweep(time.Second)
	}
}

// TestDeadPeerFillsNoLog: an address where nobody listens is logged at once and then ever more rarely, also when its Push makes
// way for a new one again and again; that it is back is logged as well.
func TestDeadPeerFillsNoLog(t *testing.T) {
	start := time.Unix(1000, 0)
	c := clock.NewManual(start)
	var log journal
	add := log.add("peers")
	logf := func(format string, args ...any) { add(fmt.Sprintf(format, args...)) }
	peers := NewPeers(PeersOptions{UnreachableAfter: 30 * time.Second, Push: PushOptions{Clock: c, Logf: logf}})
	t.Cleanup(func() { peers.Close(0) })
	address := deadAddress(t)
	get := func() *Push {
		push, err := peers.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		return push
	}
	const lives = 60
	for i := range lives {
		push := get()
		eventually(t, "an attempt to connect", func() bool { return push.Metrics().DialFailures > 0 })
		eventually(t, "a line", func() bool { return log.count("connect to "+address) > 0 })
		peers.Sweep(c.Now())
		c.Advance(31 * time.Second)
		peers.Sweep(c.Now())
		if n := peers.Metrics().EvictedUnreachable; n != int64(i)+1 {
			t.Fatalf("evicted %d times, want %d", n, i+1)
		}
	}
	most := 10 + int(c.Now().Sub(start)/(5*time.Minute)) // 10: after 0, 1, 3, 7, ... 255 and 511 seconds
	if n := log.count(""); n > most {
		t.Errorf("%d lines about %d lives in %v, want at most %d", n, lives, c.Now().Sub(start), most)
	}
	newPullAt(t, address, PullOptions{})
	push := get()
	eventually(t, "it is back", func() bool { c.Advance(time.Second); return push.Connected() })
	eventually(t, "a line about it", func() bool { return log.count("connected to "+address) == 1 })
}

func TestPeersMakeWay(t *testing.T) {
	peers := NewPeers(PeersOptions{MaxPeers: 2})
	t.Cleanup(func() { peers.Close(0) })
	a, b, c := newPull(t, PullOptions{}), newPull(t, PullOptions{}), newPull(t, PullOptions{})
	first, err := peers.Get(a.Address())
	if err != nil {
		t.Fatal(err)
	}
	if _, err = peers.Get(b.Address()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both are connected", func() bool { return peers.Metrics().PeersConnected == 2 })
	if _, err := peers.Get(c.Address()); !errors.Is(err, ErrTooManyPeers) {
		t.Fatalf("a third, while both were just used: %v", err)
	}
	peers.Sweep(time.Unix(1000, 0))
	peers.Get(a.Address())
	if _, err := peers.Get(c.Address()); err != nil { // in place of b
		t.Fatal(err)
	}
	if same, _ := peers.Get(a.Address()); same != first {
		t.Error("the peer that was in use had to go")
	}
	if m := peers.Metrics(); m.Peers != 2 || m.EvictedIdle != 1 || m.AddressesRefused != 1 {
		t.Errorf("metrics %+v", m)
	}
	for _, bad := range []string{"", "tcp://localhost:1", "ipc://x", "tcp://0.0.0.0:1"} {
		if _, err := peers.Get(bad); !errors.Is(err, ErrBadAddress) {
			t.Errorf("Get(%q): %v", bad, err)
		}
	}
	peers.Close(0)
	if _, err := peers.Get("tcp://127.0.0.1:1"); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// TestFloodOfAddressesPushesOutItself: addresses where nobody listens, more than are remembered, cost a connected peer
// nothing, though it was not sent to lately; nor one that is new, while the flood's share lasts.
func TestFloodOfAddressesPushesOutItself(t *testing.T) {
	const most = 8
	peers := NewPeers(PeersOptions{MaxPeers: most})
	t.Cleanup(func() { peers.Close(0) })
	good, fresh := newPull(t, PullOptions{}), newPull(t, PullOptions{})
	first, err := peers.Get(good.Address())
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is connected", first.Connected)
	peers.Sweep(time.Unix(1000, 0))
	flood := func(n int) (refused int) {
		for range n {
			if _, err := peers.Get(deadAddress(t)); err != nil {
				refused++
			}
		}
		return refused
	}
	if refused := flood(most - 1 + most/2); refused > 0 {
		t.Errorf("%d refused", refused)
	}
	if _, err := peers.Get(fresh.Address()); err != nil {
		t.Errorf("a new peer, in the flood: %v", err)
	}
	if refused := flood(3 * most); refused < 2*most {
		t.Errorf("%d refused: each attempt to connect is a packet to somebody", refused)
	}
	if same, err := peers.Get(good.Address()); same != first {
		t.Errorf("the peer that was connected had to go: %v", err)
	}
	peers.Sweep(time.Unix(1001, 0))
	if refused := flood(1); refused > 0 {
		t.Error("refused, after a Sweep")
	}
}

// TestPeersKeepTheirOwnCopyOfAnAddress: addresses arrive in buffers that are reused.
func TestPeersKeepTheirOwnCopyOfAnAddress(t *testing.T) {
	peers := NewPeers(PeersOptions{})
	t.Cleanup(func() { peers.Close(0) })
	pull := newPull(t, PullOptions{})
	buffer := []byte(pull.Address())
	push, err := peers.Get(string(buffer))
	if err != nil {
		t.Fatal(err)
	}
	clear(buffer)
	if push.Address() != pull.Address() {
		t.Errorf("address %q", push.Address())
	}
}
