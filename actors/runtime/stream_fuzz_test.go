package runtime

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// FuzzMessageStream: whatever a peer of Rep or Req sends, messages stay within their limits, and an envelope taken off and
// put back is the message again.
func FuzzMessageStream(f *testing.F) {
	f.Add(frames("question"))
	f.Add(appendFrame(appendFrame(nil, flagMore, nil), 0, []byte("question")))
	f.Add(appendFrame(appendFrame(appendFrame(nil, flagMore, []byte("hop")), flagMore, nil), 0, []byte("question")))
	f.Add(append(appendPing(nil, 1), frames("a", "b")...))
	f.Add([]byte{flagLong, 0x40, 0, 0, 0, 0, 0, 0, 0, 1})
	f.Add(bytes.Repeat(appendFrame(nil, flagMore, nil), maxMessageFrames+1))
	const limit = 1 << 12
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { l.Close() })
	f.Fuzz(func(t *testing.T, wire []byte) {
		peer, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer peer.Close()
		tcp, err := l.AcceptTCP()
		if err != nil {
			t.Fatal(err)
		}
		defer tcp.Close()
		go func() {
			_, _ = peer.Write(wire)
			_ = peer.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, peer) // answers to heartbeats
		}()
		s := newStream(tcp, limit, time.Minute)
		for {
			message, err := s.read()
			if err != nil {
				return
			}
			total := 0
			for _, frame := range message {
				total += len(frame)
			}
			if total > limit || len(message) > maxMessageFrames {
				t.Fatalf("%d frames of %d bytes", len(message), total)
			}
			envelope, body, err := splitEnvelope(message)
			if err != nil {
				continue
			}
			again := append(bytes.Join(envelope, nil), body...)
			if !bytes.Equal(again, bytes.Join(message, nil)) {
				t.Fatalf("%q is %q and %q", message, envelope, body)
			}
		}
	})
}

// FuzzAddress: an address that is taken is written so that it is taken for the same.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"tcp://127.0.0.1:6400", "tcp://[::1]:1", "tcp://*:8000", "tcp://0.0.0.0:0", "tcp://[::ffff:1.2.3.4]:5", "ipc://x", "tcp://host:1", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for name, parse := range map[string]func(string) (netip.AddrPort, error){"connect": ParseAddress, "listen": parseListenAddress} {
			a, err := parse(s)
			if err != nil {
				continue
			}
			if b, err := parse(addressScheme + a.String()); err != nil || a != b {
				t.Errorf("%s: %q is %v, written so it is %v (%v)", name, s, a, b, err)
			}
		}
	})
}
