package runtime

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/internal/random"
)

func TestEverySizeArrivesInOrder(t *testing.T) {
	pull := newPull(t, PullOptions{Name: "requests"})
	push := newPush(t, pull.Address(), PushOptions{Overflow: Wait, QueueBytes: 17 << 20})
	sizes := []int{0, 1, 2, 255, 256, 257, 4095, chunkBytes - longHeaderBytes - 1, chunkBytes - longHeaderBytes,
		chunkBytes - longHeaderBytes + 1, chunkBytes, chunkBytes + 1, 2 * chunkBytes, 2*chunkBytes + 1, 1 << 20, 8 << 20, 3, 16 << 20, 0, 5}
	go func() {
		for i, n := range sizes {
			if err := push.Send(pattern(i, n)); err != nil {
				t.Errorf("send %d bytes: %v", n, err)
			}
		}
	}()
	r := &receiver{tb: t, pull: pull}
	for i, n := range sizes {
		if got := r.next(); !bytes.Equal(got, pattern(i, n)) {
			t.Fatalf("frame %d of %d bytes came as %d bytes", i, n, len(got))
		}
	}
	if m := pull.Metrics(); m.Frames != int64(len(sizes)) || m.ConnectionsAccepted != 1 || m.Connections != 1 {
		t.Errorf("metrics %+v", m)
	}
}

// TestRandomTrafficKeepsOrder sends random sizes by every way of appending, from several peers
// through small queues, and wants each peer's frames in order, whole, and none missing (NET-1).
func TestRandomTrafficKeepsOrder(t *testing.T) {
	rng := random.New(random.Seed(t))
	pull := newPull(t, PullOptions{InFlightBytesPerConnection: 3 * chunkBytes, QueueBatches: 2})
	const peers, frames = 4, 3000
	sizes := make([][]int, peers)
	for p := range sizes {
		for range frames {
			n := rng.IntN(300)
			switch rng.IntN(100) {
			case 0:
				n = rng.IntN(300 << 10)
			case 1, 2, 3:
				n = rng.IntN(20 << 10)
			}
			sizes[p] = append(sizes[p], n+16)
		}
	}
	var wg sync.WaitGroup
	for p := range peers {
		push := newPush(t, pull.Address(), PushOptions{Overflow: Wait, QueueBytes: 1 << 20})
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i, n := range sizes[p] {
				body := pattern(i, n)
				binary.LittleEndian.PutUint64(body[8:], uint64(p))
				var err error
				switch i % 3 {
				case 0:
					err = push.Send(body)
				case 1:
					err = push.AppendBytes(body)
				default:
					err = push.Append(&encoded{body: body})
				}
				if err != nil {
					t.Errorf("peer %d frame %d: %v", p, i, err)
				}
			}
			push.Flush()
		}()
	}
	next := make([]int, peers)
	r := &receiver{tb: t, pull: pull}
	for range peers * frames {
		got := r.next()
		p := int(binary.LittleEndian.Uint64(got[8:]))
		want := pattern(next[p], sizes[p][next[p]])
		binary.LittleEndian.PutUint64(want[8:], uint64(p))
		if !bytes.Equal(got, want) {
			t.Fatalf("peer %d: frame %d is out of order or damaged (%d bytes, want %d)", p, next[p], len(got), len(want))
		}
		next[p]++
	}
	wg.Wait()
}

