package runtime

import (
	"bytes"
	"fmt"
	"net/netip"
	"time"

	"github.com/dinomo-kv/dinomo/internal/clock"
)

// A SimNode is one node's end of a SimNet; it implements Transport. All calls happen in the
// goroutine that steps the network.
type SimNode struct {
	net      *SimNet
	ip       string
	nextPort uint16
	down     bool
	paused   bool
	backlog  []func()               // what happened while it was paused
	drift    int64                  // microseconds that its clock gains in a second
	requests map[uint64]*simRequest // in flight
	nextID   uint64
}

var _ Transport = (*SimNode)(nil)

// simFrameLimit is the largest frame, as PullOptions has it by default.
const simFrameLimit = 16 << 20

// Node returns the node with that IP, which is created at the first call, and is up again at
// the first call after its Crash or Close.
func (n *SimNet) Node(ip string) *SimNode {
	if node := n.nodes[ip]; node != nil && !node.down {
		return node
	}
	node := &SimNode{net: n, ip: netip.MustParseAddr(ip).String(), nextPort: 40000, requests: make(map[uint64]*simRequest)}
	node.drift = n.drifts[node.ip]
	n.nodes[ip] = node
	return node
}

// IP returns the node's address.
func (s *SimNode) IP() string { return s.ip }

// Listen implements Transport.
func (s *SimNode) Listen(address string, deliver func([]byte)) (string, error) {
	return s.bind(address, &simSocket{node: s, deliver: deliver})
}

// ListenReply implements Transport.
func (s *SimNode) ListenReply(address string, serve func([]byte, func([]byte))) (string, error) {
	return s.bind(address, &simSocket{node: s, serve: serve})
}

func (s *SimNode) bind(address string, socket *simSocket) (string, error) {
	if s.down {
		return "", fmt.Errorf("listen on %s: %w", address, ErrClosed)
	}
	ap, err := parseListenAddress(address)
	if err != nil {
		return "", fmt.Errorf("listen: %w", err)
	}
	if ap.Addr().IsUnspecified() {
		ap = netip.AddrPortFrom(netip.MustParseAddr(s.ip), ap.Port())
	}
	if ap.Addr().String() != s.ip {
		return "", fmt.Errorf("listen on %s: %w: the node has IP %s", address, ErrBadAddress, s.ip)
	}
	if ap.Port() == 0 {
		s.nextPort++
		ap = netip.AddrPortFrom(ap.Addr(), s.nextPort)
	}
	bound := FormatAddress(ap)
	if s.net.sockets[bound] != nil {
		return "", fmt.Errorf("listen on %s: %w", address, ErrAddressInUse)
	}
	s.net.sockets[bound] = socket
	s.net.wake(func(l *simLink) bool { return l.id.to == bound })
	return bound, nil
}

// Send implements Transport. There is nothing to gain by waiting for Flush here: the frame is
// on its way.
func (s *SimNode) Send(address string, frame []byte) error {
	ap, err := ParseAddress(address)
	switch {
	case err != nil:
		return err
	case s.down:
		return fmt.Errorf("send to %s: %w", address, ErrClosed)
	case len(frame) > simFrameLimit:
		return fmt.Errorf("send to %s: %w: %d bytes", address, ErrFrameTooLarge, len(frame))
	}
	n := s.net
	l := n.link(s.ip, FormatAddress(ap), ap.Addr().String())
	if len(l.queue) >= n.options.QueueFrames {
		n.metrics.FramesRefused++
		return fmt.Errorf("send to %s: %w", address, ErrQueueFull)
	}
	n.metrics.FramesSent++
	if n.options.LossPerMillion > 0 && n.rng.IntN(1_000_000) < n.options.LossPerMillion {
		n.metrics.FramesLost++
		return nil
	}
	l.push(simItem{payload: bytes.Clone(frame)})
	return nil
}

// Flush implements Transport.
func (s *SimNode) Flush() {}

// simRequest is a request in flight.
type simRequest struct {
	client  *SimNode
	id      uint64
	payload []byte
	done    func([]byte, error)
}

