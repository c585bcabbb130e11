package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/internal/clock"
)

func newRep(tb testing.TB, address string, handle func([]byte) []byte, o RepOptions) *Rep {
	tb.Helper()
	r, err := ListenRep(address, handle, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { r.Close() })
	return r
}

func patient(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	tb.Cleanup(cancel)
	return ctx
}

func echo(request []byte) []byte { return append([]byte("re:"), request...) }

func TestRequestReply(t *testing.T) {
	rep := newRep(t, "tcp://127.0.0.1:0", echo, RepOptions{})
	q, err := NewReq(rep.Address(), ReqOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	for i, n := range []int{0, 1, 255, 256, 65535, 65536, 65537, 1 << 20, 8 << 20, 3} {
		body := pattern(i, n)
		got, err := q.Do(patient(t), body)
		if err != nil || !bytes.Equal(got, echo(body)) {
			t.Fatalf("%d bytes: got %d, %v", n, len(got), err)
		}
	}
	if m := rep.Metrics(); m.Requests != 10 || m.Connections != 1 {
		t.Errorf("metrics %+v", m)
	}
}

func TestManyClients(t *testing.T) {
	rep := newRep(t, "tcp://127.0.0.1:0", echo, RepOptions{})
	var wg sync.WaitGroup
	for c := range 20 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			q, err := NewReq(rep.Address(), ReqOptions{})
			if err != nil {
				t.Error(err)
				return
			}
			defer q.Close()
			for i := range 50 {
				body := fmt.Sprintf("client %d request %d", c, i)
				if got, err := q.Do(patient(t), []byte(body)); err != nil || string(got) != "re:"+body {
					t.Errorf("%s: %q, %v", body, got, err)
				}
			}
		}()
	}
	wg.Wait()
}

// TestRequestBeforeThePeerIsUp also covers a peer that dies between request and reply.
func TestRequestBeforeThePeerIsUp(t *testing.T) {
	address := deadAddress(t)
	type result struct {
		reply []byte
		err   error
	}
	results := make(chan result)
	go func() {
		reply, err := Request(patient(t), address, []byte("early"), ReqOptions{RetryPause: time.Millisecond})
		results <- result{reply, err}
	}()
	var rep *Rep
	entered, leave := make(chan struct{}), make(chan struct{})
	rep = newRep(t, address, func([]byte) []byte { close(entered); <-leave; return []byte("late") }, RepOptions{})
	<-entered
	closed := make(chan struct{})
	go func() { rep.Close(); close(closed) }()
	// The connection is cut before the handler may return, so its reply reaches nobody.
	eventually(t, "the socket is closing", func() bool {
		select {
		case <-rep.listener.done:
			return true
		default:
			return false
		}
	})
	close(leave)
	<-closed
	newRep(t, address, echo, RepOptions{})
	if r := <-results; r.err != nil || string(r.reply) != "re:early" {
		t.Fatalf("%q, %v", r.reply, r.err)
	}
}

