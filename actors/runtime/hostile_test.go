package runtime

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
)

// heapBytes is what is live, after a collection.
func heapBytes() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// unaffected sends through a well-behaved peer and wants it delivered.
func unaffected(t *testing.T, pull *Pull) {
	t.Helper()
	push := newPush(t, pull.Address(), PushOptions{})
	if err := push.Send([]byte("good peer")); err != nil {
		t.Fatal(err)
	}
	(&receiver{tb: t, pull: pull}).want("good peer")
}

func TestHandshakeRefusals(t *testing.T) {
	pull := newPull(t, PullOptions{HandshakeTimeout: 300 * time.Millisecond})
	long := func(n uint64) []byte {
		return append(greeting("NULL"), binary.BigEndian.AppendUint64([]byte{flagLong | flagCommand}, n)...)
	}
	cases := map[string][]byte{
		"silence":              nil,
		"half a greeting":      greeting("NULL")[:20],
		"greeting only":        greeting("NULL"),
		"http":                 []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n" + strings.Repeat("x", 100)),
		"zeros":                make([]byte, 1000),
		"PLAIN":                append(greeting("PLAIN"), ready("PUSH")...),
		"CURVE":                append(greeting("CURVE"), ready("PUSH")...),
		"version 2":            append(func() []byte { g := greeting("NULL"); g[10] = 1; return g }(), ready("PUSH")...),
		"a PUB":                append(greeting("NULL"), ready("PUB")...),
		"a PULL":               append(greeting("NULL"), ready("PULL")...),
		"no socket type":       append(greeting("NULL"), appendFrame(nil, flagCommand, []byte("\x05READY"))...),
		"2^62 bytes of READY":  long(1 << 62),
		"1 TB of READY":        long(1 << 40),
		"64 KiB of READY":      long(64 << 10),
		"not READY":            append(greeting("NULL"), appendFrame(nil, flagCommand, []byte("\x05ERROR\x00"))...),
		"a message":            append(greeting("NULL"), appendFrame(nil, 0, []byte("hello"))...),
		"an empty command":     append(greeting("NULL"), flagCommand, 0),
		"name overruns":        append(greeting("NULL"), appendFrame(nil, flagCommand, []byte("\xffREADY"))...),
		"key overruns":         append(greeting("NULL"), appendFrame(nil, flagCommand, []byte("\x05READY\xffx"))...),
		"value overruns":       append(greeting("NULL"), appendFrame(nil, flagCommand, []byte("\x05READY\x01x\xff\xff\xff\xff"))...),
		"value length cut off": append(greeting("NULL"), appendFrame(nil, flagCommand, []byte("\x05READY\x01x\x00"))...),
		"endless frames":       append(greeting("NULL"), bytes.Repeat([]byte{flagMore, 3, 1, 2, 3}, 10000)...),
	}
	for name, wire := range cases {
		t.Run(name, func(t *testing.T) {
			p := dialRaw(t, pull.Address())
			p.conn.Write(wire) // may fail: it is hung up on in the middle
			p.closed()
		})
	}
	eventually(t, "all failures are counted", func() bool { return pull.Metrics().HandshakesFailed == int64(len(cases)) })
	eventually(t, "all connections are gone", func() bool { return pull.Metrics().Connections == 0 })
	if m := pull.Metrics(); m.ConnectionsAccepted != 0 {
		t.Errorf("metrics %+v", m)
	}
	unaffected(t, pull)
}