// Request implements Transport.
func (s *SimNode) Request(address string, request []byte, timeout time.Duration, done func([]byte, error)) error {
	ap, err := ParseAddress(address)
	switch {
	case err != nil:
		return err
	case s.down:
		return fmt.Errorf("request to %s: %w", address, ErrClosed)
	case len(s.requests) >= s.net.options.MaxRequests:
		return fmt.Errorf("request to %s: %w: %d", address, ErrTooManyRequests, len(s.requests))
	}
	s.nextID++
	q := &simRequest{client: s, id: s.nextID, payload: bytes.Clone(request), done: done}
	s.requests[q.id] = q
	n := s.net
	n.metrics.Requests++
	l := n.link(s.ip, FormatAddress(ap), ap.Addr().String())
	l.push(simItem{request: q})
	if n.options.RepeatPerMillion > 0 && n.rng.IntN(1_000_000) < n.options.RepeatPerMillion {
		n.metrics.RequestsRepeated++
		l.push(simItem{request: q})
	}
	n.After(timeout, func() { q.finish(nil, fmt.Errorf("request to %s: %w", address, ErrTimeout)) })
	return nil
}

// serve runs the request at the socket; the reply travels back by a link of its own.
func (q *simRequest) serve(socket *simSocket) {
	if q.client.requests[q.id] != q {
		return // timed out meanwhile
	}
	server, answered := socket.node, false
	socket.serve(bytes.Clone(q.payload), func(reply []byte) {
		if answered || server.down {
			return
		}
		answered = true
		reply = append([]byte{}, reply...)
		server.net.link(server.ip, "reply to "+q.client.ip, q.client.ip).push(simItem{run: func() { q.finish(reply, nil) }})
	})
}

func (q *simRequest) finish(reply []byte, err error) {
	if q.client.requests[q.id] != q {
		return
	}
	delete(q.client.requests, q.id)
	q.done(reply, err)
}

// Close implements Transport: the node leaves in order, and what it sent still arrives.
func (s *SimNode) Close() error {
	if s.down {
		return nil
	}
	s.unbind()
	for id := uint64(1); id <= s.nextID; id++ {
		if q := s.requests[id]; q != nil {
			q.finish(nil, fmt.Errorf("request: %w", ErrClosed))
		}
	}
	return nil
}

// Crash is kill -9: what the node had not got out is lost, part of what was on its way to it
// too (the kernel had taken it), nothing of its callbacks runs again. The rest waits at the
// senders for a node to come up at the address.
func (s *SimNode) Crash() {
	if s.down {
		return
	}
	s.unbind()
	clear(s.requests)
	for _, l := range s.net.sortedLinks() {
		switch {
		case l.id.from == s.ip:
			l.dropTail(s.net.rng.IntN(len(l.queue) + 1))
		case l.toIP == s.ip:
			l.drop(s.net.rng.IntN(len(l.queue) + 1))
		}
	}
}

func (s *SimNode) unbind() {
	s.down = true
	for address, socket := range s.net.sockets {
		if socket.node == s {
			s.unbindAddress(address)
		}
	}
	s.backlog = nil
	s.net.kill(s)
}

func (s *SimNode) unbindAddress(address string) {
	delete(s.net.sockets, address)
	s.net.generations[address]++
}

// Clock returns the node's clock, on which goroutines are tasks of the node: they end when it crashes, and stand still while
// it is paused.
func (s *SimNode) Clock() clock.Tasks { return simClock{s} }

// now is the time by the node's clock.
func (s *SimNode) now() time.Time {
	now := s.net.clock.Now()
	return now.Add(time.Duration(int64(now.Sub(SimEpoch)/time.Microsecond)*s.drift/1_000_000) * time.Microsecond)
}

// span is how long d on the node's clock takes.
func (s *SimNode) span(d time.Duration) time.Duration {
	return d - time.Duration(int64(d)/1000*s.drift/1000)
}

// after runs f when d has passed on the node's clock.
func (s *SimNode) after(d time.Duration, f func()) { s.net.After(s.span(d), f) }

// run runs f as something that the node's process does: never once it is down, later while it is paused.
func (s *SimNode) run(f func()) {
	switch {
	case s.down:
	case s.paused:
		s.backlog = append(s.backlog, f)
	default:
		f()
	}
}

// Pause stops the node's process, as SIGSTOP does: what comes in waits.
func (s *SimNode) Pause() { s.paused = true }

// Resume lets a paused node's process go on.
func (s *SimNode) Resume() {
	if !s.paused {
		return
	}
	s.paused = false
	backlog := s.backlog
	s.backlog = nil
	for _, f := range backlog {
		s.net.After(0, func() { s.run(f) })
	}
	s.net.After(0, func() {}) // for the tasks whose wait is over
}

// Paused says whether the node's process stands still.
func (s *SimNode) Paused() bool { return s.paused }
