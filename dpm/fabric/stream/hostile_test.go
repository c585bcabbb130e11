package stream

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/wire"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
)

// echo admits everybody and sends requests back.
type echo struct{}

func (echo) Admit(h fabric.Hello) (fabric.Session, error) {
	return fabric.Session{Rank: max(h.Rank, 1), Incarnation: 1}, nil
}
func (echo) Call(_ fabric.Session, _ uint16, request, reply []byte) []byte {
	return append(reply, request...)
}
func (echo) Gone(fabric.Session, uint16) {}

const regionBytes = 1 << 20

func listen(t testing.TB, change ...func(*fabric.ListenOptions, *Config)) (*Listener, *pmem.File) {
	t.Helper()
	region, err := pmem.NewVolatile(regionBytes)
	if err != nil {
		t.Fatal(err)
	}
	o, config := fabric.ListenOptions{Address: "127.0.0.1:0"}, Config{Backend: wire.TCP, Revocable: true}
	for _, c := range change {
		c(&o, &config)
	}
	l, err := Listen(region, echo{}, o, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(l.Close(), region.Close()); err != nil {
			t.Error(err)
		}
	})
	return l, region
}

func greeting(t testing.TB, version uint16, backend wire.Backend) []byte {
	t.Helper()
	body, err := wire.AppendHello(nil, fabric.Hello{Access: fabric.ReadWrite}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return append(wire.Preamble{Version: version, Backend: backend, BodyBytes: uint32(len(body))}.Append(nil), body...)
}

// raw connects without speaking the protocol.
func raw(t testing.TB, l *Listener) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	return c
}

// admitted connects and greets by hand.
func admitted(t testing.TB, l *Listener) net.Conn {
	t.Helper()
	c := raw(t, l)
	if _, err := c.Write(greeting(t, wire.Version, wire.TCP)); err != nil {
		t.Fatal(err)
	}
	if p, text := readAnswer(t, c); p.Status != wire.OK {
		t.Fatalf("refused: %s", text)
	}
	return c
}

func readAnswer(t testing.TB, c net.Conn) (wire.Preamble, string) {
	t.Helper()
	b := make([]byte, wire.PreambleBytes)
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatal(err)
	}
	p, err := wire.ParsePreamble(b, wire.MaxAnswerBytes)
	if err != nil {
		t.Fatal(err)
	}
	body := make([]byte, p.BodyBytes)
	if _, err := io.ReadFull(c, body); err != nil {
		t.Fatal(err)
	}
	return p, string(body)
}

func TestBadGreetings(t *testing.T) {
	l, _ := listen(t)
	for _, test := range []struct {
		name     string
		greeting []byte
		status   wire.Status
		text     string
	}{
		{"another version", greeting(t, 9, wire.TCP), wire.WrongPool, "speaks fabric protocol 9"},
		{"another backend", greeting(t, wire.Version, wire.SHM), wire.Refused, "peer dials shm, this is a tcp listener"},
		{"another protocol", []byte("GET / HTTP/1.1\r\n\r\n"), wire.Refused, "does not speak the fabric protocol"},
		{"endless body", wire.Preamble{Version: wire.Version, Backend: wire.TCP, BodyBytes: 1 << 31}.Append(nil), wire.Refused, "at most"},
		{"garbage body", append(wire.Preamble{Version: wire.Version, Backend: wire.TCP, BodyBytes: 60}.Append(nil), bytes.Repeat([]byte{255}, 60)...), wire.Refused, "malformed"},
	} {
		c := raw(t, l)
		if _, err := c.Write(test.greeting); err != nil {
			t.Fatal(err)
		}
		p, text := readAnswer(t, c)
		if p.Status != test.status || !strings.Contains(text, test.text) || p.Version != wire.Version {
			t.Errorf("%s: status %d, %q", test.name, p.Status, text)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: the connection stays: %v", test.name, err)
		}
	}
	if m := l.Metrics(); m.Admitted != 0 || m.Refused[fabric.RefusedProtocol] != 4 || m.Refused[fabric.RefusedWrongPool] != 1 {
		t.Errorf("metrics: %s", m)
	}
}