func TestViolationsCostOneConnection(t *testing.T) {
	pull := newPull(t, PullOptions{MaxFrameBytes: 1 << 20})
	bystander := rawPush(t, pull.Address())
	r := &receiver{tb: t, pull: pull}
	for name, wire := range map[string][]byte{
		"2^62":           binary.BigEndian.AppendUint64([]byte{flagLong}, 1<<62),
		"one too large":  binary.BigEndian.AppendUint64([]byte{flagLong}, 1<<20+1),
		"reserved flags": {0x10, 0},
		"more command":   {flagMore | flagCommand, 0},
		"empty command":  {flagCommand, 0},
		"name overruns":  {flagCommand, 2, 9, 'x'},
		"short ping":     {flagCommand, 5, 4, 'P', 'I', 'N', 'G'},
		"long ping":      appendFrame(nil, flagCommand, append([]byte("\x04PING"), make([]byte, 19)...)),
	} {
		before := pull.Metrics()
		p := rawPush(t, pull.Address())
		p.write(appendFrame(nil, 0, []byte("good ")))
		p.write(append(appendFrame(nil, 0, []byte(name)), wire...))
		r.want("good ")
		r.want(name) // what precedes the violation is delivered
		p.closed()
		eventually(t, "the violation is counted", func() bool {
			m := pull.Metrics()
			return m.ProtocolViolations+m.FramesOversized == before.ProtocolViolations+before.FramesOversized+1
		})
	}
	bystander.message("undisturbed")
	r.want("undisturbed")
}

func TestMultiFrameMessagesAreDropped(t *testing.T) {
	pull := newPull(t, PullOptions{})
	p := rawPush(t, pull.Address())
	r := &receiver{tb: t, pull: pull}
	p.message("before")
	p.write(appendFrame(nil, flagMore, []byte("part")))
	r.want("before")
	p.write(appendFrame(nil, flagMore, make([]byte, 200<<10)))
	p.write(appendPing(nil, 1)) // commands may come between
	p.write(appendFrame(nil, 0, make([]byte, 100<<10)))
	p.message("after")
	r.want("after")
	p.write(append(frames("a", "b"), frames("c", "", "d")...))
	p.message("end")
	r.want("end")
	if m := pull.Metrics(); m.MultiFrameDropped != 3 || m.Frames != 3 || m.Pings != 1 || m.ProtocolViolations != 0 {
		t.Errorf("metrics %+v", m)
	}
}

func TestPingIsAnswered(t *testing.T) {
	pull := newPull(t, PullOptions{})
	p := rawPush(t, pull.Address())
	p.write([]byte("\x04\x0d\x04PING\x00\x0acontext"[:2+7+6]))
	if got := p.readN(13); string(got) != "\x04\x0b\x04PONGcontex" {
		t.Errorf("%q", got)
	}
	p.write([]byte("\x04\x05\x04PONG")) // an unasked PONG, and any other command, means nothing
	p.write([]byte("\x04\x06\x05HELLO"))
	p.message("alive")
	(&receiver{tb: t, pull: pull}).want("alive")
}

// TestPingsOfAPeerThatDoesNotRead: answering must not block the reading.
func TestPingsOfAPeerThatDoesNotRead(t *testing.T) {
	pull := newPull(t, PullOptions{})
	p := rawPush(t, pull.Address())
	pings := bytes.Repeat(appendFrame(nil, flagCommand, []byte("\x04PING\x00\x010123456789abcdef")), 4000)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for pull.Metrics().PongsDropped == 0 {
			if _, err := p.conn.Write(pings); err != nil {
				return // hung up on: a PONG went out in part
			}
		}
		p.conn.Write(frames("through"))
	}()
	<-ended
	if pull.Metrics().PongsDropped > 0 {
		(&receiver{tb: t, pull: pull}).want("through")
	}
	unaffected(t, pull)
}

func TestStalledFrameIsClosed(t *testing.T) {
	pull := newPull(t, PullOptions{StallTimeout: 50 * time.Millisecond})
	r := &receiver{tb: t, pull: pull}
	idle := rawPush(t, pull.Address())
	for name, wire := range map[string][]byte{
		"half a header": {flagLong, 0, 0},
		"half a body":   appendFrame(nil, 0, make([]byte, 1000))[:500],
		"much of one":   appendFrame(nil, 0, make([]byte, 60000))[:50000],
		"a large one":   appendFrame(nil, 0, make([]byte, 1<<20))[:300000],
	} {
		p := rawPush(t, pull.Address())
		p.message(name)
		r.want(name)
		p.write(wire)
		p.closed()
	}
	if m := pull.Metrics(); m.ConnectionsStalled != 4 || m.ConnectionsIdle != 0 {
		t.Errorf("metrics %+v", m)
	}
	// Between frames silence is fine.
	idle.message("not stalled")
	r.want("not stalled")
}