func TestRequestTimesOut(t *testing.T) {
	hang := make(chan struct{})
	rep := newRep(t, "tcp://127.0.0.1:0", func([]byte) []byte { <-hang; return nil }, RepOptions{})
	for name, address := range map[string]string{"nobody listens": deadAddress(t), "nobody answers": rep.Address()} {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
		_, err := Request(ctx, address, []byte("x"), ReqOptions{})
		cancel()
		if !errors.Is(err, ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
	}
	close(hang)
	if _, err := Request(context.Background(), "tcp://host:1", nil, ReqOptions{}); !errors.Is(err, ErrBadAddress) {
		t.Errorf("bad address: %v", err)
	}
}

// rawReq is a peer that says it is of that socket type.
func rawReq(tb testing.TB, address, socket string) *rawPeer {
	p := dialRaw(tb, address)
	p.write(greeting("NULL"))
	p.write(ready(socket))
	p.readN(greetingBytes)
	h := p.readN(shortHeaderBytes)
	p.readN(int(h[1]))
	return p
}

func frames(more ...string) []byte {
	var b []byte
	for i, f := range more {
		flags := byte(flagMore)
		if i == len(more)-1 {
			flags = 0
		}
		b = appendFrame(b, flags, []byte(f))
	}
	return b
}

func TestEnvelopes(t *testing.T) {
	rep := newRep(t, "tcp://127.0.0.1:0", echo, RepOptions{})
	p := rawReq(t, rep.Address(), "REQ")
	for _, c := range []struct{ in, out []byte }{
		{frames("", "plain"), frames("", "re:plain")},
		{frames("id01", "", "correlated"), frames("id01", "", "re:correlated")},
		{frames("a", "b", "", "nested"), frames("a", "b", "", "re:nested")},
		{frames("", ""), frames("", "re:")},
	} {
		p.write(c.in)
		if got := p.readN(len(c.out)); !bytes.Equal(got, c.out) {
			t.Errorf("%q was answered with %q, want %q", c.in, got, c.out)
		}
	}
	for _, bad := range [][]byte{frames("no delimiter"), frames("", "two", "bodies"), frames("a", "b", "c")} {
		p.write(bad)
	}
	p.write(frames("", "still there"))
	p.readN(len(frames("", "re:still there")))
	if m := rep.Metrics(); m.RequestsMalformed != 3 || m.Requests != 5 || m.ConnectionsBroken != 0 {
		t.Errorf("metrics %+v", m)
	}
}

func TestHeartbeatIsAnsweredWhileTheHandlerWorks(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	rep := newRep(t, "tcp://127.0.0.1:0", func(b []byte) []byte { close(entered); <-leave; return b }, RepOptions{})
	p := rawReq(t, rep.Address(), "REQ")
	p.write(frames("", "slow"))
	<-entered
	p.write(appendPing(nil, 10))
	pong, _ := appendPong(nil, []byte{0, 10})
	if got := p.readN(len(pong)); !bytes.Equal(got, pong) {
		t.Errorf("%q, want a PONG", got)
	}
	close(leave)
	p.readN(len(frames("", "slow")))
}

func TestHostileClientsOfRep(t *testing.T) {
	rep := newRep(t, "tcp://127.0.0.1:0", echo, RepOptions{MaxMessageBytes: 1 << 20, LargeMessageBytes: 2 << 20, IOTimeout: 200 * time.Millisecond})
	for name, bytes := range map[string][]byte{
		"too large":      {flagLong, 0x40, 0, 0, 0, 0, 0, 0, 0},
		"too many":       bytes.Repeat([]byte{flagMore, 1, 'x'}, maxMessageFrames+1),
		"half a message": {flagMore, 0, 0, 5, 'h'},
		"bad flags":      {0xff},
		"bad command":    {flagCommand, 0},
		"wrong ping":     {flagCommand, 5, 4, 'P', 'I', 'N', 'G'},
		"sum too large":  append(frames("x")[:0:0], bytes.Repeat(appendFrame(nil, flagMore, make([]byte, 400<<10)), 3)...),
	} {
		t.Run(name, func(t *testing.T) {
			p := rawReq(t, rep.Address(), "REQ")
			p.conn.Write(bytes)
			p.closed()
		})
	}
	if got, err := Request(patient(t), rep.Address(), []byte("ok"), ReqOptions{}); err != nil || string(got) != "re:ok" {
		t.Fatalf("%q, %v", got, err)
	}
	eventually(t, "all borrowed bytes are back", func() bool {
		rep.budget.mu.Lock()
		defer rep.budget.mu.Unlock()
		return rep.budget.mu.free == 2<<20
	})
}

func TestByteBudget(t *testing.T) {
	b := newByteBudget(10)
	done := make(chan struct{})
	if err := b.acquire(10, done); err != nil {
		t.Fatal(err)
	}
	if b.tryAcquire(1) == nil {
		t.Fatal("over the budget")
	}
	got := make(chan error)
	go func() { got <- b.acquire(4, done) }()
	b.release(3)
	b.release(3)
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	go func() { got <- b.acquire(10, done) }()
	close(done)
	if err := <-got; !errors.Is(err, ErrClosed) {
		t.Fatalf("closed: %v", err)
	}
	if b.mu.free != 2 {
		t.Fatalf("%d free, want 2", b.mu.free)
	}
}

func TestQuietLog(t *testing.T) {
	var lines []string
	c := clock.NewManual(time.Unix(0, 0))
	q := newQuietLog(func(f string, a ...any) { lines = append(lines, fmt.Sprintf(f, a...)) }, c)
	for i := range 10 {
		q.printf("line %d", i)
	}
	c.Advance(time.Second)
	q.printf("line %d", 10)
	if want := "[line 0 line 10 (and 9 more like it)]"; fmt.Sprint(lines) != want {
		t.Errorf("%v, want %s", lines, want)
	}
	silent := newQuietLog(nil, c)
	silent.printf("nobody listens")
	silent.settled("nor now")
}

// TestTroubleLog: a trouble that lasts is told at once, then ever more rarely; its end is told once.
func TestTroubleLog(t *testing.T) {
	var lines []string
	start := time.Unix(0, 0)
	c := clock.NewManual(start)
	q := newTroubleLog(func(f string, a ...any) {
		lines = append(lines, fmt.Sprintf("%v ", c.Now().Sub(start))+fmt.Sprintf(f, a...))
	}, c)
	q.settled("nothing was wrong")
	for range 20 * 60 {
		q.printf("away")
		c.Advance(time.Second)
	}
	q.settled("back")
	q.settled("still there")
	q.printf("away")
	q.forget()
	q.printf("away")
	want := []string{"0s away", "1s away", "3s away (and 1 more like it)", "7s away (and 3 more like it)", "15s away (and 7 more like it)",
		"31s away (and 15 more like it)", "1m3s away (and 31 more like it)", "2m7s away (and 63 more like it)", "4m15s away (and 127 more like it)",
		"8m31s away (and 255 more like it)", "13m31s away (and 299 more like it)", "18m31s away (and 299 more like it)",
		"20m0s back", "20m0s away"}
	if !slices.Equal(lines, want) {
		t.Errorf("%q\nwant %q", lines, want)
	}
}
