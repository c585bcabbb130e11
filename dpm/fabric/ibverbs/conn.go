//go:build rdma && linux && cgo

package ibverbs

/*
#include "verbs.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
	"unsafe"
)

// Messages carry a byte stream between the two ends, for what is not one-sided: SENDs with immediate
// of at most slotBytes, received into slots that are posted again when they have been read. A sender
// that is faster than its peer's reader is held up by the card (receiver not ready). The immediate numbers the messages.

// inbox is the receiving half's state; the goroutine that reads owns it.
type inbox struct {
	slot     int // being read
	unread   []byte
	expected uint32 // number of the next message
	sent     uint32 // of the sending half: number of the next one
}

func (e *endpoint) postReceive(slot int) error {
	return errno(C.dn_post_receive(e.c, e.address(slot*slotBytes), slotBytes, C.uint32_t(slot)))
}

// Read implements net.Conn.
func (e *endpoint) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if err := e.begin(); err != nil {
		return 0, err
	}
	defer e.end()
	for len(e.in.unread) == 0 {
		if err := e.receive(); err != nil {
			return 0, err
		}
		if len(e.in.unread) == 0 { // an empty message, which nobody of ours sends, held a slot
			if err := e.postReceive(e.in.slot); err != nil {
				return 0, err
			}
		}
	}
	n := copy(b, e.in.unread)
	e.in.unread = e.in.unread[n:]
	if len(e.in.unread) == 0 {
		if err := e.postReceive(e.in.slot); err != nil {
			return n, fmt.Errorf("post a receive: %w", err)
		}
	}
	return n, nil
}

// receive waits for the next message.
func (e *endpoint) receive() error {
	raw, err := e.events.SyscallConn()
	if err != nil {
		return err
	}
	var got C.int
	o := (*C.struct_dn_outcome)(unsafe.Add(unsafe.Pointer(e.outcome), C.sizeof_struct_dn_outcome))
	err = raw.Read(func(uintptr) bool {
		got = C.dn_receive(e.c, o)
		return got != 0
	})
	if err != nil {
		// Woken by a deadline: the caller's, Close, or fail. What arrived before counts.
		if got = C.dn_receive(e.c, o); got == 0 {
			return e.waitError(err)
		}
	}
	switch {
	case got < 0:
		return fmt.Errorf("poll for a message: %w", errno(got))
	case o.status != C.IBV_WC_SUCCESS:
		return e.waitError(io.EOF) // flushed: the queue pair has ended
	case uint32(o.immediate) != e.in.expected || int(o.bytes) > slotBytes:
		return fmt.Errorf("message %d of %d bytes, expected number %d", o.immediate, o.bytes, e.in.expected)
	}
	e.in.expected++
	e.in.slot = int(o.index)
	e.in.unread = e.arena[e.in.slot*slotBytes:][:o.bytes]
	return nil
}

// waitError says why a wait ended: that the connection is closed or dead before anything else.
func (e *endpoint) waitError(err error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.mu.closed:
		return net.ErrClosed
	case e.mu.failed != nil:
		return e.mu.failed
	}
	return err
}

// Write implements net.Conn. It returns when the peer's card has everything. Verbs that are waiting in
// e.wrs go out before it with the same doorbell: that is how a FLUSH travels with its WRITEs.
func (e *endpoint) Write(b []byte) (int, error) {
	if err := e.begin(); err != nil {
		return 0, err
	}
	defer e.end()
	if err := e.failure(); err != nil {
		return 0, err
	}
	done := 0
	for done < len(b) {
		n := copy(e.arena[receiveSlots*slotBytes:messageBytes], b[done:])
		for at := 0; at < n; at += slotBytes {
			e.wrs = append(e.wrs, C.struct_dn_wr{
				op: C.DN_SEND, local: e.address(receiveSlots*slotBytes + at), length: C.uint32_t(min(slotBytes, n-at)),
				immediate: C.uint32_t(e.in.sent),
			})
			e.in.sent++
		}
		timeout, err := e.writeTimeout()
		if err == nil {
			err = e.run(timeout)
		}
		if err != nil && e.failure() != nil {
			// The peer has closed. It may have taken this and answered before it did, and only the card's word for that is
			// lost: as with TCP, reading tells.
			return len(b), nil
		}
		if err != nil {
			var completion errCompletion
			if errors.As(err, &completion) {
				e.fail(fmt.Errorf("connection lost: %w", err))
			}
			return done, err
		}
		done += n
	}
	return done, nil
}

// forever stands for no deadline.
const forever = 1000 * time.Hour

func (e *endpoint) writeTimeout() (time.Duration, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.mu.writeDeadline.IsZero() {
		return forever, nil
	}
	left := e.mu.writeDeadline.Sub(now())
	if left <= 0 {
		return 0, os.ErrDeadlineExceeded
	}
	return left, nil
}

// SetDeadline implements net.Conn.
func (e *endpoint) SetDeadline(t time.Time) error {
	return errors.Join(e.SetReadDeadline(t), e.SetWriteDeadline(t))
}

// SetReadDeadline implements net.Conn.
func (e *endpoint) SetReadDeadline(t time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.mu.closed:
		return net.ErrClosed
	case e.mu.failed != nil:
		return nil // the deadline that ends all waits stays
	}
	return e.events.SetReadDeadline(t)
}

// SetWriteDeadline implements net.Conn. A wait that is under way does not notice.
func (e *endpoint) SetWriteDeadline(t time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mu.writeDeadline = t
	return nil
}

type rdmaAddr string

func (rdmaAddr) Network() string  { return "rdma" }
func (a rdmaAddr) String() string { return string(a) }

// LocalAddr implements net.Conn.
func (e *endpoint) LocalAddr() net.Addr { return rdmaAddr("rdma") }

// RemoteAddr implements net.Conn.
func (e *endpoint) RemoteAddr() net.Addr { return rdmaAddr(e.name) }
