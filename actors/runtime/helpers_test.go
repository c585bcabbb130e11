package runtime

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long a test waits for something that must happen. It is no assertion about
// speed: a test that runs into it fails whatever the machine.
const patience = 30 * time.Second

// eventually waits until ok returns true.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			tb.Fatalf("never happened: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// newPull is a Pull on a free port that ends with the test and logs to it.
func newPull(tb testing.TB, o PullOptions) *Pull {
	tb.Helper()
	return newPullAt(tb, "tcp://127.0.0.1:0", o)
}

func newPullAt(tb testing.TB, address string, o PullOptions) *Pull {
	tb.Helper()
	p, err := ListenPull(address, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { p.Close() })
	return p
}

func newPush(tb testing.TB, address string, o PushOptions) *Push {
	tb.Helper()
	p := NewPush(address, o)
	tb.Cleanup(func() { p.Close(0) })
	return p
}

// receive takes frames out of a Pull one by one and fails the test when none comes.
type receiver struct {
	tb      testing.TB
	pull    *Pull
	pending [][]byte
}

func (r *receiver) next() []byte {
	r.tb.Helper()
	for len(r.pending) == 0 {
		select {
		case batch, ok := <-r.pull.Batches():
			if !ok {
				r.tb.Fatal("the socket was closed")
			}
			for _, f := range batch.Frames {
				r.pending = append(r.pending, bytes.Clone(f))
			}
			batch.Release()
		case <-time.After(patience):
			r.tb.Fatalf("no frame came; %+v", r.pull.Metrics())
		}
	}
	f := r.pending[0]
	r.pending = r.pending[1:]
	return f
}

// want takes the next frame and compares it.
func (r *receiver) want(frame string) {
	r.tb.Helper()
	if got := string(r.next()); got != frame {
		r.tb.Fatalf("received %.80q, want %.80q", got, frame)
	}
}

// silent fails the test if a frame is there already.
func (r *receiver) silent() {
	r.tb.Helper()
	select {
	case batch := <-r.pull.Batches():
		r.tb.Fatalf("received %.80q, want nothing", batch.Frames)
	default:
	}
}

// pattern is a body of n bytes that tells its number and size.
func pattern(number, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(number*131 + i*7 + i>>8)
	}
	if n >= 8 {
		binary.LittleEndian.PutUint64(b, uint64(number))
	}
	return b
}

// rawPeer is a peer that shakes hands properly and then writes whatever a test wants.
type rawPeer struct {
	tb   testing.TB
	conn net.Conn
}

func dialRaw(tb testing.TB, address string) *rawPeer {
	tb.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(address, addressScheme))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	return &rawPeer{tb: tb, conn: conn}
}

// rawPush is dialRaw with the handshake of a PUSH socket done by hand.
func rawPush(tb testing.TB, address string) *rawPeer {
	tb.Helper()
	p := dialRaw(tb, address)
	p.write(greeting("NULL"))
	p.write(ready("PUSH"))
	p.readN(greetingBytes)
	h := p.readN(shortHeaderBytes)
	p.readN(int(h[1]))
	return p
}

func greeting(mechanism string) []byte {
	g := make([]byte, greetingBytes)
	g[0], g[9], g[10] = 0xff, 0x7f, 3
	copy(g[12:], mechanism)
	return g
}

func ready(socket string) []byte {
	body := []byte("\x05READY\x0bSocket-Type")
	body = binary.BigEndian.AppendUint32(body, uint32(len(socket)))
	return appendFrame(nil, flagCommand, append(body, socket...))
}

func (p *rawPeer) write(b []byte) {
	p.tb.Helper()
	if _, err := p.conn.Write(b); err != nil {
		p.tb.Fatal(err)
	}
}

func (p *rawPeer) message(body string) { p.tb.Helper(); p.write(appendFrame(nil, 0, []byte(body))) }

func (p *rawPeer) readN(n int) []byte {
	p.tb.Helper()
	p.conn.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, n)
	if _, err := io.ReadFull(p.conn, b); err != nil {
		p.tb.Fatalf("read %d bytes: %v", n, err)
	}
	return b
}

// closed waits until the other side has hung up.
func (p *rawPeer) closed() {
	p.tb.Helper()
	p.conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, p.conn); err != nil && strings.Contains(err.Error(), "timeout") {
		p.tb.Fatal("the connection is still open")
	}
}

// relay is a TCP proxy whose links a test can cut, in either direction or altogether.
type relay struct {
	tb      testing.TB
	address string
	ln      net.Listener
	target  string
	mu      sync.Mutex
	conns   []net.Conn
	// limit, when not nil, is asked how many of the n bytes going to the target may pass; fewer
	// than n cuts the link after them.
	limit func(n int) int
}

func newRelay(tb testing.TB, target string) *relay {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	r := &relay{tb: tb, ln: ln, address: addressScheme + ln.Addr().String(), target: strings.TrimPrefix(target, addressScheme)}
	go r.run()
	tb.Cleanup(func() { ln.Close(); r.cut() })
	return r
}

func (r *relay) run() {
	for {
		in, err := r.ln.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", r.target)
		if err != nil {
			in.Close()
			continue
		}
		r.mu.Lock()
		r.conns = append(r.conns, in, out)
		r.mu.Unlock()
		go func() { io.Copy(in, out); in.Close() }()
		go func() { r.forward(out, in); out.Close(); in.Close() }()
	}
}

func (r *relay) forward(out, in net.Conn) {
	buf := make([]byte, 4096)
	for {
		n, err := in.Read(buf)
		if err != nil {
			return
		}
		pass := n
		if r.limit != nil {
			r.mu.Lock()
			pass = r.limit(n)
			r.mu.Unlock()
		}
		if _, err := out.Write(buf[:pass]); err != nil || pass < n {
			return
		}
	}
}

// cut breaks all connections.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		c.Close()
	}
	r.conns = nil
}

// deadAddress is one where nobody listens, and where nobody will who asks for a free port of 127.0.0.1, as tests of other
// packages do meanwhile.
func deadAddress(tb testing.TB) string {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.71.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer ln.Close()
	return addressScheme + ln.Addr().String()
}

// encoded is an Encoder over bytes.
type encoded struct {
	body []byte
	err  error
}

func (e *encoded) SizeVT() int { return len(e.body) }

func (e *encoded) MarshalToSizedBufferVT(b []byte) (int, error) {
	if len(b) != len(e.body) {
		return 0, fmt.Errorf("buffer of %d bytes for a message of %d", len(b), len(e.body))
	}
	return copy(b, e.body), e.err
}