// TestTricklingFrameIsNotStalled: a frame may take longer than StallTimeout altogether, as long
// as it moves. A machine that pauses the test in the middle makes it try again, more slowly.
func TestTricklingFrameIsNotStalled(t *testing.T) {
	for stall := 50 * time.Millisecond; ; stall *= 4 {
		pull := newPull(t, PullOptions{StallTimeout: stall})
		p := rawPush(t, pull.Address())
		wire := frames("0123456789")
		sent := 0
		for ; sent < len(wire); sent++ {
			if _, err := p.conn.Write(wire[sent : sent+1]); err != nil {
				break
			}
			time.Sleep(stall / 8)
		}
		if pull.Metrics().ConnectionsStalled == 0 {
			(&receiver{tb: t, pull: pull}).want("0123456789")
			return
		}
		if stall > patience {
			t.Fatalf("closed after %d of %d bytes", sent, len(wire))
		}
	}
}

func TestIdleTimeout(t *testing.T) {
	pull := newPull(t, PullOptions{IdleTimeout: 30 * time.Millisecond})
	p := rawPush(t, pull.Address())
	p.message("x")
	(&receiver{tb: t, pull: pull}).want("x")
	p.closed()
	if m := pull.Metrics(); m.ConnectionsIdle != 1 || m.ConnectionsStalled != 0 {
		t.Errorf("metrics %+v", m)
	}
}

func TestConnectionLimit(t *testing.T) {
	pull := newPull(t, PullOptions{MaxConnections: 3})
	var held []*rawPeer
	for range 3 {
		held = append(held, rawPush(t, pull.Address()))
		held[len(held)-1].message("mine to keep") // who has sent something keeps its place
		(&receiver{tb: t, pull: pull}).want("mine to keep")
	}
	// It may be reset before the dial has even returned.
	if c, err := net.Dial("tcp", strings.TrimPrefix(pull.Address(), addressScheme)); err == nil {
		(&rawPeer{tb: t, conn: c}).closed()
		c.Close()
	}
	eventually(t, "the fourth is refused", func() bool { return pull.Metrics().ConnectionsRefused == 1 })
	if m := pull.Metrics(); m.Connections != 3 {
		t.Errorf("metrics %+v", m)
	}
	held[0].conn.Close()
	eventually(t, "room for another", func() bool { return pull.Metrics().Connections == 2 })
	unaffected(t, pull)
	held[1].message("still served")
	(&receiver{tb: t, pull: pull}).want("still served")
}

// TestSilentPeersMakeWay: a peer that takes up connections and never says anything does not keep others out, however many it
// takes; those that have sent something stay.
func TestSilentPeersMakeWay(t *testing.T) {
	pull := newPull(t, PullOptions{MaxConnections: 20, HandshakeTimeout: time.Hour})
	kept := rawPush(t, pull.Address())
	kept.message("first")
	r := &receiver{tb: t, pull: pull}
	r.want("first")
	var silent []*rawPeer
	for i := range 100 {
		if i%2 == 0 {
			dialRaw(t, pull.Address())
			continue
		}
		silent = append(silent, rawPush(t, pull.Address()))
	}
	eventually(t, "the others went", func() bool { return pull.Metrics().ConnectionsRefused == 81 && pull.Metrics().Connections == 20 })
	silent[0].closed() // the oldest go first
	unaffected(t, pull)
	kept.message("still here")
	r.want("still here")
	silent[len(silent)-1].message("and the youngest")
	r.want("and the youngest")
}

