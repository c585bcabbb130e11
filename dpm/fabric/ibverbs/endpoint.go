//go:build rdma && linux && cgo

package ibverbs

/*
#include <stdlib.h>
#include "verbs.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
)

// Sizes of an endpoint's own memory. The card reads from and writes to nothing else at this end.
const (
	slotBytes    = 4 << 10 // one message
	receiveSlots = 16
	sendSlots    = 8
	sendBytes    = sendSlots * slotBytes
	messageBytes = receiveSlots*slotBytes + sendBytes
	// dataBytes of a dialler hold the payload of one doorbell's verbs; longer batches take several.
	dataBytes = 1 << 20
	// depth is how many work requests one doorbell takes.
	depth = 128
)

// endpoint is one end of a connected queue pair. It has two independent halves: verbs and outgoing
// messages (run), used by one goroutine at a time, and incoming messages (Read), used by one as well.
// As a net.Conn it carries a byte stream in messages (conn.go).
type endpoint struct {
	c      *C.struct_dn_queue // C's heap: the card's driver holds pointers into it
	arena  []byte
	events *os.File // the receiving half's completion channel, for Go's poller
	wrs    []C.struct_dn_wr
	// counters are a copy that outlives c; the verbs' goroutine owns it.
	counters C.struct_dn_counters
	outcome  *C.struct_dn_outcome // 2: for run and for receive
	bye      func()               // tells the peer that this end is closed
	forget   func()               // before everything is freed
	name     string
	in       inbox
	deaf     bool // tests set it, with mu held: fail does nothing

	mu struct {
		sync.Mutex
		users         int // calls into C that are under way
		closed        bool
		failed        error // the connection is dead, though not closed by us
		writeDeadline time.Time
	}
	destroyed chan struct{}
}

// newEndpoint makes a queue pair on a device, on id when rdma_cm connects it. withData adds the memory for verbs.
func newEndpoint(d *device, id *C.struct_rdma_cm_id, o Options, withData bool, name string) (*endpoint, error) {
	size := messageBytes
	if withData {
		size += dataBytes
	}
	arena, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("allocate %d bytes for a queue pair: %w", size, err)
	}
	e := &endpoint{
		c:         (*C.struct_dn_queue)(C.calloc(1, C.sizeof_struct_dn_queue)),
		outcome:   (*C.struct_dn_outcome)(C.calloc(2, C.sizeof_struct_dn_outcome)),
		arena:     arena,
		wrs:       make([]C.struct_dn_wr, 0, depth),
		name:      name,
		bye:       func() {},
		forget:    func() {},
		destroyed: make(chan struct{}),
	}
	rc := C.dn_create(e.c, d.pd, id, unsafe.Pointer(&arena[0]), C.size_t(size), depth, receiveSlots)
	e.c.spin = C.uint32_t(o.Polls)
	if err := errno(rc); err != nil {
		e.abandon()
		return nil, fmt.Errorf("create a queue pair on %s: %w%s", d.name(), err, registerHint(err))
	}
	return e, nil
}

// abandon frees a new endpoint, but for the id that its caller made.
func (e *endpoint) abandon() {
	if e.c.id != nil && e.c.qp != nil {
		C.rdma_destroy_qp(e.c.id)
		e.c.qp = nil
	}
	e.c.id = nil
	e.destroy()
}

// ready posts the receives; the queue pair must be at least in its INIT state, and not yet connected.
func (e *endpoint) ready() error {
	fd, err := unix.FcntlInt(uintptr(e.c.recv_channel.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("queue pair: %w", err)
	}
	e.events = os.NewFile(uintptr(fd), "rdma-completions") // non-blocking, so Go's poller takes it
	for i := range receiveSlots {
		if err := e.postReceive(i); err != nil {
			return fmt.Errorf("post a receive: %w", err)
		}
	}
	return nil
}

func (e *endpoint) address(offset int) C.uint64_t {
	return C.uint64_t(uintptr(unsafe.Pointer(&e.arena[offset])))
}

// data is the part of the arena for verbs.
func (e *endpoint) data() []byte { return e.arena[messageBytes:] }

// begin keeps the endpoint's resources alive until end. It returns why that is impossible.
func (e *endpoint) begin() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.mu.closed {
		return net.ErrClosed
	}
	e.mu.users++
	return nil
}

func (e *endpoint) end() {
	e.mu.Lock()
	e.mu.users--
	last := e.mu.closed && e.mu.users == 0
	e.mu.Unlock()
	if last {
		e.destroy()
	}
}

// Close implements net.Conn: it ends all waits, and frees everything when they have ended.
func (e *endpoint) Close() error {
	e.mu.Lock()
	if e.mu.closed {
		e.mu.Unlock()
		return nil
	}
	e.mu.closed = true
	e.mu.users++
	C.dn_fail(e.c)
	C.dn_wake(e.c)
	if e.events != nil {
		_ = e.events.SetReadDeadline(longAgo)
	}
	e.mu.Unlock()
	e.bye()
	e.end()
	return nil
}

// longAgo as a deadline ends a wait at once.
var longAgo = time.Unix(1, 0)

// fail ends the connection because its peer has gone or misbehaves. What has arrived can still be read.
func (e *endpoint) fail(why error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.mu.closed || e.mu.failed != nil || e.deaf {
		return
	}
	e.mu.failed = why
	C.dn_fail(e.c)
	if e.events != nil {
		_ = e.events.SetReadDeadline(longAgo)
	}
}

// failure returns why the connection is dead, nil while it is not.
func (e *endpoint) failure() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.mu.failed
}

// destroy frees everything. From its return on, the peer reaches nothing through this queue pair.
func (e *endpoint) destroy() {
	e.forget()
	C.dn_destroy(e.c)
	C.free(unsafe.Pointer(e.c))
	C.free(unsafe.Pointer(e.outcome))
	if e.events != nil {
		_ = e.events.Close()
	}
	_ = unix.Munmap(e.arena)
	close(e.destroyed)
}

// setAccess says what the peer may do to the regions of this endpoint's device, as far as it has their keys.
func (e *endpoint) setAccess(a fabric.Access) error {
	if err := e.begin(); err != nil {
		return err
	}
	defer e.end()
	writable := C.int(0)
	if a == fabric.ReadWrite {
		writable = 1
	}
	if err := errno(C.dn_set_access(e.c, writable)); err != nil {
		return fmt.Errorf("set a queue pair's permissions: %w", err)
	}
	return nil
}

// errCompletion is a work request that failed: the queue pair is dead.
type errCompletion struct {
	status, vendor int
}

func (e errCompletion) Error() string {
	return fmt.Sprintf("%s (vendor %#x)", C.GoString(C.ibv_wc_status_str(C.enum_ibv_wc_status(e.status))), e.vendor)
}

// run posts the work requests in e.wrs with one doorbell, waits for their completion and empties e.wrs.
func (e *endpoint) run(timeout time.Duration) error {
	wrs := e.wrs
	e.wrs = e.wrs[:0]
	if len(wrs) == 0 {
		return nil
	}
	if err := e.begin(); err != nil {
		return err
	}
	defer e.end()
	rc := C.dn_run(e.c, &wrs[0], C.int(len(wrs)), C.int64_t(timeout), e.outcome)
	e.counters = e.c.counters
	switch {
	case rc == 0:
		return nil
	case rc == 1:
		if why := e.failure(); why != nil {
			return why
		}
		return errCompletion{int(e.outcome.status), int(e.outcome.vendor)}
	case errors.Is(errno(rc), syscall.ETIMEDOUT):
		return os.ErrDeadlineExceeded
	case errors.Is(errno(rc), syscall.ECANCELED):
		return net.ErrClosed
	}
	return fmt.Errorf("post work requests: %w", errno(rc))
}
