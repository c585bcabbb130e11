package runtime

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

func TestFrameHeaderRoundTrip(t *testing.T) {
	for _, flags := range []byte{0, flagMore, flagCommand} {
		for _, n := range []int{0, 1, 254, 255, 256, 257, 1000, 1 << 16, 1 << 20} {
			if flags == flagCommand && n > maxCommandBytes {
				continue
			}
			wire := appendFrame(nil, flags, make([]byte, n))
			if len(wire) != frameBytes(n) {
				t.Fatalf("a body of %d bytes takes %d, frameBytes says %d", n, len(wire), frameBytes(n))
			}
			for cut := range min(len(wire), longHeaderBytes) {
				h, err := parseFrameHeader(wire[:cut], 1<<20)
				if err != nil || (h.headerBytes > 0) != (cut >= len(wire)-n) {
					t.Fatalf("%d of %d header bytes: %+v, %v", cut, len(wire)-n, h, err)
				}
			}
			h, err := parseFrameHeader(wire, 1<<20)
			if err != nil || h.total() != len(wire) || h.more() != (flags == flagMore) || h.command() != (flags == flagCommand) {
				t.Fatalf("flags %x, %d bytes: %+v, %v", flags, n, h, err)
			}
		}
	}
}

func TestFrameHeaderRefusals(t *testing.T) {
	huge := binary.BigEndian.AppendUint64([]byte{flagLong}, 1<<62)
	top := binary.BigEndian.AppendUint64([]byte{flagLong}, 1<<63)
	over := binary.BigEndian.AppendUint64([]byte{flagLong}, 1025)
	command := binary.BigEndian.AppendUint64([]byte{flagLong | flagCommand}, maxCommandBytes+1)
	for name, c := range map[string]struct {
		wire  []byte
		limit int
		want  error
	}{
		"2^62":               {huge, 1 << 30, ErrFrameTooLarge},
		"2^63":               {top, 1 << 30, ErrFrameTooLarge},
		"one over the limit": {over, 1024, ErrFrameTooLarge},
		"short over limit":   {[]byte{0, 11}, 10, ErrFrameTooLarge},
		"long command":       {command, 1 << 30, ErrFrameTooLarge},
		"reserved bit":       {[]byte{0x08}, 10, ErrProtocol},
		"high bit":           {[]byte{0x80, 1}, 10, ErrProtocol},
		"command with more":  {[]byte{flagCommand | flagMore, 1}, 10, ErrProtocol},
	} {
		if _, err := parseFrameHeader(c.wire, c.limit); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestCommands(t *testing.T) {
	ping := appendPing(nil, 300)
	h, err := parseFrameHeader(ping, 1024)
	if err != nil || !h.command() || h.total() != len(ping) {
		t.Fatalf("ping: %+v, %v", h, err)
	}
	name, data, ok := splitCommand(ping[h.headerBytes:])
	if !ok || string(name) != commandPing || !bytes.Equal(data, []byte{1, 44}) {
		t.Fatalf("ping is %q %x", name, data)
	}
	pong, ok := appendPong(nil, append(data, "context"...))
	if !ok || string(pong) != "\x04\x0c\x04PONGcontext" {
		t.Fatalf("pong is %q", pong)
	}
	for _, bad := range [][]byte{nil, {1}, make([]byte, pingTTLBytes+pingMaxContextBytes+1)} {
		if _, ok := appendPong(nil, bad); ok {
			t.Errorf("a PING with %d bytes of data was answered", len(bad))
		}
	}
	for _, bad := range [][]byte{nil, {5}, {5, 'P', 'I', 'N', 'G'}} {
		if _, _, ok := splitCommand(bad); ok {
			t.Errorf("%q is no command", bad)
		}
	}
}

// FuzzFrameHeader: a header either is refused, or needs more bytes, or describes a frame that
// encodes to the same meaning again, within the limit.
func FuzzFrameHeader(f *testing.F) {
	f.Add([]byte{}, 100)
	f.Add(appendFrame(nil, 0, []byte("x")), 100)
	f.Add(appendFrame(nil, flagMore, make([]byte, 300)), 1000)
	f.Add(appendPing(nil, 1), 1000)
	f.Add(binary.BigEndian.AppendUint64([]byte{flagLong}, 1<<62), 16<<20)
	f.Fuzz(func(t *testing.T, wire []byte, limit int) {
		limit &= 1<<24 - 1
		h, err := parseFrameHeader(wire, limit)
		if err != nil {
			if h != (frameHeader{}) {
				t.Fatalf("error with a header: %+v", h)
			}
			return
		}
		if h.headerBytes == 0 {
			if len(wire) >= longHeaderBytes {
				t.Fatalf("%d bytes are enough to tell", len(wire))
			}
			return
		}
		if h.bodyBytes < 0 || h.bodyBytes > limit || h.headerBytes > len(wire) {
			t.Fatalf("%+v of %d bytes, limit %d", h, len(wire), limit)
		}
		var again [longHeaderBytes]byte
		n := putFrameHeader(again[:], h.flags&^flagLong, h.bodyBytes)
		back, err := parseFrameHeader(again[:n], limit)
		if err != nil || back.bodyBytes != h.bodyBytes || back.flags&^flagLong != h.flags&^flagLong {
			t.Fatalf("%+v came back as %+v, %v", h, back, err)
		}
	})
}