// TestManyHostilePeersCostBoundedMemory: hundreds of peers, each in its own bad state, cost
// kilobytes each, and a good peer notices nothing (NET-3).
func TestManyHostilePeersCostBoundedMemory(t *testing.T) {
	const peers = 600
	pull := newPull(t, PullOptions{HandshakeTimeout: time.Hour, StallTimeout: time.Hour})
	before := heapBytes()
	huge := binary.BigEndian.AppendUint64([]byte{flagLong}, 16<<20)
	for i := range peers {
		switch i % 4 {
		case 0: // silent from the first byte
			dialRaw(t, pull.Address())
		case 1: // silent after the handshake
			rawPush(t, pull.Address())
		case 2: // half a message
			rawPush(t, pull.Address()).write([]byte{0, 200, 'x'})
		case 3: // announces the largest frame there may be, and sends its first bytes
			rawPush(t, pull.Address()).write(append(huge[:len(huge):len(huge)], make([]byte, 100)...))
		}
	}
	eventually(t, "all are connected", func() bool { return pull.Metrics().Connections == peers })
	eventually(t, "all have sent", func() bool { return pull.Metrics().Bytes == peers/4*3+peers/4*109 })
	unaffected(t, pull)
	// A goroutine, two sockets (the test's end counts too), a parked buffer.
	limit := uint64(peers * 20 << 10)
	if grown := heapBytes() - before; int64(grown) > int64(limit) {
		t.Errorf("%d peers cost %d KiB, the limit is %d KiB", peers, grown>>10, limit>>10)
	} else {
		t.Logf("%d hostile peers cost %d KiB", peers, int64(grown)>>10)
	}
}

// TestLargeFramesShareABudget: peers that each start a huge frame cannot have more than the
// budget together. Who stops in the middle is thrown out in favour of who waits; good peers'
// frames all arrive; small frames are not concerned.
func TestLargeFramesShareABudget(t *testing.T) {
	pull := newPull(t, PullOptions{MaxFrameBytes: 2 << 20, LargeFrameBytes: 3 << 20, StallTimeout: time.Second})
	wire := appendFrame(nil, 0, make([]byte, 2<<20))
	for range 2 {
		go rawPush(t, pull.Address()).conn.Write(wire[:1500<<10])
	}
	free := func() int64 {
		pull.large.mu.Lock()
		defer pull.large.mu.Unlock()
		return pull.large.mu.free
	}
	eventually(t, "the budget is taken", func() bool { return free() < 2<<20 })
	unaffected(t, pull)
	// More good frames than fit at once, from peers of their own, and of one.
	r := &receiver{tb: t, pull: pull}
	const peers, frames = 6, 3
	for p := range peers {
		push := newPush(t, pull.Address(), PushOptions{})
		for f := range frames {
			if err := push.Send(pattern(p, 1<<20+f)); err != nil {
				t.Fatal(err)
			}
		}
	}
	next := map[uint64]int{}
	for range peers * frames {
		got := r.next()
		p := binary.LittleEndian.Uint64(got)
		if !bytes.Equal(got, pattern(int(p), 1<<20+next[p])) {
			t.Fatalf("peer %d: frame %d came as %d bytes", p, next[p], len(got))
		}
		next[p]++
	}
	eventually(t, "both are thrown out", func() bool { return pull.Metrics().ConnectionsStalled == 2 })
	eventually(t, "the budget is whole", func() bool { return free() == 3<<20 })
}

