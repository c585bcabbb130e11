package runtime

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// systemPython is the interpreter that Debian's python3-zmq belongs to.
const systemPython = "/usr/bin/python3"

// peerScript is a libzmq peer that obeys lines on its standard input and answers on its
// standard output; "#" in a body's place means a pattern of that many bytes.
const peerScript = `
import sys, zmq, struct
ctx = zmq.Context()
kind, how, address = sys.argv[1:4]
s = ctx.socket(getattr(zmq, kind))
s.setsockopt(zmq.LINGER, 20000)
for opt in sys.argv[4:]:
    name, value = opt.split('=')
    s.setsockopt(getattr(zmq, name), int(value))
s.bind(address) if how == 'bind' else s.connect(address)
def pattern(number, n):
    b = bytearray((number * 131 + i * 7 + (i >> 8)) & 255 for i in range(min(n, 4096)))
    b = (b * (n // 4096 + 1))[:n] if n > 4096 else b
    if n >= 8: b[:8] = struct.pack('<Q', number)
    return bytes(b)
def say(*a):
    print(*a); sys.stdout.flush()
say('ready')
for line in sys.stdin:
    cmd, *args = line.split()
    if cmd == 'send':                       # send <number> <bytes>
        s.send(pattern(int(args[0]), int(args[1])))
    elif cmd == 'sends':                    # sends <first> <count> <bytes>
        for i in range(int(args[1])): s.send(pattern(int(args[0]) + i, int(args[2])))
    elif cmd == 'multi':
        s.send_multipart([b'a', b'b'])
    elif cmd == 'recv':                     # recv <number> <bytes>
        if not s.poll(30000): say('timeout'); continue
        got = s.recv()
        want = pattern(int(args[0]), int(args[1]))
        say('ok' if got == want else 'bad %d bytes, want %d' % (len(got), len(want)))
    elif cmd == 'recvs':                    # recvs <first> <count> <bytes>
        bad = None
        for i in range(int(args[1])):
            if not s.poll(30000): bad = 'timeout at %d' % i; break
            if s.recv() != pattern(int(args[0]) + i, int(args[2])): bad = 'bad at %d' % i; break
        say(bad or 'ok')
    elif cmd == 'echo':                     # as REP: answer so many requests with themselves
        for i in range(int(args[0])): s.send(s.recv())
        say('ok')
    elif cmd == 'sync':
        say('synced')
    elif cmd == 'quit':
        break
s.close(); ctx.term()
`

// blockPattern is the script's pattern: of 4096 bytes, repeated.
func blockPattern(number, n int) []byte {
	block := make([]byte, min(n, 4096))
	for i := range block {
		block[i] = byte(number*131 + i*7 + i>>8)
	}
	b := bytes.Repeat(block, n/4096+1)[:n]
	if n >= 8 {
		copy(b, pattern(number, 8)[:8])
	}
	return b
}

