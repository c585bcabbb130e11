package runtime

import (
	"bytes"
	"net"
	"testing"
)

// FuzzPullStream: whatever a connected peer sends, in whatever pieces, every complete
// single-frame message before the first violation is delivered and nothing else. The oracle
// parses the whole stream at once.
func FuzzPullStream(f *testing.F) {
	f.Add(frames("a", "b"), uint16(3))
	f.Add(append(frames("hello"), frames("", "x")...), uint16(1))
	f.Add(append(appendPing(nil, 1), frames("p")...), uint16(100))
	f.Add(append(frames("x"), 0x80), uint16(2))
	f.Add(append(appendFrame(nil, 0, make([]byte, 70000)), frames("after")...), uint16(9000))
	f.Add([]byte{flagLong, 0x40, 0, 0, 0, 0, 0, 0, 0, 1}, uint16(5))
	pull, err := ListenPull("tcp://127.0.0.1:0", PullOptions{MaxFrameBytes: 1 << 17, LargeFrameBytes: 1 << 20})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { pull.Close() })
	f.Fuzz(func(t *testing.T, wire []byte, piece uint16) {
		want := oracleFrames(wire, 1<<17)
		p := rawPush(t, pull.Address())
		go func() {
			for b := wire; len(b) > 0; {
				n := min(len(b), int(piece)+1)
				if _, err := p.conn.Write(b[:n]); err != nil {
					break
				}
				b = b[n:]
			}
			p.conn.(*net.TCPConn).CloseWrite()
		}()
		r := &receiver{tb: t, pull: pull}
		for i := range want {
			if got := r.next(); !bytes.Equal(got, want[i]) {
				t.Fatalf("frame %d is %.40q, want %.40q", i, got, want[i])
			}
		}
		p.closed()
		eventually(t, "the connection is gone", func() bool { return pull.Metrics().Connections == 0 })
		r.silent()
	})
}

// oracleFrames is the slow obvious way to find the messages of a stream.
func oracleFrames(wire []byte, limit int) (messages [][]byte) {
	parts := 0
	for len(wire) > 0 {
		h, err := parseFrameHeader(wire, limit)
		if err != nil || h.headerBytes == 0 || h.total() > len(wire) {
			return messages
		}
		body := wire[h.headerBytes:h.total()]
		wire = wire[h.total():]
		if h.command() {
			name, data, ok := splitCommand(body)
			if !ok || string(name) == commandPing && (len(data) < 2 || len(data) > 18) {
				return messages
			}
			continue
		}
		parts++
		if h.more() {
			continue
		}
		if parts == 1 {
			messages = append(messages, body)
		}
		parts = 0
	}
	return messages
}