func TestSilentPeerIsDropped(t *testing.T) {
	l, _ := listen(t, func(_ *fabric.ListenOptions, c *Config) { c.handshake = 50 * time.Millisecond })
	c := raw(t, l)
	if _, err := c.Write([]byte("DNM")); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); err != nil || !strings.Contains(string(b), "i/o timeout") {
		t.Errorf("a silent peer got %q, %v", b, err)
	}
}

func frame(h wire.Header, ds ...wire.Descriptor) []byte {
	b := make([]byte, wire.HeaderBytes+len(ds)*wire.DescriptorBytes)
	h.Put(b)
	for i, d := range ds {
		d.Put(b[wire.HeaderBytes+i*wire.DescriptorBytes:])
	}
	return b
}

// TestBadFrames: a malformed request ends its connection, and nothing of it is executed.
func TestBadFrames(t *testing.T) {
	add := wire.Descriptor{Kind: fabric.FetchAdd, A: 1}
	for name, request := range map[string][]byte{
		"unknown frame":     frame(wire.Header{Op: 7}),
		"huge call":         frame(wire.Header{Op: wire.OpCall, Bytes: 1 << 62}),
		"huge batch":        frame(wire.Header{Op: wire.OpBatch, Count: 1, Bytes: 1 << 62}, add),
		"too many verbs":    frame(wire.Header{Op: wire.OpBatch, Count: 65535}, add),
		"payload mismatch":  frame(wire.Header{Op: wire.OpBatch, Count: 2, Bytes: 8}, add, wire.Descriptor{Kind: fabric.Write, A: 9}),
		"reserved bytes":    append(frame(wire.Header{Op: wire.OpBatch, Count: 2}, add), bytes.Repeat([]byte{2}, 32)...),
		"overflowing WRITE": frame(wire.Header{Op: wire.OpBatch, Count: 2}, add, wire.Descriptor{Kind: fabric.Write, Address: 8, A: 1<<64 - 8}),
	} {
		l, region := listen(t)
		c := admitted(t, l)
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(c); err == nil && len(b) > 0 {
			t.Errorf("%s: answered with % x", name, b)
		}
		if region.Load64(0) != 0 {
			t.Errorf("%s: a verb before the bad one was executed", name)
		}
		other := admitted(t, l)
		if _, err := other.Write(frame(wire.Header{Op: wire.OpBatch, Count: 1}, add)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(other, make([]byte, wire.HeaderBytes+8+wire.TrailerBytes)); err != nil {
			t.Errorf("%s: the next connection: %v", name, err)
		}
	}
}

// TestVerbsOfALiar: verbs that a correct client never sends are refused one by one, because the
// listener trusts nothing that the client should have checked.
func TestVerbsOfALiar(t *testing.T) {
	add := wire.Descriptor{Kind: fabric.FetchAdd, A: 1}
	for _, test := range []struct {
		verb wire.Descriptor
		want wire.Status
	}{
		{wire.Descriptor{Kind: fabric.Write, Address: regionBytes - 4, A: 8}, wire.Bounds},
		{wire.Descriptor{Kind: fabric.Read, Address: 1<<64 - 4, A: 8}, wire.Bounds},
		{wire.Descriptor{Kind: fabric.CAS, Address: 3}, wire.Misaligned},
		{wire.Descriptor{Kind: fabric.FetchAdd, Address: regionBytes}, wire.Bounds},
		{wire.Descriptor{Kind: 99}, wire.UnknownVerb},
		{wire.Descriptor{}, wire.UnknownVerb},
		{wire.Descriptor{Kind: fabric.Flush, Address: 8, A: 1<<64 - 1}, wire.Bounds},
	} {
		l, region := listen(t)
		c := admitted(t, l)
		var payload uint64
		if test.verb.Kind == fabric.Write {
			payload = test.verb.A
		}
		request := frame(wire.Header{Op: wire.OpBatch, Count: 3, Bytes: payload}, add, test.verb, add)
		if _, err := c.Write(append(request, make([]byte, payload)...)); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, wire.HeaderBytes+8+wire.TrailerBytes)
		if _, err := io.ReadFull(c, answer); err != nil {
			t.Fatal(err)
		}
		if h, err := wire.ParseHeader(answer); err != nil || h.Count != 1 || h.Status != test.want {
			t.Errorf("%+v: answer %+v, %v; want status %d after 1 verb", test.verb, h, err, test.want)
		}
		if region.Load64(0) != 1 {
			t.Errorf("%+v: the word is %d", test.verb, region.Load64(0))
		}
	}
}

