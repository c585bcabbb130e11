package runtime

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/go-zeromq/zmq4"
)

// dialPeer connects to a bound socket, from an IP of this machine if one is given, and shakes hands. It ends early when ctx
// does.
func dialPeer(ctx context.Context, from netip.Addr, to netip.AddrPort, socket zmq4.SocketType, dialTimeout, handshakeTimeout time.Duration) (*net.TCPConn, error) {
	dialer := net.Dialer{Timeout: dialTimeout}
	if from.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	conn, err := dialer.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		_ = conn.Close()
		return nil, fmt.Errorf("dial gave a %T", conn)
	}
	// A context has no hold on a connection; closing it is what ends the handshake.
	stop := context.AfterFunc(ctx, func() { _ = tcp.Close() })
	err = handshake(tcp, socket, false, handshakeTimeout)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		closeNow(tcp)
		return nil, err
	}
	return tcp, nil
}