// zmqPeer is a running peerScript.
type zmqPeer struct {
	tb  testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// needLibzmq skips the test where python3-zmq is not installed, except in CI.
func needLibzmq(tb testing.TB) {
	tb.Helper()
	if err := exec.Command(systemPython, "-c", "import zmq").Run(); err != nil {
		if os.Getenv("CI") != "" {
			tb.Fatalf("%s cannot import zmq: apt-get install python3-zmq", systemPython)
		}
		tb.Skipf("%s cannot import zmq; apt-get install python3-zmq to run the libzmq tests", systemPython)
	}
}

func startZMQ(tb testing.TB, kind, how, address string, options ...string) *zmqPeer {
	tb.Helper()
	needLibzmq(tb)
	cmd := exec.Command(systemPython, append([]string{"-c", peerScript, kind, how, address}, options...)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	p := &zmqPeer{tb: tb, cmd: cmd, in: in, out: bufio.NewReader(out)}
	tb.Cleanup(p.kill)
	p.expect("ready")
	return p
}

func (p *zmqPeer) do(format string, args ...any) {
	p.tb.Helper()
	if _, err := fmt.Fprintf(p.in, format+"\n", args...); err != nil {
		p.tb.Fatal(err)
	}
}

func (p *zmqPeer) expect(line string) {
	p.tb.Helper()
	got, err := p.out.ReadString('\n')
	if got = strings.TrimSpace(got); got != line {
		p.tb.Fatalf("the libzmq peer says %q (%v), want %q", got, err, line)
	}
}

// quit ends the peer once it has sent everything; kill ends it now.
func (p *zmqPeer) quit() { p.tb.Helper(); p.do("quit"); _ = p.cmd.Wait() }
func (p *zmqPeer) kill() { _ = p.cmd.Process.Kill(); _ = p.cmd.Wait() }

var interopSizes = []int{0, 1, 2, 254, 255, 256, 257, 1000, 4096, 65526, 65527, 65535, 65536, 65537, 1 << 20, 8 << 20}

func TestFromLibzmq(t *testing.T) {
	pull := newPull(t, PullOptions{})
	p := startZMQ(t, "PUSH", "connect", pull.Address())
	r := &receiver{tb: t, pull: pull}
	for i, n := range interopSizes {
		p.do("send %d %d", i, n)
		if got := r.next(); !bytes.Equal(got, blockPattern(i, n)) {
			t.Fatalf("message %d: %d bytes, want %d", i, len(got), n)
		}
	}
	p.do("multi")
	p.do("sends 0 10000 100")
	for i := range 10000 {
		if got := r.next(); !bytes.Equal(got, blockPattern(i, 100)) {
			t.Fatalf("message %d of the burst", i)
		}
	}
	if m := pull.Metrics(); m.MultiFrameDropped != 1 || m.ConnectionsAccepted != 1 {
		t.Errorf("metrics %+v", m)
	}
}

func TestToLibzmq(t *testing.T) {
	address := deadAddress(t)
	p := startZMQ(t, "PULL", "bind", address)
	push := newPush(t, address, PushOptions{})
	for i, n := range interopSizes {
		if err := push.Send(blockPattern(i, n)); err != nil {
			t.Fatal(err)
		}
		p.do("recv %d %d", i, n)
		p.expect("ok")
	}
	for i := range 10000 {
		push.AppendBytes(blockPattern(i, 100))
	}
	push.Flush()
	p.do("recvs 0 10000 100")
	p.expect("ok")
}

func TestLibzmqSendsBeforeWeAreUp(t *testing.T) {
	address := deadAddress(t)
	p := startZMQ(t, "PUSH", "connect", address)
	p.do("sends 0 500 50")
	r := &receiver{tb: t, pull: newPullAt(t, address, PullOptions{})}
	for i := range 500 {
		if !bytes.Equal(r.next(), blockPattern(i, 50)) {
			t.Fatalf("message %d", i)
		}
	}
}

func TestWeSendBeforeLibzmqIsUp(t *testing.T) {
	address := deadAddress(t)
	push := newPush(t, address, PushOptions{DialBackoffMax: 20 * time.Millisecond})
	for i := range 500 {
		if err := push.Send(blockPattern(i, 50)); err != nil {
			t.Fatal(err)
		}
	}
	p := startZMQ(t, "PULL", "bind", address)
	p.do("recvs 0 500 50")
	p.expect("ok")
}

// TestOurRestartUnderLibzmq: a libzmq PUSH survives a restart of our Pull; what it sends while
// we are down arrives.
func TestOurRestartUnderLibzmq(t *testing.T) {
	pull := newPull(t, PullOptions{})
	address := pull.Address()
	p := startZMQ(t, "PUSH", "connect", address)
	for round := range 3 {
		r := &receiver{tb: t, pull: pull}
		p.do("sends %d 100 300", round*100)
		for i := range 100 {
			if !bytes.Equal(r.next(), blockPattern(round*100+i, 300)) {
				t.Fatalf("round %d, message %d", round, i)
			}
		}
		pull.Close()
		awaitDisconnect(t, p, address)
		pull = newPullAt(t, address, PullOptions{})
	}
}

// awaitDisconnect waits until the peer's socket to address is gone, in either state that it
// passes through: a message written to a dying connection is lost with any ZeroMQ.
func awaitDisconnect(t *testing.T, p *zmqPeer, address string) {
	t.Helper()
	port := address[strings.LastIndex(address, ":")+1:]
	eventually(t, "libzmq hangs up", func() bool {
		table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", p.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		var n int
		fmt.Sscan(port, &n)
		for _, line := range strings.Split(string(table), "\n") {
			f := strings.Fields(line)
			if len(f) > 3 && strings.HasSuffix(f[2], fmt.Sprintf(":%04X", n)) && (f[3] == "01" || f[3] == "08") {
				return false
			}
		}
		return true
	})
}

// TestLibzmqRestartUnderUs: our Push survives the kill and the orderly end of a libzmq PULL.
func TestLibzmqRestartUnderUs(t *testing.T) {
	address := deadAddress(t)
	push := newPush(t, address, PushOptions{DialBackoffMax: 20 * time.Millisecond})
	for round, end := range []func(*zmqPeer){(*zmqPeer).kill, (*zmqPeer).quit, (*zmqPeer).kill} {
		p := startZMQ(t, "PULL", "bind", address)
		for i := range 100 {
			if err := push.Send(blockPattern(round*100+i, 300)); err != nil {
				t.Fatal(err)
			}
		}
		p.do("recvs %d 100 300", round*100)
		p.expect("ok")
		end(p)
		eventually(t, "the death is noticed", func() bool { return !push.Connected() })
	}
}

// TestLibzmqHeartbeats: with heartbeats faster than the silence, connections stay up in both
// directions, because PINGs are answered.
func TestLibzmqHeartbeats(t *testing.T) {
	heartbeats := []string{"HEARTBEAT_IVL=50", "HEARTBEAT_TIMEOUT=2000", "HEARTBEAT_TTL=10000"}
	pull := newPull(t, PullOptions{})
	in := startZMQ(t, "PUSH", "connect", pull.Address(), heartbeats...)
	address := deadAddress(t)
	out := startZMQ(t, "PULL", "bind", address, heartbeats...)
	push := newPush(t, address, PushOptions{HeartbeatInterval: time.Second})
	// Sixty intervals are longer than the timeout; they pass while the peers have nothing to say.
	eventually(t, "sixty heartbeats", func() bool { return pull.Metrics().Pings >= 60 })
	in.do("send 1 10")
	if got := (&receiver{tb: t, pull: pull}).next(); !bytes.Equal(got, blockPattern(1, 10)) {
		t.Fatalf("%q", got)
	}
	push.Send(blockPattern(2, 10))
	out.do("recv 2 10")
	out.expect("ok")
	if m := pull.Metrics(); m.ConnectionsAccepted != 1 {
		t.Errorf("libzmq connected %d times", m.ConnectionsAccepted)
	}
	if m := push.Metrics(); m.Connects != 1 || m.Disconnects != 0 {
		t.Errorf("metrics %+v", m)
	}
}

func TestLibzmqREQ(t *testing.T) {
	for _, options := range [][]string{nil, {"REQ_CORRELATE=1", "REQ_RELAXED=1"}, {"HEARTBEAT_IVL=20", "HEARTBEAT_TIMEOUT=10000"}} {
		t.Run(strings.Join(options, " "), func(t *testing.T) {
			rep := newRep(t, "tcp://127.0.0.1:0", func(b []byte) []byte { return append([]byte{}, b...) }, RepOptions{})
			p := startZMQ(t, "REQ", "connect", rep.Address(), options...)
			other := startZMQ(t, "REQ", "connect", rep.Address(), options...)
			for i, n := range interopSizes {
				for _, client := range []*zmqPeer{p, other} {
					client.do("send %d %d", i, n)
					client.do("recv %d %d", i, n)
					client.expect("ok")
				}
			}
		})
	}
}

// TestLibzmqREQOutlivesOurRestart: a REQ that asked while we were down gets its reply.
func TestLibzmqREQOutlivesOurRestart(t *testing.T) {
	self := func(b []byte) []byte { return append([]byte{}, b...) }
	rep := newRep(t, "tcp://127.0.0.1:0", self, RepOptions{})
	address := rep.Address()
	p := startZMQ(t, "REQ", "connect", address)
	p.do("send 1 20")
	p.do("recv 1 20")
	p.expect("ok")
	rep.Close()
	awaitDisconnect(t, p, address)
	p.do("send 2 20")
	p.do("recv 2 20")
	newRep(t, address, self, RepOptions{})
	p.expect("ok")
}

func TestLibzmqREP(t *testing.T) {
	address := deadAddress(t)
	q, err := NewReq(address, ReqOptions{RetryPause: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	ask := func(number, n int) {
		t.Helper()
		got, err := q.Do(patient(t), blockPattern(number, n))
		if err != nil || !bytes.Equal(got, blockPattern(number, n)) {
			t.Fatalf("%d bytes: got %d, %v", n, len(got), err)
		}
	}
	p := startZMQ(t, "REP", "bind", address)
	p.do("echo %d", len(interopSizes))
	for i, n := range interopSizes {
		ask(i, n)
	}
	p.expect("ok")
	p.kill()
	p = startZMQ(t, "REP", "bind", address)
	p.do("echo 1")
	ask(1, 100) // on a new connection, after finding the old one dead
	p.expect("ok")
}

// TestForeignSocketTypes: a libzmq socket of another type is refused at the handshake and
// harms nobody.
func TestForeignSocketTypes(t *testing.T) {
	pull := newPull(t, PullOptions{})
	startZMQ(t, "PUB", "connect", pull.Address())
	startZMQ(t, "REQ", "connect", pull.Address())
	eventually(t, "both are refused", func() bool { return pull.Metrics().HandshakesFailed >= 2 })
	unaffected(t, pull)
	if m := pull.Metrics(); m.ConnectionsAccepted != 1 {
		t.Errorf("metrics %+v", m)
	}
}

// TestDialEndsWithItsContext: a handshake that hangs ends when the Push is closed.
func TestDialEndsWithItsContext(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	endpoint, err := ParseAddress(addressScheme + ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		if c, err := ln.Accept(); err == nil {
			io.ReadFull(c, make([]byte, 10))
			cancel()
			io.Copy(io.Discard, c)
		}
	}()
	if _, err := dialPeer(ctx, netip.Addr{}, endpoint, socketPush, time.Hour, time.Hour); err == nil {
		t.Fatal("a silent peer shook hands")
	}
}