// TestCutInPayload: of a WRITE whose connection dies a prefix of whole words is stored, and nothing after it.
func TestCutInPayload(t *testing.T) {
	l, region := listen(t)
	c := admitted(t, l)
	const length = 3 * bufferBytes
	request := frame(wire.Header{Op: wire.OpBatch, Count: 2, Bytes: length},
		wire.Descriptor{Kind: fabric.Write, Address: 64, A: length}, wire.Descriptor{Kind: fabric.FetchAdd, A: 1})
	if _, err := c.Write(append(request, bytes.Repeat([]byte{0xee}, length/2+3)...)); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	for end := time.Now().Add(30 * time.Second); l.Metrics().Connections != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the listener does not notice")
		}
	}
	if region.Load64(0) != 0 {
		t.Error("a verb after the WRITE was executed")
	}
	stored := 0
	for ; region.Load64(64+uint64(stored)*8) == 0xeeeeeeeeeeeeeeee; stored++ {
	}
	if stored > (length/2+3)/8 {
		t.Errorf("%d words stored of %d bytes that were sent", stored, length/2+3)
	}
	for at := uint64(64 + stored*8); at < 64+length; at += 8 {
		if w := region.Load64(at); w != 0 {
			t.Fatalf("after a prefix of %d words there is %#x at %#x", stored, w, at)
		}
	}
}

// TestPeerThatReadsNothing holds up itself alone.
func TestPeerThatReadsNothing(t *testing.T) {
	l, _ := listen(t)
	glutton := admitted(t, l)
	request := frame(wire.Header{Op: wire.OpBatch, Count: 1}, wire.Descriptor{Kind: fabric.Read, A: regionBytes})
	_ = glutton.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	for range 10_000 { // until both sockets' buffers are full
		if _, err := glutton.Write(request); err != nil {
			break
		}
	}
	qp, err := Dial(context.Background(), l.Address(), fabric.DialOptions{Timeout: 30 * time.Second}, wire.TCP, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer qp.Close()
	if err := qp.Post([]fabric.Verb{{Kind: fabric.FetchAdd, Swap: 1}}); err != nil {
		t.Error(err)
	}
	if err := l.Fence(1, 1); err != nil { // both have rank 1: fencing does not wait for the glutton to read
		t.Error(err)
	}
}

// liar is a listener that answers requests with whatever the test says.
func liar(t *testing.T, answer func(sequence uint32) []byte) *Client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.ReadFull(c, make([]byte, len(greeting(t, wire.Version, wire.TCP))))
		body, _ := wire.AppendSession(nil, fabric.Session{Rank: 1, PoolBytes: 4096, Durability: pmem.Volatile}, nil)
		_, _ = c.Write(append(wire.Preamble{Version: wire.Version, Backend: wire.TCP, BodyBytes: uint32(len(body))}.Append(nil), body...))
		header := make([]byte, wire.HeaderBytes)
		if _, err := io.ReadFull(c, header); err != nil {
			return
		}
		_, _ = c.Write(answer(binary.LittleEndian.Uint32(header[4:])))
		_, _ = io.Copy(io.Discard, c)
	}()
	qp, err := Dial(context.Background(), l.Addr().String(), fabric.DialOptions{Timeout: 30 * time.Second}, wire.TCP, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = qp.Close() })
	return qp
}

