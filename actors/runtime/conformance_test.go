package runtime

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/internal/random"
)

// transportWorld is a backend under the conformance suite: several transports that reach one
// another, and a way to let time pass.
type transportWorld struct {
	node  func(i int) Transport // the node with number i, made at the first call
	ip    func(i int) string
	until func(what string, ok func() bool) // lets things happen until ok
	brief time.Duration                     // a timeout that is long for this backend
}

func tcpWorld(t *testing.T) *transportWorld {
	nodes := map[int]Transport{}
	return &transportWorld{
		ip: func(i int) string { return fmt.Sprintf("127.0.9.%d", i) },
		node: func(i int) Transport {
			if nodes[i] == nil {
				o := TCPOptions{}
				o.Peers.Push.DialBackoffMax = 20 * time.Millisecond
				nodes[i] = NewTCP(o)
				t.Cleanup(func() { nodes[i].Close() })
			}
			return nodes[i]
		},
		until: func(what string, ok func() bool) { t.Helper(); eventually(t, what, ok) },
		brief: 100 * time.Millisecond,
	}
}

func simWorld(t *testing.T) *transportWorld {
	net := NewSimNet(random.Seed(t), SimOptions{})
	ip := func(i int) string { return fmt.Sprintf("10.0.0.%d", i) }
	return &transportWorld{
		ip:   ip,
		node: func(i int) Transport { return net.Node(ip(i)) },
		until: func(what string, ok func() bool) {
			t.Helper()
			if !net.RunUntil(time.Hour, ok) {
				t.Fatalf("never happened: %s", what)
			}
		},
		brief: time.Second,
	}
}

func TestTransportConformance(t *testing.T) {
	backends := map[string]func(*testing.T) *transportWorld{"tcp": tcpWorld, "sim": simWorld}
	checks := map[string]func(*testing.T, *transportWorld){
		"order":              conformOrder,
		"send before listen": conformSendBeforeListen,
		"request and reply":  conformRequest,
		"request times out":  conformRequestTimeout,
		"addresses":          conformAddresses,
		"ownership of bytes": conformOwnership,
		"closed":             conformClosed,
		"random traffic":     conformRandomTraffic,
	}
	for backend, world := range backends {
		for name, check := range checks {
			t.Run(backend+"/"+name, func(t *testing.T) { check(t, world(t)) })
		}
	}
}

// mailbag collects frames from any goroutine.
type mailbag struct {
	mu     sync.Mutex
	frames [][]byte
}

func (m *mailbag) deliver(frame []byte) {
	m.mu.Lock()
	m.frames = append(m.frames, bytes.Clone(frame))
	m.mu.Unlock()
}

func (m *mailbag) all() [][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([][]byte(nil), m.frames...)
}

func mustListen(t *testing.T, tr Transport, address string, deliver func([]byte)) string {
	t.Helper()
	bound, err := tr.Listen(address, deliver)
	if err != nil {
		t.Fatal(err)
	}
	return bound
}

func mustSend(t *testing.T, tr Transport, address string, frame []byte) {
	t.Helper()
	if err := tr.Send(address, frame); err != nil {
		t.Fatal(err)
	}
}

func anyPort(w *transportWorld, i int) string { return "tcp://" + w.ip(i) + ":0" }

func conformOrder(t *testing.T, w *transportWorld) {
	var bag mailbag
	to := mustListen(t, w.node(1), anyPort(w, 1), bag.deliver)
	const frames = 300
	for i := range frames {
		for s := 2; s <= 4; s++ {
			mustSend(t, w.node(s), to, fmt.Appendf(nil, "%d %d", s, i))
		}
	}
	for s := 2; s <= 4; s++ {
		w.node(s).Flush()
	}
	w.until("all frames arrive", func() bool { return len(bag.all()) == 3*frames })
	next := map[int]int{}
	for _, f := range bag.all() {
		var s, i int
		fmt.Sscan(string(f), &s, &i)
		if next[s] != i {
			t.Fatalf("node %d: frame %d came, want %d", s, i, next[s])
		}
		next[s]++
	}
}

func conformSendBeforeListen(t *testing.T, w *transportWorld) {
	var bag mailbag
	// A bound and closed socket's address is one where nobody listens now.
	other := w.node(1)
	address := mustListen(t, other, anyPort(w, 1), bag.deliver)
	other.Close()
	for i := range 10 {
		mustSend(t, w.node(2), address, []byte{byte(i)})
	}
	w.node(2).Flush()
	var fresh Transport
	if sim, ok := other.(*SimNode); ok {
		fresh = sim.net.Node(w.ip(1))
	} else {
		tcp := NewTCP(TCPOptions{})
		t.Cleanup(func() { tcp.Close() })
		fresh = tcp
	}
	mustListen(t, fresh, address, bag.deliver)
	w.until("what waited arrives", func() bool { return len(bag.all()) == 10 })
	for i, f := range bag.all() {
		if int(f[0]) != i {
			t.Fatalf("frame %d is %v", i, f)
		}
	}
}

// outcome collects a request's result.
type outcome struct {
	mu    sync.Mutex
	calls int
	reply []byte
	err   error
}

func (o *outcome) done(reply []byte, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls++
	o.reply, o.err = reply, err
}

func (o *outcome) called() bool { o.mu.Lock(); defer o.mu.Unlock(); return o.calls > 0 }

