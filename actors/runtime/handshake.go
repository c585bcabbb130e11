package runtime

import (
	"fmt"
	"net"
	"time"

	"github.com/go-zeromq/zmq4"
	"github.com/go-zeromq/zmq4/security/null"

	"github.com/dinomo-kv/dinomo/internal/clock"
)

const (
	greetingBytes = 64
	// maxHandshakeFrameBytes bounds each frame of the handshake: a READY command carries a
	// socket type and an identity of at most 255 bytes, and perhaps some metadata.
	maxHandshakeFrameBytes = 8 << 10
	// maxHandshakeBytes bounds what a peer may send before it is READY.
	maxHandshakeBytes = 16 << 10
)

// The socket types that this package plays.
const (
	socketPull = zmq4.Pull
	socketPush = zmq4.Push
	socketReq  = zmq4.Req
	socketRep  = zmq4.Rep
)

// handshake exchanges greeting and READY with the peer, who must have a socket type that fits
// and the NULL mechanism, and leaves the connection without deadline, positioned at the first
// frame. It fails when that takes longer than the timeout.
func handshake(conn net.Conn, socket zmq4.SocketType, server bool, timeout time.Duration) (err error) {
	// zmq4's metadata decoder indexes by lengths that the peer announces; a panic there is the
	// peer's fault and costs its connection only.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: handshake: %v", ErrProtocol, r)
		}
	}()
	if err := conn.SetDeadline(clock.Real{}.Now().Add(timeout)); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	guard := &handshakeGuard{Conn: conn}
	if _, err := zmq4.Open(guard, null.Security(), socket, nil, server, nil); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	return conn.SetDeadline(time.Time{})
}

// handshakeGuard watches the bytes that zmq4 reads during the handshake, and fails the read
// that completes a frame header announcing too much: zmq4 would allocate whatever is
// announced. It relies on zmq4 reading a header before its body and never ahead, which also
// is why the connection can be taken over when Open returns.
type handshakeGuard struct {
	net.Conn
	total  int
	header []byte // of the frame that is being read, up to 9 bytes
	body   int    // bytes of the body that are still to come
}

// Read implements net.Conn.
func (g *handshakeGuard) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if err != nil {
		return n, err
	}
	for _, b := range p[:n] {
		if err := g.consume(b); err != nil {
			return 0, err
		}
	}
	return n, nil
}

func (g *handshakeGuard) consume(b byte) error {
	g.total++
	switch {
	case g.total <= greetingBytes:
		return nil
	case g.total > greetingBytes+maxHandshakeBytes:
		return fmt.Errorf("%w: more than %d bytes of handshake", ErrProtocol, maxHandshakeBytes)
	case g.body > 0:
		g.body--
		return nil
	}
	g.header = append(g.header, b)
	want := shortHeaderBytes
	if g.header[0]&flagLong != 0 {
		want = longHeaderBytes
	}
	if len(g.header) < want {
		return nil
	}
	// Judged as a message, whose limit is the argument: the limit for commands is for those
	// after the handshake.
	g.header[0] &= flagLong
	h, err := parseFrameHeader(g.header, maxHandshakeFrameBytes)
	if err != nil {
		return err
	}
	g.body, g.header = h.bodyBytes, g.header[:0]
	return nil
}
