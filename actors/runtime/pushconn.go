package runtime

import (
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/dinomo-kv/dinomo/internal/clock"
)

// pushConn is one connection of a Push. Its writing half belongs to whoever has the Push's
// writer's role, its reading half to connectLoop.
type pushConn struct {
	tcp *net.TCPConn
	raw syscall.RawConn

	writeOnce, writeWait func(fd uintptr) bool // bound once so that a write allocates nothing
	out                  []byte                // argument and
	outN                 int                   // results of the two above
	outErr               error
}

func newPushConn(tcp *net.TCPConn) (*pushConn, error) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("raw connection: %w", err)
	}
	c := &pushConn{tcp: tcp, raw: raw}
	c.writeOnce = func(fd uintptr) bool { c.syscallWrite(fd); return true }
	c.writeWait = func(fd uintptr) bool { return c.syscallWrite(fd) }
	return c, nil
}

// syscallWrite writes what the socket takes and reports whether that was anything, or failed.
func (c *pushConn) syscallWrite(fd uintptr) bool {
	n, err := syscall.Write(int(fd), c.out)
	for err == syscall.EINTR {
		n, err = syscall.Write(int(fd), c.out)
	}
	if err == syscall.EAGAIN {
		return false
	}
	c.outN, c.outErr = max(n, 0), err
	return true
}

// write writes b as far as the socket takes it with one system call; when it may wait and the
// socket takes nothing, it waits until it does.
func (c *pushConn) write(b []byte, wait bool) (int, error) {
	c.out, c.outN, c.outErr = b, 0, nil
	f := c.writeOnce
	if wait {
		f = c.writeWait
	}
	if err := c.raw.Write(f); err != nil {
		return 0, err
	}
	return c.outN, c.outErr
}

// fail makes the reader and a waiting writer return. It may be called more than once.
func (c *pushConn) fail() { _ = c.tcp.Close() }

// finish ends the stream in order: what the kernel has is still delivered.
func (c *pushConn) finish() {
	_ = c.tcp.CloseWrite()
	_ = c.tcp.Close()
}

// connectLoop is a Push's main goroutine: connect, read until the connection dies, again.
func (p *Push) connectLoop() {
	defer p.wg.Done()
	backoff := p.options.DialBackoffMin
	for p.ctx.Err() == nil {
		conn, err := p.connect()
		if err != nil {
			if p.ctx.Err() != nil {
				return
			}
			p.dialFailures.Add(1)
			p.log.printf("connect to %s: %v; trying again in %v", p.address, err, backoff)
			p.pause(backoff)
			backoff = min(2*backoff, p.options.DialBackoffMax)
			continue
		}
		began := p.options.Clock.Now()
		p.install(conn)
		p.log.settled("connected to %s", p.address)
		err = p.readUntilDeath(conn)
		p.uninstall(conn)
		if p.ctx.Err() != nil {
			return
		}
		// A peer that accepts and hangs up at once must not make this loop spin, or fill the log.
		if p.options.Clock.Now().Sub(began) >= p.options.DialBackoffMax {
			backoff = p.options.DialBackoffMin
			p.log.forget()
		}
		p.log.printf("lost %s: %v; connecting again", p.address, err)
		p.pause(backoff)
		backoff = min(2*backoff, p.options.DialBackoffMax)
	}
}

// pause waits before the next attempt to connect: never less than the least pause, and no longer when a frame asks for haste.
func (p *Push) pause(d time.Duration) {
	p.sleep(p.options.DialBackoffMin, nil)
	p.sleep(d-p.options.DialBackoffMin, p.hurry)
}

func (p *Push) sleep(d time.Duration, enough <-chan struct{}) {
	timer := p.options.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-enough:
	case <-p.ctx.Done():
	}
}

func (p *Push) connect() (*pushConn, error) {
	tcp, err := dialPeer(p.ctx, p.options.LocalIP, p.endpoint, socketPush, p.options.DialTimeout, p.options.HandshakeTimeout)
	if err != nil {
		return nil, err
	}
	return newPushConn(tcp)
}

// install makes conn the connection, with the frame first that the last one broke off.
func (p *Push) install(conn *pushConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.closing && p.ctx.Err() != nil {
		conn.fail() // shut did not see this connection
		return
	}
	p.connects.Add(1)
	p.mu.conn = conn
	p.mu.queue.rewind()
	if p.mu.queue.bytes > 0 && !p.mu.gone {
		p.mu.writing = true
		p.kick <- struct{}{} // never blocks: nobody else has the writer's role
	}
}

func (p *Push) uninstall(conn *pushConn) {
	conn.fail()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.conn != conn {
		return
	}
	for p.mu.writing { // it fails soon: the connection is closed
		p.wait()
	}
	p.mu.conn = nil
	p.disconnects.Add(1)
}

// readUntilDeath answers heartbeats and returns why the connection ended.
func (p *Push) readUntilDeath(conn *pushConn) error {
	var buffer [maxCommandBytes + longHeaderBytes]byte
	have, silent := 0, 0
	for {
		if interval := p.options.HeartbeatInterval; interval > 0 {
			_ = conn.tcp.SetReadDeadline(clock.Real{}.Now().Add(interval))
		}
		n, err := conn.tcp.Read(buffer[have:])
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			if silent++; silent > 3 {
				return fmt.Errorf("no sign of life for %v", 4*p.options.HeartbeatInterval)
			}
			p.ping()
			continue
		case err != nil:
			return err
		}
		silent = 0
		if have, err = p.consumeCommands(buffer[:have+n]); err != nil {
			return err
		}
	}
}

// consumeCommands obeys the complete frames at the start of b, all of which must be commands:
// a PULL socket sends nothing else. It moves the rest to the start and returns its size.
func (p *Push) consumeCommands(b []byte) (rest int, err error) {
	offset := 0
	for {
		h, err := parseFrameHeader(b[offset:], maxCommandBytes)
		if err != nil {
			return 0, err
		}
		if h.headerBytes == 0 || offset+h.total() > len(b) {
			return copy(b, b[offset:]), nil
		}
		if !h.command() {
			return 0, fmt.Errorf("%w: a message from a PULL socket", ErrProtocol)
		}
		if err := p.command(b[offset+h.headerBytes : offset+h.total()]); err != nil {
			return 0, err
		}
		offset += h.total()
	}
}

func (p *Push) command(body []byte) error {
	name, data, ok := splitCommand(body)
	if !ok {
		return fmt.Errorf("%w: malformed command", ErrProtocol)
	}
	if string(name) != commandPing {
		return nil
	}
	var space [shortHeaderBytes + shortBodyBytes]byte
	pong, ok := appendPong(space[:0], data)
	if !ok {
		return fmt.Errorf("%w: PING with %d bytes of data", ErrProtocol, len(data))
	}
	p.queueCommand(pong)
	return nil
}

func (p *Push) ping() {
	var space [16]byte
	ttl := min(4*p.options.HeartbeatInterval/(100*time.Millisecond), math.MaxUint16)
	p.queueCommand(appendPing(space[:0], uint16(ttl)))
}

// queueCommand sends a command unless the queue is full: then the peer does not read, and
// neither would it read this.
func (p *Push) queueCommand(frame []byte) {
	p.mu.Lock()
	if p.mu.queue.room(len(frame)) {
		p.mu.queue.appendRaw(frame, true)
	}
	p.mu.Unlock()
	p.Flush()
}