// TestLyingListener: whatever comes back, the client does not believe more than it asked for.
func TestLyingListener(t *testing.T) {
	trailer := func(sequence uint32) []byte {
		b := make([]byte, wire.TrailerBytes)
		wire.PutTrailer(b, sequence)
		return b
	}
	for name, answer := range map[string]func(sequence uint32) []byte{
		"garbage":         func(uint32) []byte { return bytes.Repeat([]byte{0xaa}, 64) },
		"wrong sequence":  func(s uint32) []byte { return frame(wire.Header{Op: wire.OpBatch, Count: 1, Sequence: s + 1}) },
		"a call's answer": func(s uint32) []byte { return frame(wire.Header{Op: wire.OpCall, Sequence: s}) },
		"more than asked": func(s uint32) []byte { return frame(wire.Header{Op: wire.OpBatch, Count: 2, Sequence: s}) },
		"less, all well":  func(s uint32) []byte { return frame(wire.Header{Op: wire.OpBatch, Sequence: s}) },
		"all, with error": func(s uint32) []byte {
			return frame(wire.Header{Op: wire.OpBatch, Count: 1, Status: wire.Bounds, Sequence: s})
		},
		"no trailer": func(s uint32) []byte {
			return append(frame(wire.Header{Op: wire.OpBatch, Count: 1, Sequence: s}), bytes.Repeat([]byte{1}, 16)...)
		},
		"another's trailer": func(s uint32) []byte {
			return append(append(frame(wire.Header{Op: wire.OpBatch, Count: 1, Sequence: s}), make([]byte, 8)...), trailer(s+1)...)
		},
	} {
		qp := liar(t, answer)
		verbs := []fabric.Verb{{Kind: fabric.FetchAdd, Swap: 1}}
		if err := qp.Post(verbs); !errors.Is(err, fabric.ErrBroken) || !errors.Is(verbs[0].Err, fabric.ErrBroken) {
			t.Errorf("%s: %v", name, err)
		}
		if err := qp.Post(verbs); !errors.Is(err, fabric.ErrBroken) {
			t.Errorf("%s: and then %v", name, err)
		}
	}
	qp := liar(t, func(s uint32) []byte { return frame(wire.Header{Op: wire.OpCall, Sequence: s, Bytes: 1 << 40}) })
	if _, err := qp.Call([]byte("x"), nil); !errors.Is(err, fabric.ErrBroken) {
		t.Errorf("a reply of a terabyte: %v", err)
	}
}

func TestDialFailures(t *testing.T) {
	// A listener that never answers: the kernel accepts, nobody speaks.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = Dial(context.Background(), l.Addr().String(), fabric.DialOptions{DialTimeout: 50 * time.Millisecond}, wire.TCP, nil)
	if !errors.Is(err, fabric.ErrTimeout) {
		t.Errorf("a silent listener: %v, want %v", err, fabric.ErrTimeout)
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err = Dial(ctx, l.Addr().String(), fabric.DialOptions{DialTimeout: time.Minute}, wire.TCP, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled dial: %v, want %v", err, context.Canceled)
	}
	gone := l.Addr().String()
	_ = l.Close()
	if _, err = Dial(context.Background(), gone, fabric.DialOptions{DialTimeout: time.Second}, wire.TCP, nil); err == nil || !strings.Contains(err.Error(), "is it running, with fabric tcp?") {
		t.Errorf("nobody there: %v", err)
	}
	if _, err := Listen(nil, nil, fabric.ListenOptions{Address: gone + "9999"}, Config{}); err == nil {
		t.Error("listening on an impossible address works")
	}
}

// FuzzConnection feeds a connection's loop with anything: it must not panic (the region panics when a range is
// not its own), and must end when the input does.
func FuzzConnection(f *testing.F) {
	f.Add(frame(wire.Header{Op: wire.OpBatch, Count: 1}, wire.Descriptor{Kind: fabric.FetchAdd, A: 1}))
	f.Add(append(frame(wire.Header{Op: wire.OpBatch, Count: 2, Bytes: 5},
		wire.Descriptor{Kind: fabric.Write, Address: 3, A: 5}, wire.Descriptor{Kind: fabric.Read, Address: 1, A: 100}), "12345"...))
	f.Add(append(frame(wire.Header{Op: wire.OpCall, Bytes: 3}), "abc"...))
	f.Add(frame(wire.Header{Op: wire.OpBatch, Count: 1}, wire.Descriptor{Kind: fabric.Flush, A: 1}))
	l, _ := listen(f)
	f.Fuzz(func(t *testing.T, input []byte) {
		ours, theirs := net.Pipe()
		c := newConnection(l, theirs)
		c.hello.Access = fabric.ReadWrite
		go func() { _, _ = io.Copy(io.Discard, ours) }()
		go func() {
			_, _ = ours.Write(input)
			_ = ours.Close()
		}()
		if err := c.serve(); err == nil {
			t.Error("the loop ended without a reason")
		}
		_ = theirs.Close()
	})
}
