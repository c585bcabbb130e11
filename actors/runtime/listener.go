package runtime

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/dinomo-kv/dinomo/internal/clock"
)

// listener accepts connections and runs one goroutine for each. Pull and Rep are built on it.
//
// When there are as many as there may be, the one that has been there the longest without ever having sent a message makes way
// for a new one: peers that connect by the thousand and say nothing do not keep others out. A peer of ZeroMQ that had nothing to
// say yet connects again by itself.
type listener struct {
	tcp            *net.TCPListener
	address        string
	maxConnections int
	serve          func(*net.TCPConn) // runs in the connection's goroutine; the listener closes the connection after it
	refused        func()             // a connection was closed, a new one or one that made way, because there are too many
	log            *quietLog
	done           chan struct{} // closed when Close begins

	wg sync.WaitGroup
	mu struct {
		sync.Mutex
		closed      bool
		connections map[*net.TCPConn]*standing
		admitted    uint64
	}
}

// standing is what is known of a connection.
type standing struct {
	number uint64 // in the order of admission
	proven bool   // it has sent a message
}

// acceptBackoff is the pause after an accept that failed, which in practice means that the
// process is out of file descriptors.
const acceptBackoff = 50 * time.Millisecond

// bind opens the socket; start begins to accept. In between the owner stores the listener
// where serve will look for it.
func bind(address string) (*listener, error) {
	ap, err := parseListenAddress(address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	network := "tcp4"
	if ap.Addr().Is6() {
		network = "tcp6"
	}
	tcp, err := net.ListenTCP(network, net.TCPAddrFromAddrPort(ap))
	if err != nil {
		return nil, listenError(address, err)
	}
	bound := tcp.Addr().(*net.TCPAddr).AddrPort()
	l := &listener{tcp: tcp, address: FormatAddress(bound), done: make(chan struct{})}
	l.mu.connections = make(map[*net.TCPConn]*standing)
	return l, nil
}

// listenError says in one line what is wrong and what to do about it.
func listenError(address string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listen on %s: %w: stop the process that is bound there, or choose another IP or thread number", address, ErrAddressInUse)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("listen on %s: %w: no interface of this machine has that IP; bind to one that it has", address, ErrBadAddress)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("listen on %s: %w: choose a port above 1023", address, err)
	}
	return fmt.Errorf("listen on %s: %w", address, err)
}

func (l *listener) start() {
	l.wg.Add(1)
	go l.accept()
}

func (l *listener) accept() {
	defer l.wg.Done()
	for {
		conn, err := l.tcp.AcceptTCP()
		switch {
		case err == nil:
			l.admit(conn)
			continue
		case errors.Is(err, net.ErrClosed):
			return
		}
		l.log.printf("accept on %s: %v; trying again", l.address, err)
		select {
		case <-l.done:
			return
		case <-clock.Real{}.NewTimer(acceptBackoff).C:
		}
	}
}

func (l *listener) admit(conn *net.TCPConn) {
	l.mu.Lock()
	closed := l.mu.closed
	var out *net.TCPConn // who has to go
	if !closed && len(l.mu.connections) >= l.maxConnections {
		if out = l.unproven(); out == nil {
			out = conn
		}
		delete(l.mu.connections, out)
	}
	if !closed && out != conn {
		l.mu.admitted++
		l.mu.connections[conn] = &standing{number: l.mu.admitted}
		l.wg.Add(1)
	}
	l.mu.Unlock()
	if out != nil {
		l.refused()
		l.log.printf("%s: %d connections already, closed one from %s", l.address, l.maxConnections, out.RemoteAddr())
		closeNow(out)
	}
	if closed {
		closeNow(conn)
	}
	if closed || out == conn {
		return
	}
	go func() {
		defer l.wg.Done()
		l.serve(conn)
		_ = conn.Close() // read-only from here on: nothing of ours can be lost
		l.mu.Lock()
		delete(l.mu.connections, conn)
		l.mu.Unlock()
	}()
}

// unproven returns the connection that was admitted first of those that have not sent a message, or nil. REQUIRES: l.mu.
func (l *listener) unproven() (first *net.TCPConn) {
	for conn, s := range l.mu.connections {
		if !s.proven && (first == nil || s.number < l.mu.connections[first].number) {
			first = conn
		}
	}
	return first
}

// prove notes that a connection has sent a message.
func (l *listener) prove(conn *net.TCPConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.mu.connections[conn]; s != nil {
		s.proven = true
	}
}

// closeNow closes a connection that nothing was promised to, without leaving it in TIME_WAIT.
func closeNow(conn *net.TCPConn) {
	_ = conn.SetLinger(0)
	_ = conn.Close()
}

// connections returns how many are open.
func (l *listener) connectionCount() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.mu.connections)
}

// shut closes the socket and every connection and waits for their goroutines. Only the first
// call returns true.
func (l *listener) shut() bool {
	l.mu.Lock()
	first := !l.mu.closed
	l.mu.closed = true
	if first {
		close(l.done)
	}
	for conn := range l.mu.connections {
		_ = conn.Close()
	}
	l.mu.Unlock()
	_ = l.tcp.Close()
	l.wg.Wait()
	return first
}
