package runtime

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestNothingIsLeftBehind opens and closes everything, in the middle of traffic, and wants all
// goroutines gone.
func TestNothingIsLeftBehind(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 5 {
		pull, err := ListenPull("tcp://127.0.0.1:0", PullOptions{QueueBatches: 1})
		if err != nil {
			t.Fatal(err)
		}
		peers := NewPeers(PeersOptions{})
		stuck := NewPush(pull.Address(), PushOptions{QueueBytes: 10 << 20})
		for range 1000 {
			if err := stuck.Send(make([]byte, 10000)); err != nil {
				break
			}
		}
		dead, err := peers.Get(deadAddress(t))
		if err != nil {
			t.Fatal(err)
		}
		dead.Send([]byte("nobody"))
		inside, outside := NewTCP(TCPOptions{}), NewTCP(TCPOptions{Linger: time.Millisecond})
		h := NewHost(HostOptions{Transport: inside})
		if err := h.Spawn("a", func() Actor { return &counter{seen: func(string) {}} }); err != nil {
			t.Fatal(err)
		}
		in, err := h.Bind("a", "in", "tcp://127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ask, err := h.BindReply("a", "ask", "tcp://127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		h.Tick("a", time.Millisecond)
		for i := range 100 {
			outside.Send(in, fmt.Appendf(nil, "later %d", i))
		}
		outside.Flush()
		// "hold" is answered at a tick; whatever happens first, the outcome comes.
		outcomes := make(chan error, 20)
		for range cap(outcomes) {
			outside.Request(ask, []byte("hold"), time.Hour, func(_ []byte, err error) { outcomes <- err })
		}
		outside.Close()
		if err := h.Stop(); err != nil {
			t.Error(err)
		}
		inside.Close()
		for range cap(outcomes) {
			if err := <-outcomes; err != nil && !errors.Is(err, ErrClosed) {
				t.Errorf("a request ended with %v", err)
			}
		}
		stuck.Close(0)
		peers.Close(0)
		pull.Close()
		if _, err := ListenPull(pull.Address(), PullOptions{MaxFrameBytes: -1}); err == nil {
			t.Error("negative options were accepted")
		}
	}
	eventually(t, "all goroutines are gone", func() bool {
		return runtime.NumGoroutine() <= before
	})
}

// TestAThousandDeadAddresses: a frame for each costs kilobytes each, and the good peer is served.
func TestAThousandDeadAddresses(t *testing.T) {
	const addresses = 500
	_, port, _ := strings.Cut(strings.TrimPrefix(deadAddress(t), addressScheme), ":")
	before := heapBytes()
	peers := NewPeers(PeersOptions{})
	for i := range addresses {
		push, err := peers.Get(fmt.Sprintf("tcp://127.1.%d.%d:%s", i/250, 1+i%250, port))
		if err != nil {
			t.Fatal(err)
		}
		if err := push.Send(make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	unaffected(t, newPull(t, PullOptions{}))
	// Two goroutines and a small chunk each, and whatever a dial in progress needs.
	if grown := int64(heapBytes() - before); grown > addresses*20<<10 {
		t.Errorf("%d dead addresses cost %d KiB", addresses, grown>>10)
	}
	peers.Close(0)
	if m := peers.Metrics(); m.FramesDropped != addresses || m.Peers != 0 {
		t.Errorf("metrics %+v", m)
	}
}

// TestSeveralSocketsIntoOneChannel is how a thread with many sockets receives.
func TestSeveralSocketsIntoOneChannel(t *testing.T) {
	into := make(chan *Batch, 10)
	var pulls []*Pull
	for i := range 3 {
		pull := newPull(t, PullOptions{Name: fmt.Sprint("socket ", i), Into: into})
		newPush(t, pull.Address(), PushOptions{}).Send([]byte(fmt.Sprint("frame ", i)))
		pulls = append(pulls, pull)
	}
	seen := map[string]string{}
	for len(seen) < 3 {
		select {
		case b := <-into:
			seen[b.Socket] = string(b.Frames[0])
			b.Release()
		case <-time.After(patience):
			t.Fatalf("only %v", seen)
		}
	}
	for i := range 3 {
		if got := seen[fmt.Sprint("socket ", i)]; got != fmt.Sprint("frame ", i) {
			t.Errorf("socket %d: %q", i, got)
		}
	}
	for _, p := range pulls {
		p.Close()
	}
	select {
	case _, ok := <-into:
		t.Errorf("closed: %v", !ok)
	default: // still open: it is ours
	}
}

func TestDoubleReleaseIsFound(t *testing.T) {
	pull := newPull(t, PullOptions{})
	newPush(t, pull.Address(), PushOptions{}).Send([]byte("x"))
	b := <-pull.Batches()
	b.Release()
	defer func() {
		if recover() == nil {
			t.Error("a second Release went unnoticed")
		}
	}()
	b.Release()
}