func conformRequest(t *testing.T, w *transportWorld) {
	to, err := w.node(1).ListenReply(anyPort(w, 1), func(request []byte, reply func([]byte)) {
		reply(append([]byte("re:"), request...))
		reply([]byte("a second reply is ignored"))
	})
	if err != nil {
		t.Fatal(err)
	}
	outcomes := make([]outcome, 20)
	for i := range outcomes {
		if err := w.node(2+i%3).Request(to, fmt.Appendf(nil, "%d", i), time.Minute, outcomes[i].done); err != nil {
			t.Fatal(err)
		}
	}
	for i := range outcomes {
		o := &outcomes[i]
		w.until("a reply", o.called)
		if o.err != nil || string(o.reply) != fmt.Sprintf("re:%d", i) || o.calls != 1 {
			t.Errorf("request %d: %q, %v, %d calls", i, o.reply, o.err, o.calls)
		}
	}
}

func conformRequestTimeout(t *testing.T, w *transportWorld) {
	to, err := w.node(1).ListenReply(anyPort(w, 1), func([]byte, func([]byte)) {})
	if err != nil {
		t.Fatal(err)
	}
	for name, address := range map[string]string{"silent": to, "absent": "tcp://" + w.ip(1) + ":9"} {
		var o outcome
		if err := w.node(2).Request(address, []byte("x"), w.brief, o.done); err != nil {
			t.Fatal(err)
		}
		w.until("an outcome", o.called)
		if !errors.Is(o.err, ErrTimeout) || o.reply != nil {
			t.Errorf("%s: %q, %v", name, o.reply, o.err)
		}
	}
}

func conformAddresses(t *testing.T, w *transportWorld) {
	nop := func([]byte) {}
	bound := mustListen(t, w.node(1), anyPort(w, 1), nop)
	if _, err := ParseAddress(bound); err != nil {
		t.Errorf("the bound address: %v", err)
	}
	if again := mustListen(t, w.node(1), anyPort(w, 1), nop); again == bound {
		t.Errorf("two sockets at %s", bound)
	}
	if _, err := w.node(1).Listen(bound, nop); !errors.Is(err, ErrAddressInUse) {
		t.Errorf("an occupied address: %v", err)
	}
	if _, err := w.node(1).ListenReply(bound, func([]byte, func([]byte)) {}); !errors.Is(err, ErrAddressInUse) {
		t.Errorf("an occupied address for replies: %v", err)
	}
	for _, bad := range []string{"", "tcp://localhost:1", "tcp://0.0.0.0:1", "ipc://x"} {
		if err := w.node(2).Send(bad, nil); !errors.Is(err, ErrBadAddress) {
			t.Errorf("Send to %q: %v", bad, err)
		}
		if err := w.node(2).Request(bad, nil, time.Second, func([]byte, error) { t.Error("done was called") }); !errors.Is(err, ErrBadAddress) {
			t.Errorf("Request to %q: %v", bad, err)
		}
	}
	if _, err := w.node(1).Listen("tcp://x:1", nop); !errors.Is(err, ErrBadAddress) {
		t.Errorf("Listen: %v", err)
	}
}

func conformOwnership(t *testing.T, w *transportWorld) {
	var bag mailbag
	to := mustListen(t, w.node(1), anyPort(w, 1), bag.deliver)
	frame := []byte("original")
	mustSend(t, w.node(2), to, frame)
	copy(frame, "changed!")
	w.node(2).Flush()
	w.until("the frame arrives", func() bool { return len(bag.all()) == 1 })
	if got := string(bag.all()[0]); got != "original" {
		t.Errorf("%q: Send must copy", got)
	}
}

func conformClosed(t *testing.T, w *transportWorld) {
	var bag mailbag
	to := mustListen(t, w.node(1), anyPort(w, 1), bag.deliver)
	n := w.node(2)
	mustSend(t, n, to, []byte("last words"))
	var o outcome
	if err := n.Request("tcp://"+w.ip(1)+":9", nil, time.Hour, o.done); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	w.until("what was sent before Close arrives", func() bool { return len(bag.all()) == 1 })
	if !errors.Is(o.err, ErrClosed) || o.calls != 1 {
		t.Errorf("the request in flight: %v, %d calls", o.err, o.calls)
	}
	if err := n.Send(to, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Send: %v", err)
	}
	if _, err := n.Listen(anyPort(w, 2), bag.deliver); !errors.Is(err, ErrClosed) {
		t.Errorf("Listen: %v", err)
	}
	if err := n.Request(to, nil, time.Second, o.done); !errors.Is(err, ErrClosed) {
		t.Errorf("Request: %v", err)
	}
	if err := n.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
}

// conformRandomTraffic has every node send to every node, random sizes, and wants each pair's
// frames in order and none missing, twice, or damaged.
func conformRandomTraffic(t *testing.T, w *transportWorld) {
	rng := random.New(random.Seed(t))
	const nodes, frames = 4, 1500
	var bags [nodes]mailbag
	var to [nodes]string
	for i := range nodes {
		to[i] = mustListen(t, w.node(i+1), anyPort(w, i+1), bags[i].deliver)
	}
	type pair struct{ from, to int }
	sent := map[pair][][]byte{}
	expected := make([]int, nodes)
	for i := range frames {
		p := pair{rng.IntN(nodes), rng.IntN(nodes)}
		body := pattern(i, 16+rng.IntN(2000))
		body[8] = byte(p.from)
		mustSend(t, w.node(p.from+1), to[p.to], body)
		sent[p] = append(sent[p], body)
		expected[p.to]++
		if rng.IntN(10) == 0 {
			w.node(p.from + 1).Flush()
		}
	}
	for i := range nodes {
		w.node(i + 1).Flush()
	}
	for i := range nodes {
		w.until("all frames arrive", func() bool { return len(bags[i].all()) >= expected[i] })
		for _, f := range bags[i].all() {
			p := pair{int(f[8]), i}
			if len(sent[p]) == 0 || !bytes.Equal(f, sent[p][0]) {
				t.Fatalf("node %d got a frame of node %d that is not the next one", p.to, p.from)
			}
			sent[p] = sent[p][1:]
		}
	}
}