// TestLargeFrameThatTrickles: sending a byte now and then does not hold the budget for ever.
func TestLargeFrameThatTrickles(t *testing.T) {
	pull := newPull(t, PullOptions{StallTimeout: 300 * time.Millisecond})
	p := rawPush(t, pull.Address())
	wire := appendFrame(nil, 0, make([]byte, 200<<10))
	p.write(wire[:100<<10])
	for i := 100 << 10; i < len(wire); i++ {
		if _, err := p.conn.Write(wire[i : i+1]); err != nil {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	eventually(t, "it is thrown out", func() bool { return pull.Metrics().ConnectionsStalled == 1 })
}

// TestPeersThatReadNothing: a server answers peers that never read. Its queues stay within
// their bounds, and a good peer is answered.
func TestPeersThatReadNothing(t *testing.T) {
	peers := NewPeers(PeersOptions{MaxPeers: 16, QueueBytes: 4 << 20, Push: PushOptions{QueueBytes: 1 << 20}})
	t.Cleanup(func() { peers.Close(0) })
	pull := newPull(t, PullOptions{})
	var stuck []string
	for range 8 {
		stuck = append(stuck, unreadSocket(t))
	}
	answer := make([]byte, 10<<10)
	refused := 0
	for i := 0; i < 20000 && refused < 2000; i++ {
		push, err := peers.Get(stuck[i%len(stuck)])
		if err != nil {
			t.Fatal(err)
		}
		if err := push.AppendBytes(answer); errors.Is(err, ErrQueueFull) {
			refused++
		}
		if i%64 == 0 {
			peers.FlushDirty()
		}
	}
	if refused == 0 {
		t.Fatal("nothing was refused")
	}
	if m := peers.Metrics(); m.QueuedBytes > 8<<20 || m.FramesRefused != int64(refused) {
		t.Errorf("metrics %+v", m)
	}
	good, err := peers.Get(pull.Address())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if err := good.AppendBytes(fmt.Appendf(nil, "answer %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	peers.FlushDirty()
	r := &receiver{tb: t, pull: pull}
	for i := range 100 {
		r.want(fmt.Sprintf("answer %d", i))
	}
}

// unreadSocket is a PULL socket that shakes hands and then reads nothing, ever.
func unreadSocket(tb testing.TB) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			tb.Cleanup(func() { c.Close() })
			if err := handshake(c, socketPull, true, patience); err != nil {
				return
			}
		}
	}()
	return addressScheme + ln.Addr().String()
}

// TestVanishedPeerIsFoundByHeartbeats: a peer that stops without closing is given up.
func TestVanishedPeerIsFoundByHeartbeats(t *testing.T) {
	push := newPush(t, unreadSocket(t), PushOptions{HeartbeatInterval: 10 * time.Millisecond})
	eventually(t, "the peer is given up", func() bool { return push.Metrics().Disconnects > 0 })
	// One that answers is not.
	pull := newPull(t, PullOptions{})
	alive := newPush(t, pull.Address(), PushOptions{HeartbeatInterval: 10 * time.Millisecond})
	eventually(t, "heartbeats go back and forth", func() bool { return pull.Metrics().Pings > 20 })
	if m := alive.Metrics(); m.Disconnects != 0 {
		t.Errorf("metrics %+v", m)
	}
}

// TestHostileReceivers: a Push survives whatever it has connected to.
func TestHostileReceivers(t *testing.T) {
	for name, answer := range map[string][]byte{
		"a message":    append(append(greeting("NULL"), ready("PULL")...), frames("surprise")...),
		"bad flags":    append(append(greeting("NULL"), ready("PULL")...), 0xff),
		"huge command": append(append(greeting("NULL"), ready("PULL")...), flagLong|flagCommand, 0x40, 0, 0, 0, 0, 0, 0, 0),
		"wrong ping":   append(append(greeting("NULL"), ready("PULL")...), flagCommand, 5, 4, 'P', 'I', 'N', 'G'),
		"a PUSH":       append(greeting("NULL"), ready("PUSH")...),
		"nothing":      nil,
	} {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			address := addressScheme + ln.Addr().String()
			push := newPush(t, address, PushOptions{HandshakeTimeout: 50 * time.Millisecond, DialBackoffMax: 5 * time.Millisecond})
			push.Send([]byte("for a good peer"))
			for range 2 {
				c, err := ln.Accept()
				if err != nil {
					t.Fatal(err)
				}
				c.Write(answer)
				(&rawPeer{tb: t, conn: c}).closed()
				c.Close()
			}
			ln.Close()
			push.Send([]byte("to be sure"))
			r := &receiver{tb: t, pull: newPullAt(t, address, PullOptions{})}
			for string(r.next()) != "to be sure" { // the first may have gone into the bad one
			}
		})
	}
}