func TestQueuedBeforeThePeerIsUp(t *testing.T) {
	address := deadAddress(t)
	push := newPush(t, address, PushOptions{DialBackoffMax: 20 * time.Millisecond})
	for i := range 500 {
		if err := push.Send(fmt.Appendf(nil, "early %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "a failed attempt to connect", func() bool { return push.Metrics().DialFailures > 2 })
	if m := push.Metrics(); m.QueuedFrames != 500 || m.Connected {
		t.Fatalf("metrics %+v", m)
	}
	r := &receiver{tb: t, pull: newPullAt(t, address, PullOptions{})}
	for i := range 500 {
		r.want(fmt.Sprintf("early %d", i))
	}
	eventually(t, "an empty queue", func() bool { m := push.Metrics(); return m.QueuedBytes == 0 && m.QueuedFrames == 0 })
}

func TestReceiverRestart(t *testing.T) {
	pull := newPull(t, PullOptions{})
	address := pull.Address()
	push := newPush(t, address, PushOptions{DialBackoffMax: 20 * time.Millisecond})
	push.Send([]byte("one"))
	(&receiver{tb: t, pull: pull}).want("one")
	pull.Close()
	eventually(t, "the death was noticed", func() bool { return !push.Connected() })
	for i := range 1000 {
		if err := push.Send(fmt.Appendf(nil, "down %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	r := &receiver{tb: t, pull: newPullAt(t, address, PullOptions{})}
	for i := range 1000 {
		r.want(fmt.Sprintf("down %d", i))
	}
	if m := push.Metrics(); m.Connects != 2 || m.Disconnects != 1 {
		t.Errorf("metrics %+v", m)
	}
}

// TestPartialFrameIsResentWhole cuts the link at random places, most of them within frames,
// again and again. What follows a cut must start with a whole frame: the receiver would see a
// broken stream or a damaged frame otherwise.
func TestPartialFrameIsResentWhole(t *testing.T) {
	rng := random.New(random.Seed(t))
	pull := newPull(t, PullOptions{})
	r := newRelay(t, pull.Address())
	cuts, left := 0, 20000
	r.limit = func(n int) int {
		if left -= n; left > 0 || cuts == 20 {
			return n
		}
		cuts++
		left = 1 + rng.IntN(100000)
		return rng.IntN(n)
	}
	push := newPush(t, r.address, PushOptions{Overflow: Wait, QueueBytes: 100 << 10, DialBackoffMax: 5 * time.Millisecond})
	body := func(number int) []byte { return pattern(number, 8+number*37%5000) }
	stop, ended := make(chan struct{}), make(chan int)
	go func() {
		sent := 0
		defer func() { ended <- sent }()
		for ; ; sent++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := push.Send(body(sent)); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	in := &receiver{tb: t, pull: pull}
	received := 0
	for after := 0; after < 500; received++ {
		got := in.next()
		if number := int(binary.LittleEndian.Uint64(got)); !bytes.Equal(got, body(number)) {
			t.Fatalf("frame %d is damaged", number)
		}
		r.mu.Lock()
		if cuts == 20 {
			after++
		}
		r.mu.Unlock()
	}
	close(stop)
	for drained := false; !drained; { // the sender may be waiting for room
		select {
		case sent := <-ended:
			t.Logf("%d of %d frames received when it ended (the rest was in cut links)", received, sent)
			drained = true
		case b := <-pull.Batches():
			b.Release()
		}
	}
	if m := push.Metrics(); m.Connects < 21 || m.Disconnects < 20 {
		t.Errorf("the link was not cut 20 times: %+v", m)
	}
	if m := pull.Metrics(); m.ProtocolViolations+m.FramesOversized > 0 {
		t.Errorf("a broken stream: %+v", m)
	}
}

// TestBackPressure: a consumer that releases nothing stops the peer, not the process.
func TestBackPressure(t *testing.T) {
	pull := newPull(t, PullOptions{InFlightBytesPerConnection: 4 * chunkBytes, QueueBatches: 1000})
	push := newPush(t, pull.Address(), PushOptions{QueueBytes: 1 << 20})
	other := newPush(t, pull.Address(), PushOptions{})
	body := make([]byte, 32<<10)
	accepted := 0
	for refused := 0; refused < 200; {
		err := push.Send(body)
		switch {
		case err == nil:
			accepted++
			refused = 0
		case errors.Is(err, ErrQueueFull):
			refused++
			time.Sleep(time.Millisecond)
		default:
			t.Fatal(err)
		}
		if accepted > 100000 {
			t.Fatal("3 GB were accepted and nobody read them")
		}
	}
	if m := push.Metrics(); m.QueuedBytes > 1<<20 || m.FramesRefused < 200 {
		t.Errorf("metrics %+v", m)
	}
	// Another peer is not held up: its frames are behind at most what is queued already.
	if err := other.Send([]byte("other")); err != nil {
		t.Fatal(err)
	}
	var held []*Batch
	inFlight, seen := 0, false
	for !seen {
		select {
		case b := <-pull.Batches():
			for _, f := range b.Frames {
				seen = seen || string(f) == "other"
			}
			held = append(held, b)
			inFlight += len(b.chunk.data)
		case <-time.After(patience):
			t.Fatal("the other peer starved")
		}
	}
	if inFlight > 6*chunkBytes {
		t.Errorf("%d bytes in flight", inFlight)
	}
	for _, b := range held {
		b.Release()
	}
	for got := len(held); got < accepted/4; got++ { // the flow resumes
		select {
		case b := <-pull.Batches():
			b.Release()
		case <-time.After(patience):
			t.Fatal("stuck after release")
		}
		if pull.Metrics().Frames >= int64(accepted) {
			break
		}
	}
}

func TestOverflowWait(t *testing.T) {
	address := deadAddress(t)
	push := newPush(t, address, PushOptions{QueueBytes: 1000, Overflow: Wait, DialBackoffMax: 10 * time.Millisecond})
	if err := push.Send(make([]byte, 2000)); !errors.Is(err, ErrFrameTooLarge) {
		t.Fatalf("a frame above the queue: %v", err)
	}
	done := make(chan error)
	go func() {
		for range 100 {
			if err := push.Send(make([]byte, 500)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	eventually(t, "a full queue", func() bool { return push.Metrics().QueuedFrames == 1 })
	r := &receiver{tb: t, pull: newPullAt(t, address, PullOptions{})}
	for range 100 {
		r.next()
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	// Close frees who waits.
	r.pull.Close()
	eventually(t, "the death was noticed", func() bool { return !push.Connected() })
	go func() {
		var err error
		for err == nil {
			err = push.Send(make([]byte, 500))
		}
		done <- err
	}()
	eventually(t, "a full queue", func() bool { return push.Metrics().QueuedFrames == 1 })
	if dropped := push.Close(0); dropped != 1 {
		t.Errorf("%d frames dropped, want 1", dropped)
	}
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestCloseLingers(t *testing.T) {
	address := deadAddress(t)
	push := NewPush(address, PushOptions{DialBackoffMax: 10 * time.Millisecond})
	const frames = 100
	for i := range frames {
		push.Send(pattern(i, 10000))
	}
	closed := make(chan int)
	go func() { closed <- push.Close(patience) }()
	r := &receiver{tb: t, pull: newPullAt(t, address, PullOptions{})}
	for i := range frames {
		if got := r.next(); !bytes.Equal(got, pattern(i, 10000)) {
			t.Fatalf("frame %d", i)
		}
	}
	if dropped := <-closed; dropped != 0 {
		t.Errorf("%d dropped", dropped)
	}
	if err := push.Send(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("send after close: %v", err)
	}
}

func TestCloseGivesUpAfterLinger(t *testing.T) {
	push := NewPush(deadAddress(t), PushOptions{})
	push.Send([]byte("never"))
	if dropped := push.Close(10 * time.Millisecond); dropped != 1 {
		t.Errorf("%d dropped, want 1", dropped)
	}
	if m := push.Metrics(); m.FramesDropped != 1 || m.QueuedFrames != 0 || m.QueuedBytes != 0 {
		t.Errorf("metrics %+v", m)
	}
}

func TestBadAddressShowsAtTheFirstSend(t *testing.T) {
	push := NewPush("tcp://localhost:1", PushOptions{})
	if err := push.Send([]byte("x")); !errors.Is(err, ErrBadAddress) {
		t.Errorf("send: %v", err)
	}
	push.Close(patience)
}

func TestFailedEncodingLeavesTheQueueIntact(t *testing.T) {
	pull := newPull(t, PullOptions{})
	push := newPush(t, pull.Address(), PushOptions{})
	push.AppendBytes([]byte("before"))
	for _, n := range []int{10, 100 << 10} {
		if err := push.Append(&encoded{body: make([]byte, n), err: errors.New("no")}); err == nil || !strings.Contains(err.Error(), "no") {
			t.Fatalf("Append: %v", err)
		}
	}
	push.Send([]byte("after"))
	r := &receiver{tb: t, pull: pull}
	r.want("before")
	r.want("after")
}

func TestManySendersOnePush(t *testing.T) {
	pull := newPull(t, PullOptions{})
	push := newPush(t, pull.Address(), PushOptions{Overflow: Wait, QueueBytes: 64 << 10})
	const senders, frames = 8, 2000
	for s := range senders {
		go func() {
			for i := range frames {
				body := make([]byte, 16+i%200)
				binary.LittleEndian.PutUint64(body, uint64(s))
				binary.LittleEndian.PutUint64(body[8:], uint64(i))
				if err := push.Send(body); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	next := make([]uint64, senders)
	r := &receiver{tb: t, pull: pull}
	for range senders * frames {
		f := r.next()
		s, i := binary.LittleEndian.Uint64(f), binary.LittleEndian.Uint64(f[8:])
		if i != next[s] {
			t.Fatalf("sender %d: frame %d, want %d", s, i, next[s])
		}
		next[s]++
	}
}

// TestSteadyPathAllocatesNothing covers encoding into the queue, flushing, reading, slicing,
// handing over and releasing.
func TestSteadyPathAllocatesNothing(t *testing.T) {
	pull := newPull(t, PullOptions{})
	peers := NewPeers(PeersOptions{})
	t.Cleanup(func() { peers.Close(0) })
	message := &encoded{body: make([]byte, 300)}
	address := pull.Address()
	round := func() {
		push, err := peers.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		for range 64 {
			if err := push.Append(message); err != nil {
				t.Fatal(err)
			}
		}
		peers.FlushDirty()
		for got := 0; got < 64; {
			batch := <-pull.Batches()
			got += len(batch.Frames)
			batch.Release()
		}
	}
	for range 100 {
		round()
	}
	if n := testing.AllocsPerRun(500, round); n != 0 && !raceEnabled {
		t.Errorf("%v allocations for 64 frames, want 0", n)
	}
}

// TestFirstFrameForAPeerThatWasAwayConnects: a peer that is back when something is sent to it again gets it at once, not
// after the pause between attempts; frames behind the first do not hasten anything.
func TestFirstFrameForAPeerThatWasAwayConnects(t *testing.T) {
	address := deadAddress(t)
	c := clock.NewManual(time.Unix(1000, 0))
	push := newPush(t, address, PushOptions{DialBackoffMin: time.Second, DialBackoffMax: 1000 * time.Hour, Clock: c})
	failures := func(n int64, step time.Duration) func() bool {
		return func() bool { c.Advance(step); return push.Metrics().DialFailures >= n }
	}
	eventually(t, "it has been away for long", failures(25, 1000*time.Hour))
	before := push.Metrics().DialFailures
	if err := push.Send([]byte("not there yet")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an attempt for the first frame", failures(before+1, time.Second)) // the next would be in 1,000 hours
	pull, err := ListenPull(address, PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pull.Close() })
	again := newPush(t, address, PushOptions{})
	eventually(t, "others reach it", again.Connected)
	for range 100 {
		if err := push.Send([]byte("behind the first")); err != nil {
			t.Fatal(err)
		}
		c.Advance(time.Second)
	}
	if m := push.Metrics(); m.Connects != 0 {
		t.Errorf("frames behind the first had it dialled: %+v", m)
	}
	r := &receiver{tb: t, pull: pull}
	eventually(t, "it is connected in its own time", func() bool { c.Advance(100 * time.Hour); return push.Connected() })
	r.want("not there yet")
	r.want("behind the first")
}
